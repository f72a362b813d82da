//! Pure: a chain with its key, read out of PEM, and what can be said of it: names, life, who vouches.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::HostName;

/// A chain with its key, and what can be said of it.
#[derive(Debug)]
pub struct Bundle {
    /// DER, the leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Names and addresses of the leaf; a wildcard is no [`HostName`] and stands only in [`Bundle::wildcards`].
    pub names: Vec<HostName>,
    /// `*.example.org`
    pub wildcards: Vec<String>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Who vouches: `local CA`, `itself`, or the issuer's own name.
    pub issuer: String,
}

/// Why two PEM texts are no usable pair.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    #[error("no certificate in it (no BEGIN CERTIFICATE line)")]
    NoCertificate,
    #[error("no private key in it (no BEGIN PRIVATE KEY line)")]
    NoKey,
    #[error("the private key is encrypted with a pass phrase")]
    EncryptedKey,
    #[error("not readable as PEM: {0}")]
    Pem(String),
    #[error("certificate {0} of the chain is damaged")]
    Damaged(usize),
    #[error("the private key does not belong to the first certificate")]
    KeyMismatch,
    #[error("the private key does not belong to the first certificate but to certificate {0}: the server's own must come first")]
    LeafNotFirst(usize),
    #[error("certificate {0} is not vouched for by the one after it: order is server, intermediate, root")]
    Order(usize),
    #[error("the private key is of a kind that is not supported (use ECDSA P-256/P-384, RSA or Ed25519)")]
    KeyKind,
    #[error("the certificate names no host (no subject alternative name)")]
    NoNames,
}

impl Bundle {
    /// The leaf is for this name or address, wildcards included.
    pub fn covers(&self, name: &HostName) -> bool {
        let server = match name {
            HostName::Ip(ip) => ServerName::IpAddress((*ip).into()),
            HostName::Dns(dns) => match ServerName::try_from(dns.as_str()) {
                Ok(server) => server,
                Err(_) => return false,
            },
        };
        let leaf = rustls::server::ParsedCertificate::try_from(&self.chain[0]);
        leaf.is_ok_and(|leaf| rustls::client::verify_server_name(&leaf, &server).is_ok())
    }

    /// The chain leads to this CA now: signatures, validity, usage and name constraints as a TLS client sees them. The error is rustls' own.
    pub fn verify(&self, ca: &CertificateDer<'_>, now: SystemTime) -> Result<(), rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let leaf = rustls::server::ParsedCertificate::try_from(&self.chain[0])?;
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &self.chain[1..], now, algorithms.all)
    }

    /// SHA-256 of the leaf's DER.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.chain[0])
    }
}

pub(super) fn sha256(der: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, der).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Reads a chain and a key out of PEM texts, which may be the same text. Other blocks (parameters, comments) are passed over.
pub fn parse(chain_pem: &[u8], key_pem: &[u8]) -> Result<Bundle, BundleError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain_pem).collect::<Result<_, _>>().map_err(|e| BundleError::Pem(e.to_string()))?;
    if chain.is_empty() {
        return Err(BundleError::NoCertificate);
    }
    let key = private_key(key_pem)?;
    let parsed: Vec<X509Certificate<'_>> = chain
        .iter()
        .enumerate()
        .map(|(index, der)| X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|_| BundleError::Damaged(index + 1)))
        .collect::<Result<_, _>>()?;
    check_key(&chain, &parsed, &key)?;
    if let Some(index) = parsed.windows(2).position(|pair| pair[0].issuer() != pair[1].subject()) {
        return Err(BundleError::Order(index + 1));
    }
    let leaf = &parsed[0];
    let (names, wildcards) = names(leaf);
    if names.is_empty() && wildcards.is_empty() {
        return Err(BundleError::NoNames);
    }
    let (not_before, not_after) = life(leaf);
    let issuer = issuer(leaf);
    Ok(Bundle { names, wildcards, not_before, not_after, issuer, chain, key })
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, BundleError> {
    let has = |marker: &[u8]| pem.windows(marker.len()).any(|window| window == marker);
    // PKCS#8 (RFC 5958) says it in the label, the older OpenSSL form in a header line.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(BundleError::EncryptedKey);
    }
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(BundleError::NoKey),
        Err(error) => Err(BundleError::Pem(error.to_string())),
    }
}

fn check_key(chain: &[CertificateDer<'static>], parsed: &[X509Certificate<'_>], key: &PrivateKeyDer<'static>) -> Result<(), BundleError> {
    let signing = rustls::crypto::ring::sign::any_supported_type(key).map_err(|_| BundleError::KeyKind)?;
    let Some(public) = signing.public_key() else { return Err(BundleError::KeyKind) };
    let fits = |certificate: &X509Certificate<'_>| certificate.public_key().raw == public.as_ref();
    match parsed.iter().position(fits) {
        Some(0) => {}
        Some(index) => return Err(BundleError::LeafNotFirst(index + 1)),
        None => return Err(BundleError::KeyMismatch),
    }
    // What rustls will do with it at the first handshake; better now.
    rustls::sign::CertifiedKey::new(chain.to_vec(), Arc::clone(&signing)).keys_match().map_err(|_| BundleError::KeyMismatch)
}

fn names(leaf: &X509Certificate<'_>) -> (Vec<HostName>, Vec<String>) {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Default::default() };
    let mut names = Vec::new();
    let mut wildcards = Vec::new();
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(dns) if dns.starts_with("*.") => wildcards.push((*dns).to_owned()),
            GeneralName::DNSName(dns) => names.extend(dns.parse::<HostName>().ok().filter(|name| matches!(name, HostName::Dns(_)))),
            GeneralName::IPAddress(bytes) => names.extend(address(bytes).map(HostName::Ip)),
            _ => {}
        }
    }
    (names, wildcards)
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    <[u8; 4]>::try_from(bytes).map(Into::into).or_else(|_| <[u8; 16]>::try_from(bytes).map(Into::into)).ok()
}

pub(super) fn life(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let time = |t: x509_parser::time::ASN1Time| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(t.timestamp()).unwrap_or(0));
    (time(certificate.validity().not_before), time(certificate.validity().not_after))
}

fn issuer(leaf: &X509Certificate<'_>) -> String {
    if leaf.issuer() == leaf.subject() {
        return "itself".to_owned();
    }
    let organization = leaf.issuer().iter_organization().next().and_then(|name| name.as_str().ok());
    let common = leaf.issuer().iter_common_name().next().and_then(|name| name.as_str().ok());
    match (organization, common) {
        (Some(organization), Some(common)) if !common.contains(organization) => format!("{organization} {common}"),
        (_, Some(name)) | (Some(name), None) => name.to_owned(),
        (None, None) => leaf.issuer().to_string(),
    }
}
