//! Plays Sentry: takes envelopes over HTTP and decodes them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::Value;

use crate::harness::DEADLINE;

/// The key of the project, which must appear in no log.
pub(super) const KEY: &str = "sekret";

/// A local ingest endpoint.
pub(super) struct Ingest {
    pub(super) dsn: String,
    events: Receiver<Value>,
}

impl Ingest {
    pub(super) fn start() -> Ingest {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let dsn = format!("http://{KEY}@{}/42", listener.local_addr().expect("an address"));
        let (sender, events) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || serve(&stream, &sender));
            }
        });
        Ingest { dsn, events }
    }

    /// The next event whose message, or the value of whose panic, holds `text`.
    pub(super) fn wait(&self, text: &str) -> Value {
        let mut others = Vec::new();
        loop {
            let Ok(event) = self.events.recv_timeout(DEADLINE) else {
                panic!("no event with {text:?}, but {others:#?}");
            };
            let said = [&event["message"], &event["exception"]["values"][0]["value"]];
            if said.iter().any(|said| said.as_str().is_some_and(|said| said.contains(text))) {
                return event;
            }
            others.push(event);
        }
    }

    /// The number of events that have come and that the test has not waited for.
    pub(super) fn count(&self) -> usize {
        self.events.try_iter().count()
    }
}

/// Answers requests until the client has no more of them.
fn serve(stream: &TcpStream, events: &Sender<Value>) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        items(&body).into_iter().for_each(|event| drop(events.send(event)));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        if (&mut &*stream).write_all(answer).is_err() {
            break;
        }
    }
}

fn request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    assert!(head.starts_with("POST /api/42/envelope/ HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("sentry_key={KEY}")), "{head}");
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// The events of an envelope: a line of headers, then items, each a line of headers and a payload.
fn items(envelope: &[u8]) -> Vec<Value> {
    let mut rest = BufReader::new(envelope);
    let mut line = String::new();
    rest.read_line(&mut line).expect("the head of an envelope");
    let _: Value = serde_json::from_str(&line).expect("a head in JSON");
    let mut events = Vec::new();
    loop {
        line.clear();
        if rest.read_line(&mut line).expect("the head of an item") == 0 {
            return events;
        }
        if line.trim().is_empty() {
            continue;
        }
        let head: Value = serde_json::from_str(&line).expect("a head in JSON");
        let mut payload = vec![0; head["length"].as_u64().expect("a length") as usize];
        rest.read_exact(&mut payload).expect("a payload");
        if head["type"] == "event" {
            events.push(serde_json::from_slice(&payload).expect("an event"));
        }
    }
}
