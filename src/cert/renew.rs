//! Pure: whether a leaf must be issued anew, and why.

use std::fmt;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::bundle::Bundle;
use crate::config::HostName;

/// Why a leaf is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Clients are told of names that the leaf does not carry.
    Missing(Vec<HostName>),
    /// Less than a third of its life is left, or none.
    Old,
    /// The clock stands before its first day.
    NotYet,
    /// The CA that signed it is not the CA that devices are asked to trust.
    OtherCa,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                write!(f, "new name: {}", names.join(", "))
            }
            Self::Old => f.write_str("less than a third of its life is left"),
            Self::NotYet => f.write_str("the clock stands before its first day"),
            Self::OtherCa => f.write_str("another CA signed it"),
        }
    }
}

/// `None`: the leaf serves for all of `names` and was signed by this CA; further names in it do no harm.
pub fn due(bundle: &Bundle, ca: &CertificateDer<'_>, names: &[HostName], now: SystemTime) -> Option<Why> {
    if now < bundle.not_before {
        return Some(Why::NotYet);
    }
    let life = bundle.not_after.duration_since(bundle.not_before).unwrap_or_default();
    let left = bundle.not_after.duration_since(now).unwrap_or_default();
    if left < life / 3 {
        return Some(Why::Old);
    }
    if bundle.verify(ca, now).is_err() {
        return Some(Why::OtherCa);
    }
    let missing: Vec<HostName> = names.iter().filter(|name| !bundle.covers(name)).cloned().collect();
    (!missing.is_empty()).then_some(Why::Missing(missing))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Why, due};
    use crate::cert::bundle::{Bundle, parse};
    use crate::cert::selfsigned::{CA_LIFE, Issued, LEAF_LIFE, new_ca, new_leaf};
    use crate::config::HostName;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_leaf_is_due_for_exactly_four_reasons() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let names: Vec<HostName> = ["192.168.1.20", "myhost", "fd00::7"].iter().map(|n| n.parse().unwrap()).collect();
        let (ca, bundle) = pair(&names, now);
        let at = |then: SystemTime| due(&bundle, &ca.certificate_der, &names, then);

        assert_eq!(at(now), None);
        assert_eq!(due(&bundle, &ca.certificate_der, &names[..1], now), None, "more names than needed do no harm");
        assert_eq!(at(now - 2 * HOUR), Some(Why::NotYet));
        assert_eq!(at(now - HOUR / 2), None);
        let third = (LEAF_LIFE + HOUR) / 3;
        assert_eq!(at(bundle.not_after - third - HOUR), None);
        assert_eq!(at(bundle.not_after - third + HOUR), Some(Why::Old));
        assert_eq!(at(bundle.not_after + HOUR), Some(Why::Old));
        assert_eq!(due(&bundle, &pair(&names, now).0.certificate_der, &names, now), Some(Why::OtherCa));
        let new: HostName = "10.0.0.9".parse().unwrap();
        assert_eq!(due(&bundle, &ca.certificate_der, &[names[0].clone(), new.clone()], now), Some(Why::Missing(vec![new])));
    }

    fn pair(names: &[HostName], now: SystemTime) -> (Issued, Bundle) {
        let ca = new_ca(names, now).unwrap();
        let leaf = new_leaf(&ca.certificate_pem, &ca.key_pem, now + CA_LIFE, names, now).unwrap();
        let bundle = parse(leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes()).unwrap();
        (ca, bundle)
    }
}
