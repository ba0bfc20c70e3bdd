//! Values that Python writes without computing anything.

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum Literal {
    None,
    Boolean(bool),
    Integer(i64),
    Text(String),
    List(Vec<Literal>),
}
