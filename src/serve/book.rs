//! What can be said about the running daemon: the status document and the metrics, gathered from the counters of every room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::alerts;
use super::certificate::seconds;
use super::seats::Seats;
use super::traffic::Traffic;
use crate::config::model::RoomOpeners;
use crate::signal::Signal;
use crate::telemetry::metrics::{self, Family};
use crate::telemetry::status::{CertificateStatus, ListenerStatus, Status};
use crate::turn::{Counters, Relay, RelayedAddress};

/// A certificate with less left is a warning.
const EXPIRES_SOON: u64 = 7 * 86_400;

pub(super) struct Book {
    pub(super) started: SystemTime,
    pub(super) ready: AtomicBool,
    pub(super) link: ArcSwap<String>,
    pub(super) listeners: Vec<ListenerStatus>,
    pub(super) certificate: ArcSwap<CertificateStatus>,
    pub(super) signal: Signal,
    pub(super) relay: RelaySlot,
    pub(super) traffic: Arc<Traffic>,
    pub(super) seats: Seats,
    /// By topic, so that a topic that is well again takes its words back.
    pub(super) notes: Notes,
}

/// The relay until it is stopped.
#[derive(Clone)]
pub(super) struct RelaySlot(Arc<Mutex<Option<Relay>>>);

impl RelaySlot {
    pub(super) fn new(relay: Relay) -> Self {
        Self(Arc::new(Mutex::new(Some(relay))))
    }

    pub(super) fn take(&self) -> Option<Relay> {
        self.lock().take()
    }

    /// False once a thread of it has died; a relay that was stopped on purpose is not missed.
    pub(super) fn is_well(&self) -> bool {
        self.lock().as_ref().is_none_or(Relay::is_running)
    }

    pub(super) fn set_relayed(&self, relayed: Vec<RelayedAddress>) {
        if let Some(relay) = self.lock().as_ref() {
            relay.set_relayed(relayed);
        }
    }

    pub(super) fn set_own_ips(&self, own_ips: Vec<IpAddr>) {
        if let Some(relay) = self.lock().as_ref() {
            relay.set_own_ips(own_ips);
        }
    }

