//! The faults of a `LOG_FORMAT` or an `ACCESS_LOGFORMAT`, in words.

use std::fmt;

use super::percent::SIZE_MAX;

/// The reason why a format is refused. `column` counts characters from 1 and is that of the percent
/// sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// The text has no field.
    NoAttribute,
    /// A percent sign followed by neither a name in parentheses nor another percent sign.
    NoName {
        /// The column.
        column: usize,
    },
    /// A name without its closing parenthesis.
    Unclosed {
        /// The column.
        column: usize,
    },
    /// A name that is not an attribute.
    Unknown {
        /// The column.
        column: usize,
        /// The name as written.
        name: String,
        /// The likely intended name.
        nearest: Option<&'static str>,
        /// The valid names.
        known: String,
    },
    /// A field without a conversion type.
    Conversion {
        /// The column.
        column: usize,
        /// The attribute.
        name: String,
        /// The character in its place; `None` at the end of the text.
        found: Option<char>,
    },
    /// A conversion that does not fit the attribute.
    Type {
        /// The column.
        column: usize,
        /// The attribute.
        name: String,
        /// The conversion type as written.
        conversion: char,
        /// The type of the attribute.
        got: &'static str,
    },
    /// A width or precision that is too large.
    Size {
        /// The column.
        column: usize,
        /// The attribute.
        name: String,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAttribute => f.write_str("no attribute in it, expected at least one such as %(message)s"),
            Self::NoName { column } => {
                write!(f, "% at column {column} without a name in parentheses, or %% for a percent sign")
            }
            Self::Unclosed { column } => {
                write!(f, "%( at column {column} without its closing parenthesis")
            }
            Self::Unknown { column, name, nearest: Some(nearest), .. } => {
                write!(f, "unknown attribute {name:?} at column {column}, did you mean {nearest:?}?")
            }
            Self::Unknown { column, name, nearest: None, known } => {
                write!(f, "unknown attribute {name:?} at column {column}, expected one of {known}")
            }
            Self::Conversion { column, name, found } => {
                write!(f, "%({name}) at column {column} without a conversion type such as s or d, ")?;
                match found {
                    Some('*') => f.write_str("and a width cannot be taken from an argument (*)"),
                    Some(found) => write!(f, "found {found:?}"),
                    None => f.write_str("found the end"),
                }
            }
            Self::Type { column, name, conversion, got } => {
                write!(
                    f,
                    "%({name}) at column {column} is {got}, which {conversion:?} cannot convert, expected s"
                )
            }
            Self::Size { column, name } => {
                write!(f, "width or precision of %({name}) at column {column} is above {SIZE_MAX}")
            }
        }
    }
}

impl std::error::Error for FormatError {}
