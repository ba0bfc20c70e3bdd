//! Python's `%(name)s` language: a text with fields, compiled once. `format` and `access_format` know the names,
//! `percent` the conversions.

use super::FormatError;
use super::percent::{Kind, Spec, SpecError};

/// A part of a compiled format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<F> {
    Literal(String),
    Field(F, Spec),
}

/// Compiles a text. `find` looks up each name, with its column.
///
/// # Errors
/// For each format that Python would refuse, with the column; and for a width or a precision above
/// 1000.
pub(super) fn compile<F>(
    source: &str,
    find: impl Fn(&str, usize) -> Result<(F, Kind), FormatError>,
) -> Result<Vec<Piece<F>>, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = source;
    while let Some(percent) = rest.find('%') {
        literal.push_str(&rest[..percent]);
        let at = source.len() - rest.len() + percent;
        let column = source[..at].chars().count() + 1;
        let (field, length) = parse_field(&source[at..], column, &find)?;
        match field {
            None => literal.push('%'),
            Some((field, spec)) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Field(field, spec));
            }
        }
        rest = &source[at + length..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// A field and its length in bytes; no field for a percent sign. `text` starts with `%`.
fn parse_field<F>(
    text: &str,
    column: usize,
    find: impl Fn(&str, usize) -> Result<(F, Kind), FormatError>,
) -> Result<(Option<(F, Spec)>, usize), FormatError> {
    if text.starts_with("%%") {
        return Ok((None, 2));
    }
    let Some(named) = text.strip_prefix("%(") else {
        return Err(FormatError::NoName { column });
    };
    let Some((name, rest)) = named.split_once(')') else {
        return Err(FormatError::Unclosed { column });
    };
    let (field, kind) = find(name, column)?;
    let (spec, length) = Spec::parse(rest).map_err(|error| match error {
        SpecError::Conversion(found) => FormatError::Conversion { column, name: name.to_owned(), found },
        SpecError::Size => FormatError::Size { column, name: name.to_owned() },
    })?;
    if !spec.accepts(kind) {
        let conversion = spec.conversion();
        return Err(FormatError::Type { column, name: name.to_owned(), conversion, got: kind.noun() });
    }
    let length = "%(".len() + name.len() + ")".len() + length;
    Ok((Some((field, spec)), length))
}
