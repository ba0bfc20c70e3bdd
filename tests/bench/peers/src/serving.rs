//! hyper in front of an engine: some threads, each with a runtime of its own.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::LocalSet;

use crate::Failed;
use crate::question::{Answer, Engine, Question};

/// Serves until the process ends. Threads get connections in turn, so that none has more of a load than another.
pub fn serve(engine: &Arc<dyn Engine>, bind: &str, threads: usize) -> Result<(), Failed> {
    let listener = TcpListener::bind(bind)?;
    let threads: Vec<_> = (0..threads.max(1)).map(|_| start(Arc::clone(engine))).collect::<Result<_, _>>()?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    for thread in threads.iter().cycle() {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        thread.send(stream).map_err(|_| "a thread has ended")?;
    }
    Ok(())
}

/// A thread that serves the connections it is sent.
fn start(engine: Arc<dyn Engine>) -> Result<UnboundedSender<std::net::TcpStream>, Failed> {
    let (hand_over, mut accepted) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            while let Some(stream) = accepted.recv().await {
                match TcpStream::from_std(stream) {
                    Ok(stream) => serve_one(stream, Arc::clone(&engine)),
                    Err(error) => eprintln!("search_peers: {error}"),
                }
            }
        });
    })?;
    Ok(hand_over)
}

fn serve_one(stream: TcpStream, engine: Arc<dyn Engine>) {
    tokio::task::spawn_local(async move {
        let service = service_fn(move |request| answer(Arc::clone(&engine), request));
        // A client that went away is no error here.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
}

async fn answer(
    engine: Arc<dyn Engine>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answered = if request.method() == Method::POST {
        change(&*engine, request).await
    } else {
        find(&*engine, &request)
    };
    let (status, body) = match answered {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => (StatusCode::NOT_FOUND, Vec::new()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    Ok(response)
}

fn find(engine: &dyn Engine, request: &Request<Incoming>) -> Result<Option<Vec<u8>>, Failed> {
    let Some(question) = Question::parse(request.uri().path(), request.uri().query().unwrap_or_default())
    else {
        return Ok(None);
    };
    let mut answer = Answer::new();
    engine.find(&question, &mut answer)?;
    Ok(Some(answer.finish()))
}

/// Changes the song whose row is the body.
async fn change(engine: &dyn Engine, request: Request<Incoming>) -> Result<Option<Vec<u8>>, Failed> {
    let body = request.into_body().collect().await?.to_bytes();
    engine.change(&serde_json::from_slice(&body)?)?;
    Ok(Some(Vec::new()))
}
