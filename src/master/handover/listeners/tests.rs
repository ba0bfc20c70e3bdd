//! Addresses after a start, a reload and an end.

use crate::cli::chain;

use super::*;

fn manner() -> Manner {
    Manner { backlog: 16, umask: 0o022, ..Manner::default() }
}

/// Opens addresses as a start or a reload does.
fn opened_with(
    addresses: &[BindAddress],
    before: &[Rc<Listener>],
    manner: &Manner,
) -> Result<Vec<Rc<Listener>>, String> {
    open(addresses, before, manner, &World::live()).map_err(|error| chain(&error))
}

fn tcp() -> BindAddress {
    BindAddress::Tcp { host: "127.0.0.1".into(), port: 0 }
}

#[test]
fn open_addresses_are_kept() {
    let first = opened_with(&[tcp()], &[], &manner()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let unix = BindAddress::Unix(folder.path().join("socket"));
    let second = opened_with(&[tcp(), unix], &first, &manner()).unwrap();
    assert_eq!(first[0].shown(), second[0].shown());
}

#[test]
fn busy_address_is_named() {
    let first = opened_with(&[tcp()], &[], &manner()).unwrap();
    let port = first[0].socket.local_addr().unwrap().as_socket().unwrap().port();
    let busy = BindAddress::Tcp { host: "127.0.0.1".into(), port };
    let error = opened_with(&[busy], &[], &manner()).err().unwrap();
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[test]
fn address_is_shared_with_sockets_that_share_it_too() {
    let sharing = Manner { reuse_port: true, ..manner() };
    let first = opened_with(&[tcp()], &[], &sharing).unwrap();
    let port = first[0].socket.local_addr().unwrap().as_socket().unwrap().port();
    let same = [BindAddress::Tcp { host: "127.0.0.1".into(), port }];
    assert!(opened_with(&same, &[], &manner()).is_err());
    assert!(opened_with(&same, &[], &sharing).is_ok());
}

/// One open TCP address and one open Unix address, with a copy as a worker has it.
fn opened(folder: &Path) -> [(Rc<Listener>, Socket); 2] {
    [tcp(), BindAddress::Unix(folder.join("socket"))].map(|address| {
        let listener = opened_with(&[address], &[], &manner()).unwrap().remove(0);
        let copy = listener.share().unwrap();
        (listener, copy)
    })
}

#[test]
fn callers_in_the_queue_of_a_closed_address_are_accepted_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    for (listener, copy) in opened(folder.path()) {
        let to = copy.local_addr().unwrap();
        let call = || {
            let socket = Socket::new(to.domain(), Type::STREAM, None).unwrap();
            socket.connect_timeout(&to, std::time::Duration::from_millis(50)).map(|()| socket)
        };
        let early = call().unwrap();
        drop(listener);
        let late = call().unwrap_err();
        let is_unix = to.is_unix();
        // A blocking call returns at the end of the queue.
        copy.set_nonblocking(!is_unix).unwrap();
        let (mut accepted, _) = copy.accept().unwrap();
        io::Write::write_all(&mut &early, b"GET").unwrap();
        let mut heard = [0; 3];
        io::Read::read_exact(&mut accepted, &mut heard).unwrap();
        assert_eq!(&heard, b"GET");
        let end = copy.accept().unwrap_err();
        assert_eq!(end.kind() == io::ErrorKind::InvalidInput, is_unix, "{end}");
        assert_eq!(late.kind() == io::ErrorKind::TimedOut, !is_unix, "{late}");
    }
}

#[test]
fn address_that_another_master_serves_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    for (listener, copy) in opened(folder.path()) {
        listener.set_owned(false);
        drop(listener);
        let socket = Socket::new(copy.local_addr().unwrap().domain(), Type::STREAM, None).unwrap();
        socket.connect(&copy.local_addr().unwrap()).unwrap();
    }
}

#[test]
fn stale_socket_is_taken_over_and_a_live_one_or_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let address = [BindAddress::Unix(path.clone())];
    let live = opened_with(&address, &[], &manner()).unwrap();
    assert!(opened_with(&address, &[], &manner()).err().unwrap().contains("another process serves it"));
    drop(live);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(opened_with(&address, &[], &manner()).unwrap());
    fs::write(&path, "data").unwrap();
    assert!(opened_with(&address, &[], &manner()).err().unwrap().contains("something else"));
    assert_eq!(fs::read(&path).unwrap(), b"data");
}
