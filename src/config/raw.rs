//! Values in the form of a file, the environment or a flag.

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array of strings.
    List(Vec<String>),
    /// Text of the environment or a flag, whose type its key decides.
    Untyped(String),
    /// Any other value, by the name of its type.
    Other(&'static str),
}
