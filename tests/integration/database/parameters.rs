//! libpq's parameters in a URL: each takes effect, or gives an error with the reason.

use std::os::unix::fs::PermissionsExt;

use super::{collection, load, load_all, replace};
use crate::harness::postgres::{Database, Postgres};

fn database() -> Database<'static> {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(3)).unwrap();
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO scram");
    database
}

fn refusal(database: &Database<'_>, credentials: &str, query: &str) -> String {
    let error = load(&database.url_of(credentials, query)).unwrap_err().to_string();
    assert!(!error.contains(Postgres::PASSWORD), "{error}");
    error
}

#[test]
fn channel_binding_is_kept() {
    let database = database();
    let scram = format!("scram:{}", Postgres::PASSWORD);
    for query in
        ["channel_binding=require", "channel_binding=disable", "channel_binding=prefer&sslmode=disable"]
    {
        assert_eq!(load_all(&database.url_of(&scram, query)), collection(3), "{query}");
    }
    let without_tls = refusal(&database, &scram, "channel_binding=require&sslmode=disable");
    assert!(without_tls.contains("channel binding"), "{without_tls}");
    let without_scram = refusal(&database, "avalon", "channel_binding=require");
    assert!(without_scram.contains("channel binding"), "{without_scram}");
}

#[test]
fn require_auth_is_kept() {
    let database = database();
    let scram = format!("scram:{}", Postgres::PASSWORD);
    for (credentials, list) in [
        (scram.as_str(), "scram-sha-256"),
        (&scram, "!none,!password"),
        ("avalon", "none"),
        ("avalon", "!scram-sha-256"),
    ] {
        let url = database.url_of(credentials, &format!("require_auth={list}"));
        assert_eq!(load_all(&url), collection(3), "{list}");
    }
    for (credentials, list, asked) in [
        ("avalon", "scram-sha-256", "no proof at all"),
        ("avalon", "!none", "no proof at all"),
        (&scram, "md5,password", "SCRAM-SHA-256"),
    ] {
        let message = refusal(&database, credentials, &format!("require_auth={list}"));
        let expected = format!("the server asks for {asked}, which require_auth does not allow");
        assert!(message.contains(&expected), "{message}");
    }
    let plain = refusal(&database, &scram, "require_auth=scram-sha-256&sslmode=disable");
    assert!(plain.contains("require_auth can only be kept over TLS"), "{plain}");
}

#[test]
fn target_session_attrs_is_kept() {
    let database = database();
    for target in ["any", "read-write", "primary", "prefer-standby"] {
        let url = database.url_of("avalon", &format!("target_session_attrs={target}"));
        assert_eq!(load_all(&url), collection(3), "{target}");
    }
    let read_only = "options=-c%20default_transaction_read_only%3Don";
    let url = database.url_of("avalon", &format!("target_session_attrs=read-only&{read_only}"));
    assert_eq!(load_all(&url), collection(3));
    for (query, found) in [
        ("target_session_attrs=read-only", "its sessions may write"),
        ("target_session_attrs=standby", "it is no standby"),
        (&format!("target_session_attrs=read-write&{read_only}"), "its sessions may not write"),
    ] {
        let message = refusal(&database, "avalon", query);
        let expected = format!("the server is not what target_session_attrs asks for: {found}");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn the_password_file_of_the_url_counts() {
    let database = database();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwords");
    std::fs::write(&path, format!("127.0.0.1:*:*:scram:{}\n", Postgres::PASSWORD)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = database.url_of("scram", &format!("passfile={}", path.display()));
    assert_eq!(load_all(&url), collection(3));
}

#[test]
fn an_address_saves_the_look_up_of_the_host() {
    let database = database();
    let root = Postgres::shared().root_certificate();
    let query =
        format!("host=localhost&hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}", root.display());
    assert_eq!(load_all(&database.url_of("avalon", &query)), collection(3));
    let query = query.replace("localhost", "other.example.org");
    let message = refusal(&database, "avalon", &query);
    assert!(message.contains("it is not for this host"), "{message}");
}

#[test]
fn details_of_tls_are_kept() {
    let database = database();
    for query in ["ssl_min_protocol_version=TLSv1.3", "sslsni=0", "sslcertmode=disable", "sslcompression=0"] {
        let url = database.url_of("avalon", &format!("sslmode=require&{query}"));
        assert_eq!(load_all(&url), collection(3), "{query}");
    }
    // `with_cert` has to show one.
    let file = |name| Postgres::shared().file(name).display().to_string();
    let certificate = format!("sslcert={}&sslkey={}", file("client.crt"), file("client.key"));
    let message =
        refusal(&database, "with_cert", &format!("sslmode=require&sslcertmode=disable&{certificate}"));
    assert!(message.contains("valid client certificate"), "{message}");
}

/// Servers know it since version 17; older ones end the connection.
#[test]
fn tls_can_begin_at_once() {
    let database = database();
    let version: i32 = {
        let row = database.client().query_one("SELECT current_setting('server_version_num')::int", &[]);
        row.unwrap().get(0)
    };
    let outcome = load(&database.url_of("avalon", "sslmode=require&sslnegotiation=direct"));
    match version {
        170_000.. => assert_eq!(outcome.unwrap().rows.collection(), collection(3)),
        _ => drop(outcome.unwrap_err()),
    }
}
