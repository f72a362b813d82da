//! Pure: which peers may be reached, and how many allocations a user, an address and everybody together may hold.
//!
//! The same judge is asked when a permission or channel is installed (refusal: 403) and again for every packet that leaves (refusal: silence).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RelayedAddress;
use crate::config::{PortRange, Prefix};

/// The one judge of peers.
#[derive(Clone, Debug)]
pub struct Policy {
    pub own: OwnAddresses,
    /// Opened on purpose, though special or our own.
    pub allow: Vec<Prefix>,
    pub deny: Vec<Prefix>,
}

impl Policy {
    /// May a permission or channel for this address be installed (either form)?
    pub fn may_permit(&self, peer: IpAddr) -> bool {
        if self.own.is_relayed(peer) {
            return true;
        }
        if self.own.is_own_ip(peer) { self.is_opened(peer) } else { self.is_reachable(peer) }
    }

    /// May a datagram leave a relay for this address (either form)? Asked for every packet.
    ///
    /// On our own addresses only the relay range can be reached, which is where our own clients are, and what `allow` opens; never a port of ours.
    pub fn may_send(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip();
        if !self.own.is_own_ip(ip) {
            return self.is_reachable(ip);
        }
        if self.own.own_ports.contains(&peer.port()) {
            return false;
        }
        self.own.is_relayed(ip) && self.own.relay_ports.contains(peer.port()) || self.is_opened(ip)
    }

    /// An address of somebody else: not denied in any form it stands for, and not special in any unless opened in that form.
    fn is_reachable(&self, ip: IpAddr) -> bool {
        forms(ip).all(|form| !matches_any(&self.deny, form) && (matches_any(&self.allow, form) || !is_special(form)))
    }

    /// Named by `allow`, in the form asked for or in the one it stands for behind a 1:1 NAT.
    pub fn is_opened(&self, ip: IpAddr) -> bool {
        let opened = |ip| matches_any(&self.allow, ip) && self.is_reachable(ip);
        opened(ip) || opened(self.own.local_ip(ip)) && !matches_any(&self.deny, ip)
    }
}

/// How many relayed addresses are remembered: one per family now, and former ones of allocations that still live.
pub const MAX_RELAYED: usize = 8;

/// Our own addresses, as seen from the relay.
///
/// Inside the relay a peer stands in *local* form; clients see the *public* form. They differ behind a 1:1 NAT.
#[derive(Clone, Debug)]
pub struct OwnAddresses {
    /// The newest first, at most [`MAX_RELAYED`].
    pub relayed: Vec<RelayedAddress>,
    /// Further addresses of this machine. Loopback is always ours.
    pub others: Vec<IpAddr>,
    pub relay_ports: PortRange,
    /// Ports something of ours listens on, UDP or TCP: never reachable, never chosen for a relay.
    pub own_ports: Vec<u16>,
}

impl OwnAddresses {
    /// An address of this machine, whether relays live on it or not.
    pub fn is_own_ip(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.is_relayed(ip) || self.others.contains(&ip)
    }

    fn is_relayed(&self, ip: IpAddr) -> bool {
        self.relayed.iter().any(|address| address.public == ip || address.local == ip)
    }

    /// What a client names, as the address a datagram is sent to.
    pub fn to_local(&self, peer: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.local_ip(peer.ip()), peer.port())
    }

    /// The same without a port, for permissions.
    pub fn local_ip(&self, peer: IpAddr) -> IpAddr {
        self.relayed.iter().find(|address| address.public == peer).map_or(peer, |address| address.local)
    }

    /// Where a datagram came from, as the address a client is told.
    pub fn to_public(&self, source: SocketAddr) -> SocketAddr {
        let ip = self.relayed.iter().find(|address| address.local == source.ip()).map_or_else(|| source.ip(), |address| address.public);
        SocketAddr::new(ip, source.port())
    }

    /// Puts these in front; of the former ones those stay that may still be in use.
    pub fn renew(&mut self, relayed: Vec<RelayedAddress>) {
        let former: Vec<RelayedAddress> = self.relayed.drain(..).filter(|address| !relayed.contains(address)).collect();
        self.relayed = relayed.into_iter().chain(former).take(MAX_RELAYED).collect();
    }
}

