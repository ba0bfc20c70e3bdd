//! Rows as a server sends them.

use std::collections::HashSet;

use ::postgres::types::{FromSql, Type};
use ::postgres::{Error, Row, Transaction};
use uuid::Uuid;

use crate::database::rows::Value;

/// Rows asked for at once.
const PORTION: u32 = 10_000;

/// Fetches portion by portion, which keeps memory small and the server's last words: a
/// blocking client looks at its connection before it looks at what has come, so behind rows
/// that still wait to be read, why a connection ended would be lost to the bare fact.
pub(super) fn for_each_row(
    transaction: &mut Transaction<'_>,
    table: &str,
    columns: &[&str],
    mut take: impl FnMut(&Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let query = readable_query(transaction, table, columns)?;
    for_each_row_of(transaction, table, &query, &mut take)
}

/// The same for any query; `table` names the cursor.
pub(super) fn for_each_row_of(
    transaction: &mut Transaction<'_>,
    table: &str,
    query: &str,
    mut take: impl FnMut(&Row) -> Result<(), Error>,
) -> Result<(), Error> {
    transaction.batch_execute(&format!("DECLARE {table} NO SCROLL CURSOR FOR {query}"))?;
    let fetch = transaction.prepare(&format!("FETCH {PORTION} FROM {table}"))?;
    loop {
        let rows = transaction.query(&fetch, &[])?;
        if rows.is_empty() {
            return Ok(());
        }
        rows.iter().try_for_each(&mut take)?;
    }
}

/// Columns of avalonms' types arrive as they are; of any other type, as text.
fn readable_query(transaction: &mut Transaction<'_>, table: &str, columns: &[&str]) -> Result<String, Error> {
    let probe = transaction.prepare(&format!("SELECT {} FROM {table}", columns.join(", ")))?;
    let known = HashSet::from([Type::UUID, Type::VARCHAR, Type::TEXT, Type::INT2, Type::INT4, Type::INT8]);
    let expressions: Vec<String> = probe
        .columns()
        .iter()
        .map(|column| match known.contains(column.type_()) {
            true => column.name().to_owned(),
            false => format!("{}::text", column.name()),
        })
        .collect();
    Ok(format!("SELECT {} FROM {table}", expressions.join(", ")))
}

pub(super) fn value(row: &Row, index: usize) -> Result<Value<'_>, Error> {
    Ok(row.try_get::<_, Option<Value<'_>>>(index)?.unwrap_or(Value::Null))
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Value<'a>, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::UUID => Value::Id(Uuid::from_slice(raw)?),
            Type::INT2 => Value::Integer(i16::from_be_bytes(raw.try_into()?).into()),
            Type::INT4 => Value::Integer(i32::from_be_bytes(raw.try_into()?).into()),
            Type::INT8 => Value::Integer(i64::from_be_bytes(raw.try_into()?)),
            _ => Value::Text(raw),
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
