//! `avalonctl publish`: puts a snapshot into the store that servers fetch from, or points to a former one.

use std::error::Error;
use std::fs::File;
use std::io;

use super::command::Publish;
use super::exit::Exit;
use crate::cli::chain;
use crate::config::{self, Config, Overrides, SnapshotUrl};
use crate::database;
use crate::model::Kind;
use crate::publication::{self, Outcome, Pointer, PublicationError};
use crate::rows::scratch::Folder;
use crate::snapshot::storage::Draft;
use crate::snapshot::{self, Snapshot, VERSION, Verify};

/// Returns the configuration, and the store: that of `url`, or else of SNAPSHOT_URL.
fn store(overrides: &mut Overrides, url: Option<&str>) -> Result<(Config, SnapshotUrl), (Exit, String)> {
    if let Some(url) = url {
        overrides.set("SNAPSHOT_URL", url.to_owned());
    }
    let config = config::load(overrides).map_err(|error| (Exit::Usage, chain(&error)))?;
    let url = config.snapshot_url.clone();
    let url = url.ok_or_else(|| (Exit::Usage, "name a store with --url or SNAPSHOT_URL".to_owned()))?;
    Ok((config, url))
}

/// Returns the exit and the message for an error of a store.
fn unpublished(url: &SnapshotUrl, error: &PublicationError) -> (Exit, String) {
    let exit = if error.is_unreachable() { Exit::NoAnswer } else { Exit::Failed };
    (exit, format!("{url}: {}", chain(error)))
}

impl Publish {
    /// Publishes a snapshot, or returns to a former one, in each of these versions of the format, and reports the
    /// outcome of each.
    pub(super) fn run(self, overrides: &mut Overrides) -> Result<String, (Exit, String)> {
        let (config, url) = store(overrides, self.url.as_deref())?;
        if let Some(hash) = &self.rollback {
            return roll_back(&url, &self.format, hash);
        }
        if self.from_database {
            return self.publish_rows(&config, &url);
        }
        let Some(path) = self.snapshot.as_ref().or(config.snapshot_path.as_ref()) else {
            let message = "name the file of a snapshot, set SNAPSHOT_PATH, or publish --from-database";
            return Err((Exit::Usage, message.to_owned()));
        };
        if self.format != [VERSION] {
            let message = format!("the file of a snapshot has format {VERSION}; others need --from-database");
            return Err((Exit::Usage, message));
        }
        let draft = draft(&config)?;
        let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut draft.writer()));
        copied.map_err(|error| (Exit::Failed, format!("{}: {error}", path.display())))?;
        publish_draft(&url, draft, VERSION, None, self.accept_older)
    }

    /// Publishes the rows of the database.
    fn publish_rows(&self, config: &Config, url: &SnapshotUrl) -> Result<String, (Exit, String)> {
        let folder = Folder::new(config.snapshot_dir.as_deref());
        let loaded = database::load(&config.database_url, &folder).map_err(|error| {
            let exit = if error.is_unreachable() { Exit::NoAnswer } else { Exit::Failed };
            (exit, chain(&error))
        })?;
        let mut outcomes = String::new();
        for &format in &self.format {
            let draft = draft(config)?;
            let built = snapshot::build_as(&loaded.rows, format, draft.writer());
            built.map_err(|error| failed(&error))?;
            outcomes += &publish_draft(url, draft, format, loaded.revision, self.accept_older)?;
        }
        Ok(outcomes)
    }
}

/// Returns the exit and the message for an error on this side.
fn failed(error: &dyn Error) -> (Exit, String) {
    (Exit::Failed, chain(error))
}

fn draft(config: &Config) -> Result<Draft, (Exit, String)> {
    Draft::create(config.snapshot_dir.as_deref()).map_err(|error| failed(&error))
}

/// Checks a snapshot of this version of the format, publishes it, and reports the outcome.
fn publish_draft(
    url: &SnapshotUrl,
    draft: Draft,
    format: u32,
    revision: Option<u64>,
    accept_older: bool,
) -> Result<String, (Exit, String)> {
    draft.seal().map_err(|error| failed(&error))?;
    let map = snapshot::storage::map(draft.reader()).map_err(|error| failed(&error))?;
    let snapshot = Snapshot::open_as(&map, format, Verify::Full).map_err(|error| failed(&error))?;
    let songs = snapshot.count(Kind::Song);
    let file = File::from(draft.finish());
    let outcome = publication::publish(url, &file, songs.into(), revision, accept_older);
    let publication = outcome.map_err(|error| unpublished(url, &error))?;
    warn_of_conditions(url, publication.keeps_conditions);
    Ok(match publication.outcome {
        Outcome::Published(pointer) => format!("{url}: published {}\n", told(&pointer, format)),
        Outcome::Unchanged(pointer) => format!("{url}: has it already, {}\n", told(&pointer, format)),
        Outcome::Newer(pointer) => format!(
            "{url}: keeps rows that are as new or newer, {} (--accept-older replaces them)\n",
            told(&pointer, format)
        ),
    })
}

/// Warns if a store keeps no conditions.
fn warn_of_conditions(url: &SnapshotUrl, keeps_conditions: bool) {
    if !keeps_conditions {
        eprintln!(
            "avalonctl: {url}: this store keeps no conditions (If-Match, If-None-Match): of several publishers at once \
             the last one wins, also with older rows; have only one"
        );
    }
}

/// Returns to a former publication in each of these versions of the format, and reports which one it is.
fn roll_back(url: &SnapshotUrl, formats: &[u32], hash: &str) -> Result<String, (Exit, String)> {
    let hash = match hash {
        "" => None,
        hash => match u128::from_str_radix(hash, 16) {
            Ok(hash) => Some(hash),
            Err(_) => return Err((Exit::Usage, "a hash has 32 hexadecimal digits".to_owned())),
        },
    };
    let mut returned = String::new();
    for &format in formats {
        let returned_to = publication::roll_back(url, format, hash);
        let (pointer, keeps_conditions) = returned_to.map_err(|error| unpublished(url, &error))?;
        warn_of_conditions(url, keeps_conditions);
        returned += &format!("{url}: returned to {}\n", told(&pointer, format));
    }
    Ok(returned)
}

/// Describes a pointer in one line.
fn told(pointer: &Pointer, format: u32) -> String {
    let (object, counter) = (&pointer.object, pointer.counter);
    let revision = pointer.revision.map_or_else(String::new, |revision| format!(" revision={revision}"));
    let bytes = object.compressed_length;
    let (hash, songs) = (object.name(), object.songs);
    format!("hash={hash} songs={songs} compressed={bytes} counter={counter}{revision} format={format}")
}
