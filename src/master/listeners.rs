//! The addresses to serve on. Opened once by the master, and kept as long as any
//! generation wants them; workers get copies. What is done to one is done to all copies, so
//! only the master that closes an address for good lets nobody in any more.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, fchownat};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use super::lookout::Name;
use super::names::{Holder, Identity};
use crate::config::{BindAddress, Config, World, preferred};

/// One open address.
pub(super) struct Listener {
    address: BindAddress,
    socket: Socket,
    /// Bound by systemd, not by us.
    activated: bool,
    /// What has the path of a Unix socket since it was bound.
    identity: Option<Identity>,
    /// Whether nobody else will serve here once its master closes it: callers are turned away, and
    /// the path of a Unix socket is taken away.
    owned: Cell<bool>,
}

/// A socket filter for TCP that drops whatever begins a connection: SYN without ACK among the flags,
/// byte 13 of the header. Connections that have begun go on, also those it is inherited by.
const NO_BEGINNINGS: [SockFilter; 5] = {
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new((BPF_LD | BPF_B | BPF_ABS) as u16, 0, 0, FLAGS),
        SockFilter::new((BPF_ALU | BPF_AND | BPF_K) as u16, 0, 0, SYN | ACK),
        SockFilter::new((BPF_JMP | BPF_JEQ | BPF_K) as u16, 0, 1, SYN),
        SockFilter::new((BPF_RET | BPF_K) as u16, 0, 0, 0),
        SockFilter::new((BPF_RET | BPF_K) as u16, 0, 0, u32::MAX),
    ]
};

impl Listener {
    fn new(address: BindAddress, socket: Socket, activated: bool) -> Self {
        let identity = match &address {
            BindAddress::Unix(path) => Identity::at(path).ok(),
            BindAddress::Tcp { .. } => None,
        };
        Listener { address, socket, activated, identity, owned: Cell::new(!activated) }
    }

    /// A listener of a former master, which still takes care of its path.
    pub(super) fn passed_on(address: BindAddress, socket: Socket, activated: bool) -> Self {
        let listener = Listener::new(address, socket, activated);
        listener.owned.set(false);
        listener
    }

    /// Says which of two masters takes care of the address: this one, or another.
    pub(super) fn set_owned(&self, owned: bool) {
        self.owned.set(owned && !self.activated);
    }

    /// The path of a Unix socket that we take care of, and what it was given to.
    pub(super) fn name(&self) -> Option<Name> {
        match (&self.address, self.identity) {
            (BindAddress::Unix(path), Some(identity)) if self.owned.get() => Some((path.clone(), identity)),
            _ => None,
        }
    }

    pub(super) fn address(&self) -> &BindAddress {
        &self.address
    }

    pub(super) fn is_activated(&self) -> bool {
        self.activated
    }

    /// A copy for a worker.
    pub(super) fn share(&self) -> io::Result<Socket> {
        self.socket.try_clone()
    }

    /// The address with the port that was really bound.
    pub(super) fn shown(&self) -> String {
        match self.local() {
            Some(address) => format!("http://{address}"),
            None => self.address.to_string(),
        }
    }

    /// Address and port that were really bound, if it is one of TCP.
    fn local(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Lets nobody into the queue any more, while all who are in it can be accepted by whoever has a
    /// copy. So none is lost between the last look at the queue and the end of the socket, which would
    /// reset them. A caller on TCP tries again until then, and is refused after it; on a Unix socket
    /// it is refused at once (unix(7) leaves the queue to `accept`, which says EINVAL at its end).
    fn turn_away(&self) {
        // Where it is forbidden, callers may still be reset at the very end.
        let _ = match self.address {
            BindAddress::Tcp { .. } => self.socket.attach_filter(&NO_BEGINNINGS),
            BindAddress::Unix(_) => self.socket.shutdown(Shutdown::Read),
        };
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.owned.get() {
            return;
        }
        if let Some((path, identity)) = self.name()
            && identity.holder(&path) == Holder::Ours
        {
            let _ = fs::remove_file(path);
        }
        self.turn_away();
    }
}

/// Listeners that systemd has bound: they take the place of all addresses, and their paths
/// stay when they are closed.
pub(super) fn inherit(sockets: Vec<Socket>) -> Vec<Rc<Listener>> {
    let inherit = |socket: Socket| {
        let address = match socket.local_addr() {
            Ok(address) => bind_address(&address),
            Err(_) => BindAddress::Unix(PathBuf::new()),
        };
        Rc::new(Listener::new(address, socket, true))
    };
    sockets.into_iter().map(inherit).collect()
}

fn bind_address(address: &SockAddr) -> BindAddress {
    match address.as_socket() {
        Some(address) => BindAddress::Tcp { host: address.ip().to_string(), port: address.port() },
        None => BindAddress::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned()),
    }
}

