//! SeaweedFS: a real object store that speaks S3.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{DEADLINE, free_port, http};

/// Most attempts to start it.
const TRIES: u32 = 4;

const KEYS: &str = r#"{"identities": [{"name": "avalon", "credentials": [{"accessKey": "AKEY",
    "secretKey": "se/c+ret"}], "actions": ["Admin", "Read", "Write", "List"]}]}"#;

/// A store that runs in a folder of its own; killed when dropped.
pub(crate) struct Seaweed {
    _folder: TempDir,
    process: Child,
    pub(crate) port: u16,
}

impl Seaweed {
    /// A store that answers. Another process may take one of its many ports before it does: it then gets others.
    pub(crate) fn start() -> Seaweed {
        let started = (0..TRIES).find_map(|_| {
            let mut store = Seaweed::spawn();
            let begin = Instant::now();
            while store.process.try_wait().expect("a child").is_none() && begin.elapsed() < DEADLINE / TRIES {
                let connection = http::Connection::open(&format!("http://{}", store.address()));
                let answer = connection.ok().and_then(|mut connection| connection.get("/").ok());
                if answer.is_some_and(|answer| answer.status == 403) {
                    return Some(store);
                }
                thread::sleep(Duration::from_millis(20));
            }
            None
        });
        started.expect("SeaweedFS answers")
    }

    fn spawn() -> Seaweed {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys.json");
        fs::write(&keys, KEYS).expect("a file");
        let port = free_port();
        let weed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/python-tools/bin/weed");
        assert!(weed.exists(), "{} is missing: scripts/install-test-deps", weed.display());
        let mut command = Command::new(weed);
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=8"]);
        command.args(["-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        let ports = ["master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3.grpc"];
        for name in ports {
            let (of, kind) = name.split_once('.').map_or((name, ""), |(of, _)| (of, ".grpc"));
            command.arg(format!("-{of}.port{kind}={}", free_port()));
        }
        command.arg(format!("-s3.port={port}")).arg(format!("-s3.config={}", keys.display()));
        command.arg(format!("-dir={}", folder.path().display()));
        command.current_dir(folder.path()).env("HOME", folder.path());
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let process = command.spawn().expect("weed starts");
        Seaweed { _folder: folder, process, port }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes the bucket, for programs that do not do so by themselves.
    pub(crate) fn make_bucket(&self) {
        self.curl(&["--request", "PUT"], "");
    }

    /// The head of the answer to a question for an object.
    pub(crate) fn head(&self, object: &str) -> String {
        self.curl(&["--head"], object)
    }

    fn curl(&self, arguments: &[&str], object: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--retry",
            "5",
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
        ]);
        curl.args(["--user", "AKEY:se/c+ret"]).args(arguments);
        curl.arg(format!("http://{}/music/{object}", self.address()).trim_end_matches('/'));
        let output = curl.output().expect("curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The URL of a bucket, asked for at `address`.
    pub(crate) fn url(&self, address: &str) -> String {
        format!("s3://AKEY:se%2Fc%2Bret@music/some/place?endpoint=http://{address}&region=us-east-1")
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
