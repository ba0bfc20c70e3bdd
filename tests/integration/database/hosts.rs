//! URLs with several servers: which one answers, how long the others are waited for, and when the search ends.
//! The oracle is psql.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use avalon::database::{Holder, Session};
use avalon::rows::scratch::Folder;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::harness::postgres::binary;

/// A primary with its replica, and servers that are none.
struct Servers {
    primary: Postgres,
    replica: Postgres,
    /// The database whose rows tell the port of the server.
    database: String,
    /// A port that refuses.
    refused: u16,
    /// A port that takes no connection and gives no answer; so does that of the primary on `[::1]`.
    hole: u16,
    /// A server that is not ready yet.
    starting: u16,
    /// One that has no room.
    full: u16,
    /// One that says nothing.
    closing: u16,
    /// Where role `scram` has its password.
    passwords: tempfile::TempDir,
    _held: Vec<Socket>,
}

/// The artist of the only song is the port of the server that answers.
const TELL_THE_PORT: &str = "ALTER TABLE artists RENAME TO other_artists;
    CREATE VIEW artists AS SELECT id, current_setting('port') AS name FROM other_artists;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO scram";

impl Servers {
    fn shared() -> &'static Servers {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(Servers::start)
    }

    fn start() -> Servers {
        let primary = Postgres::start();
        let rows = primary.create_database();
        rows.execute(&format!("CREATE ROLE scram LOGIN PASSWORD '{}'", Postgres::PASSWORD));
        replace(&rows.url(), &collection(1)).unwrap();
        rows.execute(TELL_THE_PORT);
        let replica = primary.start_replica();
        replica.catch_up_with(&primary);

        let passwords = tempfile::tempdir().unwrap();
        let file = passwords.path().join("passwords");
        let line = |port: u16, password: &str| format!("127.0.0.1:{port}:*:scram:{password}\n");
        std::fs::write(&file, line(primary.port(), "wrong") + &line(replica.port(), Postgres::PASSWORD))
            .unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();

        let mut held = Vec::new();
        let refused = bound("127.0.0.1:0".parse().unwrap()).unwrap();
        let hole = hole("127.0.0.1:0".parse().unwrap(), &mut held).unwrap();
        // Without IPv6 nothing is there, which is passed as well.
        hole_of_ipv6(primary.port(), &mut held);
        let servers = Servers {
            database: rows.name.clone(),
            refused: port_of(&refused),
            hole,
            starting: fake(Some("57P03")),
            full: fake(Some("53300")),
            closing: fake(None),
            primary,
            replica,
            passwords,
            _held: held,
        };
        // Held without listening: no other process takes the port.
        std::mem::forget(refused);
        servers
    }

    /// Letters for ports.
    fn url(&self, template: &str) -> String {
        let mut url = format!("postgresql://{template}").replace("{D}", &self.database);
        for (letter, port) in [
            ("{P}", self.primary.port()),
            ("{R}", self.replica.port()),
            ("{X}", self.refused),
            ("{B}", self.hole),
            ("{S}", self.starting),
            ("{F}", self.full),
            ("{C}", self.closing),
        ] {
            url = url.replace(letter, &port.to_string());
        }
        let folder = |cluster: &Postgres| cluster.file("").display().to_string().replace('/', "%2F");
        url = url.replace("{unix P}", &folder(&self.primary)).replace("{unix R}", &folder(&self.replica));
        url.replace("{passwords}", &self.passwords.path().join("passwords").display().to_string())
    }

    /// `P` or `R` for a port.
    fn name(&self, port: &str) -> &'static str {
        match port.parse::<u16>() {
            Ok(port) if port == self.primary.port() => "P",
            Ok(port) if port == self.replica.port() => "R",
            other => panic!("{other:?}"),
        }
    }

    fn ours(&self, url: &str) -> Result<&'static str, String> {
        let url = DatabaseUrl::parse(url).map_err(|error| error.to_string())?;
        match database::load(&url, &Folder::default()) {
            Ok(loaded) => Ok(self.name(&loaded.rows.collection().artists[0].name)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn psql(&self, url: &str) -> Result<&'static str, String> {
        // The program itself: Debian's wrapper sets PGHOST.
        let output =
            Command::new(binary("psql")).args(["-XAtwc", "SELECT name FROM artists", url]).output().unwrap();
        match output.status.success() {
            true => Ok(self.name(String::from_utf8_lossy(&output.stdout).trim())),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn port_of(socket: &Socket) -> u16 {
    socket.local_addr().unwrap().as_socket().unwrap().port()
}

/// The kernel drops handshakes at a listener whose queue is full.
fn hole(address: SocketAddr, held: &mut Vec<Socket>) -> std::io::Result<u16> {
    let listener = bound(address)?;
    listener.listen(0)?;
    let port = port_of(&listener);
    for _ in 0..3 {
        let client = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        let _ = client.connect(&SocketAddr::new(address.ip(), port).into());
        held.push(client);
    }
    held.push(listener);
    Ok(port)
}

fn hole_of_ipv6(port: u16, held: &mut Vec<Socket>) {
    let _ = hole(SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), port), held);
}

/// A server that refuses everyone with this SQLSTATE, or ends each connection.
fn fake(code: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = refuse(&mut stream.unwrap(), code);
        }
    });
    port
}

