//! Pure: the data path: which way a payload goes, and the header it travels under (RFC 8656 §11, §12).

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::live::LivePorts;
use super::policy::Policy;
use super::routes::{ClientAddr, RelayId, Routes, ToClient, ToPeer};
use super::stats::Dropped;
use crate::net::udp::HEADROOM;
use crate::stun::message::{self, Message, TransactionId};
use crate::stun::{attr, channel};

/// What a message from a client is, by its first bytes (RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request for the server.
    Stun,
    ChannelData,
    /// A Send indication: payload under a STUN header.
    Send,
    Unknown,
}

/// Message type of a Send indication (RFC 8656 §17).
const SEND: [u8; 2] = [0x00, 0x16];

pub(super) fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        [first, second, ..] if [*first, *second] == SEND => Kind::Send,
        [first, ..] if first & 0xC0 == 0 => Kind::Stun,
        [first, ..] if first & 0xC0 == 0x40 => Kind::ChannelData,
        _ => Kind::Unknown,
    }
}

/// A success answer to anything but Binding: the request before it was authenticated.
pub(super) fn proves(answer: &[u8]) -> bool {
    let Some(header) = answer.first_chunk::<2>() else { return false };
    let message_type = u16::from_be_bytes(*header);
    message_type & 0x0110 == 0x0100 && message_type & !0x0110 != message::BINDING
}

/// Where ChannelData or a Send indication goes, and which of its bytes.
pub(super) fn from_client(
    routes: &Routes,
    policy: &Policy,
    now: Instant,
    from: &ClientAddr,
    kind: Kind,
    datagram: &[u8],
) -> Result<(ToPeer, Range<usize>), Dropped> {
    if kind == Kind::ChannelData {
        let (number, payload) = channel::parse(datagram).ok_or(Dropped::Malformed)?;
        let to = routes.channel(now, from, number).ok_or(Dropped::NoChannel)?;
        return Ok((to, channel::HEADER..channel::HEADER + payload.len()));
    }
    let (peer, payload) = send_indication(datagram).ok_or(Dropped::Malformed)?;
    let to = routes.send(now, from, policy.own.to_local(peer)).ok_or(Dropped::NoPermission)?;
    Ok((to, payload))
}

/// Peer and payload of a Send indication (RFC 8656 §11.2).
fn send_indication(datagram: &[u8]) -> Option<(SocketAddr, Range<usize>)> {
    let message = Message::parse(datagram).ok()?;
    if message.unknown(&attr::UNDERSTOOD).next().is_some() {
        return None;
    }
    let peer = message.address(attr::XOR_PEER_ADDRESS)?.ok()?;
    let payload = message.get(attr::DATA)?;
    let start = payload.as_ptr().addr() - datagram.as_ptr().addr();
    Some((peer, start..start + payload.len()))
}

/// Who receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The network.
    Peer(ToPeer),
    /// Another client of this shard: its relay, the client, and the address it sees as the source (local form).
    Client { relay: RelayId, to: ToClient, source: SocketAddr },
}

/// The check at send time, and the short cut between two relays of this shard under the target's own permissions.
pub(super) fn outward(routes: &Routes, policy: &Policy, live: &LivePorts, now: Instant, to: ToPeer) -> Result<Next, Dropped> {
    // The kernel refuses port 0 with the error that makes quinn-udp give up on segmentation.
    if to.peer.port() == 0 || !policy.may_send(to.peer) {
        return Err(Dropped::PeerDenied);
    }
    if !policy.own.is_own_ip(to.peer.ip()) {
        return Ok(Next::Peer(to));
    }
    let Some(relay) = routes.relay_at(now, to.peer) else {
        // A live relay of another shard, or what the operator opened; not whatever else runs here on a port of the relay range.
        let reachable = live.contains(to.peer) || policy.is_opened(to.peer.ip());
        return if reachable { Ok(Next::Peer(to)) } else { Err(Dropped::PeerDenied) };
    };
    let source = routes.local_of(to.relay).ok_or(Dropped::NoPermission)?;
    let client = routes.from_peer(now, relay, source).ok_or(Dropped::PeerNotPermitted)?;
    Ok(Next::Client { relay, to: client, source })
}

