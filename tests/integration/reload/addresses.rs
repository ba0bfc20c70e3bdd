//! Reloads that change what the server listens on.

use super::{ARTISTS, configure, with_config};
use crate::harness::eventually;
use crate::harness::http::{self, Connection};

use nix::sys::signal::Signal;

#[test]
fn new_addresses_are_added_and_old_ones_go() {
    let config = |bind: &str| format!("BIND = [{bind}]\nWORKERS = 2\n");
    let server = with_config(2, &config("\"127.0.0.1:0\"")).start();
    let path = server.path("socket");
    let unix = format!("unix:{}", path.display());
    configure(&server, &config(&format!("\"127.0.0.1:0\", \"{unix}\"")));
    server.reload();
    for address in [&server.address, &unix] {
        assert_eq!(http::get(address, ARTISTS).success().len(), 2);
    }
    configure(&server, &config(&format!("\"{unix}\"")));
    server.reload();
    eventually("the end of the old address", || Connection::open(&server.address).is_err().then_some(()));
    assert_eq!(http::get(&unix, ARTISTS).success().len(), 2);
    configure(&server, &config("\"127.0.0.1:0\""));
    server.reload();
    assert!(!path.exists());
    server.assert_clean_shutdown();
}

#[test]
fn the_queue_of_a_removed_address_is_served() {
    let config = |bind: &str| format!("BIND = [\"{bind}\"]\nWORKERS = 1\nWORKER_CONNECTIONS = 1\n");
    let server = with_config(2, &config("127.0.0.1:0")).start();
    let mut first = Connection::open(&server.address).expect("a connection");
    first.get("/avalon/heartbeat").expect("an answer");
    // The one connection that the worker takes is taken.
    let mut waiting: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(&server.address).expect("a place in the queue");
            connection.send(b"GET /avalon/artists HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            connection
        })
        .collect();
    configure(&server, &config(&format!("unix:{}", server.path("socket").display())));
    server.signal(Signal::SIGHUP);
    server.wait_log_times(" serves on ", 2);
    eventually("the announced end", || {
        first.get("/avalon/heartbeat").expect("an answer").closes().then_some(())
    });
    drop(first);
    for connection in &mut waiting {
        assert_eq!(connection.answer("GET").expect("an answer to who waited").success().len(), 2);
    }
    eventually("the end of the old address", || Connection::open(&server.address).is_err().then_some(()));
    server.assert_clean_shutdown();
}
