//! Stores over TLS, with an authority of their own.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::s3::Web;
use super::*;
use crate::harness::seaweed::Seaweed;
use crate::harness::{eventually, free_port};

/// Two authorities, and certificates of the first one.
struct Authority(TempDir);

impl Authority {
    fn new() -> Authority {
        let made = Authority(tempfile::tempdir().expect("a folder"));
        for name in ["ca", "other"] {
            made.openssl(&format!("-keyout {name}.key -out {name}.crt -days 2 -subj /CN={name}"));
        }
        for (name, host, days) in [("good", "IP:127.0.0.1", 2), ("elsewhere", "DNS:example.org", 2)] {
            made.openssl(&format!(
                "-CA ca.crt -CAkey ca.key -keyout {name}.key -out {name}.crt -days {days} -subj /CN={name} \
                 -addext subjectAltName={host} -addext basicConstraints=critical,CA:FALSE"
            ));
        }
        made
    }

    fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]);
        let output = openssl.args(arguments.split_whitespace()).current_dir(self.0.path()).output();
        let output = output.expect("openssl");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// HAProxy, which speaks TLS for a server; killed when dropped.
struct Tls(Child, String);

impl Tls {
    fn before(server: &str, authority: &Authority, certificate: &str) -> Tls {
        let [pem, config] = ["pem", "cfg"].map(|end| authority.file(&format!("{certificate}.{end}")));
        let part =
            |end: &str| fs::read_to_string(authority.file(&format!("{certificate}.{end}"))).expect("PEM");
        fs::write(&pem, part("crt") + &part("key")).expect("a file");
        let port = free_port();
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
             listen tls\n bind 127.0.0.1:{port} ssl crt {}\n server it {server}\n",
            pem.display()
        );
        fs::write(&config, text).expect("a file");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let tls = Tls(command.spawn().expect("HAProxy"), format!("127.0.0.1:{port}"));
        eventually("HAProxy", || TcpStream::connect(&tls.1).ok());
        tls
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asserts that a node ends because of the certificate, and says whose and why.
fn assert_refused(url: &str, authorities: &Path, host: &str, reason: &str) {
    let setup = Publisher::to(url).node().variable("SSL_CERT_FILE", authorities.to_str().expect("UTF-8"));
    let mut node = setup.spawn();
    assert_eq!(node.wait_exit(), 4);
    let log = node.log();
    assert!(log.contains("the certificate of the store's server is not accepted: "), "{log}");
    assert!(log.contains(host) && log.contains(reason), "{log}");
}

#[test]
fn certificate_of_a_web_server_is_verified() {
    let (publisher, authority) = (Publisher::to_folder(), Authority::new());
    publisher.publish(3);
    let port = free_port();
    let _web = Web::serving(publisher.store().parent().expect("a folder"), port);
    let (good, elsewhere) = (
        Tls::before(&format!("127.0.0.1:{port}"), &authority, "good"),
        Tls::before(&format!("127.0.0.1:{port}"), &authority, "elsewhere"),
    );
    let url = format!("https://{}/", good.1);
    let trusting = authority.file("ca.crt");
    let node =
        Publisher::to(&url).node().variable("SSL_CERT_FILE", trusting.to_str().expect("UTF-8")).start();
    assert_eq!(artists(&node), 3);
    assert_refused(
        &url,
        &authority.file("other.crt"),
        &good.1,
        "no authority that this machine trusts vouches",
    );
    let url = format!("https://{}/", elsewhere.1);
    assert_refused(&url, &trusting, &elsewhere.1, "it is not for this host");
}

#[test]
fn certificate_of_an_object_store_is_verified() {
    let (store, authority) = (Seaweed::start(), Authority::new());
    let good = Tls::before(&store.address(), &authority, "good");
    let url = store.url(&good.1).replace("endpoint=http:", "endpoint=https:");
    let (publisher, trusting) = (Publisher::to(&url), authority.file("ca.crt"));
    publisher.fill(3);
    let publish = |authorities: &Path| {
        let database = publisher.database();
        let variables = [
            ("AVALON_DATABASE_URL", database.as_str()),
            ("AVALON_SNAPSHOT_URL", url.as_str()),
            ("SSL_CERT_FILE", authorities.to_str().expect("UTF-8")),
        ];
        run(env!("CARGO_BIN_EXE_avalonctl"), &["publish", "--from-database"], &variables)
    };
    let (code, _, err) = publish(&authority.file("other.crt"));
    let reason = "is not accepted: no authority that this machine trusts vouches for it";
    assert!(code == 1 && err.contains(reason) && err.contains(&good.1), "{code} {err}");
    assert!(err.contains("SSL_CERT_FILE"), "{err}");
    let (code, out, err) = publish(&trusting);
    assert!(code == 0 && err.is_empty() && out.contains("published"), "{code} {out} {err}");
    let node = publisher.node().variable("SSL_CERT_FILE", trusting.to_str().expect("UTF-8")).start();
    assert_eq!(artists(&node), 3);
    assert_refused(
        &url,
        &authority.file("other.crt"),
        &good.1,
        "no authority that this machine trusts vouches",
    );
}
