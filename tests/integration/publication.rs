//! `avalonctl publish` and `SNAPSHOT_URL`: one program publishes, nodes without a database fetch.

mod conditions;
mod damage;
mod formats;
mod full;
mod https;
mod patience;
mod proxy;
mod s3;
mod together;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use avalon::config::DatabaseUrl;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::server::{Server, Setup, collection, run};

/// A publisher: a database, and the store in a folder.
pub(super) struct Publisher {
    folder: TempDir,
    url: String,
}

impl Publisher {
    /// One that publishes to a folder beside its database.
    pub(super) fn to_folder() -> Publisher {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        fs::create_dir(&store).expect("a folder");
        Publisher { url: format!("file://{}", store.display()), folder }
    }

    /// One that publishes to this store.
    pub(super) fn to(url: &str) -> Publisher {
        Publisher { url: url.to_owned(), folder: tempfile::tempdir().expect("a folder") }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("store/v2")
    }

    fn database(&self) -> String {
        format!("sqlite:///{}", self.folder.path().join("avalon.sqlite").display())
    }

    /// Has its database hold [`collection`] of so many artists.
    pub(super) fn fill(&self, artists: u32) {
        let url = DatabaseUrl::parse(&self.database()).expect("a URL");
        avalon::database::replace(&url, &collection(artists)).expect("a database");
    }

    /// Runs `avalonctl publish`.
    pub(super) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let database = self.database();
        let variables = [("AVALON_DATABASE_URL", database.as_str()), ("AVALON_SNAPSHOT_URL", self.url())];
        run(env!("CARGO_BIN_EXE_avalonctl"), &[&["publish"], arguments].concat(), &variables)
    }

    /// The same, which must succeed.
    pub(super) fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?} {out}");
        out
    }

    /// Publishes [`collection`] of so many artists.
    pub(super) fn publish(&self, artists: u32) -> String {
        self.fill(artists);
        self.ok(&["--from-database"])
    }

    /// The pointer, of a store in a folder.
    pub(super) fn pointer(&self) -> Value {
        let text = fs::read(self.store().join("current.json")).expect("a pointer");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// The file that the pointer names.
    pub(super) fn object(&self) -> PathBuf {
        self.object_of(self.pointer()["hash"].as_str().expect("a hash"))
    }

    pub(super) fn object_of(&self, hash: &str) -> PathBuf {
        self.store().join(format!("{hash}.snapshot.zst"))
    }

    /// A node that has no database settings, not started yet.
    pub(super) fn node(&self) -> Setup {
        Setup::new("").flag("--workers=1").flag(&format!("--snapshot-url={}", self.url()))
    }
}

pub(super) fn artists(server: &Server) -> u32 {
    u32::try_from(server.get("/avalon/artists").success().len()).expect("few")
}

/// Returns a node's identity of its collection: hash, and the ETag of a list.
pub(super) fn identity(server: &Server) -> (String, String) {
    let answer = server.get("/avalon/songs?limit=3");
    let header = |name: &str| answer.header(name).expect("a header field").to_owned();
    (header("x-avalon-snapshot"), header("etag"))
}

/// The files of a folder, by name.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn three_nodes_without_a_database_serve_the_published_snapshot() {
    let publisher = Publisher::to_folder();
    assert!(publisher.publish(3).contains("published hash="));
    let nodes = [publisher.node().start(), publisher.node().start(), publisher.node().start()];
    let first = identity(&nodes[0]);
    assert_eq!(first.0, publisher.pointer()["hash"].as_str().expect("a hash"));
    for node in &nodes {
        assert_eq!((artists(node), &identity(node)), (3, &first));
        let status = node.status();
        assert_eq!(status["snapshot"]["revision"], publisher.pointer()["counter"]);
        assert_eq!(status["snapshot"]["stale"], false);
    }
    // Again: nothing is written.
    let before = publisher.pointer();
    assert!(publisher.ok(&["--from-database"]).contains("has it already"));
    assert_eq!(publisher.pointer(), before);
    publisher.publish(4);
    for node in &nodes {
        node.reload();
        assert_eq!(artists(node), 4);
    }
    assert_ne!(identity(&nodes[0]), first);
    assert_eq!(identity(&nodes[0]), identity(&nodes[2]));
    // And back: the counter grows all the same.
    let counter = publisher.pointer()["counter"].as_u64();
    assert!(publisher.ok(&["--rollback"]).contains(&first.0));
    assert!(publisher.pointer()["counter"].as_u64() > counter);
    nodes[1].reload();
    assert_eq!(identity(&nodes[1]), first);
    let names = names(&publisher.store());
    assert_eq!(names.len(), 3, "two snapshots and the pointer: {names:?}");
    nodes.into_iter().for_each(Server::assert_clean_shutdown);
}

#[test]
fn kept_snapshot_of_a_server_is_published() {
    let publisher = Publisher::to_folder();
    let kept = publisher.folder.path().join("kept");
    let server = Setup::with(&collection(3)).flag(&format!("--snapshot-path={}", kept.display())).start();
    server.wait_log("snapshot saved");
    let (hash, _) = identity(&server);
    assert!(publisher.ok(&[kept.to_str().expect("UTF-8")]).contains(&hash));
    assert_eq!(identity(&publisher.node().start()).0, hash);
}

