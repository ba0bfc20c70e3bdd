//! Assignments of literals in a Python file, such as avalonms' settings or Gunicorn's
//! configuration. No code is executed: an expression that is not a literal is only shown.

mod literal;
mod scanner;

pub(super) use literal::Literal;
use scanner::Scanner;

/// A statement of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// `NAME = value` at the top level.
    Assignment {
        /// Number of the line, from 1.
        line: usize,
        name: String,
        value: Assigned,
    },
    /// Any other statement, by its first line. Comments, docstrings and imports do not count.
    Other { line: usize, text: String },
}

/// The value of an assignment.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Assigned {
    /// A literal.
    Literal(Literal),
    /// The text of an expression that only Python can compute.
    Computed(String),
}

/// Returns the statements of a file.
pub(super) fn read(text: &str) -> Vec<Statement> {
    let text = text.trim_start_matches('\u{feff}');
    let mut statements = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while !rest.is_empty() {
        let (whole, next) = rest.split_at(end_of_statement(rest));
        statements.extend(statement(whole, line));
        line += whole.matches('\n').count();
        // The space behind a semicolon does not indent.
        rest = if whole.ends_with(';') { next.trim_start_matches([' ', '\t']) } else { next };
    }
    statements
}

/// Reports whether a text is Python rather than TOML: it imports, or holds a value that only Python
/// has.
pub(super) fn is_likely(text: &str) -> bool {
    const VALUES: [&str; 9] = ["None", "True", "False", "logging.", "(", "u'", "u\"", "r'", "r\""];
    text.lines().any(|line| {
        let assigns = |value: &str| VALUES.iter().any(|begin| value.trim_start().starts_with(begin));
        is_import(line) || line.split_once('=').is_some_and(|(_, value)| assigns(value))
    })
}

fn is_import(line: &str) -> bool {
    line.starts_with("import ") || line.starts_with("from ")
}

fn statement(whole: &str, line: usize) -> Option<Statement> {
    let text = whole.trim_end_matches(['\n', '\r', ';', ' ', '\t', '\u{c}']);
    let first = text.trim_start_matches([' ', '\t']).lines().next().unwrap_or_default().trim_end();
    if first.is_empty() || first.starts_with('#') || is_import(first) {
        return None;
    }
    let other = Statement::Other { line, text: first.to_owned() };
    // Inside of `if`, `try` or a function only running the file would tell.
    if whole.starts_with([' ', '\t']) {
        return Some(other);
    }
    let mut scanner = Scanner { rest: text };
    let Some(name) = scanner.name() else {
        // A docstring has no effect.
        return (!matches!(scanner.literal(), Some(Literal::Text(_)))).then_some(other);
    };
    scanner.skip_space();
    if let Some(annotated) = scanner.rest.strip_prefix(':') {
        match annotated.split_once('=') {
            Some((kind, value)) if !kind.contains(['(', '"', '\'']) => scanner.rest = value,
            _ => return Some(other),
        }
    } else {
        match scanner.rest.strip_prefix('=') {
            Some(value) if !value.starts_with('=') => scanner.rest = value,
            _ => return Some(other),
        }
    }
    let source = scanner.rest.trim();
    let value = match scanner.expression() {
        Some(literal) if scanner.is_at_end() => Assigned::Literal(literal),
        _ => Assigned::Computed(source.to_owned()),
    };
    Some(Statement::Assignment { line, name: name.to_owned(), value })
}

