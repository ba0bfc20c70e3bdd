//! `LOG_FORMAT`: Python's `%(name)s` language over the attributes of Python's LogRecord, compiled
//! once and rendered without parsing the text again. `percent` knows the conversions, `log` has the
//! values.

use super::FormatError;
use super::fields::{Piece, compile};
use super::percent::{Kind, Value};

/// A compiled log format. Made by [`LogFormat::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormat {
    /// A line is a JSON object.
    Json,
    /// A line consists of the attributes of Python's LogRecord.
    Python(PythonFormat),
}

/// A format in Python's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonFormat(Vec<Piece<Attribute>>);

/// The values of one record, as plain data. Names and meanings are those of Python's LogRecord.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogRecord<'a> {
    /// The time in `LOG_DATE_FORMAT`. May be empty if the format does not print it.
    pub(super) asctime: &'a str,
    /// Seconds since 1970-01-01 00:00 UTC.
    pub(super) created: f64,
    /// The last part of `pathname`.
    pub(super) filename: &'a str,
    /// The function that logged.
    pub(super) func_name: &'a str,
    /// DEBUG, INFO, WARNING, ERROR or CRITICAL.
    pub(super) levelname: &'a str,
    /// 10, 20, 30, 40 or 50.
    pub(super) levelno: i64,
    /// The source line, from 1.
    pub(super) lineno: i64,
    /// The module that logged.
    pub(super) module: &'a str,
    /// The millisecond part of `created`, a whole number from 0 to 999.
    pub(super) msecs: f64,
    /// The message, on one line.
    pub(super) message: &'a str,
    /// The logger's name.
    pub(super) name: &'a str,
    /// The source file.
    pub(super) pathname: &'a str,
    /// The process id.
    pub(super) process: i64,
    /// The process's role.
    pub(super) process_name: &'a str,
    /// Milliseconds since the log was started.
    pub(super) relative_created: f64,
    /// The thread id.
    pub(super) thread: i64,
    /// The thread's name.
    pub(super) thread_name: &'a str,
}

/// An attribute of Python's LogRecord: its place in [`ATTRIBUTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attribute(usize);

impl Attribute {
    const ASCTIME: Attribute = Attribute(0);
}

/// A function that takes the value of an attribute out of a record.
type Take = for<'a> fn(&LogRecord<'a>) -> Value<'a>;

/// Every attribute with its name and the type of its value.
const ATTRIBUTES: [(&str, Kind, Take); 18] = [
    ("asctime", Kind::Text, |record| Value::Text(record.asctime)),
    ("created", Kind::Float, |record| Value::Float(record.created)),
    ("filename", Kind::Text, |record| Value::Text(record.filename)),
    ("funcName", Kind::Text, |record| Value::Text(record.func_name)),
    ("levelname", Kind::Text, |record| Value::Text(record.levelname)),
    ("levelno", Kind::Int, |record| Value::Int(record.levelno)),
    ("lineno", Kind::Int, |record| Value::Int(record.lineno)),
    ("module", Kind::Text, |record| Value::Text(record.module)),
    ("msecs", Kind::Float, |record| Value::Float(record.msecs)),
    ("message", Kind::Text, |record| Value::Text(record.message)),
    ("name", Kind::Text, |record| Value::Text(record.name)),
    ("pathname", Kind::Text, |record| Value::Text(record.pathname)),
    ("process", Kind::Int, |record| Value::Int(record.process)),
    ("processName", Kind::Text, |record| Value::Text(record.process_name)),
    ("relativeCreated", Kind::Float, |record| Value::Float(record.relative_created)),
    ("thread", Kind::Int, |record| Value::Int(record.thread)),
    ("threadName", Kind::Text, |record| Value::Text(record.thread_name)),
    // This program has no asyncio tasks; Python prints None outside of one.
    ("taskName", Kind::None, |_| Value::None),
];

/// Python's format in place of an empty one.
const DEFAULT: &str = "%(message)s";

impl LogFormat {
    /// Compiles a format.
    ///
    /// An empty text means `%(message)s`, as in Python; `json` means a JSON object for each record.
    ///
    /// # Errors
    /// For each format that Python would refuse at start or at the first record, with the column;
    /// and for a width or a precision above 1000.
    pub fn parse(text: &str) -> Result<LogFormat, FormatError> {
        if text.eq_ignore_ascii_case("json") {
            return Ok(LogFormat::Json);
        }
        let pieces = compile(if text.is_empty() { DEFAULT } else { text }, find)?;
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field(..))) {
            return Err(FormatError::NoAttribute);
        }
        Ok(LogFormat::Python(PythonFormat(pieces)))
    }
}

