//! Batched UDP over quinn-udp and mio: many datagrams per system call, each with the address it was sent to.
//!
//! Sends never fail for the caller: a datagram that the kernel does not take is lost, as on any network, and counted by whoever asked.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

/// Free bytes before every received buffer, so that the longest header (a Data indication to an IPv6 peer: 20 + 24 + 4) fits in front of the payload.
pub const HEADROOM: usize = 48;
/// Free bytes behind every received buffer: STUN padding.
pub const TAILROOM: usize = 4;
/// Buffers per receive call; with GRO each may hold up to 64 datagrams.
pub const BATCH: usize = 16;
/// Longest run of datagrams that one send may carry, in bytes: what fits an IP packet with room for headers.
pub const RUN_BYTES: usize = 65_000;

/// No UDP datagram is longer, and the kernel merges no more than this into one buffer.
const LARGEST: usize = 65_535;
const SLOT: usize = HEADROOM + LARGEST + TAILROOM + 1;
/// The kernel refuses segments that exceed a path's MTU, and quinn-udp then gives up on GSO for the socket. Every IPv6 path carries 1280 bytes; 48 go to headers.
pub const LARGEST_SEGMENT: usize = 1232;
/// Asked for; the kernel grants what `net.core.rmem_max` and `wmem_max` allow. Only queued datagrams cost memory.
const LISTENER_BUFFER: usize = 4 << 20;
const RELAY_BUFFER: usize = 1 << 20;

nix::setsockopt_impl!(PathMtuV4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::c_int, SetStruct<libc::c_int>);
nix::setsockopt_impl!(PathMtuV6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::c_int, SetStruct<libc::c_int>);
nix::setsockopt_impl!(Timestamps, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, libc::c_int, SetStruct<libc::c_int>);

#[derive(Clone, Copy)]
struct PathMtuV4;
#[derive(Clone, Copy)]
struct PathMtuV6;
#[derive(Clone, Copy)]
struct Timestamps;

/// A non-blocking UDP socket. IPv6 sockets carry no IPv4.
#[derive(Debug)]
pub struct Socket {
    io: mio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl Socket {
    /// Binds for itself alone: nobody else may share the port.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = open(address)?;
        socket.bind(&address.into())?;
        Self::finish(socket, RELAY_BUFFER)
    }

    /// Binds `count` sockets to one address; the kernel spreads the senders over them by hash. Port 0 is chosen once for all.
    ///
    /// The first is bound alone and shared only afterwards, so that another process of the same user that also shares its ports is
    /// an error (`AddrInUse`) and not a silent partner.
    pub fn bind_group(address: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let first = open(address)?;
        first.bind(&address.into())?;
        if count > 1 {
            first.set_reuse_port(true)?;
        }
        let first = Self::finish(first, LISTENER_BUFFER)?;
        let shared = first.local;
        let mut group = vec![first];
        for _ in 1..count {
            let next = open(shared)?;
            next.set_reuse_port(true)?;
            next.bind(&shared.into())?;
            group.push(Self::finish(next, LISTENER_BUFFER)?);
        }
        Ok(group)
    }

