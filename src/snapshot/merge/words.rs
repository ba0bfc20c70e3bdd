//! Search forms and word suffixes, woven of the old ones and those of new names.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::{self, Seek, Write};

use zerocopy::{FromBytes, IntoBytes};

use super::weave::{Member, Weave};
use crate::model::Kind;
use crate::rows::scratch::{Folder, Scratch, Stored};
use crate::snapshot::build::BuildError;
use crate::snapshot::build::sections::Sections;
use crate::snapshot::format::{Column, Suffix};
use crate::snapshot::open::Entities;
use crate::text;

/// The next search forms of a kind, and the word suffixes in order.
pub(super) struct Words<'a> {
    old: &'a Entities<'a>,
    weave: &'a Weave,
    forms: Vec<Vec<u8>>,
    suffixes: Stored,
}

impl<'a> Words<'a> {
    /// Of the old words and those of the `names` of new entities, in their order.
    pub(super) fn new<'n>(
        old: &'a Entities<'a>,
        weave: &'a Weave,
        names: impl Iterator<Item = Option<Cow<'n, str>>>,
        folder: &Folder,
    ) -> Result<Self, BuildError> {
        let forms = names.map(|name| name.map(|name| text::index_form(&name)).unwrap_or_default());
        let forms: Vec<Vec<u8>> = forms.collect();
        if let Some(form) = forms.iter().find(|form| u32::try_from(form.len()).is_err()) {
            return Err(BuildError::NameTooLong { len: form.len() });
        }
        let suffixes = woven(old, weave, &forms, folder)?;
        Ok(Words { old, weave, forms, suffixes })
    }

    /// The search form of the entity with this next index.
    pub(super) fn form(&self, next: u32) -> &[u8] {
        match self.weave.member(next) {
            Member::Kept(at) => self.old.forms.get(at),
            Member::New(new) => &self.forms[new as usize],
        }
    }

    /// The word suffixes, with next indexes.
    ///
    /// # Errors
    /// The storage holds no whole items, which cannot be.
    pub(super) fn suffixes(&self) -> Result<&[Suffix], BuildError> {
        let suffixes = <[Suffix]>::ref_from_bytes(&self.suffixes);
        suffixes.map_err(|_| io::Error::other("the suffixes have a part of an item").into())
    }

    /// The text of a suffix, to the end of its name.
    pub(super) fn text(&self, suffix: &Suffix) -> &[u8] {
        &self.form(suffix.entity.get())[suffix.start.get() as usize..]
    }

    pub(super) fn write<W: Write + Seek>(&self, kind: Kind, out: &mut Sections<W>) -> Result<(), BuildError> {
        let new = |at: u32, text: &mut Vec<u8>| text.extend_from_slice(&self.forms[at as usize]);
        let columns = (Column::Forms, Column::FormOffsets);
        self.weave.write_texts(kind, columns, &self.old.forms, new, out)?;
        out.bytes(kind, Column::Suffixes, &self.suffixes)
    }
}

/// The old suffixes and those of new forms in one order.
fn woven(
    old: &Entities<'_>,
    weave: &Weave,
    forms: &[Vec<u8>],
    folder: &Folder,
) -> Result<Stored, BuildError> {
    let starts =
        |(form, new): (&Vec<u8>, u32)| text::word_starts(form).map(move |start| (new, start)).collect();
    let mut added: Vec<(u32, usize)> = forms.iter().zip(0..).flat_map::<Vec<_>, _>(starts).collect();
    let new_text = |(new, start): (u32, usize)| &forms[new as usize][start..];
    added.sort_unstable_by(|a, b| new_text(*a).cmp(new_text(*b)).then(a.cmp(b)));

    let old_text = |suffix: &Suffix| &old.forms.get(suffix.entity.get())[suffix.start.get() as usize..];
    let mut merged = Scratch::new(folder);
    let mut rest = old.suffixes;
    for (new, start) in added {
        let text = new_text((new, start));
        let compare = |suffix: &Suffix| {
            old_text(suffix).cmp(text).then_with(|| weave.compare(suffix.entity.get(), new))
        };
        let (before, behind) =
            rest.split_at(rest.partition_point(|suffix| compare(suffix) == Ordering::Less));
        push_kept(&mut merged, before, weave)?;
        let suffix = Suffix { entity: weave.added()[new as usize].into(), start: (start as u32).into() };
        merged.push(suffix.as_bytes())?;
        rest = behind;
    }
    push_kept(&mut merged, rest, weave)?;
    Ok(merged.finish()?)
}

fn push_kept(merged: &mut Scratch, suffixes: &[Suffix], weave: &Weave) -> Result<(), BuildError> {
    for suffix in suffixes {
        if let Some(next) = weave.next(suffix.entity.get()) {
            merged.push(Suffix { entity: next.into(), start: suffix.start }.as_bytes())?;
        }
    }
    Ok(())
}
