//! Bodies that the server does not want: the client must get its answer all the same, also if it
//! sends everything before it reads anything.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection};

const LEN: usize = 5 << 20;

fn connections(server: &Server) -> u64 {
    let status = server.status();
    let workers = status["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker["connections"].as_u64().expect("a number")).sum()
}

#[test]
fn answers_to_refused_uploads_arrive() {
    let server = Setup::with(&collection(1)).start();
    let body = vec![b'x'; LEN];
    let length = format!("Content-Length: {LEN}\r\n");
    let chunked = [format!("{LEN:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let padding = format!("X: {}\r\n", "x".repeat(LEN));
    for (line, fields, body, expected) in [
        ("POST /avalon/songs HTTP/1.1", length.as_str(), &body, 405),
        ("PUT /avalon/songs HTTP/1.1", "Transfer-Encoding: chunked\r\n", &chunked, 405),
        ("POST /avalon/none HTTP/1.1", &length, &body, 404),
        ("GET /avalon/songs HTTP/1.1", &length, &body, 413),
        ("GET /avalon/songs HTTP/1.1", "Content-Length: x\r\n", &body, 400),
        ("POST /avalon/songs HTTP/1.0", &length, &body, 405),
        ("GET /avalon/songs HTTP/1.1", &padding, &Vec::new(), 431),
    ] {
        for number in 0..20 {
            let mut connection = Connection::open(&server.address).expect("a connection");
            let head = format!("{line}\r\nHost: x\r\n{fields}\r\n");
            let sent = connection.send(head.as_bytes()).and_then(|()| connection.send(body));
            sent.unwrap_or_else(|error| panic!("{expected}, {number}: {error}"));
            let answer =
                connection.answer("POST").unwrap_or_else(|error| panic!("{expected}, {number}: {error}"));
            assert_eq!(answer.status, expected, "{line}");
            assert!(answer.closes(), "{line}");
            assert_eq!(connection.rest().expect("the end"), b"", "{line}");
        }
    }
    server.assert_clean_shutdown();
}

#[test]
fn real_clients_get_the_status() {
    const PYTHON: &str = "import http.client, sys
for _ in range(20):
    connection = http.client.HTTPConnection(sys.argv[1])
    connection.request('POST', '/avalon/songs', b'x' * (5 << 20))
    print(connection.getresponse().status)
";
    const NODE: &str = "(async () => {
  for (let i = 0; i < 20; i++) {
    const method = i % 2 ? 'POST' : 'PUT';
    const answer = await fetch(`http://${process.argv[1]}/avalon/songs`, {method, body: 'x'.repeat(5 << 20)});
    console.log(answer.status);
    await answer.text();
  }
})()";
    const CURL: &str = "for _ in $(seq 20); do
    head -c 5242880 /dev/zero |
        curl -sS -o /dev/null -w '%{http_code}\\n' -H Expect: --data-binary @- \"http://$0/avalon/songs\"
done";
    let server = Setup::with(&collection(1)).start();
    let address = server.address.trim_start_matches("http://");
    for (program, flag, script) in [("python3", "-c", PYTHON), ("node", "-e", NODE), ("sh", "-c", CURL)] {
        let output = Command::new(program).args([flag, script, address]).output().expect("a client");
        let statuses = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            statuses.lines().filter(|line| *line == "405").count(),
            20,
            "{program}: {statuses}{error}"
        );
    }
    server.assert_clean_shutdown();
}

/// A client that goes on sending for ever, and one that stays silent, are listened to for a while.
#[test]
fn no_client_is_listened_to_for_ever() {
    let server = Setup::with(&collection(1)).start();
    let ask = || {
        let mut connection = Connection::open(&server.address).expect("a connection");
        connection
            .send(b"POST /avalon/songs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            .expect("sent");
        assert_eq!(connection.answer("POST").expect("an answer").status, 405);
        connection
    };
    let mut endless = ask();
    let (begin, piece, mut sent) = (Instant::now(), [b'f'; 64 * 1024], 0);
    while endless.send(&piece).is_ok() {
        sent += piece.len();
        // The limit, and the buffers on the way.
        assert!(sent < 128 << 20 && begin.elapsed() < Duration::from_secs(60), "{sent} bytes");
    }
    assert!(sent > LEN, "{sent}");
    // Workers count their connections a few times a second.
    eventually("the end of the endless one", || (connections(&server) == 0).then_some(()));
    let silent = ask();
    eventually("the silent one", || (connections(&server) == 1).then_some(()));
    let begin = Instant::now();
    eventually("the end of the silent one", || (connections(&server) == 0).then_some(()));
    assert!(begin.elapsed() > Duration::from_secs(3), "{:?}", begin.elapsed());
    drop(silent);
    server.assert_clean_shutdown();
}
