//! The version of the rows on a server, over one lasting connection.

use std::time::Duration;

use ::postgres::{Client, Error};

use super::change_log;
use super::revision::{self, is_refusal};
use super::tables::begin_reading;
use super::watched::{Progress, Unwatched, watched};
use crate::config::database_url::{ConnectTimeout, Liveness, PostgresSettings};
use crate::database::connect::{self, Opened, Place, ask};
use crate::database::revision::{POLL_TIMEOUT, QUERY, Version};
use crate::database::{Changed, DatabaseError, Since};
use crate::scheduling::give_way;

/// The name of the connection in `pg_stat_activity`.
const NAME: &str = "avalon-watcher";

/// Whether the table exists and is readable. Otherwise the query for the counter would fail, and the server
/// would log an error each time.
const IS_READABLE: &str = "has_table_privilege(to_regclass('avalon_revision')::oid, 'SELECT')";

/// Number of polls that skip a table which another program has made: each attempt would be an error in the
/// server's log.
const PAUSE: u32 = 60;

/// How long an answer may take when changed rows are read: the next poll is due, and its lack would look like an outage.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that is polled.
pub(in crate::database) struct Poll {
    place: Place,
    opened: Option<Opened>,
    knowledge: Knowledge,
}

/// Whether the server reports the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// It reported the revision last time.
    Told,
    /// The watcher has to look for the table.
    Unknown,
    /// Another program has made the table; the watcher looks again after this number of polls.
    Refused(u32),
}

impl Poll {
    pub(in crate::database) fn new(settings: &PostgresSettings) -> Self {
        Poll { place: Place::new(&impatient(settings)), opened: None, knowledge: Knowledge::Unknown }
    }

    /// The version of the rows on the server.
    ///
    /// # Errors
    /// As for [`Poll::ask`](crate::database::Poll::ask).
    pub(in crate::database) fn ask(&mut self) -> Result<Version, DatabaseError> {
        let before = self.knowledge;
        let (version, knowledge) = self.work(POLL_TIMEOUT, move |client, _| version(client, before))?;
        self.knowledge = knowledge;
        Ok(version)
    }

    /// The rows that have changed, read over the connection of the last poll; `None` if there is none, or the log of
    /// changes does not tell them.
    pub(in crate::database) fn changes(&mut self, since: &Since) -> Option<Changed> {
        self.opened.as_ref()?;
        let since = since.clone();
        let read = self.work(READ_TIMEOUT, move |client, progress| {
            // The server works in small portions for a thread that gives way, and so do the loaders.
            let _ = give_way();
            let mut transaction = begin_reading(client)?;
            let version = revision::read_version(&mut transaction)?;
            change_log::read(&mut transaction, &since, version, progress)
        });
        read.ok()?.ok()
    }

    /// Has a thread do this on the connection, while the server is silent for no longer than this. After an error the next
    /// call connects again.
    fn work<T: Send + 'static>(
        &mut self,
        silence_max: Duration,
        work: impl FnOnce(&mut Client, &Progress) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (mut client, place) = match self.opened.take() {
            Some(opened) => opened,
            None => connect::connect_as(&self.place, NAME)?,
        };
        let outcome = watched(silence_max, move |progress| {
            let outcome = work(&mut client, progress);
            (client, outcome)
        });
        let (client, outcome) = outcome.map_err(|unwatched| match unwatched {
            Unwatched::Silent => place.unreachable(format!("no answer within {} s", silence_max.as_secs())),
            Unwatched::Panicked => place.failed("the thread that asks has panicked"),
            Unwatched::NotStarted(error) => place.unreachable(format!("no thread can be started: {error}")),
        })?;
        let done = outcome.map_err(|error| place.explain(&error))?;
        self.opened = Some((client, place));
        Ok(done)
    }
}

/// The same settings for a client that notices within seconds that the server has gone, unless the URL sets
/// them.
fn impatient(settings: &PostgresSettings) -> PostgresSettings {
    let mut settings = settings.clone();
    if settings.liveness == Liveness::default() {
        settings.liveness = Liveness {
            idle: POLL_TIMEOUT,
            interval: Duration::from_secs(1),
            count: 2,
            user_timeout: POLL_TIMEOUT,
            ..settings.liveness
        };
    }
    if settings.connect_timeout == ConnectTimeout::Default {
        settings.connect_timeout = ConnectTimeout::Each(POLL_TIMEOUT);
    }
    settings
}

fn version(client: &mut Client, before: Knowledge) -> Result<(Version, Knowledge), Error> {
    match before {
        Knowledge::Told => {}
        Knowledge::Refused(polls @ 1..) => {
            ask(client, "1")?;
            return Ok((Version::default(), Knowledge::Refused(polls - 1)));
        }
        Knowledge::Refused(0) | Knowledge::Unknown => {
            if ask(client, IS_READABLE)?.as_deref() != Some("t") {
                return Ok((Version::default(), Knowledge::Unknown));
            }
        }
    }
    match client.simple_query(QUERY) {
        Ok(messages) => Ok((revision::version(&messages), Knowledge::Told)),
        // The table was dropped, or the role has lost the right to read it.
        Err(error) if is_refusal(&error) && before == Knowledge::Told => {
            Ok((Version::default(), Knowledge::Unknown))
        }
        Err(error) if is_refusal(&error) => Ok((Version::default(), Knowledge::Refused(PAUSE))),
        Err(error) => Err(error),
    }
}
