//! The addresses to serve on. The master opens each once and keeps it as long as a generation needs it;
//! workers get copies. A change of one copy changes all of them, so callers are turned away only by the
//! master that closes an address for good.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchownat};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::config::{BindAddress, Config, World, preferred};
use crate::master::error::MasterError;
use crate::master::handover::paths::{Holder, Identity, Name, bind_unix};

/// One open address.
pub(crate) struct Listener {
    address: BindAddress,
    socket: Socket,
    /// Whether systemd has bound it.
    activated: bool,
    /// The file at the path of a Unix socket when the master bound it.
    identity: Option<Identity>,
    /// Whether no other process will serve here once its master closes it. In that case the master turns
    /// callers away and removes the path of a Unix socket.
    owned: Cell<bool>,
}

/// A socket filter for TCP that drops the first packet of a connection: SYN without ACK among the flags,
/// byte 13 of the header. Connections that have begun go on, although they inherit the filter.
#[allow(clippy::cast_possible_truncation, reason = "opcodes of BPF have 16 bits, their constants 32")]
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

    /// A listener of a former master, which still looks after its path.
    pub(crate) fn passed_on(address: BindAddress, socket: Socket, activated: bool) -> Self {
        let listener = Listener::new(address, socket, activated);
        listener.owned.set(false);
        listener
    }

    /// Says whether this master looks after the address, or another one.
    pub(crate) fn set_owned(&self, owned: bool) {
        self.owned.set(owned && !self.activated);
    }

    /// The path of a Unix socket that this master looks after, and the file that it has put there.
    pub(crate) fn name(&self) -> Option<Name> {
        match (&self.address, self.identity) {
            (BindAddress::Unix(path), Some(identity)) if self.owned.get() => Some((path.clone(), identity)),
            _ => None,
        }
    }

    /// The owner of that path; `None` if this master looks after no path here.
    fn holder(&self) -> Option<Holder> {
        self.name().map(|(path, identity)| identity.holder(&path))
    }

    pub(crate) fn address(&self) -> &BindAddress {
        &self.address
    }

    pub(crate) fn is_activated(&self) -> bool {
        self.activated
    }

    /// A copy for a worker.
    pub(crate) fn share(&self) -> io::Result<Socket> {
        self.socket.try_clone()
    }

    /// The address with the actual port.
    pub(crate) fn shown(&self) -> String {
        match self.local() {
            Some(address) => format!("http://{address}"),
            None => self.address.to_string(),
        }
    }

    /// The actual address and port of a TCP listener.
    fn local(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Closes the queue to new callers, while every process that has a copy can still accept those in the
    /// queue. So the end of the socket, which resets the callers in the queue, loses none that came after the
    /// last look at it. A TCP caller tries again until that end, and is refused after it; a caller on a Unix
    /// socket is refused at once (unix(7) leaves the queue to `accept`, which returns EINVAL at its end).
    fn turn_away(&self) {
        // Where the kernel forbids this, the end of the socket may still reset callers.
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
        if let BindAddress::Unix(path) = &self.address
            && self.holder() == Some(Holder::Ours)
        {
            let _ = fs::remove_file(path);
        }
        self.turn_away();
    }
}

/// Listeners that systemd has bound: they replace all addresses, and their paths stay when the master closes
/// them.
pub(crate) fn inherit(sockets: Vec<Socket>) -> Vec<Rc<Listener>> {
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

/// The options for opening addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Length of the queue.
    pub(crate) backlog: i32,
    /// Mode bits that Unix sockets lack.
    pub(crate) umask: u32,
    /// The owner of Unix sockets; `None` means the user of this process.
    pub(crate) owner: Option<(Uid, Gid)>,
    /// Whether other processes of the same user may listen on the same TCP addresses.
    pub(crate) reuse_port: bool,
    /// Ports of IPv4 addresses, which an IPv6 address must not take.
    pub(crate) ipv4_ports: Vec<u16>,
}

impl Manner {
    /// The options in the configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Manner {
            backlog: config.backlog,
            umask: config.umask,
            owner: config.account.as_ref().map(|account| (account.uid, account.gid)),
            reuse_port: config.reuse_port,
            ipv4_ports: config.ipv4_ports(),
        }
    }
}

