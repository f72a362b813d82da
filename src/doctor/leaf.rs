//! Pure: what a chain of certificates says of itself, whoever shows it and whether or not there is a key to it.

use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::HostName;

/// The first certificate of a chain, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Subject alternative names as people write them; those are what browsers read.
    pub(super) names: Vec<String>,
    pub(super) common_name: Option<String>,
    pub(super) issuer: String,
    pub(super) is_self_signed: bool,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Leaf {
    /// `None` when it cannot be read.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        let names = leaf.subject_alternative_name().ok().flatten().map(|san| san.value.general_names.iter().filter_map(shown).collect());
        let time = |t: x509_parser::time::ASN1Time| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(t.timestamp()).unwrap_or(0));
        Some(Self {
            names: names.unwrap_or_default(),
            common_name: leaf.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned),
            issuer: leaf.issuer().to_string(),
            is_self_signed: leaf.issuer() == leaf.subject(),
            not_before: time(leaf.validity().not_before),
            not_after: time(leaf.validity().not_after),
        })
    }

    /// `call.example.org`, or `a, b and 3 more`.
    pub(super) fn told(&self) -> String {
        match self.names.as_slice() {
            [] => "no name at all".to_owned(),
            [one] => one.clone(),
            [one, two] => format!("{one} and {two}"),
            [one, two, rest @ ..] => format!("{one}, {two} and {} more", rest.len()),
        }
    }
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(dns) => Some((*dns).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// Whether a client that connects to this name accepts the leaf, wildcards included.
pub(super) fn covers(chain: &[CertificateDer<'_>], name: &HostName) -> bool {
    let server = match name {
        HostName::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
        HostName::Dns(dns) => ServerName::try_from(dns.as_str()),
    };
    let leaf = chain.first().and_then(|leaf| rustls::server::ParsedCertificate::try_from(leaf).ok());
    matches!((server, leaf), (Ok(server), Some(leaf)) if rustls::client::verify_server_name(&leaf, &server).is_ok())
}

/// Where the chain leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// To one of the roots.
    Trusted,
    /// Nobody here knows who signed the last certificate of it.
    UnknownIssuer,
    Wrong(String),
}

/// Follows the chain to `roots` as a client would that fetches nothing itself. Its life is not judged: an expired one is looked at in the middle of it.
pub(super) fn follow(chain: &[CertificateDer<'static>], roots: &[CertificateDer<'static>], leaf: &Leaf, now: SystemTime) -> Path {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let middle = leaf.not_before + leaf.not_after.duration_since(leaf.not_before).unwrap_or_default() / 2;
    let at = if now >= leaf.not_before && now < leaf.not_after { now } else { middle };
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let Some(parsed) = chain.first().and_then(|leaf| rustls::server::ParsedCertificate::try_from(leaf).ok()) else {
        return Path::Wrong("the certificate is damaged".into());
    };
    match rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &store, &chain[1..], at, algorithms.all) {
        Ok(()) => Path::Trusted,
        // An authority that was made anew under its old name has another key.
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => Path::UnknownIssuer,
        Err(_) if roots.iter().any(|root| Some(root) == chain.first()) => Path::Trusted,
        Err(error) => Path::Wrong(error.to_string()),
    }
}

/// The place where one certificate is not signed by the next, counted from 1.
pub(super) fn break_in(chain: &[CertificateDer<'_>]) -> Option<usize> {
    let parsed: Vec<X509Certificate<'_>> = chain.iter().filter_map(|der| X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed)).collect();
    parsed.windows(2).position(|pair| pair[0].issuer() != pair[1].subject()).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn authority<'a>(name: &str) -> CertifiedIssuer<'a, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_leaf_needs_the_one_in_between() {
        let root = authority("Root");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
        let params = CertificateParams::new(vec!["call.test".into(), "*.rooms.test".into(), "203.0.113.7".into()]).unwrap();
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &between).unwrap();
        let chain = vec![leaf.der().clone(), between.der().clone()];
        let facts = Leaf::of(&chain).unwrap();
        let now = SystemTime::now();
        assert_eq!(facts.told(), "call.test, *.rooms.test and 1 more");
        assert_eq!(follow(&chain, &[root.der().clone()], &facts, now), Path::Trusted);
        assert_eq!(follow(&chain[..1], &[root.der().clone()], &facts, now), Path::UnknownIssuer);
        assert_eq!(follow(&chain, &[authority("Other").der().clone()], &facts, now), Path::UnknownIssuer);
        assert_eq!(follow(&chain, &[root.der().clone()], &facts, now + Duration::from_secs(1 << 40)), Path::Trusted, "its life is not judged");
        assert_eq!((break_in(&chain), break_in(&[chain[0].clone(), root.der().clone()])), (None, Some(1)));
        let names = ["call.test", "a.rooms.test", "203.0.113.7", "rooms.test", "203.0.113.8"].map(|n| covers(&chain, &n.parse().unwrap()));
        assert_eq!(names, [true, true, true, false, false]);
    }
}
