//! Ports and names in a URL and in its parameters.

/// Returns a name that a message may repeat. Text that does not look like a name becomes `...`, so
/// that no part of a misplaced password gets into a log.
pub(super) fn printable_name(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    if text.len() <= 30 && text.chars().all(is_name) { text.to_owned() } else { "...".to_owned() }
}

pub(super) fn parse_port(port: &str) -> Option<u16> {
    port.parse().ok().filter(|port| *port != 0)
}