/// How addresses are opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Manner {
    /// Length of the queue.
    pub(super) backlog: i32,
    /// Mode bits that Unix sockets do not get.
    pub(super) umask: u32,
    /// Whom Unix sockets belong to; `None`: to us.
    pub(super) owner: Option<(Uid, Gid)>,
    /// Whether others of the same user may listen on the same TCP addresses.
    pub(super) reuse_port: bool,
    /// Ports of IPv4 addresses, which an IPv6 address must not take.
    pub(super) ipv4_ports: Vec<u16>,
}

impl Manner {
    /// As the configuration says.
    pub(super) fn of(config: &Config) -> Self {
        Manner {
            backlog: config.backlog,
            umask: config.umask,
            owner: config.account.as_ref().map(|account| (account.uid, account.gid)),
            reuse_port: config.reuse_port,
            ipv4_ports: config.ipv4_ports(),
        }
    }
}

/// Opens what `addresses` names, taking from `open` what is open already. A Unix socket whose path was removed or
/// taken is bound again, if it can be.
///
/// # Errors
/// The address that cannot be had, and why; what is open stays open.
pub(super) fn open(
    addresses: &[BindAddress],
    open: &[Rc<Listener>],
    manner: &Manner,
    world: &World<'_>,
) -> Result<Vec<Rc<Listener>>, String> {
    let find = |address: &BindAddress| open.iter().find(|listener| listener.address == *address);
    let have = |address: &BindAddress| match find(address) {
        Some(listener)
            if listener.name().is_none_or(|(path, identity)| identity.holder(&path) == Holder::Ours) =>
        {
            Ok(Rc::clone(listener))
        }
        Some(listener) => {
            Ok(bind(address, open, manner, world).map_or_else(|_| Rc::clone(listener), Rc::new))
        }
        None => bind(address, open, manner, world)
            .map(Rc::new)
            .map_err(|error| format!("cannot listen on {address}: {error}")),
    };
    addresses.iter().map(have).collect()
}

fn bind(
    address: &BindAddress,
    open: &[Rc<Listener>],
    manner: &Manner,
    world: &World<'_>,
) -> io::Result<Listener> {
    let socket = match address {
        BindAddress::Tcp { host, port } => {
            let resolved = preferred(&world.addresses(host, *port)?);
            let resolved = resolved.ok_or_else(|| io::Error::other("the name has no address"))?;
            bind_tcp(resolved, open, manner)
        }
        BindAddress::Unix(path) => bind_unix(path, manner),
    };
    Ok(Listener::new(address.clone(), socket?, false))
}

fn bind_tcp(address: SocketAddr, open: &[Rc<Listener>], manner: &Manner) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Of the master's one socket for all workers: a socket of a worker's own would take its queue
    // with it when it closes.
    socket.set_reuse_port(manner.reuse_port)?;
    // Elsewhere the kernel's net.ipv6.bindv6only says whether [::] serves IPv4 as well, as with Gunicorn.
    if address.is_ipv6() && manner.ipv4_ports.contains(&address.port()) {
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bind_beside(&socket, address, open, manner)?;
        }
        bound => {
            bound?;
            socket.listen(manner.backlog)?;
        }
    }
    Ok(socket)
}