/// IPv4 ranges no peer may live in: IANA special-purpose, private, multicast, reserved.
const SPECIAL_V4: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// IPv6 ranges no peer may live in. Teredo and 6to4 must not be relayed to (RFC 8656 §21.4).
const SPECIAL_V6: [([u16; 8], u8); 12] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),          // unspecified, loopback, IPv4-compatible
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),     // IPv4-mapped
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),  // NAT64
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),  // NAT64, local use
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),      // discard
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),     // Teredo and other protocol assignments
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),     // 6to4
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),      // unique local
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),     // link-local
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),     // site-local
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),      // multicast
];

fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SPECIAL_V4.iter().any(|(network, length)| in_v4(ip, Ipv4Addr::from(*network), *length)),
        IpAddr::V6(ip) => SPECIAL_V6.iter().any(|(network, length)| in_v6(ip, Ipv6Addr::from(*network), *length)),
    }
}

fn matches_any(prefixes: &[Prefix], ip: IpAddr) -> bool {
    prefixes.iter().any(|prefix| match (ip, prefix.address) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => in_v4(ip, network, prefix.length),
        (IpAddr::V6(ip), IpAddr::V6(network)) => in_v6(ip, network, prefix.length),
        _ => false,
    })
}

/// Compared as integers: the high `length` bits are the same.
fn in_v4(ip: Ipv4Addr, network: Ipv4Addr, length: u8) -> bool {
    let shift = 32_u32.saturating_sub(u32::from(length));
    (ip.to_bits() ^ network.to_bits()).checked_shr(shift).unwrap_or(0) == 0
}

fn in_v6(ip: Ipv6Addr, network: Ipv6Addr, length: u8) -> bool {
    let shift = 128_u32.saturating_sub(u32::from(length));
    (ip.to_bits() ^ network.to_bits()).checked_shr(shift).unwrap_or(0) == 0
}

/// The address and every IPv4 address it carries inside: a tunnel or translator on the way would deliver there.
fn forms(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let embedded = match ip {
        IpAddr::V4(_) => [None; 3],
        IpAddr::V6(ip) => embedded_v4(ip),
    };
    std::iter::once(ip).chain(embedded.into_iter().flatten().map(IpAddr::V4))
}

/// Mapped, compatible, NAT64 and ISATAP carry it in the last four bytes, 6to4 behind its prefix, Teredo has the server there and the client inverted.
fn embedded_v4(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 3] {
    let at = |from: usize| {
        let octets = ip.octets();
        Ipv4Addr::new(octets[from], octets[from + 1], octets[from + 2], octets[from + 3])
    };
    let words = ip.segments();
    match words {
        // Unspecified and loopback are addresses of their own right, whose last bytes are no IPv4 address.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 3],
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => [Some(at(12)), None, None],
        [0x2001, 0, ..] => [Some(at(4)), Some(Ipv4Addr::from_bits(!at(12).to_bits())), None],
        [0x2002, .., 0 | 0x200, 0x5efe, _, _] => [Some(at(2)), Some(at(12)), None],
        [0x2002, ..] => [Some(at(2)), None, None],
        [.., 0 | 0x200, 0x5efe, _, _] => [Some(at(12)), None, None],
        _ => [None; 3],
    }
}

/// Counts of live allocations, shared by all shards. Control path only: the lock is held for two look-ups.
#[derive(Debug)]
pub struct Quotas {
    total: usize,
    per_user: usize,
    per_address: usize,
    counts: Mutex<Counts>,
}

/// Bounded by `total`: an entry that falls to zero is removed.
#[derive(Debug, Default)]
struct Counts {
    total: usize,
    users: HashMap<Box<[u8]>, usize>,
    addresses: HashMap<IpAddr, usize>,
}

/// Which bound was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Total,
    User,
    Address,
}

impl Quotas {
    pub fn new(total: usize, per_user: usize, per_address: usize) -> Self {
        Self { total, per_user, per_address, counts: Mutex::default() }
    }

    /// One allocation for this user (the id of the credential) from this address. Given back when the share is dropped.
    pub fn take(self: &Arc<Self>, user: &[u8], client: IpAddr) -> Result<Share, Full> {
        let address = site(client);
        let mut counts = self.lock();
        if counts.total >= self.total {
            return Err(Full::Total);
        }
        if counts.users.get(user).is_some_and(|count| *count >= self.per_user) || self.per_user == 0 {
            return Err(Full::User);
        }
        if counts.addresses.get(&address).is_some_and(|count| *count >= self.per_address) || self.per_address == 0 {
            return Err(Full::Address);
        }
        counts.total += 1;
        *counts.users.entry(user.into()).or_default() += 1;
        *counts.addresses.entry(address).or_default() += 1;
        Ok(Share { quotas: Arc::clone(self), user: user.into(), address })
    }

