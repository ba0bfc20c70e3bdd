//! Clients that are slow, silent, confused or malicious. None of them may end a worker,
//! fill its memory or keep it from serving the others.

mod bytes;
mod cases;
mod slow;

use nix::unistd::Pid;

use crate::harness::http::{Answer, Connection};
use crate::harness::server::Server;

const HEARTBEAT: &str = "/avalon/heartbeat";

/// A server whose workers must all still be there at the end.
struct Watched {
    server: Server,
    workers: Vec<Pid>,
}

impl Watched {
    fn new(server: Server) -> Self {
        let workers = server.wait_workers(2);
        Watched { server, workers }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.server.address).expect("a connection")
    }

    /// All answers to these bytes, after which nothing more is sent.
    fn answers(&self, bytes: &[u8]) -> Vec<Answer> {
        let mut connection = self.connect();
        // The server may have had enough before everything is sent.
        let _ = connection.send(bytes).and_then(|()| connection.end_sending());
        connection.answers()
    }

    fn assert_serves(&self) {
        assert_eq!(self.server.get(HEARTBEAT).text(), "OKOKOK");
    }

    fn assert_unharmed(self) {
        self.assert_serves();
        assert_eq!(self.server.workers(), self.workers, "{}", self.server.log());
        assert_eq!(self.server.count_log("panicked"), 0, "{}", self.server.log());
        self.server.assert_clean_shutdown();
    }
}