fn refuse(stream: &mut TcpStream, code: Option<&str>) -> std::io::Result<()> {
    let Some(code) = code else {
        // Unread bytes would make the end a reset.
        return stream.read(&mut [0; 1024]).map(drop);
    };
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        std::io::copy(&mut Read::take(&mut *stream, u64::from(length) - 8), &mut std::io::sink())?;
        // Questions for TLS and GSSAPI have these numbers.
        match u32::from_be_bytes([head[4], head[5], head[6], head[7]]) {
            80_877_103 | 80_877_104 => stream.write_all(b"N")?,
            _ => break,
        }
    }
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mthis server is made up\0\0");
    stream.write_all(b"E")?;
    stream.write_all(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes())?;
    stream.write_all(fields.as_bytes())
}

/// URL, and the server that answers or a part of our message.
const TABLE: [(&str, Result<&str, &str>); 32] = [
    ("avalon@127.0.0.1:{P},127.0.0.1:{R}/{D}", Ok("P")),
    ("avalon@127.0.0.1:{R},127.0.0.1:{P}/{D}", Ok("R")),
    ("avalon@127.0.0.1:{X},127.0.0.1:{R}/{D}?target_session_attrs=any", Ok("R")),
    ("avalon@127.0.0.1:{R},127.0.0.1:{P}/{D}?target_session_attrs=read-write", Ok("P")),
    ("avalon@127.0.0.1:{P},127.0.0.1:{R}/{D}?target_session_attrs=read-only", Ok("R")),
    ("avalon@127.0.0.1:{R},127.0.0.1:{P}/{D}?target_session_attrs=primary", Ok("P")),
    ("avalon@127.0.0.1:{P},127.0.0.1:{R}/{D}?target_session_attrs=standby", Ok("R")),
    ("avalon@127.0.0.1:{P},127.0.0.1:{R}/{D}?target_session_attrs=prefer-standby", Ok("R")),
    ("avalon@127.0.0.1:{X},127.0.0.1:{P}/{D}?target_session_attrs=prefer-standby", Ok("P")),
    ("avalon@127.0.0.1:{P},127.0.0.1:{X}/{D}?target_session_attrs=prefer-standby", Ok("P")),
    ("avalon@127.0.0.1:{P}/{D}?target_session_attrs=prefer-standby", Ok("P")),
    (
        "avalon@127.0.0.1:{R},127.0.0.1:{X}/{D}?target_session_attrs=primary",
        Err("it is a standby; 127.0.0.1:"),
    ),
    (
        "avalon@127.0.0.1:{P},127.0.0.1:{X}/{D}?target_session_attrs=standby",
        Err("it is no standby; 127.0.0.1:"),
    ),
    (
        "avalon@127.0.0.1:{P},127.0.0.1:{R}/{D}?target_session_attrs=read-only\
         &options=-c%20default_transaction_read_only%3Don",
        Ok("P"),
    ),
    ("avalon@127.0.0.1:{X},[::1]:{X}/{D}", Err("Connection refused (os error 111); [::1]:")),
    ("avalon@[::1]:{X},127.0.0.1:{P}/{D}", Ok("P")),
    ("avalon@no-such-host.invalid:{R},127.0.0.1:{P}/{D}", Ok("P")),
    ("avalon@127.0.0.1,127.0.0.1/{D}?port={X},{R}", Ok("R")),
    ("avalon@/{D}?host=127.0.0.1,127.0.0.1&port={X},{P}", Ok("P")),
    ("avalon@/{D}?host=a.invalid,b.invalid&hostaddr=127.0.0.1,127.0.0.1&port={X},{R}", Ok("R")),
    ("avalon@/{D}?hostaddr=127.0.0.1,127.0.0.1&port={R},{P}&target_session_attrs=primary", Ok("P")),
    ("avalon@{unix R},{unix P}/{D}?port={R},{P}&target_session_attrs=read-write", Ok("P")),
    ("avalon@{unix P}:{X},127.0.0.1:{R}/{D}", Ok("R")),
    ("avalon@127.0.0.1,127.0.0.1/{D}?port={P},{R},{X}", Err("another number of ports than of hosts")),
    ("avalon@127.0.0.1:{B},127.0.0.1:{R}/{D}?connect_timeout=2", Ok("R")),
    ("avalon@127.0.0.1:{B},127.0.0.1:{X}/{D}?connect_timeout=2", Err("no answer within 2 s; 127.0.0.1:")),
    ("avalon@localhost:{P}/{D}?connect_timeout=2", Ok("P")),
    ("avalon@127.0.0.1:{S},127.0.0.1:{P}/{D}", Ok("P")),
    ("avalon@127.0.0.1:{F},127.0.0.1:{P}/{D}", Err("this server is made up")),
    ("avalon@127.0.0.1:{C},127.0.0.1:{P}/{D}", Err("closed")),
    ("scram:wr0ng@127.0.0.1:{X},127.0.0.1:{P},127.0.0.1:{R}/{D}", Err("password authentication failed")),
    ("scram@127.0.0.1:{R},127.0.0.1:{P}/{D}?passfile={passwords}", Ok("R")),
];