/// Returns the length in bytes of the first statement of `text`: to the end of a line, or to `;`,
/// outside of brackets and strings.
fn end_of_statement(text: &str) -> usize {
    let mut scanner = Scanner { rest: text };
    let mut depth = 0_usize;
    while let Some(c) = scanner.rest.chars().next() {
        match c {
            '\'' | '"' => {
                if scanner.quoted().is_none() {
                    return text.len();
                }
                continue;
            }
            '#' => {
                scanner.rest = &scanner.rest[scanner.rest.find('\n').unwrap_or(scanner.rest.len())..];
                continue;
            }
            '\\' if scanner.rest.starts_with("\\\n") || scanner.rest.starts_with("\\\r\n") => {
                scanner.rest = &scanner.rest[scanner.rest.find('\n').unwrap_or(0)..];
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '\n' | ';' if depth == 0 => return text.len() - scanner.rest.len() + 1,
            _ => {}
        }
        scanner.rest = scanner.rest.get(c.len_utf8()..).unwrap_or_default();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(source: &str) -> Assigned {
        match &read(&format!("X = {source}\n"))[..] {
            [Statement::Assignment { value, .. }] => value.clone(),
            other => panic!("{source}: {other:?}"),
        }
    }

    fn text(text: &str) -> Literal {
        Literal::Text(text.to_owned())
    }

    #[test]
    fn literals_are_read() {
        for (source, expected) in [
            ("None", Literal::None),
            ("True", Literal::Boolean(true)),
            ("8125", Literal::Integer(8125)),
            ("-1_000", Literal::Integer(-1000)),
            ("0o22", Literal::Integer(18)),
            ("022", Literal::Integer(18)),
            ("0x1F", Literal::Integer(31)),
            ("0", Literal::Integer(0)),
            ("logging.WARN", Literal::Integer(30)),
            ("'a\"b'", text("a\"b")),
            ("u\"\\u00e9\\n\\\\ \\'\"", text("\u{e9}\n\\ '")),
            ("r'\\d'", text("\\d")),
            ("'\\d'", text("\\d")),
            ("'''a\nb'''", text("a\nb")),
            ("('a'\n  'b' # why\n  \"c\")", text("abc")),
            ("'a' + 'b'", text("ab")),
            ("'a' \\\n    'b'", text("ab")),
            ("'#'  # a comment", text("#")),
            ("['a', 'b',]", Literal::List(vec![text("a"), text("b")])),
            ("('a',)", Literal::List(vec![text("a")])),
            ("'a', 'b'", Literal::List(vec![text("a"), text("b")])),
            ("[]", Literal::List(vec![])),
            ("(3)", Literal::Integer(3)),
        ] {
            assert_eq!(value(source), Assigned::Literal(expected), "{source}");
        }
    }

    #[test]
    fn expressions_are_no_literals() {
        for source in [
            "os.environ['X']",
            "'sqlite:///' + join(gettempdir(), 'avalon.sqlite')",
            "f'{x}'",
            "1.5",
            "2 * 3",
            "{'a': 1}",
            "'a' % b",
            "'a'.lower()",
            "['a' 1]",
            "lambda: 1",
            "'\\N{DASH}'",
            "X",
            "'a",
        ] {
            assert_eq!(value(source), Assigned::Computed(source.to_owned()), "{source}");
        }
    }

    #[test]
    fn only_the_top_level_counts() {
        let text = "# -*- coding: utf-8 -*-\n\"\"\"Doc\n= x\"\"\"\nfrom a import b\nimport c; A = 1; B = 2\nif x:\n    A = 3\nf(\n  1)\nC: int = 4\nD == 5\nE.f = 6\n";
        let read = read(text);
        let lines: Vec<(usize, &str)> = read
            .iter()
            .map(|statement| match statement {
                Statement::Assignment { line, name, .. } => (*line, name.as_str()),
                Statement::Other { line, text } => (*line, text.as_str()),
            })
            .collect();
        assert_eq!(
            lines,
            [
                (5, "A"),
                (5, "B"),
                (6, "if x:"),
                (7, "A = 3"),
                (8, "f("),
                (10, "C"),
                (11, "D == 5"),
                (12, "E.f")
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "([A-Z]|=|'|\"|\\\\|\n|#|\\(|\\[|\\)|,|\\+|[0-9]|\u{e9}|.){0,40}") {
            read(&text);
        }
    }
}
