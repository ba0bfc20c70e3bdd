//! A scan's hold on a PostgreSQL database.

use crate::config::database_url::PostgresSettings;
use crate::database::session::{Holder, Patience, Previous, Tell, Visit};
use crate::database::texts::Texts;
use crate::database::{Changes, DatabaseError};

#[derive(Debug)]
pub(in crate::database) struct Session {}

impl Session {
    pub(in crate::database) fn open(
        _: &PostgresSettings,
        _: &Holder,
        _: Patience,
        _: Tell,
    ) -> Result<Session, DatabaseError> {
        Err(DatabaseError::Failed { database: "PostgreSQL".to_owned(), reason: "not yet".to_owned() })
    }

    pub(in crate::database) fn texts(&self) -> Texts {
        Texts::any()
    }

    pub(in crate::database) fn previous(&mut self, _: &mut dyn Visit) -> Result<Previous, DatabaseError> {
        Err(DatabaseError::Failed { database: "PostgreSQL".to_owned(), reason: "not yet".to_owned() })
    }

    pub(in crate::database) fn store(self, _: Changes<'_>) -> Result<i64, DatabaseError> {
        Err(DatabaseError::Failed { database: "PostgreSQL".to_owned(), reason: "not yet".to_owned() })
    }
}