#[test]
fn the_server_that_answers_is_the_one_of_psql() {
    let servers = Servers::shared();
    let differences: Vec<String> = thread::scope(|scope| {
        let rows = TABLE.map(|(template, expected)| {
            scope.spawn(move || {
                let url = servers.url(template);
                let (ours, psql) = (servers.ours(&url), servers.psql(&url));
                let is_right = match (&ours, expected) {
                    (Ok(name), Ok(expected)) => *name == expected && psql == ours,
                    (Err(message), Err(part)) => {
                        message.contains(part) && psql.is_err() && !message.contains("wr0ng")
                    }
                    _ => false,
                };
                (!is_right).then(|| format!("{url}\n  ours: {ours:?}\n  psql: {psql:?}"))
            })
        });
        rows.into_iter().filter_map(|row| row.join().unwrap()).collect()
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_black_hole_takes_three_seconds_of_several_servers() {
    let servers = Servers::shared();
    let began = Instant::now();
    let url = servers.url("avalon@127.0.0.1:{B},127.0.0.1:{R}/{D}");
    assert_eq!(servers.ours(&url), Ok("R"));
    let took = began.elapsed();
    assert!((Duration::from_millis(2900)..Duration::from_secs(6)).contains(&took), "{took:?}");
    let message = servers.ours(&servers.url("avalon@127.0.0.1:{B},127.0.0.1:{X}/{D}")).unwrap_err();
    let expected = servers.url(
        "cannot reach PostgreSQL database {D} at 127.0.0.1:{B}, 127.0.0.1:{X}: 127.0.0.1:{B}: no answer within \
         3 s; 127.0.0.1:{X}: Connection refused (os error 111)",
    );
    assert_eq!(format!("postgresql://{message}"), expected);
}

#[test]
fn random_order_reaches_all_servers() {
    let servers = Servers::shared();
    let url = servers.url("avalon@127.0.0.1:{P},127.0.0.1:{R}/{D}?load_balance_hosts=random");
    let reached: std::collections::BTreeSet<_> = (0..40).map(|_| servers.ours(&url).unwrap()).collect();
    assert_eq!(reached.into_iter().collect::<String>(), "PR");
}

/// All connections of a scan lead to the server that has given the lock.
#[test]
fn a_scan_finds_the_server_that_it_can_write() {
    let servers = Servers::shared();
    let database = servers.primary.create_database();
    servers.replica.catch_up_with(&servers.primary);
    let open = |query: &str| {
        let template = format!("avalon@127.0.0.1:{{R}},127.0.0.1:{{P}}/{}?{query}", database.name);
        let url = DatabaseUrl::parse(&servers.url(&template)).unwrap();
        Session::open(&url, &Holder::this_process(), |_| ())
    };
    for _ in 0..10 {
        let mut session = open("target_session_attrs=read-write&load_balance_hosts=random").unwrap();
        session.check().unwrap();
        let error = open("target_session_attrs=primary").unwrap_err().to_string();
        assert!(error.contains("another scan holds PostgreSQL database"), "{error}");
        assert!(error.contains(&servers.primary.port().to_string()), "{error}");
    }
    let error = open("").unwrap_err().to_string();
    assert!(error.contains("target_session_attrs=read-write"), "{error}");
}

#[test]
fn a_replica_before_the_first_scan_is_an_empty_collection() {
    let servers = Servers::shared();
    let database = servers.primary.create_database();
    servers.replica.catch_up_with(&servers.primary);
    let url = servers.url(&format!("avalon@127.0.0.1:{{R}}/{}", database.name));
    assert_eq!(load_all(&url), Collection::default());
    replace(&database.url(), &collection(3)).unwrap();
    servers.replica.catch_up_with(&servers.primary);
    assert_eq!(load_all(&url), collection(3));
}
