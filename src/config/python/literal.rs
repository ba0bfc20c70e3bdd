//! Python values that need no computation.

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum Literal {
    None,
    Boolean(bool),
    Integer(i64),
    Text(String),
    List(Vec<Literal>),
}
