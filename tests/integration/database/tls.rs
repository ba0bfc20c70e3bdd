//! `sslmode` as libpq means it, against a server whose certificate is for `localhost` and
//! signed by an authority of its own.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use super::{collection, load, load_all, replace};
use crate::harness::postgres::{Database, NEW_KEY, Postgres};

/// A database with rows that every role may read.
fn database() -> Database<'static> {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(3)).unwrap();
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC");
    database
}

fn url(database: &Database<'_>, role: &str, host: &str, mode: &str, root: Option<&Path>) -> String {
    let root = root.map_or(String::new(), |path| format!("&sslrootcert={}", path.display()));
    database.url_of(role, &format!("host={host}&sslmode={mode}{root}"))
}

fn check(database: &Database<'_>, url: &str, refusal: Option<&str>) {
    match refusal {
        None => assert_eq!(load_all(url), collection(3), "{url}"),
        Some(expected) => {
            let error = load(url).expect_err(url);
            assert!(error.to_string().contains(expected), "{url}: {error}");
            assert!(error.to_string().contains(&database.name), "{url}: {error}");
            assert!(!error.is_unreachable(), "{url}: {error}");
        }
    }
}

#[test]
fn modes_choose_encryption_as_the_server_lets_them() {
    let database = database();
    let no = Path::new("/nonexistent/root.crt");
    for (role, mode, refusal) in [
        ("tls_only", "disable", Some("pg_hba.conf rejects connection")),
        ("tls_only", "allow", None),
        ("tls_only", "prefer", None),
        ("tls_only", "require", None),
        ("plain_only", "disable", None),
        ("plain_only", "allow", None),
        ("plain_only", "prefer", None),
        ("plain_only", "require", Some("pg_hba.conf rejects connection")),
    ] {
        check(&database, &url(&database, role, "127.0.0.1", mode, Some(no)), refusal);
    }
}

#[test]
fn modes_verify_as_they_promise() {
    let database = database();
    let right = Postgres::shared().root_certificate();
    let wrong = Postgres::shared().other_root_certificate();
    let none = Path::new("/nonexistent/root.crt");
    for (host, mode, root, refusal) in [
        ("127.0.0.1", "require", none, None),
        ("127.0.0.1", "require", right.as_path(), None),
        (
            "127.0.0.1",
            "require",
            &wrong,
            Some("not accepted: no root certificate (sslrootcert) vouches for it"),
        ),
        ("127.0.0.1", "verify-ca", &right, None),
        ("127.0.0.1", "verify-ca", &wrong, Some("certificate is not accepted")),
        ("127.0.0.1", "verify-ca", none, Some("root certificate file /nonexistent/root.crt does not exist")),
        ("127.0.0.1", "verify-full", &right, Some("certificate is not accepted: it is not for this host")),
        ("localhost", "verify-full", &right, None),
        ("localhost", "verify-full", &wrong, Some("certificate is not accepted")),
    ] {
        check(&database, &url(&database, "tls_only", host, mode, Some(root)), refusal);
    }
}

#[test]
fn prefer_falls_back_when_the_certificate_is_not_accepted() {
    let database = database();
    let wrong = Postgres::shared().other_root_certificate();
    check(&database, &url(&database, "plain_only", "127.0.0.1", "prefer", Some(&wrong)), None);
    let url = url(&database, "tls_only", "127.0.0.1", "prefer", Some(&wrong));
    check(&database, &url, Some("with TLS: the server's certificate is not accepted"));
    check(&database, &url, Some("without TLS: pg_hba.conf rejects connection"));
}

#[test]
fn a_server_without_tls_is_refused_only_where_it_must_be() {
    let server = Postgres::start();
    let database = server.create_database();
    replace(&database.url(), &collection(3)).unwrap();
    for (mode, refusal) in [
        ("disable", None),
        ("allow", None),
        ("prefer", None),
        ("require", Some("the server does not offer TLS")),
    ] {
        let url = database.url_of("avalon", &format!("sslmode={mode}"));
        check(&database, &url, refusal);
    }
    // Over a Unix socket there is no encryption, in any mode.
    check(&database, &format!("{}&sslmode=require", database.socket_url()), None);
    // One answer, not one per try, when both tries say the same.
    let error = load(&database.url().replace(&database.name, "absent")).unwrap_err().to_string();
    assert!(error.ends_with(": database \"absent\" does not exist"), "{error}");
}