    fn counters(&self) -> Counters {
        self.lock().as_ref().map(Relay::counters).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Relay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sentences for the operator.
#[derive(Default)]
pub(super) struct Notes(Mutex<BTreeMap<&'static str, Vec<String>>>);

impl Notes {
    /// Replaces what was said about this topic; says it in the log when it is new.
    pub(super) fn set(&self, topic: &'static str, sentences: Vec<String>) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.get(topic);
        for sentence in sentences.iter().filter(|sentence| known.is_none_or(|known| !known.contains(sentence))) {
            tracing::warn!("{sentence}");
        }
        notes.insert(topic, sentences);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }
}

impl Book {
    pub(super) fn status(&self) -> Status {
        let (rooms, relay) = (self.signal.counts(), self.relay.counters());
        let certificate = CertificateStatus::clone(&self.certificate.load());
        let mut warnings = self.notes.all();
        warnings.extend(expiry_warning(certificate.not_after, seconds(SystemTime::now())));
        warnings.extend(alerts::warning(self.traffic.distrusting()));
        Status {
            link: self.link.load().to_string(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release: release(),
            started: seconds(self.started),
            ready: self.ready.load(Ordering::Relaxed),
            listeners: self.listeners.clone(),
            certificate,
            open_rooms: match self.signal.open_rooms() {
                RoomOpeners::Anyone => "anyone".to_owned(),
                RoomOpeners::Hosts => "hosts".to_owned(),
            },
            rooms: rooms.rooms,
            sockets: rooms.sockets,
            allocations: relay.allocations_now,
            relayed_bytes: relay.relayed_bytes,
            warnings,
        }
    }

    /// OpenMetrics text.
    pub(super) fn metrics(&self) -> String {
        let mut families = vec![
            Family::info("build_info", "what runs: always 1", vec![("version", env!("CARGO_PKG_VERSION").to_owned())]),
            Family::gauge("start_time_seconds", "when it started, since the epoch", seconds(self.started)),
            Family::gauge("certificate_not_after_seconds", "when the certificate expires, since the epoch", self.certificate.load().not_after),
        ];
        families.extend(self.port_families());
        families.extend(self.engine_families());
        metrics::render(families)
    }

    fn port_families(&self) -> Vec<Family> {
        let (alerts, fates) = (self.traffic.alert_totals(), self.traffic.fates());
        vec![
            Family::gauge("connections_open", "TCP connections of the https and http ports", self.seats.taken() as u64),
            Family::counters_by("connections", "TCP connections by what became of them", "fate", fates),
            Family::counters_by("tls_alerts", "handshakes that a client refused, by its alert", "reason", alerts),
            Family::gauge("distrusting_addresses", "addresses that refused the certificate in the last hour", self.traffic.distrusting() as u64),
        ]
    }

    fn engine_families(&self) -> Vec<Family> {
        let (rooms, relay) = (self.signal.counts(), self.relay.counters());
        vec![
            Family::gauge("signal_rooms", "rooms with somebody in them", rooms.rooms),
            Family::gauge("signal_clients", "seats taken", rooms.clients),
            Family::gauge("signal_sockets", "WebSockets open", rooms.sockets),
            Family::counter("signal_messages", "messages passed on", rooms.messages_total),
            Family::counter("signal_joins", "seats given", rooms.joins_total),
            Family::gauge("turn_allocations", "allocations now", relay.allocations_now),
            Family::counter("turn_allocations_granted", "allocations granted", relay.allocations_total),
            Family::counter("turn_relayed_packets", "packets relayed, both ways", relay.relayed_packets),
            Family::counter("turn_relayed_bytes", "payload relayed, both ways", relay.relayed_bytes),
            Family::counters_by("turn_drops", "packets dropped, by reason", "reason", relay.drops),
            Family::counters_by("turn_errors", "requests refused, by STUN error code", "code", relay.errors),
        ]
    }
}

fn expiry_warning(not_after: u64, now: u64) -> Option<String> {
    let left = not_after.saturating_sub(now);
    match (left, left / 86_400) {
        (0, _) => Some("the certificate has expired".into()),
        (EXPIRES_SOON.., _) => None,
        (_, 0) => Some("the certificate expires within a day".into()),
        (_, 1) => Some("the certificate expires in 1 day".into()),
        (_, days) => Some(format!("the certificate expires in {days} days")),
    }
}

/// The number of the release folder the binary runs from: `…/releases/7/rtcctl`.
fn release() -> Option<u64> {
    let binary = std::env::current_exe().ok()?;
    let folder = binary.parent()?;
    let releases = folder.parent()?.file_name()?;
    (releases == "releases").then(|| folder.file_name()?.to_str()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_a_warning() {
        let now = 1_800_000_000;
        for (left, expected) in [
            (0, Some("the certificate has expired")),
            (3_600, Some("the certificate expires within a day")),
            (86_400, Some("the certificate expires in 1 day")),
            (3 * 86_400 + 5, Some("the certificate expires in 3 days")),
            (EXPIRES_SOON, None),
        ] {
            assert_eq!(expiry_warning(now + left, now).as_deref(), expected, "{left}");
        }
        assert_eq!(expiry_warning(now - 5, now).as_deref(), Some("the certificate has expired"));
    }

    #[test]
    fn a_topic_that_is_well_again_takes_its_words_back() {
        let notes = Notes::default();
        notes.set("start", vec!["moved".into()]);
        notes.set("certificate", vec!["broken".into()]);
        assert_eq!(notes.all(), ["broken", "moved"]);
        notes.set("certificate", Vec::new());
        assert_eq!(notes.all(), ["moved"]);
    }
}
