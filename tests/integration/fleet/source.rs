//! A PostgreSQL database whose loads can be made to hang or to fail.

use std::time::{Duration, Instant};

use avalon::config::DatabaseUrl;

use crate::harness::eventually;
use crate::harness::postgres::{Database, Postgres};
use crate::harness::server::{Server, collection};

/// The promise: within this time after the cause has passed, clients get the rows of the database,
/// without any action of a person.
pub(super) const HEALED_WITHIN: Duration = Duration::from_secs(10);

/// The result of reading a row.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Works,
    Hangs,
    /// It hangs, but not before this song.
    HangsAt(u32),
    /// It fails as on a standby that replays a VACUUM.
    Conflicts,
}

/// A database with songs, behind a gate.
pub(super) struct Source<'a>(pub(super) Database<'a>);

impl<'a> Source<'a> {
    /// With this many artists.
    pub(super) fn new(cluster: &'a Postgres, artists: u32) -> Self {
        let database = cluster.create_database();
        let url = DatabaseUrl::parse(&database.socket_url()).expect("a URL");
        avalon::database::replace(&url, &collection(artists)).expect("rows");
        database.execute(
            "CREATE TABLE mode (mode text NOT NULL);
             INSERT INTO mode VALUES ('works');
             CREATE FUNCTION gate(song text) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$
             BEGIN
                 CASE (SELECT mode FROM mode)
                     WHEN 'hangs' THEN PERFORM pg_sleep(600);
                     WHEN song THEN PERFORM pg_sleep(600);
                     WHEN 'conflicts' THEN RAISE EXCEPTION
                         'terminating connection due to conflict with recovery' USING ERRCODE = '40001';
                     ELSE NULL;
                 END CASE;
                 RETURN true;
             END $$;
             ALTER TABLE tracks RENAME TO all_tracks;
             CREATE VIEW tracks AS SELECT * FROM all_tracks WHERE gate(name);",
        );
        Source(database)
    }

    pub(super) fn set(&self, mode: Mode) {
        let mode = match mode {
            Mode::Works => "works".to_owned(),
            Mode::Hangs => "hangs".to_owned(),
            Mode::HangsAt(song) => format!("Song {song:05}"),
            Mode::Conflicts => "conflicts".to_owned(),
        };
        self.0.execute(&format!("UPDATE mode SET mode = '{mode}'"));
    }

    /// Takes an artist with their songs away, so that the next load has other rows.
    pub(super) fn remove_artist(&self) {
        self.0.execute(
            "DELETE FROM all_tracks WHERE artist_id = (SELECT id FROM artists ORDER BY name LIMIT 1)",
        );
    }

    /// Waits until a load hangs, and gives its statement.
    pub(super) fn wait_hanging(&self) -> String {
        let mut client = self.0.client();
        let query = format!("SELECT query FROM pg_stat_activity WHERE {HANGING}");
        let ask = || client.query_opt(&query, &[]).expect("pg_stat_activity");
        eventually("a load that hangs", ask).get(0)
    }

    /// Ends the session of the load that hangs.
    pub(super) fn end_session(&self) {
        let query = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {HANGING}");
        assert_eq!(self.0.client().execute(&query, &[]).expect("a session"), 1);
    }
}

const HANGING: &str = "datname = current_database() AND wait_event = 'PgSleep'";

/// Waits until the server is fresh, and looks how long that has taken since `passed`.
pub(super) fn assert_heals(server: &Server, songs: u64, passed: Instant) {
    eventually("fresh data", || {
        let status = server.status();
        let is_fresh = status["source"]["stale"] == false && status["snapshot"]["songs"] == songs;
        is_fresh.then_some(())
    });
    let took = passed.elapsed();
    assert!(took <= HEALED_WITHIN, "healed after {took:?}:\n{}", server.log());
    let source = &server.status()["source"];
    assert_eq!((&source["up"], &source["reason"]), (&true.into(), &serde_json::Value::Null), "{source}");
    assert_eq!(source["next_try"], serde_json::Value::Null);
}

/// Asserts that the last reload has failed in a way that may pass, and that this is told.
pub(super) fn assert_stale(server: &Server, line: &str, reason: &str) {
    assert!(line.contains("[WARNING]") && line.contains(reason), "{line}");
    assert!(line.contains("; next try in "), "{line}");
    let status = server.status();
    assert_eq!((&status["source"]["stale"], &status["snapshot"]["stale"]), (&true.into(), &true.into()));
    let told = status["source"]["reason"].as_str().expect("a reason");
    assert!(told.contains(reason), "{told}");
    assert!(status["source"]["age"].as_f64().is_some_and(|age| age >= 0.0), "{status}");
}