/// Opens `addresses`, and reuses those that are in `open`. If the path of a Unix socket was removed or taken,
/// this binds it again where possible.
///
/// # Errors
/// The address that fails, and the cause; open addresses stay open.
pub(crate) fn open(
    addresses: &[BindAddress],
    open: &[Rc<Listener>],
    manner: &Manner,
    world: &World<'_>,
) -> Result<Vec<Rc<Listener>>, MasterError> {
    let find = |address: &BindAddress| open.iter().find(|listener| listener.address == *address);
    let have = |address: &BindAddress| match find(address) {
        Some(listener) if listener.holder().is_none_or(|holder| holder == Holder::Ours) => {
            Ok(Rc::clone(listener))
        }
        Some(listener) => {
            Ok(bind(address, open, manner, world).map_or_else(|_| Rc::clone(listener), Rc::new))
        }
        None => bind(address, open, manner, world)
            .map(Rc::new)
            .map_err(|source| MasterError::Listen { address: address.clone(), source }),
    };
    addresses.iter().map(have).collect()
}

/// All addresses in a configuration.
pub(crate) fn addresses_wanted(config: &Config) -> impl Iterator<Item = &BindAddress> {
    config.bind.iter().chain(&config.metrics_bind)
}

/// Opens the listeners of a configuration. Listeners that are `activated` replace `BIND`, apart from those
/// that `METRICS_BIND` names. Listeners that are `open` already are reused. Without metrics, no address of
/// `METRICS_BIND` is opened; an activated one stays and answers nothing, as its clients are not meant to
/// reach the API.
///
/// # Errors
/// The address that fails, and the cause.
pub(crate) fn open_wanted(
    config: &Config,
    activated: &[Rc<Listener>],
    opened: &[Rc<Listener>],
    world: &World<'_>,
) -> Result<Vec<Rc<Listener>>, MasterError> {
    let manner = Manner::of(config);
    let is_wanted = |address: &&BindAddress| {
        config.metrics || activated.iter().any(|listener| listener.address() == *address)
    };
    let metrics: Vec<_> = config.metrics_bind.iter().filter(is_wanted).cloned().collect();
    let metrics = open(&metrics, &[activated, opened].concat(), &manner, world)?;
    let is_other = |listener: &&Rc<Listener>| !config.metrics_bind.contains(listener.address());
    let mut listeners: Vec<_> = activated.iter().filter(is_other).cloned().collect();
    if listeners.is_empty() {
        listeners = open(&config.bind, opened, &manner, world)?;
    }
    listeners.extend(metrics);
    Ok(listeners)
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
        BindAddress::Unix(path) => listen_unix(path, manner),
    };
    Ok(Listener::new(address.clone(), socket?, false))
}

fn bind_tcp(address: SocketAddr, open: &[Rc<Listener>], manner: &Manner) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // All workers share one socket of the master: a socket per worker would lose its queue when it closes.
    socket.set_reuse_port(manner.reuse_port)?;
    // In all other cases the kernel's net.ipv6.bindv6only decides whether [::] serves IPv4 as well, as with
    // Gunicorn.
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

/// Binds all addresses of the machine beside a single one that this master has, and that a reload may close
/// only afterwards. Workers of the single address serve its callers until it closes, and workers of the wider
/// one serve them after that, so no caller is lost even if the reload fails. In the opposite order, callers
/// would wait at a socket that closes if the reload fails.
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
            "the server's own former address {} is in the way, as the server closes it only when the new one \
             serves; stop and start the server to change it, or reload twice: first without any of the two",
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
    // The option holds only during the bind.
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

/// Makes the kernel forget that a port is shared. Otherwise it lets in other processes of this user that ask
/// to share the port, until a process binds a socket to it without sharing. This function does so on an
/// address of the other family, as an IPv6 address has no address in common with an IPv4 one. Beside `[::]`
/// there is no such address: there, and without IPv6, the kernel keeps remembering.
fn forget_sharing(address: SocketAddr) {
    if !address.is_ipv4() {
        return;
    }
    let beside = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
    let _ = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.set_only_v6(true).map(|()| socket))
        .and_then(|socket| socket.bind(&beside.into()));
}

/// Opens a Unix socket with its owner and its queue.
fn listen_unix(path: &Path, manner: &Manner) -> io::Result<Socket> {
    let socket = bind_unix(path, Mode::from_bits_truncate(manner.umask))?;
    if let Some((user, group)) = manner.owner {
        // This does not follow a link that has replaced the socket.
        fchownat(AT_FDCWD, path, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    socket.listen(manner.backlog)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
