//! The password that is not in `DATABASE_URL`: it comes from PGPASSWORD or the password file, as in libpq
//! (and so in avalonms).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Finds the password. `host` is `localhost` for a Unix socket in the default folder, as in libpq. A file
/// that other users can read counts as missing. `file` is the one in the URL.
pub(super) fn find(file: Option<&Path>, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    if let Some(password) = std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty()) {
        return Some(password);
    }
    let path = match (file, std::env::var_os("PGPASSFILE")) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) => PathBuf::from(path),
        (None, None) => std::env::home_dir()?.join(".pgpass"),
    };
    let metadata = std::fs::metadata(&path).ok()?;
    if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
        return None;
    }
    let text = std::fs::read_to_string(&path).ok()?;
    look_up(&text, [host, &port.to_string(), database, user])
}

/// The password in the first line `host:port:database:user:password` that matches; `*` matches everything.
fn look_up(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = split(line);
        if fields.len() < 5 {
            return None;
        }
        let password = fields.swap_remove(4);
        let fits = wanted.iter().zip(&fields).all(|(wanted, field)| field == "*" || field == wanted);
        fits.then_some(password)
    })
}

/// Splits at colons; a backslash removes the special meaning of the character after it.
fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(mut c) = chars.next() {
        if c == ':' {
            fields.push(String::new());
            continue;
        }
        if c == '\\' {
            c = chars.next().unwrap_or('\\');
        }
        if let Some(field) = fields.last_mut() {
            field.push(c);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# comment\nbroken\nh:5432:d:u:first\nh:*:*:u:a\\:b\\\\c\n*:*:*:*:any\n";
        for (host, port, database, user, password) in
            [("h", "5432", "d", "u", "first"), ("h", "1", "d", "u", "a:b\\c"), ("x", "1", "d", "u", "any")]
        {
            assert_eq!(look_up(text, [host, port, database, user]).as_deref(), Some(password));
        }
        assert_eq!(look_up("h:1:d:u:p", ["h", "1", "d", "v"]), None);
    }
}