/// The bytes around a payload on its way to a client.
pub(super) struct Header {
    bytes: [u8; HEADROOM],
    length: usize,
    pub(super) pad: usize,
}

impl Header {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// ChannelData when a channel is bound, else a Data indication that names `peer` (public form). `None`: too large for either.
pub(super) fn header(to: &ToClient, peer: SocketAddr, payload: usize, transaction: TransactionId) -> Option<Header> {
    let length = u16::try_from(payload).ok()?;
    let mut bytes = [0; HEADROOM];
    let padding = channel::padding(payload);
    if let Some(number) = to.channel {
        bytes[..channel::HEADER].copy_from_slice(&channel::header(number, length));
        let pad = if to.client.transport.is_stream() { padding } else { 0 };
        return Some(Header { bytes, length: channel::HEADER, pad });
    }
    let length = message::data_indication(&mut bytes, peer, transaction, length)?;
    Some(Header { bytes, length, pad: padding })
}

/// A token bucket over bytes: what comes too fast is dropped, never delayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    bytes_per_second: u64,
    level: u64,
    filled: Instant,
}

/// What may pass at once: a quarter of a second, and always one large datagram.
const BURST: Duration = Duration::from_millis(250);
const LARGEST: u64 = 65_535;

impl Bucket {
    pub(super) fn new(now: Instant, bits_per_second: u64) -> Self {
        let bytes_per_second = (bits_per_second / 8).max(1);
        let mut bucket = Self { bytes_per_second, level: 0, filled: now };
        bucket.level = bucket.burst();
        bucket
    }

    fn burst(&self) -> u64 {
        (self.bytes_per_second / (1000 / BURST.as_millis() as u64)).max(LARGEST)
    }

