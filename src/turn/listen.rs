//! The doors clients come through: UDP and TCP listeners of every address, and how many connections may be inside at once.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::net::tcp;
use crate::net::udp::{Socket, family_missing};

use super::{Listener, StartError};

/// Connections inside at once, all shards together.
const CONNECTIONS: usize = 8192;
/// Of one IPv4 address or one IPv6 /64: many people may sit behind one NAT.
const CONNECTIONS_PER_ADDRESS: usize = 1024;
/// Tries to find a number that is free for UDP and for TCP, when the kernel chooses.
const PAIR_TRIES: usize = 32;
/// How long accepting rests when the process or the machine has no descriptors left.
const REST: Duration = Duration::from_millis(200);

/// Everything bound: one UDP socket per shard and listener, and the TCP listeners.
pub(super) struct Bound {
    /// By shard.
    pub(super) udp: Vec<Vec<Socket>>,
    pub(super) tcp: Vec<Acceptor>,
    pub(super) listeners: Vec<Listener>,
}

/// Binds `ports` on every address; port 0 becomes one number that is free for UDP and TCP.
pub(super) fn bind(addresses: &[IpAddr], ports: &[u16], shards: usize) -> Result<Bound, StartError> {
    let mut bound = Bound { udp: (0..shards).map(|_| Vec::new()).collect(), tcp: Vec::new(), listeners: Vec::new() };
    for address in addresses {
        for port in ports {
            let (group, acceptor) = match bind_pair(SocketAddr::new(*address, *port), shards) {
                Ok(pair) => pair,
                Err(StartError::Bind { source, .. }) if address.is_unspecified() && family_missing(&source) => continue,
                Err(error) => return Err(error),
            };
            bound.listeners.push(Listener { address: group[0].local(), protocol: "udp" });
            bound.listeners.push(Listener { address: acceptor.local, protocol: "tcp" });
            for (shard, socket) in bound.udp.iter_mut().zip(group) {
                shard.push(socket);
            }
            bound.tcp.push(acceptor);
        }
    }
    Ok(bound)
}

fn bind_pair(address: SocketAddr, shards: usize) -> Result<(Vec<Socket>, Acceptor), StartError> {
    let failed = |address, protocol| move |source| StartError::Bind { address, protocol, source };
    for _ in 0..PAIR_TRIES {
        let group = Socket::bind_group(address, shards).map_err(failed(address, "udp"))?;
        let local = group[0].local();
        match Acceptor::bind(local) {
            Ok(acceptor) => return Ok((group, acceptor)),
            // The kernel's number for UDP was taken for TCP: another one.
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(failed(local, "tcp")(source)),
        }
    }
    Err(failed(address, "tcp")(io::ErrorKind::AddrInUse.into()))
}

/// A TCP listener that rests instead of spinning when descriptors run out.
pub(super) struct Acceptor {
    pub(super) io: mio::net::TcpListener,
    pub(super) local: SocketAddr,
    resting: Option<Instant>,
}

/// How accepting went on.
pub(super) enum Accepted {
    Connection(mio::net::TcpStream, SocketAddr),
    /// Nobody waits any more.
    Dry,
    /// No descriptors; look again at [`Acceptor::resting_until`].
    Resting,
}

impl Acceptor {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let io = mio::net::TcpListener::from_std(tcp::listen(address)?);
        let local = io.local_addr()?;
        Ok(Self { io, local, resting: None })
    }

    pub(super) fn accept(&mut self, now: Instant) -> Accepted {
        if self.resting.is_some_and(|until| now < until) {
            return Accepted::Resting;
        }
        self.resting = None;
        loop {
            match self.io.accept() {
                Ok((stream, client)) => return Accepted::Connection(stream, client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::Dry,
                // That one gave up while it waited; the next may not have.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                Err(_) => {
                    self.resting = Some(now + REST);
                    return Accepted::Resting;
                }
            }
        }
    }

    pub(super) fn resting_until(&self) -> Option<Instant> {
        self.resting
    }
}

/// Counts who is inside. Locked once when a connection comes and once when it goes, never for a packet.
#[derive(Debug)]
pub(super) struct Door {
    total: usize,
    per_address: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    total: usize,
    /// Has an entry for each household that is inside, so no more than `total`.
    by_household: HashMap<IpAddr, usize>,
}

impl Door {
    /// Leaves at least half of the process's descriptors to relay sockets and everything else.
    pub(super) fn new() -> Arc<Self> {
        let total = CONNECTIONS.min(crate::net::descriptors::limit() / 2);
        Self::with_limits(total, CONNECTIONS_PER_ADDRESS.min(total / 4 * 3))
    }

    fn with_limits(total: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { total, per_address, inside: Mutex::default() })
    }

    /// `None`: full, for this address or altogether.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Ticket> {
        let key = household(client);
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let of_household = inside.by_household.get(&key).copied().unwrap_or(0);
        if inside.total >= self.total || of_household >= self.per_address {
            return None;
        }
        inside.total += 1;
        inside.by_household.insert(key, of_household + 1);
        drop(inside);
        Some(Ticket { door: Arc::clone(self), key })
    }
}

/// A place inside, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    door: Arc<Door>,
    key: IpAddr,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = self.door.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.total -= 1;
        if let Some(count) = inside.by_household.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                inside.by_household.remove(&self.key);
            }
        }
    }
}

/// One IPv6 customer has a /64 of addresses at least.
fn household(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_by_household_and_given_back() {
        let door = Door::with_limits(4, 2);
        let first = door.enter(address("2001:db8::1")).unwrap();
        let _second = door.enter(address("2001:db8::ffff")).unwrap();
        assert!(door.enter(address("2001:db8::2")).is_none(), "same /64");
        let _third = door.enter(address("2001:db8:0:1::1")).unwrap();
        let fourth = door.enter(address("192.0.2.1")).unwrap();
        assert!(door.enter(address("192.0.2.2")).is_none(), "full");
        drop(first);
        drop(door.enter(address("2001:db8::3")).unwrap());
        drop(fourth);
        assert!(!door.inside.lock().unwrap().by_household.contains_key(&address("192.0.2.1")), "empty households are forgotten");
    }

    #[test]
    fn the_kernel_chooses_one_number_for_both() {
        let bound = bind(&[address("127.0.0.1"), address("::1")], &[0, 0], 2).unwrap();
        assert_eq!(bound.listeners.len(), 8);
        for pair in bound.listeners.chunks(2) {
            assert_eq!(pair[0].address, pair[1].address);
            assert_ne!(pair[0].address.port(), 0);
            assert_eq!((pair[0].protocol, pair[1].protocol), ("udp", "tcp"));
        }
        assert_eq!(bound.udp.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
    }

    #[test]
    fn a_port_in_use_is_named_with_its_protocol() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let Err(StartError::Bind { address: held, protocol, source }) = bind(&[address("127.0.0.1")], &[port], 2) else { panic!("bound twice") };
        assert_eq!((held.port(), protocol, source.kind()), (port, "udp", io::ErrorKind::AddrInUse));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let Err(StartError::Bind { address: held, protocol, source }) = bind(&[address("127.0.0.1")], &[port], 2) else { panic!("bound twice") };
        assert_eq!((held.port(), protocol, source.kind()), (port, "tcp", io::ErrorKind::AddrInUse));
    }

    #[test]
    fn an_address_of_another_machine_is_an_error() {
        let Err(StartError::Bind { source, .. }) = bind(&[address("192.0.2.77")], &[0], 1) else { panic!("bound") };
        assert_eq!(source.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