#[test]
fn node_never_goes_back_to_an_older_pointer() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let pointer = publisher.store().join("current.json");
    let old = fs::read(&pointer).expect("a pointer");
    publisher.publish(4);
    let node = publisher.node().start();
    fs::write(&pointer, old).expect("a pointer");
    node.signal(nix::sys::signal::Signal::SIGHUP);
    node.wait_log("the store is behind");
    assert_eq!(artists(&node), 4);
    // A publication is newer again, even after a loss of the pointer.
    publisher.publish(5);
    crate::harness::eventually("the published rows", || (artists(&node) == 5).then_some(()));
}

#[test]
fn node_that_starts_with_a_kept_snapshot_does_not_go_back_either() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let pointer = publisher.store().join("current.json");
    let old = fs::read(&pointer).expect("a pointer");
    publisher.publish(4);
    let kept = publisher.folder.path().join("kept");
    let node = || publisher.node().flag(&format!("--snapshot-path={}", kept.display()));
    let first = node().start();
    first.wait_log("snapshot saved");
    first.assert_clean_shutdown();
    fs::write(&pointer, old).expect("a pointer");
    // The same snapshot may be in systemd's descriptor store.
    let stored = fs::File::open(&kept).expect("a snapshot");
    let from_systemd = node().passing(vec![("snapshot", stored.into())]).start();
    from_systemd.wait_log("the store is behind");
    assert_eq!(artists(&from_systemd), 4);
    from_systemd.assert_clean_shutdown();
    let second = node().start();
    second.wait_log("the store is behind");
    assert_eq!(artists(&second), 4);
    publisher.publish(5);
    crate::harness::eventually("the published rows", || (artists(&second) == 5).then_some(()));
}

#[test]
fn database_is_read_at_the_start_if_nothing_can_be_fetched_and_the_store_later() {
    let publisher = Publisher::to_folder();
    let node = Setup::with(&collection(2)).flag(&format!("--snapshot-url={}", publisher.url())).start();
    node.wait_log("no snapshot can be fetched, the database is read instead: ");
    assert_eq!(artists(&node), 2);
    publisher.publish(3);
    node.wait_log("snapshot fetched");
    crate::harness::eventually("the published rows", || (artists(&node) == 3).then_some(()));
    // The served rows take precedence over those of the database.
    publisher.publish(4);
    fs::remove_file(publisher.object()).expect("an object");
    node.signal(nix::sys::signal::Signal::SIGHUP);
    node.wait_log(" is missing; publish it again");
    assert_eq!(artists(&node), 3);
}

#[test]
fn exit_codes_are_as_the_help_says() {
    let publisher = Publisher::to_folder();
    publisher.fill(1);
    let none = Publisher::to("ftp://x");
    let missing = Publisher::to("file:///no/such/folder");
    missing.fill(1);
    for (of, arguments, code, message) in [
        (&publisher, &["--rollback"][..], 1, "nothing is published there"),
        (&publisher, &["--rollback", "x"], 2, "32 hexadecimal digits"),
        (&publisher, &[], 2, "SNAPSHOT_PATH"),
        (&publisher, &["/no/such/file"], 1, "/no/such/file: No such file"),
        (&publisher, &["/etc/passwd"], 1, "no snapshot"),
        (&publisher, &["--url=", "--from-database"], 2, "name a store"),
        (&none, &["--from-database"], 2, "not a URL of a store"),
        (&missing, &["--from-database"], 1, "/no/such/folder"),
        (&publisher, &["--url=http://127.0.0.1:9/", "--from-database"], 1, "read-only"),
        (&publisher, &["--from-database"], 0, ""),
        (&publisher, &["--rollback"], 1, "a roll-back can return to"),
    ] {
        let (got, out, err) = of.run(arguments);
        assert!(got == code && err.contains(message), "{arguments:?}: {got} {out} {err}");
    }
}

/// The commands of the documentation, with the stores and hashes of this test.
#[test]
fn commands_of_the_documentation_work() {
    let page = include_str!("../../docs/machines.md");
    let commands: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("avalonctl publish"))
        .map(|rest| rest.split('#').next().expect("a part").split_whitespace().collect())
        .collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    let publisher = Publisher::to_folder();
    publisher.publish(1);
    let former = publisher.pointer()["hash"].as_str().expect("a hash").to_owned();
    publisher.publish(2);
    let kept = publisher.folder.path().join("kept");
    let server = Setup::with(&collection(3)).flag(&format!("--snapshot-path={}", kept.display())).start();
    server.wait_log("snapshot saved");
    publisher.fill(4);
    let (store, database) = (format!("--url={}", publisher.url()), publisher.database());
    for command in commands {
        let words: Vec<&str> = [&["publish"][..], &command].concat();
        let words = words.into_iter().map(|word| match word {
            "HASH" => former.as_str(),
            word if word.starts_with("--url=s3:") => store.as_str(),
            word => word,
        });
        let variables = [
            ("AVALON_DATABASE_URL", database.as_str()),
            ("AVALON_SNAPSHOT_URL", publisher.url()),
            ("AVALON_SNAPSHOT_PATH", kept.to_str().expect("UTF-8")),
        ];
        let (code, out, err) = run(env!("CARGO_BIN_EXE_avalonctl"), &words.collect::<Vec<_>>(), &variables);
        assert_eq!((code, err.as_str()), (0, ""), "{command:?} {out}");
    }
    assert_eq!(publisher.pointer()["hash"], former);
}
