//! avalon.toml(5), from the comments and defaults of `config/default.toml`: a rule of dashes with a
//! name begins a section, and a block of comments documents the keys right below it.

use roff::{Roff, bold, roman};

use super::page::{MANUAL, prose, see_also, source};
use super::{Date, SETTINGS, Title, examples};

/// The page in roff.
pub(crate) fn page(toml: &str, others: &[Title], date: Date) -> String {
    let mut roff = Roff::new();
    let title = SETTINGS.to_uppercase();
    roff.control("TH", [title.as_str(), "5", date, source().as_str(), MANUAL]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{SETTINGS} - settings of Avalon Music Server"))]);
    roff.control("SH", ["DESCRIPTION"]);
    let mut comment = Vec::new();
    // Whether the next key stands right below another one.
    let mut among_keys = false;
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix("# ---") {
            text(&mut roff, &mut comment, "PP");
            roff.control("SH", [name.trim_start_matches('-').trim().to_uppercase().as_str()]);
        } else if let Some(words) = line.strip_prefix('#') {
            comment.push(words.strip_prefix(' ').unwrap_or(words));
        } else if line.is_empty() {
            if among_keys {
                text(&mut roff, &mut comment, "IP");
            }
        } else {
            roff.control(if among_keys { "TQ" } else { "TP" }, []);
            roff.text([bold(line)]);
        }
        among_keys = !line.is_empty() && !line.starts_with('#');
    }
    text(&mut roff, &mut comment, "IP");
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([bold(format!("/etc/avalon/{SETTINGS}"))]);
    roff.text([roman("what the units of the package name in AVALON_CONFIG")]);
    examples::of_settings(&mut roff);
    see_also(&mut roff, others);
    roff.render()
}

/// What was said so far, as paragraphs.
fn text(roff: &mut Roff, comment: &mut Vec<&str>, paragraph: &str) {
    while comment.last().is_some_and(|line| line.is_empty()) {
        comment.pop();
    }
    prose(roff, comment, paragraph);
    comment.clear();
}
