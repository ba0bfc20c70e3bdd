//! The proof of a worker: before it takes the place of a serving worker, and before any client can reach it,
//! it asks itself questions. If the program, the configuration or the collection crashes workers at their
//! first requests, the reload fails and no client loses an answer.

use std::io;
use std::sync::Arc;
use std::thread;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::api::Endpoint;
use crate::scheduling;
use crate::worker::connection::serve::serve_own;
use crate::worker::request::service::Service;
use crate::worker::watch::connections::Connections;

/// Questions about each kind of entity. Each answer takes only a few pages of memory.
const QUESTIONS: [&str; 4] = [
    "limit=20",
    "query=a&limit=20",
    "order=name&direction=desc&limit=20&offset=1",
    "words=a+b&total=true&counts=true&limit=20",
];
/// The codings that clients accept.
const CODINGS: [&str; 3] = ["identity", "gzip", "zstd"];
/// Room for most answers, in bytes, so that few calls read them.
const ANSWER_SIZE: usize = 64 << 10;
/// The start of each answer that does not report a server error.
const ANSWERED: [&[u8]; 2] = [b"HTTP/1.1 2", b"HTTP/1.1 4"];

/// Sends the questions of clients to `service`, each over another connection. No counter includes
/// these requests.
///
/// The kernel has to map hundreds of pages for the first answers, 1 ms for a million songs, and other processes may wait
/// for the processor meanwhile. So a thread that gives way to them asks. The worker itself cannot give way, as the
/// kernel would not let it take that back. It asks one question more, since the first answer of each thread needs fresh
/// memory: no client waits for it then.
///
/// # Errors
/// If a question gets no answer, or one that reports a failure of the worker; if no thread can be started. If the worker
/// crashes or hangs, this does not return.
pub(in crate::worker) async fn prove(service: Arc<Service>) -> io::Result<()> {
    let asked = Arc::clone(&service);
    let body = move || {
        // The answers are the same without it.
        let _ = scheduling::give_way();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(ask_each(questions(&asked.request_path), &asked))
    };
    let thread = thread::Builder::new().name("proof".to_owned()).spawn(body)?;
    // Nothing else runs in the worker yet.
    thread.join().unwrap_or_else(|_| Err(io::Error::other("its own questions have made it panic")))?;
    ask_each(questions(&service.request_path).take(1), &service).await
}

async fn ask_each(
    questions: impl Iterator<Item = (String, &'static str)>,
    service: &Arc<Service>,
) -> io::Result<()> {
    let connections = Arc::new(Connections::default());
    for (target, coding) in questions {
        scheduling::pause();
        let (mut client, server) = UnixStream::pair()?;
        let asked = ask(&mut client, &target, coding);
        let ((), answered) = tokio::join!(serve_own(server, service, &connections), asked);
        let answer = answered?;
        if !ANSWERED.iter().any(|begin| answer.starts_with(begin)) {
            let status =
                String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default());
            let said = if status.is_empty() { "no answer" } else { &status };
            return Err(io::Error::other(format!("its own question {target} gets {said}")));
        }
    }
    scheduling::pause();
    Ok(())
}

/// Returns targets below `request_path`, and the coding that their client accepts.
fn questions(request_path: &str) -> impl Iterator<Item = (String, &'static str)> {
    let path: Vec<String> = request_path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| format!("/{}", utf8_percent_encode(segment, NON_ALPHANUMERIC)))
        .collect();
    let path = path.concat();
    let lists = Endpoint::ALL.into_iter().filter(|endpoint| matches!(endpoint, Endpoint::List(_)));
    let asked = lists.flat_map(|list| QUESTIONS.map(|question| format!("{}?{question}", list.name())));
    let asked = asked.chain([Endpoint::Heartbeat.name().to_owned()]);
    asked.map(move |question| format!("{path}/{question}")).zip(CODINGS.into_iter().cycle())
}

/// Returns the whole answer.
async fn ask(client: &mut UnixStream, target: &str, coding: &str) -> io::Result<Vec<u8>> {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    let mut answer = Vec::with_capacity(ANSWER_SIZE);
    client.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_about_all_lists_in_all_codings() {
        let all: Vec<_> = questions("/avalon/\u{e9}").collect();
        for list in ["albums", "artists", "genres", "songs"] {
            let begin = format!("/avalon/%C3%A9/{list}?");
            let of: Vec<_> = all.iter().filter(|(target, _)| target.starts_with(&begin)).collect();
            assert!(CODINGS.iter().all(|coding| of.iter().any(|(_, of)| of == coding)), "{list}: {all:?}");
        }
        assert!(questions("/").any(|(target, _)| target == "/heartbeat"));
    }
}
