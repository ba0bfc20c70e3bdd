//! The ceiling that the bench compares with: hyper and nothing else, the same number of
//! forked processes as our workers, each with a thread that accepts from one inherited
//! listener and a current-thread runtime, answering with the files of a folder from memory.
//!
//!     hyper_peer --processes 3 --folder target/bench/answers
//!
//! It prints the address it listens on. A request with `If-None-Match` gets 304 whatever
//! the tag is. SIGTERM ends all processes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::future;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use clap::Parser;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::wait;
use nix::unistd::{ForkResult, fork};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use walkdir::WalkDir;

/// Answers every request with the file of that path, from memory.
#[derive(Debug, Parser)]
struct Flags {
    /// How many processes to fork
    #[arg(long, default_value_t = 3)]
    processes: usize,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: String,
    /// The files to answer with
    #[arg(long)]
    folder: PathBuf,
    /// How to get connections out of the shared queue
    #[arg(long, default_value = "thread")]
    accept: Accept,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Accept {
    /// A thread that blocks in accept, as our workers do
    Thread,
    /// tokio's listener in each process: all of them are woken by each connection
    Epoll,
}

/// By request path, which begins with a slash.
type Answers = HashMap<String, Bytes>;

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper_peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let answers = read(&flags.folder)?;
    // std's backlog is 4096 on Linux, no less than ours
    let listener = TcpListener::bind(&flags.bind)?;
    for _ in 0..flags.processes {
        if fork_one()? {
            set_pdeathsig(Signal::SIGKILL)?;
            return serve(listener, flags.accept, Rc::new(answers));
        }
    }
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    wait()?;
    Err("a process ended by itself".into())
}

/// True in the child.
#[allow(unsafe_code)]
fn fork_one() -> nix::Result<bool> {
    // SAFETY: this process has one thread (no runtime is started before the forks), so the
    // child inherits no lock that another thread holds.
    let forked = unsafe { fork() }?;
    Ok(matches!(forked, ForkResult::Child))
}

fn read(folder: &Path) -> Result<Answers, Box<dyn Error>> {
    let mut answers = Answers::new();
    for entry in WalkDir::new(folder) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder)?.to_string_lossy();
            answers.insert(format!("/{path}"), std::fs::read(entry.path())?.into());
        }
    }
    Ok(answers)
}

fn serve(listener: TcpListener, accept: Accept, answers: Rc<Answers>) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match accept {
            Accept::Thread => {
                let (hand_over, mut accepted) = mpsc::channel(1);
                std::thread::spawn(move || accept_blocking(&listener, &hand_over));
                while let Some(stream) = accepted.recv().await {
                    serve_one(TcpStream::from_std(stream)?, &answers);
                }
                Ok(())
            }
            Accept::Epoll => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                loop {
                    serve_one(listener.accept().await?.0, &answers);
                }
            }
        }
    })
}

fn serve_one(stream: TcpStream, answers: &Rc<Answers>) {
    let answers = Rc::clone(answers);
    tokio::task::spawn_local(async move {
        let service = service_fn(|request| future::ready(Ok::<_, Infallible>(answer(&answers, &request))));
        // a client that went away is no error here
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
}

/// As our workers do it: who blocks in accept gets connections in turn, who asks epoll gets
/// them by chance, and eight connections on one of three processes would measure chance.
fn accept_blocking(listener: &TcpListener, hand_over: &mpsc::Sender<std::net::TcpStream>) {
    while let Ok((stream, _)) = listener.accept() {
        if stream.set_nonblocking(true).is_err() || hand_over.blocking_send(stream).is_err() {
            return;
        }
    }
}

fn answer(answers: &Answers, request: &Request<Incoming>) -> Response<Whole> {
    let mut response = Response::new(Whole(None));
    if let Some(tag) = request.headers().get(IF_NONE_MATCH) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(ETAG, tag.clone());
    } else if let Some(body) = answers.get(request.uri().path()) {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        *response.body_mut() = Whole(Some(body.clone()));
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// A body in one piece.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
