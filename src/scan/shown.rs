//! Paths in log lines.

use std::path::Path;

/// Formats a path for a log line: a name with a line break must not look like two lines.
pub(super) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}
