//! Counts of one shard: plain integers while it works, copied to a board of atomics once per turn of its loop for whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Counters;

/// Why a packet or a connection was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// A datagram that begins like neither STUN nor ChannelData.
    NotTurn,
    /// ChannelData or a Send indication that contradicts itself.
    Malformed,
    /// ChannelData for a channel that is not bound.
    NoChannel,
    /// A Send indication without a permission for its peer.
    NoPermission,
    /// A peer that the client gave no permission.
    PeerNotPermitted,
    /// A peer that may not be reached at all.
    PeerDenied,
    /// More than `max_bandwidth`.
    Bandwidth,
    /// A TCP or TLS client that does not read fast enough.
    SlowClient,
    /// The kernel did not take it.
    NotSent,
    /// Fits no message to the client.
    TooLarge,
    /// A connection above a limit, or one that came while the relay stops.
    ConnectionRefused,
    /// A connection that spoke something else.
    ConnectionNotTurn,
    /// A connection that did not become an allocation in time.
    ConnectionIdle,
}

/// In the order of [`Dropped`]: labels of the metric.
const REASONS: [&str; 13] = [
    "not_turn",
    "malformed",
    "no_channel",
    "no_permission",
    "peer_not_permitted",
    "peer_denied",
    "bandwidth",
    "slow_client",
    "not_sent",
    "too_large",
    "connection_refused",
    "connection_not_turn",
    "connection_idle",
];

/// The error codes of STUN and TURN that a server sends; others are not told apart.
const CODES: [u16; 16] = [300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 500, 508];

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) relayed_packets: u64,
    pub(super) relayed_bytes: u64,
    drops: [u64; REASONS.len()],
}

impl Stats {
    pub(super) fn relayed(&mut self, bytes: usize) {
        self.relayed_packets += 1;
        self.relayed_bytes += bytes as u64;
    }

    pub(super) fn drop(&mut self, why: Dropped) {
        self.drop_many(why, 1);
    }

    pub(super) fn drop_many(&mut self, why: Dropped, count: usize) {
        self.drops[why as usize] += count as u64;
    }
}

/// What one shard last published.
#[derive(Debug, Default)]
pub(super) struct Board {
    allocations_now: AtomicU64,
    allocations_total: AtomicU64,
    relayed_packets: AtomicU64,
    relayed_bytes: AtomicU64,
    drops: [AtomicU64; REASONS.len()],
    /// Connections turned away before they reached a shard.
    pub(super) refused: AtomicU64,
    /// Set once it takes no new allocations: the count of those it has can only fall from here.
    draining: AtomicBool,
    errors: [AtomicU64; CODES.len()],
}

impl Board {
    pub(super) fn publish(&self, stats: &Stats, allocations: usize, server: &super::server::Stats) {
        let set = |cell: &AtomicU64, value: u64| cell.store(value, Ordering::Relaxed);
        set(&self.allocations_now, allocations as u64);
        set(&self.allocations_total, server.allocations_total);
        set(&self.relayed_packets, stats.relayed_packets);
        set(&self.relayed_bytes, stats.relayed_bytes);
        for (cell, value) in self.drops.iter().zip(stats.drops) {
            set(cell, value);
        }
        for (code, count) in &server.errors {
            if let Some(index) = CODES.iter().position(|known| known == code) {
                set(&self.errors[index], *count);
            }
        }
    }

    /// After a [`Self::publish`] that counted the last allocation it will ever take.
    pub(super) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// It drains, and has nothing left.
    pub(super) fn is_drained(&self) -> bool {
        self.draining.load(Ordering::Acquire) && self.allocations_now.load(Ordering::Relaxed) == 0
    }

    /// The sum over all shards.
    pub(super) fn sum<'a>(boards: impl Iterator<Item = &'a Self> + Clone) -> Counters {
        let total = |cell: fn(&Self) -> &AtomicU64| boards.clone().map(|board| cell(board).load(Ordering::Relaxed)).sum();
        let nth = |cells: fn(&Self) -> &[AtomicU64], index: usize| boards.clone().map(|board| cells(board)[index].load(Ordering::Relaxed)).sum();
        let mut drops: Vec<(&'static str, u64)> =
            REASONS.iter().enumerate().map(|(index, reason)| (*reason, nth(|board| &board.drops, index))).collect();
        drops[Dropped::ConnectionRefused as usize].1 += total(|board| &board.refused);
        Counters {
            allocations_now: total(|board| &board.allocations_now),
            allocations_total: total(|board| &board.allocations_total),
            relayed_packets: total(|board| &board.relayed_packets),
            relayed_bytes: total(|board| &board.relayed_bytes),
            drops,
            errors: CODES
                .iter()
                .enumerate()
                .map(|(index, code)| (*code, nth(|board| &board.errors, index)))
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_add_up_and_every_reason_has_its_name() {
        let boards = [Board::default(), Board::default()];
        for (board, packets) in boards.iter().zip([3, 4]) {
            let mut stats = Stats::default();
            (0..packets).for_each(|_| stats.relayed(100));
            stats.drop(Dropped::NotTurn);
            stats.drop_many(Dropped::ConnectionIdle, 2);
            let server = super::super::server::Stats { allocations_total: 5, errors: vec![(401, 2), (508, 1)], ..Default::default() };
            board.publish(&stats, 1, &server);
        }
        boards[1].refused.fetch_add(9, Ordering::Relaxed);
        let sum = Board::sum(boards.iter());
        assert_eq!((sum.allocations_now, sum.allocations_total, sum.relayed_packets, sum.relayed_bytes), (2, 10, 7, 700));
        assert_eq!(sum.errors, [(401, 4), (508, 2)]);
        let of = |name: &str| sum.drops.iter().find(|(reason, _)| *reason == name).unwrap().1;
        assert_eq!((of("not_turn"), of("connection_idle"), of("connection_refused"), of("malformed")), (2, 4, 9, 0));
        assert!(!boards[0].is_drained(), "it has an allocation");
        boards[0].set_draining();
        assert!(!boards[0].is_drained(), "it still has");
        boards[0].publish(&Stats::default(), 0, &super::super::server::Stats::default());
        assert!(boards[0].is_drained() && !boards[1].is_drained());
        assert_eq!(REASONS.len(), Dropped::ConnectionIdle as usize + 1);
    }
}