    fn finish(socket: socket2::Socket, buffer: usize) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        allow_fragments(&socket)?;
        // quinn-udp asks for receive times, which nobody here reads and which cost every packet of the machine a look at the clock.
        setsockopt(&socket, Timestamps, &0)?;
        // Refusal leaves the kernel's default, which works.
        let _ = socket.set_recv_buffer_size(buffer);
        let _ = socket.set_send_buffer_size(buffer);
        let io = mio::net::UdpSocket::from_std(socket.into());
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    /// The bound address, with the port that the kernel chose.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Fills `inbox` with what is waiting, at most [`BATCH`] buffers. `WouldBlock` when nothing is; fewer than `BATCH` buffers mean that the
    /// queue was empty afterwards.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let mut slots = inbox.slab.chunks_exact_mut(SLOT);
        let mut buffers: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| {
            let slot = slots.next().expect("the slab has BATCH slots");
            IoSliceMut::new(&mut slot[HEADROOM..HEADROOM + LARGEST])
        });
        self.state.recv((&self.io).into(), &mut buffers, &mut inbox.metas)
    }

    /// Sends `bytes` to `to`: one datagram, or several of `segment` bytes each (the last may be shorter). Returns how many were lost.
    ///
    /// `from` is the source address on a wildcard socket.
    pub fn send(&self, to: SocketAddr, from: Option<IpAddr>, bytes: &[u8], segment: usize) -> usize {
        if segment == 0 || bytes.len() <= segment {
            return self.send_one(to, from, bytes);
        }
        let most = self.state.max_gso_segments();
        if most > 1 && segment <= LARGEST_SEGMENT {
            return bytes.chunks(segment * most).map(|run| self.send_run(to, from, run, segment)).sum();
        }
        bytes.chunks(segment).map(|datagram| self.send_one(to, from, datagram)).sum()
    }

    fn send_run(&self, to: SocketAddr, from: Option<IpAddr>, run: &[u8], segment: usize) -> usize {
        let transmit = Transmit { destination: to, ecn: None, contents: run, segment_size: Some(segment), src_ip: from };
        match self.state.try_send((&self.io).into(), &transmit) {
            Ok(()) => 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => run.len().div_ceil(segment),
            // This path or device has no segmentation offload: once more, one by one.
            Err(_) => run.chunks(segment).map(|datagram| self.send_one(to, from, datagram)).sum(),
        }
    }

    fn send_one(&self, to: SocketAddr, from: Option<IpAddr>, datagram: &[u8]) -> usize {
        let transmit = Transmit { destination: to, ecn: None, contents: datagram, segment_size: None, src_ip: from };
        usize::from(self.state.try_send((&self.io).into(), &transmit).is_err())
    }
}

impl mio::event::Source for Socket {
    fn register(&mut self, registry: &mio::Registry, token: mio::Token, interests: mio::Interest) -> io::Result<()> {
        self.io.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &mio::Registry, token: mio::Token, interests: mio::Interest) -> io::Result<()> {
        self.io.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &mio::Registry) -> io::Result<()> {
        self.io.deregister(registry)
    }
}

fn open(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// quinn-udp forbids fragmentation, as QUIC must; a relay passes on what it was given (RFC 8656 §14).
fn allow_fragments(socket: &socket2::Socket) -> io::Result<()> {
    setsockopt(socket, PathMtuV4, &libc::IP_PMTUDISC_DONT)?;
    if socket.local_addr()?.is_ipv6() {
        setsockopt(socket, PathMtuV6, &libc::IPV6_PMTUDISC_DONT)?;
        setsockopt(socket, nix::sys::socket::sockopt::Ipv6DontFrag, &false)?;
    }
    Ok(())
}

/// True when a bind failed because the machine has no such address family, compiled out (EAFNOSUPPORT) or switched off by sysctl
/// (EADDRNOTAVAIL): a wildcard of it can be left out.
pub fn family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Memory for one receive call, made once.
pub struct Inbox {
    slab: Vec<u8>,
    metas: [RecvMeta; BATCH],
}

impl Default for Inbox {
    fn default() -> Self {
        // Zeroed pages come untouched from the kernel: only what traffic fills becomes resident.
        Self { slab: vec![0; SLOT * BATCH], metas: [RecvMeta::default(); BATCH] }
    }
}

/// One received buffer: one datagram, or several of one sender that the kernel merged.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub from: SocketAddr,
    /// The address it was sent to, where the kernel says so.
    pub to: Option<IpAddr>,
    start: usize,
    len: usize,
    stride: usize,
}

impl Received {
    /// Where the datagrams lie in [`Inbox::bytes`]; an empty datagram is an empty range.
    pub fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (start, end, stride) = (self.start, self.start + self.len, self.stride.max(1));
        let count = self.len.div_ceil(stride).max(1);
        (0..count).map(move |i| start + i * stride..(start + (i + 1) * stride).min(end))
    }

    /// Only one datagram lies in this buffer, so the head and tail room belong to it.
    pub fn is_single(&self) -> bool {
        self.len <= self.stride
    }
}