impl PythonFormat {
    /// Reports whether the format prints `asctime`; otherwise there is no need to format the time.
    pub(super) fn uses_time(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Field(Attribute::ASCTIME, _)))
    }

    /// Appends a record in this format, without a newline.
    pub(super) fn render(&self, record: &LogRecord<'_>, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Field(attribute, spec) => {
                    let (_, _, take) = ATTRIBUTES[attribute.0];
                    spec.write(take(record), out);
                }
            }
        }
    }
}

fn find(name: &str, column: usize) -> Result<(Attribute, Kind), FormatError> {
    match ATTRIBUTES.iter().position(|(known, ..)| *known == name) {
        Some(at) => Ok((Attribute(at), ATTRIBUTES[at].1)),
        None => {
            let known = ATTRIBUTES.map(|(name, ..)| name).join(" ");
            Err(FormatError::Unknown { column, name: name.to_owned(), nearest: nearest(name), known })
        }
    }
}

/// Returns the attribute that was most likely meant: one that contains the name (`time`), or has a
/// similar spelling; `None` if there is none.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let likeness = |known: &str| {
        let contained = name.len() >= 3 && known.contains(&name);
        strsim::jaro_winkler(known, &name).max(if contained { 0.7 } else { 0.0 })
    };
    ATTRIBUTES
        .iter()
        .map(|(known, ..)| (likeness(&known.to_lowercase()), *known))
        .filter(|(likeness, _)| *likeness >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    const RECORD: LogRecord<'static> = LogRecord {
        asctime: "2026-11-24T05:46:00",
        created: 1_795_499_160.123_456_7,
        filename: "routes.rs",
        func_name: "(unknown function)",
        levelname: "WARNING",
        levelno: 30,
        lineno: 42,
        module: "avalon::worker::routes",
        msecs: 123.0,
        message: "Björk \u{2014} it's \"Jóga\" \u{1f600}\u{200b}",
        name: "avalon.worker",
        pathname: "src/worker/routes.rs",
        process: 815,
        process_name: "worker 3",
        relative_created: 0.000_047_683_715_820_312_5,
        thread: 4711,
        thread_name: "MainThread",
    };

    /// A record of the fixture; its texts live as long as the test.
    fn python(text: &str) -> Result<PythonFormat, FormatError> {
        LogFormat::parse(text).map(|format| match format {
            LogFormat::Python(format) => format,
            LogFormat::Json => panic!("{text} is none of Python's"),
        })
    }

    fn rendered(format: &PythonFormat, record: &LogRecord<'_>) -> String {
        let mut out = String::new();
        format.render(record, &mut out);
        out
    }

    fn recorded(line: &'static str) -> LogRecord<'static> {
        let values: &'static Json = Box::leak(Box::new(serde_json::from_str(line).unwrap()));
        let text = |name: &str| values[name].as_str().unwrap();
        let int = |name: &str| values[name].as_i64().unwrap();
        let float = |name: &str| values[name].as_f64().unwrap();
        LogRecord {
            asctime: text("asctime"),
            created: float("created"),
            filename: text("filename"),
            func_name: text("funcName"),
            levelname: text("levelname"),
            levelno: int("levelno"),
            lineno: int("lineno"),
            module: text("module"),
            msecs: float("msecs"),
            message: text("message"),
            name: text("name"),
            pathname: text("pathname"),
            process: int("process"),
            process_name: text("processName"),
            relative_created: float("relativeCreated"),
            thread: int("thread"),
            thread_name: text("threadName"),
        }
    }

    /// Hundreds of formats and their results or refusals in Python; `generate.py` beside the file
    /// recorded them.
    #[test]
    fn records_look_as_python_writes_them() {
        let lines = include_str!("../../tests/fixtures/logging/formats.jsonl").lines();
        let (records, cases): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('{'));
        let records: Vec<LogRecord<'_>> = records.into_iter().map(recorded).collect();
        assert!(records.len() == 3 && cases.len() > 500);
        for case in cases {
            let (format, record, expected): (String, usize, Option<String>) =
                serde_json::from_str(case).unwrap();
            let got = python(&format).map(|compiled| rendered(&compiled, &records[record]));
            assert_eq!(got.ok(), expected, "{format:?} of record {record}");
        }
    }

    #[test]
    fn lengths_and_bare_points_are_taken_as_the_operator_takes_them() {
        for (format, expected) in [
            ("100%% %(lineno)d%%%%", "100% 42%%"),
            ("%(lineno)ld %(lineno)5.hd|%(name)5.s|", "42    42|     |"),
            ("%(taskName)s %(taskName)r", "None None"),
        ] {
            assert_eq!(rendered(&python(format).unwrap(), &RECORD), expected, "{format}");
        }
    }

    /// Python refuses these too, at start or at the first record, except `%s` without a name, for which it
    /// prints the whole record.
    #[test]
    fn errors_name_the_fault_and_the_place() {
        for (format, expected) in [
            ("plain", "no attribute in it, expected at least one such as %(message)s"),
            ("100%%", "no attribute in it, expected at least one such as %(message)s"),
            ("%(message)s %s", "% at column 13 without a name in parentheses, or %% for a percent sign"),
            ("%5%", "% at column 1 without a name in parentheses, or %% for a percent sign"),
            ("é%", "% at column 2 without a name in parentheses, or %% for a percent sign"),
            ("[%(message", "%( at column 2 without its closing parenthesis"),
            ("[%(levlname)s]", "unknown attribute \"levlname\" at column 2, did you mean \"levelname\"?"),
            ("%(threadname)s", "unknown attribute \"threadname\" at column 1, did you mean \"threadName\"?"),
            ("%(time)s", "unknown attribute \"time\" at column 1, did you mean \"asctime\"?"),
            (
                "%(xyz)s",
                "unknown attribute \"xyz\" at column 1, expected one of asctime created filename funcName \
                 levelname levelno lineno module msecs message name pathname process processName \
                 relativeCreated thread threadName taskName",
            ),
            ("%(name)", "%(name) at column 1 without a conversion type such as s or d, found the end"),
            ("%(name)]", "%(name) at column 1 without a conversion type such as s or d, found ']'"),
            ("%(name)5.;", "%(name) at column 1 without a conversion type such as s or d, found ';'"),
            ("%(name)lls", "%(name) at column 1 without a conversion type such as s or d, found 'l'"),
            ("%(name)5é", "%(name) at column 1 without a conversion type such as s or d, found 'é'"),
            (
                "%(name)*d",
                "%(name) at column 1 without a conversion type such as s or d, and a width cannot be taken \
                 from an argument (*)",
            ),
            ("%(name)d", "%(name) at column 1 is text, which 'd' cannot convert, expected s"),
            ("%(msecs)x", "%(msecs) at column 1 is a number, which 'x' cannot convert, expected s"),
            ("%(taskName)d", "%(taskName) at column 1 is None, which 'd' cannot convert, expected s"),
            ("%(levelname)c", "%(levelname) at column 1 is text, which 'c' cannot convert, expected s"),
            ("%(lineno)1001d", "width or precision of %(lineno) at column 1 is above 1000"),
            ("%(lineno).99999999999999999999d", "width or precision of %(lineno) at column 1 is above 1000"),
        ] {
            assert_eq!(LogFormat::parse(format).unwrap_err().to_string(), expected, "{format}");
        }
    }

    #[test]
    fn an_empty_format_is_the_message_as_in_python() {
        assert_eq!(LogFormat::parse("").unwrap(), LogFormat::parse("%(message)s").unwrap());
    }

    #[test]
    fn json_is_no_format_of_pythons() {
        for text in ["json", "JSON"] {
            assert_eq!(LogFormat::parse(text).unwrap(), LogFormat::Json);
        }
        assert_ne!(LogFormat::parse("").unwrap(), LogFormat::Json);
    }

    #[test]
    fn the_time_is_used_only_where_it_is_printed() {
        assert!(python("x %(asctime)s").unwrap().uses_time());
        assert!(!python("%%(asctime)s %(created)s").unwrap().uses_time());
    }

    /// Pieces of formats, right and wrong, so that more than one in a thousand parses.
    fn format_like() -> impl Strategy<Value = String> {
        let name = prop::sample::select(ATTRIBUTES.map(|(name, ..)| name).to_vec());
        let field = (name, "[-0+ #]{0,3}", "[0-9]{0,3}", "(\\.[0-9]{1,3})?", "[sracdiuoxXeEfFgG]").prop_map(
            |(name, flags, width, precision, kind)| format!("%({name}){flags}{width}{precision}{kind}"),
        );
        prop::collection::vec(prop_oneof![4 => field, 1 => ".{0,5}", 1 => "[%()s0-9.*]{0,5}"], 0..5)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = LogFormat::parse(&text).map_err(|error| error.to_string());
        }

        #[test]
        fn no_format_and_no_value_makes_rendering_panic(
            text in format_like(), message in ".*", number in any::<i64>(), float in any::<f64>(),
        ) {
            if let Ok(format) = python(&text) {
                let record = LogRecord {
                    message: &message, name: &message, created: float, msecs: float,
                    relative_created: float, levelno: number, lineno: number, process: number, ..RECORD
                };
                rendered(&format, &record);
            }
        }
    }
}
