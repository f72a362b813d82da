//! What came to our TCP ports, as plain counters; read for status and metrics.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::alerts::{self, Alerts};

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Fate {
    Http1,
    Http2,
    /// Handed to the relay.
    Turn,
    /// Plain HTTP, on its own port or on the TLS port.
    Plain,
    /// Gone or silent before it said what it wanted.
    TimedOut,
    Closed,
    /// The TLS handshake failed.
    Failed,
    /// No seat was free.
    Full,
    /// The system had no descriptor or memory left for it.
    Exhausted,
}

const FATES: [&str; 9] = ["http1", "http2", "turn", "plain", "timed_out", "closed", "failed", "full", "exhausted"];

#[derive(Debug, Default)]
pub(super) struct Traffic {
    fates: [AtomicU64; FATES.len()],
    alerts: Mutex<Alerts>,
}

impl Traffic {
    pub(super) fn count(&self, fate: Fate) {
        self.fates[fate as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn of(&self, fate: Fate) -> u64 {
        self.fates[fate as usize].load(Ordering::Relaxed)
    }

    pub(super) fn fates(&self) -> Vec<(&'static str, u64)> {
        FATES.into_iter().zip(self.fates.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }

    pub(super) fn alert(&self, client: IpAddr, alert: rustls::AlertDescription) {
        tracing::debug!(%client, reason = alerts::reason(alert), "a client refused the handshake");
        self.alerts().count(Instant::now(), client, alert);
    }

    pub(super) fn alert_totals(&self) -> Vec<(&'static str, u64)> {
        self.alerts().totals()
    }

    /// Addresses that refused the certificate within the last hour.
    pub(super) fn distrusting(&self) -> usize {
        self.alerts().distrusting(Instant::now())
    }

    fn alerts(&self) -> MutexGuard<'_, Alerts> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