/// Binds an address of which another of ours, which a reload may close only afterwards, has a part: all addresses
/// of the machine beside a single one. Callers of the single one are served by its workers until it is
/// closed, and by the other's after that, so that nobody is lost also if the reload fails. The other way
/// round they would wait at a socket that is closed if the reload fails.
fn bind_beside(
    socket: &Socket,
    address: SocketAddr,
    open: &[Rc<Listener>],
    manner: &Manner,
) -> io::Result<()> {
    let is_in_the_way =
        |listener: &&Rc<Listener>| listener.local().is_some_and(|local| local.port() == address.port());
    let in_the_way: Vec<&Rc<Listener>> = open.iter().filter(is_in_the_way).collect();
    let Some(first) = in_the_way.first() else { return Err(io::ErrorKind::AddrInUse.into()) };
    let ours = || {
        let message = format!(
            "our own former address {} is in the way, as it is closed only when the new one serves; stop \
             and start the server to change it, or reload twice: first without any of the two",
            first.shown()
        );
        io::Error::new(io::ErrorKind::AddrInUse, message)
    };
    let is_wider = address.ip().is_unspecified()
        && in_the_way
            .iter()
            .all(|listener| listener.local().is_some_and(|local| !local.ip().is_unspecified()));
    if !is_wider {
        return Err(ours());
    }
    // Only for this moment.
    let share = |shared| {
        in_the_way.iter().try_for_each(|listener| listener.socket.set_reuse_port(shared))?;
        socket.set_reuse_port(shared)
    };
    let bound =
        share(true).and_then(|()| socket.bind(&address.into())).and_then(|()| socket.listen(manner.backlog));
    share(manner.reuse_port)?;
    if !manner.reuse_port {
        forget_sharing(address);
    }
    bound.map_err(|_| ours())
}

/// The kernel remembers that a port was shared, and lets others of this user in who ask to share it, until a socket
/// is bound to that port that does not share it. One that has no address in common with an IPv4 address is one of
/// IPv6. Beside `[::]` there is none: then, and without IPv6, the memory stays.
fn forget_sharing(address: SocketAddr) {
    if !address.is_ipv4() {
        return;
    }
    let beside = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
    let _ = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.set_only_v6(true).map(|()| socket))
        .and_then(|socket| socket.bind(&beside.into()));
}

fn bind_unix(path: &Path, manner: &Manner) -> io::Result<Socket> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let before = umask(Mode::from_bits_truncate(manner.umask));
    let bound = socket.bind(&SockAddr::unix(path)?);
    umask(before);
    bound?;
    if let Some((user, group)) = manner.owner {
        // Not through a link that has taken its place.
        fchownat(AT_FDCWD, path, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    socket.listen(manner.backlog)?;
    Ok(socket)
}

/// Takes away a socket that nobody serves any more; whatever else is there stays.
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner() -> Manner {
        Manner { backlog: 16, umask: 0o022, ..Manner::default() }
    }

    /// Opened as a start or a reload does.
    fn opened_with(
        addresses: &[BindAddress],
        before: &[Rc<Listener>],
        manner: &Manner,
    ) -> Result<Vec<Rc<Listener>>, String> {
        open(addresses, before, manner, &World::live())
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
    fn address_is_shared_with_whoever_shares_it_too() {
        let sharing = Manner { reuse_port: true, ..manner() };
        let first = opened_with(&[tcp()], &[], &sharing).unwrap();
        let port = first[0].socket.local_addr().unwrap().as_socket().unwrap().port();
        let same = [BindAddress::Tcp { host: "127.0.0.1".into(), port }];
        assert!(opened_with(&same, &[], &manner()).is_err());
        assert!(opened_with(&same, &[], &sharing).is_ok());
    }

    /// One TCP and one Unix address that are open, with a copy as a worker has it.
    fn opened(folder: &Path) -> [(Rc<Listener>, Socket); 2] {
        [tcp(), BindAddress::Unix(folder.join("socket"))].map(|address| {
            let listener = opened_with(&[address], &[], &manner()).unwrap().remove(0);
            let copy = listener.share().unwrap();
            (listener, copy)
        })
    }

    #[test]
    fn who_is_in_the_queue_of_a_closed_address_is_accepted_and_nobody_else() {
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
            // What blocks is told of the end of the queue.
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
}