/// As libpq does, the client goes on in the connection in which the server has refused TLS.
#[test]
fn a_server_without_tls_gets_one_connection() {
    let server = Postgres::start();
    let database = server.create_database();
    replace(&database.url(), &collection(3)).unwrap();
    let relay = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = relay.local_addr().expect("an address").port();
    let url = database.url_of("avalon", "sslmode=prefer");
    let url = url.replacen(&format!(":{}/", server.port()), &format!(":{port}/"), 1);
    let loaded = thread::spawn(move || load_all(&url));
    let (client, _) = relay.accept().expect("a connection");
    let upstream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server");
    for (mut from, mut to) in [(&client, &upstream), (&upstream, &client)].map(both) {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    assert_eq!(loaded.join().expect("rows"), collection(3));
    relay.set_nonblocking(true).expect("a listener");
    assert_eq!(relay.accept().map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
}

fn both((from, to): (&TcpStream, &TcpStream)) -> (TcpStream, TcpStream) {
    (from.try_clone().expect("a copy"), to.try_clone().expect("a copy"))
}

#[test]
fn a_client_certificate_is_shown() {
    let database = database();
    let cluster = Postgres::shared();
    let with = |name: &str| {
        let certificate = cluster.file(&format!("{name}.crt"));
        let key = cluster.file(&format!("{name}.key"));
        let files = format!("sslcert={}&sslkey={}", certificate.display(), key.display());
        database.url_of("with_cert", &format!("sslmode=require&{files}"))
    };
    check(&database, &with("client"), None);
    check(&database, &with("server"), Some("certificate authentication failed"));
    let none = "connection requires a valid client certificate";
    check(&database, &database.url_of("with_cert", "sslmode=require"), Some(none));
}

/// As in "Creating Certificates" of PostgreSQL's documentation: the certificate vouches for
/// itself, and the host is only in its common name.
#[test]
fn a_certificate_without_alternative_names_is_for_its_common_name() {
    let cluster = Postgres::start_with_tls();
    let database = cluster.create_database();
    replace(&database.url(), &collection(3)).unwrap();
    for (name, subject) in [("own", "localhost"), ("stars", "*.example.org")] {
        let files = format!("-keyout DIR/{name}.key -out DIR/{name}.crt");
        cluster.openssl(&format!("req -x509 {NEW_KEY} {files} -days 2 -subj /CN={subject}"));
    }
    let not_accepted = Some("certificate is not accepted");

    cluster.show_certificate("own");
    let own = cluster.file("own.crt");
    check(&database, &url(&database, "avalon", "localhost", "verify-full", Some(&own)), None);
    check(&database, &url(&database, "avalon", "127.0.0.1", "verify-ca", Some(&own)), None);
    check(&database, &url(&database, "avalon", "127.0.0.1", "verify-full", Some(&own)), not_accepted);
    let root = cluster.root_certificate();
    check(&database, &url(&database, "avalon", "localhost", "verify-ca", Some(&root)), not_accepted);

    cluster.show_certificate("stars");
    let stars = cluster.file("stars.crt");
    check(&database, &url(&database, "avalon", "localhost", "verify-ca", Some(&stars)), None);
    check(&database, &url(&database, "avalon", "localhost", "verify-full", Some(&stars)), not_accepted);
}

#[test]
fn an_expired_certificate_is_not_accepted_where_it_is_looked_at() {
    let cluster = Postgres::start_with_tls();
    let database = cluster.create_database();
    replace(&database.url(), &collection(3)).unwrap();
    let files = "-in DIR/server.csr -out DIR/old.crt -extfile DIR/server.ext";
    cluster.openssl(&format!("x509 -req {files} -CA DIR/root.crt -CAkey DIR/root.key -days -1"));
    cluster.openssl("pkey -in DIR/server.key -out DIR/old.key");
    cluster.show_certificate("old");
    for root in [cluster.root_certificate(), cluster.file("old.crt")] {
        let url = url(&database, "avalon", "localhost", "verify-ca", Some(&root));
        check(&database, &url, Some("certificate is not accepted: it has expired"));
    }
    let none = Path::new("/nonexistent/root.crt");
    check(&database, &url(&database, "avalon", "localhost", "require", Some(none)), None);
}

/// OpenSSL makes such certificates when no extensions are asked for.
#[test]
fn a_version_1_certificate_does_where_nothing_is_verified() {
    let cluster = Postgres::start_with_tls();
    let database = cluster.create_database();
    replace(&database.url(), &collection(3)).unwrap();
    let files = "-in DIR/server.csr -out DIR/v1.crt";
    cluster.openssl(&format!("x509 -req {files} -CA DIR/root.crt -CAkey DIR/root.key -days 2"));
    cluster.openssl("pkey -in DIR/server.key -out DIR/v1.key");
    cluster.show_certificate("v1");
    let none = Path::new("/nonexistent/root.crt");
    check(&database, &url(&database, "avalon", "localhost", "require", Some(none)), None);
    let root = cluster.root_certificate();
    check(
        &database,
        &url(&database, "avalon", "localhost", "verify-ca", Some(&root)),
        Some("it is of X.509 version 1"),
    );
}

#[test]
fn unusable_certificate_files_are_named() {
    let database = database();
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let name = empty.display();
    for (query, expected) in [
        (format!("sslmode=verify-ca&sslrootcert={name}"), format!("there is no PEM certificate in {name}")),
        (
            format!("sslmode=require&sslcert={name}&sslkey={name}"),
            format!("no private key can be read from {name}"),
        ),
    ] {
        check(&database, &database.url_of("tls_only", &query), Some(&expected));
    }
}
