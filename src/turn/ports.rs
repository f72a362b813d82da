//! Pure: which relay port next: at random (RFC 6056 §3.3.1) among this shard's share of the range, skipping those that are taken or failed lately;
//! and the ports that are kept for whoever comes with a token (RFC 8656 §7.2, EVEN-PORT and RESERVATION-TOKEN).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ring::digest;

use crate::config::PortRange;

/// How long a port is left alone that somebody else was seen on.
const AVOID: Duration = Duration::from_secs(60);

/// How long a port is kept for its token; the standard asks for 30 seconds at least.
const KEEP: Duration = Duration::from_secs(40);

/// Ports kept at a time: reserving is no way to empty the range.
const MAX_KEPT: usize = 64;

pub type Token = [u8; 8];

/// What is asked of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Any,
    Even,
    /// Even, and the one above is kept for a token.
    EvenAndNext,
}

/// A port that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub address: SocketAddr,
    /// For the port above.
    pub token: Option<Token>,
}

/// Ports are dealt to shards in pairs, even and odd, so that every shard has both kinds; where pairs would leave a shard empty, one by one.
/// Both tables are bounded by the range.
#[derive(Debug)]
pub struct Ports {
    range: PortRange,
    shard: usize,
    shards: usize,
    /// Ports of our own that lie in the range.
    own: Vec<u16>,
    taken: HashSet<SocketAddr>,
    failed: HashMap<SocketAddr, Instant>,
    reservations: Arc<Reservations>,
    random: Random,
}

impl Ports {
    pub fn new(range: PortRange, shard: usize, shards: usize, own: &[u16], reservations: Arc<Reservations>, seed: u64) -> Self {
        Self {
            range,
            shard,
            shards: shards.max(1),
            own: own.iter().copied().filter(|port| range.contains(*port)).collect(),
            taken: HashSet::new(),
            failed: HashMap::new(),
            reservations,
            random: Random::new(seed),
        }
    }

    /// Takes a port on this address; `None`: all are taken or avoided. Give it back with [`Ports::release`] or [`Ports::fail`].
    pub fn take(&mut self, now: Instant, local: IpAddr, wish: Wish) -> Option<Taken> {
        self.failed.retain(|_, since| now.saturating_duration_since(*since) < AVOID);
        let start = self.random.below(self.range.count())?;
        let token = self.random.bytes();
        let mut kept = self.reservations.lock();
        kept.forget(now);
        let is_free = |port: u16| {
            let address = SocketAddr::new(local, port);
            self.owns(port) && !self.taken.contains(&address) && !self.failed.contains_key(&address) && !kept.holds(address)
        };
        let fits = |port: u16| match wish {
            Wish::Any => is_free(port),
            Wish::Even => port.is_multiple_of(2) && is_free(port),
            Wish::EvenAndNext => port.is_multiple_of(2) && is_free(port) && port.checked_add(1).is_some_and(is_free),
        };
        let count = self.range.count();
        let port = (0..count).map(|step| self.range.first + ((start + step) % count) as u16).find(|port| fits(*port))?;
        let token = match wish {
            Wish::EvenAndNext => Some(kept.keep(token, SocketAddr::new(local, port + 1), now + KEEP)?),
            Wish::Any | Wish::Even => None,
        };
        drop(kept);
        let address = SocketAddr::new(local, port);
        self.taken.insert(address);
        Some(Taken { address, token })
    }

    pub fn release(&mut self, address: SocketAddr) {
        if !self.taken.remove(&address) {
            self.reservations.lock().lent.remove(&address);
        }
    }

    /// Somebody else sits on it.
    pub fn fail(&mut self, now: Instant, address: SocketAddr) {
        self.release(address);
        if self.owns(address.port()) {
            self.failed.insert(address, now);
        }
    }

    fn owns(&self, port: u16) -> bool {
        let (first, last) = (self.range.first, self.range.last);
        let pairs = usize::from(last / 2 - first / 2) + 1;
        let turn = if pairs >= self.shards { usize::from(port / 2 - first / 2) } else { usize::from(port - first) };
        self.range.contains(port) && turn % self.shards == self.shard && !self.own.contains(&port)
    }
}

/// Ports that are kept for a token or were taken with one, on whatever shard; shared by all. Control path only.
#[derive(Debug, Default)]
pub struct Reservations {
    kept: Mutex<Kept>,
}

/// `waiting` is bounded by [`MAX_KEPT`], `lent` by the allocations there may be.
#[derive(Debug, Default)]
struct Kept {
    waiting: HashMap<Token, (SocketAddr, Instant)>,
    lent: HashSet<SocketAddr>,
}

impl Reservations {
    /// The port of this token, once and in time. It is given back by [`Ports::release`] on any shard.
    pub fn claim(&self, now: Instant, token: &Token) -> Option<SocketAddr> {
        let mut kept = self.lock();
        kept.forget(now);
        let (address, _) = kept.waiting.remove(token)?;
        kept.lent.insert(address);
        Some(address)
    }

