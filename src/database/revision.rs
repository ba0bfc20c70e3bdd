//! The revision of the rows: a counter in a table of one row that grows with each change of them. A scan
//! writes it in the transaction of the rows, a load reads it there, so both always belong together. The
//! table is ours alone, and need not be there: the revision is unknown then.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::holder::Holder;

/// Name of the table.
pub(super) const TABLE: &str = "avalon_revision";

/// The query for the counter, and for the scan that has set it.
pub(super) const QUERY: &str = "SELECT counter, scan FROM avalon_revision WHERE one";

/// Which rows a source holds. Equal versions of one source are equal rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The revision of the rows; `None` if the source does not tell it.
    pub revision: Option<u64>,
    /// A second mark of the rows, to be compared only: the scan that has counted the revision, because two servers may
    /// have counted the same number. Before it and a space stands the identity of a file. Empty if there is nothing.
    pub mark: String,
}

impl Version {
    /// Whether there is anything by which it can be told from another one.
    pub fn is_known(&self) -> bool {
        self.revision.is_some() || !self.mark.is_empty()
    }

    /// Whether both are of the same file, or of no file: the revisions of two files have nothing in common.
    pub fn is_comparable(&self, other: &Version) -> bool {
        self.file() == other.file()
    }

    /// The scan that has counted the revision; `None` if another program has.
    pub(super) fn scan(&self) -> Option<Uuid> {
        let scan = self.mark.rsplit(' ').next()?;
        self.revision.and(Uuid::try_parse(scan).ok())
    }

    fn file(&self) -> Option<&str> {
        self.mark.split_once(' ').map(|(file, _)| file)
    }
}

/// How long the answer to a poll of the version may take.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(3);

/// How a database writes the parts of the statements that differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notation {
    /// The key of the only row.
    pub(super) one: &'static str,
    /// The type of the id of a scan.
    pub(super) id: &'static str,
    /// The type of a moment.
    pub(super) moment: &'static str,
}

impl Notation {
    /// The statement that creates the table.
    pub(super) fn create(self) -> String {
        let Notation { one, id, moment } = self;
        format!(
            "CREATE TABLE {TABLE} (one BOOLEAN NOT NULL DEFAULT {one} PRIMARY KEY CHECK (one), \
             counter BIGINT NOT NULL, scan {id}, changed {moment} NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )
    }
}

/// The statements that count a change. The id is written out, as the type of the column may be another.
pub(super) fn count(scan: Uuid) -> String {
    format!(
        "INSERT INTO {TABLE} (counter) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM {TABLE} WHERE one); \
         UPDATE {TABLE} SET counter = counter + 1, scan = '{scan}', changed = CURRENT_TIMESTAMP WHERE one"
    )
}

/// The statement that names the scan once all is written: a trigger that counts changes has set NULL.
pub(super) fn sign(scan: Uuid) -> String {
    format!("UPDATE {TABLE} SET scan = '{scan}' WHERE one")
}

/// The id of the rows that the scan of `me` stores under this number.
pub(super) fn scan_id(me: &Holder, number: i64) -> Uuid {
    let Holder { host, pid, started } = me;
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("avalon-scan {host} {pid} {started} {number}").as_bytes())
}

/// A counter as it was read; one below 1 is no revision.
pub(super) fn of_counter(counter: i64) -> Option<u64> {
    u64::try_from(counter).ok().filter(|counter| *counter > 0)
}