    pub(super) fn take(&mut self, now: Instant, bytes: usize) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let gained = u64::try_from(passed * u128::from(self.bytes_per_second) / 1_000_000_000).unwrap_or(u64::MAX);
        if gained > 0 {
            // Less than a byte's time is kept for the next look.
            self.filled = now;
            self.level = self.level.saturating_add(gained).min(self.burst());
        }
        let enough = self.level >= bytes as u64;
        if enough {
            self.level -= bytes as u64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortRange;
    use crate::stun::message::{Builder, Class};
    use crate::turn::RelayedAddress;
    use crate::turn::policy::OwnAddresses;
    use crate::turn::routes::Transport;

    const TRANSACTION: TransactionId = *b"abcdefghijkl";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn client(text: &str, transport: Transport) -> ClientAddr {
        ClientAddr { client: address(text), server: address("10.0.0.1:3478"), transport }
    }

    /// Behind a 1:1 NAT: 10.0.0.1 is known as 198.51.100.1.
    fn policy() -> Policy {
        let relayed = vec![RelayedAddress { public: "198.51.100.1".parse().unwrap(), local: "10.0.0.1".parse().unwrap() }];
        let own = OwnAddresses { relayed, others: Vec::new(), relay_ports: PortRange { first: 61000, last: 61999 }, own_ports: vec![3478, 61500] };
        Policy { own, allow: Vec::new(), deny: Vec::new() }
    }

    /// Two clients of this shard with a relay each, 61000 and 61001.
    fn routes(now: Instant) -> (Routes, ClientAddr, ClientAddr) {
        let (one, two) = (client("192.0.2.1:1000", Transport::Udp), client("192.0.2.2:2000", Transport::Tcp));
        let end = now + Duration::from_secs(600);
        let mut routes = Routes::new();
        routes.set_relay(RelayId(1), one, address("10.0.0.1:61000"), end);
        routes.set_relay(RelayId(2), two, address("10.0.0.1:61001"), end);
        (routes, one, two)
    }

    fn send(peer: &str, payload: &[u8]) -> Vec<u8> {
        Builder::new(Class::Indication, message::SEND, TRANSACTION).address(attr::XOR_PEER_ADDRESS, address(peer)).attr(attr::DATA, payload).finish()
    }

    #[test]
    fn the_first_bytes_tell_what_it_is() {
        let kinds = [&[0, 1][..], &[0, 0x16], &[0x3F], &[0x40], &[0x7F, 0xFF], &[0x80], &[0xC0], &[]].map(kind);
        use Kind::{ChannelData, Send, Stun, Unknown};
        assert_eq!(kinds, [Stun, Send, Stun, ChannelData, ChannelData, Unknown, Unknown, Unknown]);
    }

    #[test]
    fn channel_data_goes_where_its_channel_goes() {
        let now = Instant::now();
        let (mut routes, one, _) = routes(now);
        let to = ToPeer { relay: RelayId(1), peer: address("203.0.113.9:5") };
        routes.set_channel(one, 0x4001, to, now + Duration::from_secs(9));
        let check = |datagram: &[u8]| from_client(&routes, &policy(), now, &one, Kind::ChannelData, datagram);
        assert_eq!(check(&[0x40, 1, 0, 2, b'h', b'i', 0, 0]), Ok((to, 4..6)), "padding is not relayed");
        assert_eq!(check(&[0x40, 1, 0, 0]), Ok((to, 4..4)));
        assert_eq!(check(&[0x40, 1, 0, 3, b'h', b'i']), Err(Dropped::Malformed));
        assert_eq!(check(&[0x40, 2, 0, 0]), Err(Dropped::NoChannel));
    }

    #[test]
    fn a_send_indication_needs_a_permission_and_nothing_unknown() {
        let now = Instant::now();
        let (mut routes, one, _) = routes(now);
        let peer = address("203.0.113.9:5");
        let check = |routes: &Routes, datagram: &[u8]| from_client(routes, &policy(), now, &one, Kind::Send, datagram);
        assert_eq!(check(&routes, &send("203.0.113.9:5", b"hello")), Err(Dropped::NoPermission));
        routes.set_permission(RelayId(1), peer.ip(), now + Duration::from_secs(9));
        assert_eq!(check(&routes, &send("203.0.113.9:5", b"hello")), Ok((ToPeer { relay: RelayId(1), peer }, 36..41)));
        assert_eq!(check(&routes, &send("203.0.113.9:5", b"")), Ok((ToPeer { relay: RelayId(1), peer }, 36..36)));
        let base = || Builder::new(Class::Indication, message::SEND, TRANSACTION);
        let with_peer = || base().address(attr::XOR_PEER_ADDRESS, peer);
        for refused in [
            base().attr(attr::DATA, b"x").finish(),
            with_peer().finish(),
            with_peer().attr(attr::DATA, b"x").attr(attr::DONT_FRAGMENT, b"").finish(),
            with_peer().attr(attr::DATA, b"x").attr(0x7FFF, b"").finish(),
            base().attr(attr::XOR_PEER_ADDRESS, b"short").attr(attr::DATA, b"x").finish(),
            send("203.0.113.9:5", b"hello")[..40].to_vec(),
        ] {
            assert_eq!(check(&routes, &refused), Err(Dropped::Malformed));
        }
        let twice = with_peer().attr(attr::DATA, b"x").address(attr::XOR_PEER_ADDRESS, address("203.0.113.10:6")).attr(attr::DATA, b"y");
        let optional = twice.attr(0x8123, b"").attr(attr::SOFTWARE, b"x").finish();
        assert_eq!(check(&routes, &optional), Ok((ToPeer { relay: RelayId(1), peer }, 36..37)), "the first counts, optional ones do not");
    }

    #[test]
    fn a_peer_of_ours_is_reached_directly_under_its_own_permissions() {
        let now = Instant::now();
        let (mut routes, one, two) = routes(now);
        let end = now + Duration::from_secs(9);
        routes.set_permission(RelayId(1), "10.0.0.1".parse().unwrap(), end);
        let datagram = send("198.51.100.1:61001", b"hello");
        let (to, _) = from_client(&routes, &policy(), now, &one, Kind::Send, &datagram).unwrap();
        assert_eq!(to.peer, address("10.0.0.1:61001"), "the public form is translated");
        assert_eq!(outward(&routes, &policy(), &LivePorts::default(), now, to), Err(Dropped::PeerNotPermitted), "the target allowed nobody");
        routes.set_permission(RelayId(2), "10.0.0.1".parse().unwrap(), end);
        let source = address("10.0.0.1:61000");
        let expect = Next::Client { relay: RelayId(2), to: ToClient { client: two, channel: None }, source };
        assert_eq!(outward(&routes, &policy(), &LivePorts::default(), now, to), Ok(expect));
    }

    #[test]
    fn what_may_not_be_reached_is_stopped_at_the_last_moment_too() {
        let now = Instant::now();
        let (routes, ..) = routes(now);
        let check = |peer: &str| outward(&routes, &policy(), &LivePorts::default(), now, ToPeer { relay: RelayId(1), peer: address(peer) });
        assert_eq!(check("127.0.0.1:5000"), Err(Dropped::PeerDenied));
        assert_eq!(check("10.0.0.1:3478"), Err(Dropped::PeerDenied), "our own listener");
        assert_eq!(check("10.0.0.1:61500"), Err(Dropped::PeerDenied), "our own listener within the relay range");
        assert_eq!(check("8.8.8.8:0"), Err(Dropped::PeerDenied));
        let away = ToPeer { relay: RelayId(1), peer: address("10.0.0.1:61002") };
        let live = LivePorts::default();
        assert_eq!(outward(&routes, &policy(), &live, now, away), Err(Dropped::PeerDenied), "a stranger on a port of the relay range");
        live.insert(away.peer);
        assert_eq!(outward(&routes, &policy(), &live, now, away), Ok(Next::Peer(away)), "a relay of another shard");
    }

    #[test]
    fn headers_to_clients_parse_and_fit_the_room_in_front() {
        let to = |channel, transport| ToClient { client: client("192.0.2.1:1", transport), channel };
        let peer = address("[2001:db8::7]:700");
        for (transport, pad) in [(Transport::Udp, 0), (Transport::Tcp, 3), (Transport::Tls, 3)] {
            let header = header(&to(Some(0x4ABC), transport), peer, 5, TRANSACTION).unwrap();
            assert_eq!((header.bytes(), header.pad), (&[0x4A, 0xBC, 0, 5][..], pad));
        }
        let header = |payload| header(&to(None, Transport::Udp), peer, payload, TRANSACTION);
        let small = header(5).unwrap();
        let wire = [small.bytes(), b"hello", &[0; 3][..small.pad]].concat();
        let message = Message::parse(&wire).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Indication, message::DATA));
        assert_eq!(message.address(attr::XOR_PEER_ADDRESS), Some(Ok(peer)));
        assert_eq!(message.get(attr::DATA), Some(&b"hello"[..]));
        assert!(header(65_536).is_none() && header(65_520).is_none());
    }

    #[test]
    fn only_success_after_authentication_proves_a_client() {
        let answer = |class, method| proves(&Builder::new(class, method, TRANSACTION).finish());
        assert!(answer(Class::Success, message::ALLOCATE) && answer(Class::Success, message::REFRESH));
        assert!(!answer(Class::Success, message::BINDING) && !answer(Class::Error, message::ALLOCATE) && !proves(&[]));
    }

    #[test]
    fn a_bucket_lets_its_rate_through_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 8_000_000);
        let offered = (0..20_000).map(|half| start + Duration::from_micros(half * 500));
        let passed = offered.filter(|now| bucket.take(*now, 1000)).count();
        // 1 MB/s for ten seconds, in thousands of bytes, and the first burst of 250 ms.
        assert!((9_900..=10_300).contains(&passed), "{passed}");
        let mut slow = Bucket::new(start, 8);
        assert!(slow.take(start, 65_535) && !slow.take(start, 2));
        assert!(!slow.take(start + Duration::from_millis(900), 1) && slow.take(start + Duration::from_millis(1900), 1));
    }
}