    /// What the token stands for comes to nothing: the port is free again.
    pub fn cancel(&self, token: &Token) {
        self.lock().waiting.remove(token);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn holds(&self, address: SocketAddr) -> bool {
        self.lent.contains(&address) || self.waiting.values().any(|(kept, _)| *kept == address)
    }

    fn keep(&mut self, token: Token, address: SocketAddr, ends: Instant) -> Option<Token> {
        let fits = self.waiting.len() < MAX_KEPT;
        fits.then(|| self.waiting.insert(token, (address, ends)));
        fits.then_some(token)
    }

    fn forget(&mut self, now: Instant) {
        self.waiting.retain(|_, (_, ends)| now < *ends);
    }
}

/// Numbers nobody can foresee without the seed: SHA-256 of seed and counter.
#[derive(Debug)]
pub(super) struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32) };
        self.counter += 1;
        let mut input = [0; 16];
        input[..8].copy_from_slice(&self.seed.to_be_bytes());
        input[8..].copy_from_slice(&self.counter.to_be_bytes());
        let mut bytes = [0; N];
        bytes.copy_from_slice(&digest::digest(&digest::SHA256, &input).as_ref()[..N]);
        bytes
    }

    /// `None` for zero.
    fn below(&mut self, bound: usize) -> Option<usize> {
        usize::try_from(u64::from_be_bytes(self.bytes())).ok()?.checked_rem(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: PortRange = PortRange { first: 61000, last: 61009 };

    #[test]
    fn shards_divide_the_range_without_rest() {
        for range in [RANGE, PortRange { first: 61001, last: 61010 }, PortRange { first: 65530, last: 65535 }] {
            for shards in 1..=range.count() {
                let shares: Vec<Vec<u16>> = (0..shards).map(|shard| drain(&mut ports(range, shard, shards, &[]), Wish::Any)).collect();
                assert!(shares.iter().all(|share| !share.is_empty()), "{range}: a shard of {shards} has no port");
                let mut all = shares.concat();
                all.sort_unstable();
                assert_eq!(all, (range.first..=range.last).collect::<Vec<_>>(), "{range} {shards}");
            }
        }
    }

    #[test]
    fn every_shard_has_even_ports() {
        for shard in 0..5 {
            assert_eq!(drain(&mut ports(RANGE, shard, 5, &[]), Wish::Even), [61000 + 2 * shard as u16]);
        }
    }

    #[test]
    fn own_ports_are_left_alone() {
        let mut drawn = drain(&mut ports(RANGE, 0, 1, &[3478, 61003]), Wish::Any);
        drawn.sort_unstable();
        assert_eq!(drawn, [61000, 61001, 61002, 61004, 61005, 61006, 61007, 61008, 61009]);
        let mut drawn = drain(&mut ports(RANGE, 0, 1, &[61003]), Wish::EvenAndNext);
        drawn.sort_unstable();
        assert_eq!(drawn, [61000, 61004, 61006, 61008], "61002 has no free neighbour");
    }

    #[test]
    fn order_is_not_the_same_twice() {
        let range = PortRange { first: 10_000, last: 60_000 };
        let five = |seed| {
            let mut ports = Ports::new(range, 0, 1, &[], Arc::default(), seed);
            (0..5).map(|_| ports.take(Instant::now(), address(), Wish::Any).unwrap().address.port()).collect::<Vec<u16>>()
        };
        let (first, second) = (five(1), five(2));
        assert!(first.iter().all(|port| !second.contains(port)));
        assert!(first.windows(2).any(|pair| pair[1].abs_diff(pair[0]) > 1));
    }

    #[test]
    fn failed_ports_rest_and_return() {
        let now = Instant::now();
        let mut ports = ports(PortRange { first: 61000, last: 61000 }, 0, 1, &[]);
        let take = |ports: &mut Ports, now| ports.take(now, address(), Wish::Any).map(|taken| taken.address);
        let port = take(&mut ports, now).unwrap();
        assert_eq!(take(&mut ports, now), None);
        ports.fail(now, port);
        assert_eq!(take(&mut ports, now + AVOID - Duration::from_nanos(1)), None);
        assert_eq!(take(&mut ports, now + AVOID), Some(port));
        ports.release(port);
        assert_eq!(take(&mut ports, now), Some(port));
    }

    #[test]
    fn a_kept_port_is_for_its_token_once_and_in_time() {
        let now = Instant::now();
        let range = PortRange { first: 61000, last: 61001 };
        let mut ports = ports(range, 0, 1, &[]);
        let reservations = Arc::clone(&ports.reservations);
        let first = ports.take(now, address(), Wish::EvenAndNext).unwrap();
        let token = first.token.unwrap();
        assert_eq!(ports.take(now, address(), Wish::Any), None, "the odd one is kept");
        assert_eq!(reservations.claim(now, &[0; 8]), None);
        let odd = reservations.claim(now, &token).unwrap();
        assert_eq!((first.address.port(), odd.port()), (61000, 61001));
        assert_eq!(reservations.claim(now, &token), None, "once");
        assert_eq!(ports.take(now + KEEP, address(), Wish::Any), None, "in use");
        ports.release(odd);
        ports.release(first.address);
        let token = ports.take(now, address(), Wish::EvenAndNext).unwrap().token.unwrap();
        assert_eq!(reservations.claim(now + KEEP, &token), None, "too late");
        assert_eq!(ports.take(now + KEEP, address(), Wish::Any).map(|taken| taken.address), Some(odd));
    }

    #[test]
    fn only_so_many_ports_are_kept() {
        let mut ports = ports(PortRange { first: 10_000, last: 20_000 }, 0, 1, &[]);
        assert_eq!(drain(&mut ports, Wish::EvenAndNext).len(), MAX_KEPT);
        assert!(ports.take(Instant::now(), address(), Wish::Any).is_some());
    }

    fn ports(range: PortRange, shard: usize, shards: usize, own: &[u16]) -> Ports {
        Ports::new(range, shard, shards, own, Arc::default(), 1)
    }

    fn drain(ports: &mut Ports, wish: Wish) -> Vec<u16> {
        let now = Instant::now();
        std::iter::from_fn(|| ports.take(now, address(), wish)).map(|taken| taken.address.port()).collect()
    }

    fn address() -> IpAddr {
        "10.0.0.1".parse().unwrap()
    }
}
