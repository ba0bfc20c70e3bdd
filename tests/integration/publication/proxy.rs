//! Between a node and its store: a proxy that does harm.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// The treatment of answers that are longer than a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// Nothing.
    None,
    /// Answers 503 itself, to all requests.
    Unavailable,
    /// Ends the first answer after half of its bytes, and lets the others pass.
    CutOnce,
    /// Flips a bit in the middle.
    Flip,
    /// One byte a second.
    Slow,
}

/// Bytes of an answer from which on it is harmed: a pointer is shorter.
const HARMED_FROM: usize = 3000;

struct Shared {
    harm: Mutex<Harm>,
    /// Told when the harm changes.
    changed: Condvar,
    store: String,
    requests: AtomicUsize,
    cuts: AtomicU32,
}

/// A proxy for one store; it ends with the process.
pub(super) struct Proxy {
    shared: Arc<Shared>,
    pub(super) address: String,
}

impl Proxy {
    pub(super) fn before(store: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            harm: Mutex::new(Harm::None),
            changed: Condvar::new(),
            store: store.to_owned(),
            requests: AtomicUsize::new(0),
            cuts: AtomicU32::new(0),
        });
        let of_all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), shared) = (client, Arc::clone(&of_all)) else { return };
                // A client that leaves is no error.
                thread::spawn(move || shared.serve(client).map_or((), |()| ()));
            }
        });
        Proxy { shared, address }
    }

    pub(super) fn set(&self, harm: Harm) {
        self.shared.cuts.store(0, Ordering::SeqCst);
        *self.shared.harm.lock().expect("a harm") = harm;
        self.shared.changed.notify_all();
    }

    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

/// The end of a head.
fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

impl Shared {
    /// One request to a connection: the store is asked to close.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut request = Vec::new();
        let mut buffer = [0; 16 * 1024];
        let len = loop {
            let len = client.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            request.extend_from_slice(&buffer[..len]);
            if let Some(len) = head_len(&request) {
                break len;
            }
        };
        self.requests.fetch_add(1, Ordering::SeqCst);
        let harm = *self.harm.lock().expect("a harm");
        if harm == Harm::Unavailable {
            let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return client.write_all(answer.as_bytes());
        }
        let mut store = TcpStream::connect(&self.store)?;
        // Of GET requests only the head is there.
        store.write_all(&request[..len - 2])?;
        store.write_all(b"Connection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        store.read_to_end(&mut answer)?;
        self.answer(&mut client, answer, harm)?;
        client.shutdown(Shutdown::Both)
    }

    fn answer(&self, client: &mut TcpStream, mut answer: Vec<u8>, harm: Harm) -> io::Result<()> {
        let head = head_len(&answer).unwrap_or(answer.len());
        let middle = head + (answer.len() - head) / 2;
        if answer.len() - head < HARMED_FROM {
            return client.write_all(&answer);
        }
        match harm {
            Harm::CutOnce if self.cuts.fetch_add(1, Ordering::SeqCst) > 0 => client.write_all(&answer),
            Harm::CutOnce => client.write_all(&answer[..middle]),
            Harm::Flip => {
                answer[middle] ^= 1;
                client.write_all(&answer)
            }
            Harm::Slow => {
                client.write_all(&answer[..head])?;
                let mut harm = self.harm.lock().expect("a harm");
                for byte in &answer[head..] {
                    client.write_all(&[*byte])?;
                    harm = self.changed.wait_timeout(harm, Duration::from_secs(1)).expect("a harm").0;
                    if *harm != Harm::Slow {
                        return Ok(());
                    }
                }
                Ok(())
            }
            Harm::None | Harm::Unavailable => client.write_all(&answer),
        }
    }
}
