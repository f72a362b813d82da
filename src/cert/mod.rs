//! The certificates: a local CA and its leaves, the store they live in, and what is true about them.
//!
//! Not for: serving them (`net::tls`), trusting them on a device (`cert::trust` changes only this machine, when asked).

use std::path::Path;
use std::time::SystemTime;

use crate::config::HostName;

/// A chain with its key, and what can be said of it.
#[derive(Debug)]
pub struct Bundle {
    /// DER, the leaf first.
    pub chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    pub key: rustls::pki_types::PrivateKeyDer<'static>,
    pub names: Vec<HostName>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Who vouches: `local CA`, or the issuer's own name.
    pub issuer: String,
}

/// What `ensure` found or did.
#[derive(Debug)]
pub struct Ensured {
    pub bundle: Bundle,
    /// A new leaf was issued.
    pub issued: bool,
    /// Things a person should hear (a broken file set aside, a CA made anew).
    pub notes: Vec<String>,
}

/// The local CA as others need it.
#[derive(Clone, Debug)]
pub struct LocalCa {
    pub pem: String,
    pub der: Vec<u8>,
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    pub not_after: SystemTime,
}

/// Makes sure that `<state>/certs/<site>` holds a valid leaf of the local CA for exactly these names (and more), making CA and leaf when needed.
/// `site` names the folder.
pub fn ensure_local(_state: &Path, _site: &str, _names: &[HostName], _now: SystemTime) -> anyhow::Result<Ensured> {
    unimplemented!()
}

/// The operator's own PEM files (`ca = "files"`); key and chain may be one file.
pub fn load_files(_chain: &Path, _key: &Path) -> anyhow::Result<Bundle> {
    unimplemented!()
}

/// The local CA if there is one.
pub fn local_ca(_state: &Path) -> anyhow::Result<Option<LocalCa>> {
    unimplemented!()
}

/// A configuration profile that offers the CA to iOS and macOS.
pub fn mobileconfig(_ca: &LocalCa, _title: &str) -> String {
    unimplemented!()
}