    /// Shares that are out.
    pub fn taken(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted allocation.
#[derive(Debug)]
pub struct Share {
    quotas: Arc<Quotas>,
    user: Box<[u8]>,
    address: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.quotas.lock();
        counts.total -= 1;
        if let Some(count) = counts.users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.users.remove(&self.user);
            }
        }
        if let Some(count) = counts.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.addresses.remove(&self.address);
            }
        }
    }
}

/// A subscriber owns a whole /64, so IPv6 clients are counted by it.
fn site(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_every_range_and_their_neighbours() {
        // first, last, the neighbour below, the neighbour above ("-": itself special or none)
        let ranges = [
            ("0.0.0.0", "0.255.255.255", "-", "1.0.0.0"),
            ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
            ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
            ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
            ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
            ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
            ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
            ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
            ("224.0.0.0", "239.255.255.255", "223.255.255.255", "-"),
            ("240.0.0.0", "255.255.255.255", "-", "-"),
            ("::", "::255.255.255.255", "-", "::1:0:0:1"),
            ("::ffff:0.0.0.0", "::ffff:255.255.255.255", "::fffe:ffff:ffff", "::1:0:0:0"),
            ("64:ff9b::", "64:ff9b::ffff:ffff", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b:0:0:1::"),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "-", "64:ff9b:2::"),
            ("100::", "100::ffff:ffff:ffff:ffff", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "100:0:0:1::"),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::"),
            ("fe80::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-", "-"),
        ];
        let policy = policy(&[], &[]);
        for (first, last, below, above) in ranges {
            for inside in [first, last] {
                assert!(!policy.may_permit(ip(inside)) && !policy.may_send(at(inside)), "{inside} is special");
            }
            for outside in [below, above].into_iter().filter(|text| *text != "-") {
                assert!(policy.may_permit(ip(outside)) && policy.may_send(at(outside)), "{outside} is not special");
            }
        }
    }

    #[test]
    fn metadata_services_are_out_of_reach() {
        for service in ["169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"] {
            assert!(!policy(&[], &[]).may_permit(ip(service)), "{service}");
        }
    }

    #[test]
    fn what_an_address_carries_is_judged_too() {
        // The outer range is opened on purpose; the inner address is still private.
        let open = policy(&["::/0"], &[]);
        for hidden in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1",
            "2002:a00:1::1",
            "2001:0:4136:e378:8000:63bf:f5ff:fffe", // Teredo, client 10.0.0.1
            "2001:0:a00:1:8000:63bf:3fff:fdd2",     // Teredo, server 10.0.0.1
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:10.0.0.1",
            "2002:808:808::5efe:10.0.0.1",
        ] {
            assert!(!open.may_permit(ip(hidden)), "{hidden}");
        }
        for honest in ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2a00::5efe:8.8.8.8", "2a00::1"] {
            assert!(open.may_permit(ip(honest)), "{honest}");
        }
        assert!(!policy(&[], &["8.8.0.0/16"]).may_permit(ip("2a00::5efe:8.8.8.8")));
    }

    #[test]
    fn operators_open_and_close() {
        let policy = policy(&["10.1.0.0/16", "10.3.0.0/16"], &["8.8.8.0/24", "10.1.2.0/24"]);
        for (address, expected) in
            [("10.1.0.1", true), ("10.1.2.1", false), ("10.2.0.1", false), ("10.3.2.1", true), ("8.8.8.8", false), ("8.8.9.8", true)]
        {
            assert_eq!(policy.may_permit(ip(address)), expected, "{address}");
            assert_eq!(policy.may_send(at(address)), expected, "{address}");
        }
    }

    #[test]
    fn our_own_addresses_only_lead_to_relays() {
        let policy = Policy { own: behind_nat(), ..policy(&[], &["172.30.0.0/16"]) };
        for own in ["172.30.0.5", "93.184.216.34"] {
            assert!(policy.may_permit(ip(own)), "{own}");
            for (port, expected) in [(61000, true), (65535, true), (60999, false), (3478, false), (22, false), (62000, false)] {
                assert_eq!(policy.may_send(SocketAddr::new(ip(own), port)), expected, "{own}:{port}");
            }
        }
        for other in ["127.0.0.1", "::1", "93.184.216.35"] {
            assert!(!policy.may_permit(ip(other)) && !policy.may_send(SocketAddr::new(ip(other), 61000)), "{other}");
        }
    }

    #[test]
    fn an_opened_own_address_still_hides_our_ports() {
        let own = OwnAddresses { relayed: vec![], others: vec![], ..behind_nat() };
        let policy = Policy { own, ..policy(&["127.0.0.0/8"], &[]) };
        assert!(policy.may_permit(ip("127.0.0.1")));
        for loopback in ["127.0.0.1", "127.9.9.9"] {
            assert!(policy.may_send(SocketAddr::new(ip(loopback), 9000)));
            assert!(!policy.may_send(SocketAddr::new(ip(loopback), 3478)));
        }
    }

    #[test]
    fn loopback_relays_serve_a_machine_with_nothing_else() {
        let loopback = RelayedAddress { public: ip("127.0.0.1"), local: ip("127.0.0.1") };
        let policy = Policy { own: OwnAddresses { relayed: vec![loopback], others: vec![], ..behind_nat() }, ..policy(&[], &[]) };
        assert!(policy.may_permit(ip("127.0.0.1")) && policy.may_send("127.0.0.1:61000".parse().unwrap()));
        assert!(!policy.may_send("127.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn forms_are_translated_both_ways() {
        let mut own = behind_nat();
        assert_eq!(own.to_local(at("93.184.216.34")), at("172.30.0.5"));
        assert_eq!(own.to_local(at("172.30.0.5")), at("172.30.0.5"));
        assert_eq!(own.to_public(at("172.30.0.5")), at("93.184.216.34"));
        assert_eq!(own.to_public(at("8.8.8.8")), at("8.8.8.8"));
        own.renew(vec![RelayedAddress { public: ip("93.184.216.99"), local: ip("172.30.0.5") }]);
        assert_eq!(own.to_public(at("172.30.0.5")), at("93.184.216.99"), "the newest");
        assert_eq!(own.to_local(at("93.184.216.34")), at("172.30.0.5"), "old allocations are still met");
        for last in 0..100 {
            own.renew(vec![RelayedAddress { public: Ipv4Addr::new(93, 0, 0, last).into(), local: ip("172.30.0.5") }]);
        }
        assert_eq!(own.relayed.len(), MAX_RELAYED);
    }

    #[test]
    fn quotas_are_counted_and_given_back() {
        let quotas = Arc::new(Quotas::new(3, 2, 2));
        let a = quotas.take(b"a", ip("8.8.8.8")).unwrap();
        let _b = quotas.take(b"a", ip("8.8.4.4")).unwrap();
        assert_eq!(quotas.take(b"a", ip("8.8.1.1")).unwrap_err(), Full::User);
        let _c = quotas.take(b"b", ip("8.8.8.8")).unwrap();
        assert_eq!(quotas.take(b"c", ip("1.1.1.1")).unwrap_err(), Full::Total);
        drop(a);
        let _d = quotas.take(b"d", ip("8.8.8.8")).unwrap();
        drop((_b, _c, _d));
        assert_eq!(quotas.taken(), 0);
        let counts = quotas.lock();
        assert!(counts.users.is_empty() && counts.addresses.is_empty());
    }

    #[test]
    fn one_ipv6_site_is_one_address() {
        let quotas = Arc::new(Quotas::new(10, 10, 1));
        let _one = quotas.take(b"a", ip("2a00:1:2:3::1")).unwrap();
        assert_eq!(quotas.take(b"b", ip("2a00:1:2:3:ffff::2")).unwrap_err(), Full::Address);
        assert!(quotas.take(b"b", ip("2a00:1:2:4::1")).is_ok());
    }

    fn behind_nat() -> OwnAddresses {
        OwnAddresses {
            relayed: vec![RelayedAddress { public: ip("93.184.216.34"), local: ip("172.30.0.5") }],
            others: vec![ip("93.184.216.35")],
            relay_ports: PortRange { first: 61000, last: 65535 },
            own_ports: vec![3478, 62000],
        }
    }

    fn policy(allow: &[&str], deny: &[&str]) -> Policy {
        let prefixes = |texts: &[&str]| {
            let prefix = |text: &&str| {
                let (address, length) = text.split_once('/').unwrap();
                Prefix { address: ip(address), length: length.parse().unwrap() }
            };
            texts.iter().map(prefix).collect()
        };
        Policy { own: OwnAddresses { relayed: vec![], others: vec![], ..behind_nat() }, allow: prefixes(allow), deny: prefixes(deny) }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(ip(text), 5000)
    }
}
