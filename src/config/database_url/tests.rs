//! URLs that are understood, URLs that are refused, and no password in any message.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn postgres(text: &str) -> PostgresSettings {
    match DatabaseUrl::parse(text).map(|url| url.backend) {
        Ok(Backend::Postgres(settings)) => *settings,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn sqlite_paths_are_taken_literally() {
    for (text, path) in [
        ("sqlite:////var/lib/avalon.sqlite", "/var/lib/avalon.sqlite"),
        ("sqlite:///avalon.sqlite", "avalon.sqlite"),
        ("sqlite+pysqlite:///a/b", "a/b"),
        ("sqlite:////tmp/a%20b@c:d#e.sqlite", "/tmp/a%20b@c:d#e.sqlite"),
        ("sqlite:///a?timeout=30&check_same_thread=false", "a"),
        ("sqlite:///file:a", "file:a"),
    ] {
        let url = DatabaseUrl::parse(text).unwrap();
        assert_eq!(url.backend(), &Backend::Sqlite(path.into()), "{text}");
    }
    assert_eq!(DatabaseUrl::parse("sqlite:////a/b").unwrap().to_string(), "sqlite:////a/b");
}

#[test]
fn postgres_places_are_understood() {
    for (text, host, port, user, password, database) in [
        ("postgresql://u:p@h:99/d", "h", 99, "u", "p", "d"),
        ("postgres://h/d", "h", 5432, "", "", "d"),
        ("postgresql+psycopg2://u@h", "h", 5432, "u", "", ""),
        ("postgresql://u:p%40%2f%3A%C3%A9@h/d%20e", "h", 5432, "u", "p@/:\u{e9}", "d e"),
        ("postgresql://u:p@w/x:y?z@h/d", "h", 5432, "u", "p@w/x:y?z", "d"),
        ("postgresql://u:p@[::1]:99/d", "::1", 99, "u", "p", "d"),
        ("postgresql://[2001:db8::2]/d", "2001:db8::2", 5432, "", "", "d"),
        ("postgresql:///d?host=h&port=99&user=u&password=p", "h", 99, "u", "p", "d"),
        ("postgresql://h?dbname=d", "h", 5432, "", "", "d"),
        ("postgresql://u:p@h/d?host=other", "other", 5432, "u", "p", "d"),
    ] {
        let settings = postgres(text);
        assert_eq!(
            settings.servers,
            [Server { host: Host::Tcp(host.into()), port, address: None }],
            "{text}"
        );
        assert_eq!(settings.user.as_deref().unwrap_or(""), user, "{text}");
        assert_eq!(settings.password.as_ref().map_or("", Secret::reveal), password, "{text}");
        assert_eq!(settings.database.as_deref().unwrap_or(""), database, "{text}");
    }
}

#[test]
fn postgres_sockets_are_folders() {
    for (text, folder) in [
        ("postgresql:///d", "/var/run/postgresql"),
        ("postgresql://", "/var/run/postgresql"),
        ("postgresql://u:p@%2Frun%2Fpg:99/d", "/run/pg"),
        ("postgresql://u@/d?host=/run/pg", "/run/pg"),
    ] {
        assert_eq!(postgres(text).servers[0].host, Host::Unix(folder.into()), "{text}");
    }
}

#[test]
fn several_servers_are_understood() {
    for (text, servers) in [
        ("h1:1,h2:2/d", "h1:1,h2:2"),
        ("h1,h2:2,h3/d", "h1:5432,h2:2,h3:5432"),
        ("u:p@[::1]:1,[2001:db8::2],192.0.2.1:3/d", "[::1]:1,[2001:db8::2]:5432,192.0.2.1:3"),
        ("h1,h2/d?port=7", "h1:7,h2:7"),
        ("h1:1,h2:2/d?port=3,4", "h1:3,h2:4"),
        ("/d?host=a,b&port=1,2", "a:1,b:2"),
        ("/d?host=a,b&port=1,", "a:1,b:5432"),
        ("x:9/d?host=a,b", "a:9,b:9"),
        ("%2Frun%2Fpg,h/d", "/run/pg:5432,h:5432"),
        ("/d?host=/run/pg,::1,&port=1,2,3", "/run/pg:1,[::1]:2,/var/run/postgresql:3"),
        ("/d?hostaddr=192.0.2.1,2001:db8::1", "192.0.2.1:5432,[2001:db8::1]:5432"),
        ("a,b/d?hostaddr=192.0.2.1,", "a:5432,b:5432"),
    ] {
        let url = DatabaseUrl::parse(&format!("postgresql://{text}")).unwrap();
        let shown = url.to_string().replace("u:***@", "");
        assert_eq!(shown, format!("postgresql://{servers}/d"), "{text}");
    }
    let addresses = postgres("postgresql://a,b/d?hostaddr=192.0.2.1,&load_balance_hosts=random");
    assert_eq!(addresses.servers[0].address, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(addresses.servers[1].address, None);
    assert!(addresses.random_order);
    assert!(!postgres("postgresql://a,b/d?load_balance_hosts=disable").random_order);
}

#[test]
fn postgres_parameters_are_understood() {
    let settings = postgres(
        "postgresql://h/d?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=c.pem&sslkey=k.pem\
         &connect_timeout=3&application_name=a+b&options=-c%20search_path%3Dmusic\
         &client_encoding=UTF8&gssencmode=disable",
    );
    assert_eq!(settings.ssl_mode, SslMode::VerifyFull);
    assert_eq!(settings.root_certificates, RootCertificates::File("/ca.pem".into()));
    assert_eq!(settings.client_certificate, Some("c.pem".into()));
    assert_eq!(settings.client_key, Some("k.pem".into()));
    assert_eq!(settings.connect_timeout, ConnectTimeout::Each(Duration::from_secs(3)));
    assert_eq!(settings.application_name, "a b");
    assert_eq!(settings.options.as_deref(), Some("-c search_path=music"));

    let defaults = postgres("postgresql://h/d");
    assert_eq!(defaults.ssl_mode, SslMode::Prefer);
    assert_eq!(defaults.root_certificates, RootCertificates::Default);
    assert_eq!(defaults.connect_timeout, ConnectTimeout::Default);

    assert_eq!(postgres("postgresql://h/d?connect_timeout=0").connect_timeout, ConnectTimeout::Never);
    assert_eq!(postgres("postgresql://h/d?sslrootcert=system").ssl_mode, SslMode::VerifyFull);
}

#[test]
fn parameters_of_hosters_are_understood() {
    let settings = postgres(
        "postgresql://h/d?channel_binding=require&target_session_attrs=read-write&keepalives=1\
         &keepalives_idle=5&keepalives_interval=2&keepalives_count=4&tcp_user_timeout=7000&passfile=/p\
         &sslmode=require&sslnegotiation=direct&require_auth=scram-sha-256&fallback_application_name=x\
         &hostaddr=192.0.2.1&sslsni=0&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3\
         &sslcertmode=disable&sslcompression=0&krbsrvname=postgres&gssdelegation=0",
    );
    assert_eq!(settings.channel_binding, ChannelBinding::Require);
    assert_eq!(settings.target, Target::ReadWrite);
    let seconds = Duration::from_secs;
    let liveness = Liveness {
        keepalives: true,
        idle: seconds(5),
        interval: seconds(2),
        count: 4,
        user_timeout: seconds(7),
    };
    assert_eq!(settings.liveness, liveness);
    assert_eq!(settings.password_file, Some("/p".into()));
    assert_eq!(settings.required_auth, Some(vec![AuthMethod::Scram]));
    assert_eq!(settings.application_name, "x");
    assert_eq!(settings.servers[0].address, Some("192.0.2.1".parse().unwrap()));
    let tls = TlsDetails { direct: true, only_version_1_3: true, sni: false, client_certificate: false };
    assert_eq!(settings.tls, tls);
    assert_eq!(settings.passed_over, ["sslcompression", "krbsrvname", "gssdelegation"]);

    let zeros =
        postgres("postgresql://h/d?keepalives=0&keepalives_idle=0&keepalives_count=0&tcp_user_timeout=0");
    assert_eq!(zeros.liveness, Liveness { keepalives: false, ..Liveness::default() });
    let named = postgres("postgresql://h/d?application_name=a&fallback_application_name=b");
    assert_eq!(named.application_name, "a");
    for (list, allowed) in [
        ("none,md5", vec![AuthMethod::Md5, AuthMethod::None]),
        ("!password,!md5", vec![AuthMethod::Scram, AuthMethod::None]),
        ("!none", vec![AuthMethod::Password, AuthMethod::Md5, AuthMethod::Scram]),
        ("gss", vec![]),
    ] {
        let settings = postgres(&format!("postgresql://h/d?require_auth={list}"));
        assert_eq!(settings.required_auth, Some(allowed), "{list}");
    }
}

#[test]
fn unusable_part_is_named() {
    for (text, expected) in [
        ("", "there is no `://` after"),
        ("/var/lib/avalon.sqlite", "there is no `://` after"),
        ("mysql://u:p@h/d", "dialect `mysql` is not supported; supported are sqlite:////"),
        ("mysql+pymysql://u:p@h/d", "dialect `mysql+pymysql`"),
        ("oracle://u:p@h/d", "dialect `oracle`"),
        ("mssql+pyodbc://dsn", "dialect `mssql+pyodbc`"),
        ("firebird://u@h/d", "dialect `firebird`"),
        ("sybase://u@h/d", "dialect `sybase`"),
        ("postgresq://u@h/d", "dialect `postgresq`"),
        ("u:hidden@h/x://", "dialect `...`"),
        ("postgresql+x:/://u@", "there is no `://` after"),
        ("sqlite+pysqlcipher://:p@/x", "encrypted"),
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://var/lib/x", "three slashes"),
        ("sqlite:///file:x?mode=memory&uri=true", "unknown parameter `mode`"),
        ("postgresql://h:port/d", "from 1 to 65535"),
        ("postgresql://h:0/d", "from 1 to 65535"),
        ("postgresql://h:65536/d", "from 1 to 65535"),
        ("postgresql://[::1/d", "one address"),
        ("postgresql://[::1]x/d", "one address"),
        ("postgresql://[::1],[::2/d", "one address"),
        ("postgresql://h1,h2:0/d", "from 1 to 65535"),
        ("postgresql://h1,h2/d?port=1,2,3", "another number of ports than of hosts"),
        ("postgresql://h1,h2/d?hostaddr=192.0.2.1", "another number of hosts than of addresses (hostaddr)"),
        ("postgresql://h1,h2/d?load_balance_hosts=x", "must be disable or random"),
        ("postgresql://a/u:p@h/d", "percent-encode it"),
        ("postgresql://a/u:p?@h/d", "percent-encode it"),
        ("postgresql://h/d?sslmod=require", "unknown parameter `sslmod`"),
        (
            "postgresql://h/d?gssencmode=require",
            "parameter `gssencmode` of the database URL is not supported",
        ),
        ("postgresql://h/d?sslcrl=x", "parameter `sslcrl` of the database URL is not supported"),
        ("postgresql://h/d?service=x", "parameter `service` of the database URL is not supported"),
        ("postgresql://h/d?keepalives=yes", "`keepalives` of the database URL must be 0 or 1"),
        ("postgresql://h/d?keepalives_count=x", "must be a whole number"),
        ("postgresql://h/d?tcp_user_timeout=1.5", "must be whole milliseconds"),
        ("postgresql://h/d?channel_binding=x", "must be disable, prefer or require"),
        ("postgresql://h/d?target_session_attrs=x", "must be any, read-write"),
        ("postgresql://h/d?require_auth=scram", "must be a list of password"),
        ("postgresql://h/d?require_auth=!md5,none", "must be a list of password"),
        (
            "postgresql://h/d?sslnegotiation=direct",
            "`sslmode` of the database URL must be require or stricter",
        ),
        ("postgresql://h/d?ssl_max_protocol_version=TLSv1.2", "must be TLSv1.3"),
        ("postgresql://h/d?hostaddr=h", "must be one IP address for each host"),
        ("sqlite:///file::memory:", "in memory"),
        ("postgresql://h/d?sslmode=on", "`sslmode` of the database URL must be disable, allow"),
        ("postgresql://h/d?sslmode=require&sslrootcert=system", "verify-full with sslrootcert"),
        ("postgresql://h/d?connect_timeout=soon", "whole seconds"),
        ("postgresql://h/d?client_encoding=latin1", "must be utf8"),
    ] {
        let error = DatabaseUrl::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn display_hides_the_password() {
    for (text, shown) in [
        ("postgresql://u:hidden@h/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u@[::1]:99/d?password=hidden", "postgresql://u:***@[::1]:99/d"),
        ("postgresql://:hidden@%2Frun/d", "postgresql:///run:5432/d"),
    ] {
        let url = DatabaseUrl::parse(text).unwrap();
        assert_eq!(url.to_string(), shown);
        assert!(!format!("{url:?} {:?}", url.backend()).contains("hidden"));
    }
}

/// Returns all texts that a program could print about the result of a parse.
fn said(text: &str) -> String {
    match DatabaseUrl::parse(text) {
        Ok(url) => format!("{url} {url:?} {:?}", url.backend()),
        Err(error) => format!("{error} {error:?}"),
    }
}

proptest! {
    #[test]
    fn parse_never_panics(text in "\\PC*", tail in "[-a-z0-9:/@?&=%\\[\\]+,.]{0,40}") {
        for start in ["", "sqlite://", "postgresql://", "postgresql://u:p@"] {
            said(&format!("{start}{text}"));
            said(&format!("{start}{tail}"));
        }
    }

    #[test]
    fn the_password_is_never_said(
        scheme in "(postgresql|postgres\\+x|mysql|sqlite|x y|)(://|:/|:)",
        user in "[a-z]{0,2}[a-z/@?]{0,2}",
        before in "[@/:?%]{0,2}",
        after in "[@/:?%\\[,]{0,2}",
        host in "[a-z]{0,3}(:[0-9x]{1,6})?",
        rest in "(/d)?(\\?(sslmode=x|foo=bar|connect_timeout=x|port=q))?",
    ) {
        let text = format!("{scheme}{user}:{before}SeCrEt{after}@{host}{rest}");
        // The path of a file may hold any text, but no password.
        let is_path = text.starts_with("sqlite:///");
        prop_assert!(is_path || !said(&text).contains("SeCrEt"), "{} says {}", text, said(&text));
    }
}
