//! The recorded answers of avalonms 0.6.0, asked again of a real server over the recorded
//! SQLite file and over the same rows in PostgreSQL.

mod compare;
mod json;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use compare::Rows;
use json::Json;

use crate::harness::http::{Answer, Connection};
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup};

/// The files of cases, and how many there are in each.
const FILES: [(&str, usize); 3] =
    [("public_cases.jsonl.gz", 1099), ("quirk_kept.jsonl.gz", 144), ("quirk_changed.jsonl.gz", 155)];

const CLIENTS: usize = 2;

/// A recorded file, unpacked.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conformance").join(name);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).expect("a recorded file");
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes
}

/// The recorded collection in a SQLite file of the server's own.
pub(crate) fn recorded_sqlite() -> Setup {
    let setup = Setup::new("sqlite:///avalon.sqlite");
    fs::write(setup.path("avalon.sqlite"), recorded("collection.sqlite.gz")).expect("a file");
    setup
}

static ROWS: LazyLock<Rows> =
    LazyLock::new(|| Rows::read(&String::from_utf8(recorded("collection.jsonl.gz")).expect("UTF-8")));

/// The servers of one database, by REQUEST_PATH.
type Servers = HashMap<&'static str, Server>;

#[test]
fn every_recorded_case_passes_over_both_databases_with_the_same_answer() {
    let database = Postgres::shared().create_database();
    database.restore(&recorded("collection_postgres.sql.gz"));
    let url = database.url();
    let databases = [servers(recorded_sqlite), servers(|| Setup::new(&url))];
    let mut failures = Vec::new();
    for (file, count) in FILES {
        let cases = String::from_utf8(recorded(file)).expect("UTF-8");
        let cases: Vec<Json> = cases.lines().map(|line| Json::parse(line.as_bytes()).expect(line)).collect();
        assert_eq!(cases.len(), count, "{file}");
        let ran = run(&cases, &databases, &mut failures);
        assert_eq!(ran, [count; 2], "{file}");
    }
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    databases.into_iter().flatten().for_each(|(_, server)| server.assert_clean_shutdown());
}

fn servers(setup: impl Fn() -> Setup) -> Servers {
    // avalonms has no page: 404 is recorded of its paths.
    let start = |path| (path, setup().flag("--request-path").flag(path).flag("--page=false").start());
    ["/avalon", "/", "/a/b"].map(start).into()
}

/// Replays the cases over each database, and says how many were answered by each.
fn run(cases: &[Json], databases: &[Servers; 2], failures: &mut Vec<String>) -> [usize; 2] {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(failures));
    let ran = [const { AtomicUsize::new(0) }; 2];
    let client = || {
        let mut connections = HashMap::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut ask = |at: usize| {
                let answer = ask(case, &databases[at][text(case, "request_path")], &mut connections);
                ran[at].fetch_add(1, Ordering::Relaxed);
                answer
            };
            let (answer, other) = (ask(0), ask(1));
            let mut differences = compare::differences(case, &answer, &ROWS);
            // Equal bytes need no second comparison, and equal entity tags are a promise.
            if (answer.status, &answer.body) != (other.status, &other.body)
                || answer.header("etag") != other.header("etag")
            {
                differences.push("PostgreSQL answers something else".to_owned());
            }
            if !differences.is_empty() {
                let (id, target) = (text(case, "id"), text(case, "target"));
                let what = format!("{id} {target:.200}: {}", differences.join("; "));
                failed.lock().expect("no panic").push(what);
            }
        }
    };
    std::thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(client))));
    ran.map(AtomicUsize::into_inner)
}

fn text<'j>(case: &'j Json, field: &str) -> &'j str {
    case.get(field).and_then(Json::text).unwrap_or_else(|| panic!("a case without {field}"))
}

/// Connections are kept, so that an answer with a byte too many or too few spoils the next one.
fn ask(case: &Json, server: &Server, connections: &mut HashMap<String, Connection>) -> Answer {
    let (method, target) = (text(case, "method"), text(case, "target"));
    let no_body: &[&str] =
        if ["POST", "PUT", "PATCH"].contains(&method) { &["Content-Length: 0"] } else { &[] };
    let mut connection = match connections.remove(&server.address) {
        Some(connection) => connection,
        None => Connection::open(&server.address).expect("a connection"),
    };
    let answer = connection.request(method, target, no_body);
    let answer = answer.unwrap_or_else(|error| panic!("{method} {target:.200}: {error}"));
    if !answer.closes() {
        connections.insert(server.address.clone(), connection);
    }
    answer
}
