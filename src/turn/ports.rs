//! Pure: which relay port next: at random (RFC 6056 §3.3.1) among this shard's share of the range, skipping those that are taken or failed lately.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ring::digest;

use crate::config::PortRange;

/// How long a port is left alone that somebody else was seen on.
const AVOID: Duration = Duration::from_secs(60);

/// A port belongs to shard `(port - first) % shards`, so that even a small range serves every shard. Both tables are bounded by the range.
#[derive(Debug)]
pub struct Ports {
    range: PortRange,
    shard: usize,
    shards: usize,
    /// Ports of our own that lie in the range.
    reserved: Vec<u16>,
    taken: HashSet<SocketAddr>,
    failed: HashMap<SocketAddr, Instant>,
    random: Random,
}

impl Ports {
    pub fn new(range: PortRange, shard: usize, shards: usize, reserved: &[u16], seed: u64) -> Self {
        Self {
            range,
            shard,
            shards: shards.max(1),
            reserved: reserved.iter().copied().filter(|port| range.contains(*port)).collect(),
            taken: HashSet::new(),
            failed: HashMap::new(),
            random: Random::new(seed),
        }
    }

    /// Takes a port on this address; `None`: all are taken or avoided. Give it back with [`Ports::release`] or [`Ports::fail`].
    pub fn take(&mut self, now: Instant, local: IpAddr) -> Option<SocketAddr> {
        self.failed.retain(|_, since| now.saturating_duration_since(*since) < AVOID);
        let share = self.share();
        let start = self.random.below(share)?;
        let candidate = (0..share)
            .map(|step| SocketAddr::new(local, self.port((start + step) % share)))
            .find(|address| !self.taken.contains(address) && !self.failed.contains_key(address) && !self.reserved.contains(&address.port()))?;
        self.taken.insert(candidate);
        Some(candidate)
    }

    pub fn release(&mut self, address: SocketAddr) {
        self.taken.remove(&address);
    }

    /// Somebody else sits on it.
    pub fn fail(&mut self, now: Instant, address: SocketAddr) {
        self.release(address);
        self.failed.insert(address, now);
    }

    /// How many ports of the range are this shard's.
    fn share(&self) -> usize {
        self.range.count().saturating_sub(self.shard).div_ceil(self.shards)
    }

    fn port(&self, index: usize) -> u16 {
        self.range.first + (self.shard + index * self.shards) as u16
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
        for shards in 1..=12 {
            let mut all = Vec::new();
            for shard in 0..shards {
                all.extend(drain(&mut Ports::new(RANGE, shard, shards, &[], 1)).iter().map(|port| (*port, shard)));
            }
            all.sort_unstable();
            assert_eq!(all.iter().map(|(port, _)| *port).collect::<Vec<_>>(), (61000..=61009).collect::<Vec<_>>(), "{shards}");
            assert!(all.iter().all(|(port, shard)| usize::from(port - 61000) % shards == *shard));
        }
    }

    #[test]
    fn last_port_of_all_is_reached() {
        let range = PortRange { first: 65534, last: 65535 };
        assert_eq!(drain(&mut Ports::new(range, 1, 2, &[], 1)), [65535]);
    }

    #[test]
    fn own_ports_are_left_alone() {
        let mut ports = drain(&mut Ports::new(RANGE, 0, 1, &[3478, 61003], 1));
        ports.sort_unstable();
        assert_eq!(ports, [61000, 61001, 61002, 61004, 61005, 61006, 61007, 61008, 61009]);
    }

    #[test]
    fn order_is_not_the_same_twice() {
        let range = PortRange { first: 10_000, last: 60_000 };
        let mut ports = Ports::new(range, 0, 1, &[], 1);
        let first: Vec<_> = (0..5).map(|_| ports.take(Instant::now(), address()).unwrap()).collect();
        let mut ports = Ports::new(range, 0, 1, &[], 2);
        let second: Vec<_> = (0..5).map(|_| ports.take(Instant::now(), address()).unwrap()).collect();
        assert!(first.iter().all(|port| !second.contains(port)));
        assert!(first.windows(2).any(|pair| pair[1].port().abs_diff(pair[0].port()) > 1));
    }

    #[test]
    fn failed_ports_rest_and_return() {
        let now = Instant::now();
        let mut ports = Ports::new(PortRange { first: 61000, last: 61000 }, 0, 1, &[], 1);
        let port = ports.take(now, address()).unwrap();
        assert_eq!(ports.take(now, address()), None);
        ports.fail(now, port);
        assert_eq!(ports.take(now + AVOID - Duration::from_nanos(1), address()), None);
        assert_eq!(ports.take(now + AVOID, address()), Some(port));
        ports.release(port);
        assert_eq!(ports.take(now, address()), Some(port));
    }

    fn drain(ports: &mut Ports) -> Vec<u16> {
        let now = Instant::now();
        std::iter::from_fn(|| ports.take(now, address())).map(|address| address.port()).collect()
    }

    fn address() -> IpAddr {
        "10.0.0.1".parse().unwrap()
    }
}
