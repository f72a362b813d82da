//! Pure: which relay ports are alive on any shard: the one thing shards know about each other, read with one load per packet.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 65_536 / 64;

/// A bit per port and family.
#[derive(Debug)]
pub(super) struct LivePorts {
    v4: Box<[AtomicU64]>,
    v6: Box<[AtomicU64]>,
}

impl Default for LivePorts {
    fn default() -> Self {
        let none = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { v4: none(), v6: none() }
    }
}

impl LivePorts {
    pub(super) fn insert(&self, relay: SocketAddr) {
        let (word, bit) = self.place(relay);
        word.fetch_or(bit, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, relay: SocketAddr) {
        let (word, bit) = self.place(relay);
        word.fetch_and(!bit, Ordering::Relaxed);
    }

    pub(super) fn contains(&self, relay: SocketAddr) -> bool {
        let (word, bit) = self.place(relay);
        word.load(Ordering::Relaxed) & bit != 0
    }

    fn place(&self, relay: SocketAddr) -> (&AtomicU64, u64) {
        let words = if relay.is_ipv4() { &self.v4 } else { &self.v6 };
        (&words[usize::from(relay.port() / 64)], 1 << (relay.port() % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_lives_from_insert_to_remove_in_its_family() {
        let live = LivePorts::default();
        let (v4, v6): (SocketAddr, SocketAddr) = ("10.0.0.1:65535".parse().unwrap(), "[::1]:65535".parse().unwrap());
        live.insert(v4);
        live.insert("10.0.0.1:65534".parse().unwrap());
        assert!(live.contains(v4) && !live.contains(v6));
        live.remove(v4);
        assert!(!live.contains(v4) && live.contains("10.0.0.1:65534".parse().unwrap()));
    }
}
