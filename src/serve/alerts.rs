//! Pure: the TLS alerts that clients sent, by reason and by address: a device that does not trust our certificate says so here and nowhere else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustls::AlertDescription;

/// How long an address is remembered after its last alert.
const MEMORY: Duration = Duration::from_secs(3600);
/// Addresses remembered at once; beyond it the one silent for longest is forgotten.
const MAX_ADDRESSES: usize = 1024;

/// Alerts by reason since the start, and the addresses that distrust the certificate.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    totals: [u64; REASONS.len()],
    distrusting: HashMap<IpAddr, Instant>,
}

/// Every reason that is told apart; the rest is `other`.
const REASONS: [&str; 10] = [
    "unknown_ca",
    "bad_certificate",
    "certificate_unknown",
    "certificate_expired",
    "unsupported_certificate",
    "handshake_failure",
    "protocol_version",
    "decrypt_error",
    "user_canceled",
    "other",
];
/// The first ones say that the certificate is not believed.
const DISTRUST: usize = 4;

impl Alerts {
    pub(super) fn count(&mut self, now: Instant, client: IpAddr, alert: AlertDescription) {
        let reason = index(alert);
        self.totals[reason] += 1;
        if reason >= DISTRUST {
            return;
        }
        self.forget(now);
        if self.distrusting.len() >= MAX_ADDRESSES
            && !self.distrusting.contains_key(&client)
            && let Some(oldest) = self.distrusting.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip)
        {
            self.distrusting.remove(&oldest);
        }
        self.distrusting.insert(client, now);
    }

    /// How many addresses refused the certificate within the last hour.
    pub(super) fn distrusting(&mut self, now: Instant) -> usize {
        self.forget(now);
        self.distrusting.len()
    }

    /// Since the start, by reason; only reasons that were seen.
    pub(super) fn totals(&self) -> Vec<(&'static str, u64)> {
        REASONS.into_iter().zip(self.totals).filter(|(_, count)| *count > 0).collect()
    }

    fn forget(&mut self, now: Instant) {
        self.distrusting.retain(|_, at| now.saturating_duration_since(*at) < MEMORY);
    }
}

/// The RFC's name of the alert (RFC 8446 §6).
pub(super) fn reason(alert: AlertDescription) -> &'static str {
    REASONS[index(alert)]
}

/// One sentence for `status`.
pub(super) fn warning(distrusting: usize) -> Option<String> {
    match distrusting {
        0 => None,
        1 => Some("1 device does not trust this certificate: it needs /ca".into()),
        n => Some(format!("{n} devices do not trust this certificate: they need /ca")),
    }
}

fn index(alert: AlertDescription) -> usize {
    match alert {
        AlertDescription::UnknownCA => 0,
        AlertDescription::BadCertificate => 1,
        AlertDescription::CertificateUnknown => 2,
        AlertDescription::CertificateExpired => 3,
        AlertDescription::UnsupportedCertificate => 4,
        AlertDescription::HandshakeFailure => 5,
        AlertDescription::ProtocolVersion => 6,
        AlertDescription::DecryptError => 7,
        AlertDescription::UserCanceled => 8,
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_counts_once_and_is_forgotten_after_an_hour() {
        let (mut alerts, start) = (Alerts::default(), Instant::now());
        alerts.count(start, address(1), AlertDescription::UnknownCA);
        alerts.count(start, address(1), AlertDescription::BadCertificate);
        alerts.count(start + MEMORY / 2, address(2), AlertDescription::CertificateUnknown);
        assert_eq!(alerts.distrusting(start + MEMORY / 2), 2);
        assert_eq!(alerts.distrusting(start + MEMORY), 1);
        assert_eq!(alerts.distrusting(start + MEMORY * 2), 0);
        assert_eq!(alerts.totals(), [("unknown_ca", 1), ("bad_certificate", 1), ("certificate_unknown", 1)]);
    }

    #[test]
    fn other_alerts_do_not_accuse_a_device() {
        let (mut alerts, now) = (Alerts::default(), Instant::now());
        alerts.count(now, address(1), AlertDescription::ProtocolVersion);
        alerts.count(now, address(1), AlertDescription::NoRenegotiation);
        assert_eq!(alerts.distrusting(now), 0);
        assert_eq!(alerts.totals(), [("protocol_version", 1), ("other", 1)]);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest_first() {
        let (mut alerts, start) = (Alerts::default(), Instant::now());
        for n in 0..=MAX_ADDRESSES as u32 {
            alerts.count(start + Duration::from_millis(n.into()), address(n), AlertDescription::UnknownCA);
        }
        assert_eq!(alerts.distrusting.len(), MAX_ADDRESSES);
        assert!(!alerts.distrusting.contains_key(&address(0)));
        assert!(alerts.distrusting.contains_key(&address(1)));
    }

    #[test]
    fn the_warning_speaks_of_one_and_of_many() {
        assert_eq!(warning(0), None);
        assert!(warning(1).unwrap().starts_with("1 device does"));
        assert!(warning(2).unwrap().starts_with("2 devices do"));
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }
}