impl Inbox {
    /// The `index`-th buffer of the last receive.
    pub fn received(&self, index: usize) -> Received {
        let meta = &self.metas[index];
        Received { from: meta.addr, to: meta.dst_ip, start: index * SLOT + HEADROOM, len: meta.len, stride: meta.stride }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.slab
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.slab
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::GetStruct;
    use std::time::{Duration, Instant};

    nix::getsockopt_impl!(PathMtuV4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::c_int, GetStruct<libc::c_int>);
    nix::getsockopt_impl!(PathMtuV6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::c_int, GetStruct<libc::c_int>);

    fn receive(socket: &Socket, inbox: &mut Inbox) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match socket.receive(inbox) {
                Ok(count) => return count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn collect(socket: &Socket, want: usize) -> Vec<Vec<u8>> {
        let (mut inbox, mut all) = (Inbox::default(), Vec::new());
        while all.len() < want {
            for index in 0..receive(socket, &mut inbox) {
                all.extend(inbox.received(index).datagrams().map(|range| inbox.bytes()[range].to_vec()));
            }
        }
        all
    }

    #[test]
    fn a_run_arrives_as_the_same_datagrams() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = (Socket::bind(host.parse().unwrap()).unwrap(), Socket::bind(host.parse().unwrap()).unwrap());
            let bytes: Vec<u8> = (0..10 * 1000 + 7).map(|i| (i % 251) as u8).collect();
            assert_eq!(a.send(b.local(), None, &bytes, 1000), 0);
            let got = collect(&b, 11);
            assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [vec![1000; 10], vec![7]].concat());
            assert_eq!(got.concat(), bytes);
        }
    }

    #[test]
    fn large_segments_and_empty_datagrams_pass() {
        let (a, b) = (Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap(), Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        assert_eq!(a.send(b.local(), None, &[7; 50_000], 20_000), 0);
        assert_eq!(a.send(b.local(), None, &[], 0), 0);
        assert_eq!(collect(&b, 4).iter().map(Vec::len).collect::<Vec<_>>(), [20_000, 20_000, 10_000, 0]);
    }

    #[test]
    fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
        let server = Socket::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let client = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let asked: SocketAddr = format!("127.0.0.9:{}", server.local().port()).parse().unwrap();
        assert_eq!(client.send(asked, None, b"where", 0), 0);
        let mut inbox = Inbox::default();
        receive(&server, &mut inbox);
        let seen = inbox.received(0);
        assert_eq!(seen.to, Some(asked.ip()));
        assert_eq!(server.send(seen.from, seen.to, b"here", 0), 0);
        receive(&client, &mut inbox);
        assert_eq!(inbox.received(0).from, asked);
    }

    #[test]
    fn fragments_are_allowed() {
        let v4 = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(getsockopt(&v4.io, PathMtuV4).unwrap(), libc::IP_PMTUDISC_DONT);
        let v6 = Socket::bind("[::1]:0".parse().unwrap()).unwrap();
        assert_eq!(getsockopt(&v6.io, PathMtuV6).unwrap(), libc::IPV6_PMTUDISC_DONT);
        assert!(v6.io.only_v6().unwrap());
    }

    #[test]
    fn a_group_shares_its_port_with_nobody_else() {
        let group = Socket::bind_group("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = group[0].local();
        assert!(group.iter().all(|socket| socket.local() == address));
        assert_eq!(Socket::bind_group(address, 3).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(Socket::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_group_spreads_its_senders() {
        let group = Socket::bind_group("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let senders: Vec<Socket> = (0..64).map(|_| Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap()).collect();
        for sender in &senders {
            assert_eq!(sender.send(group[0].local(), None, b"x", 0), 0);
        }
        let mut inbox = Inbox::default();
        assert!(receive(&group[0], &mut inbox) > 0 && receive(&group[1], &mut inbox) > 0);
    }
}
