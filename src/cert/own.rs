//! The operator's own PEM files: read, and refused with the way on.

use std::path::Path;

use super::bundle::{Bundle, BundleError, parse};
use crate::ui::{Exit, Failure};

/// A PEM file larger than this is something else.
const PEM_MAX_BYTES: u64 = 1 << 20;

/// The operator's own PEM files (`ca = "files"`); key and chain may be one file. A [`Failure`] (exit 3) names the file and the way on.
pub fn load_files(chain: &Path, key: &Path) -> anyhow::Result<Bundle> {
    let chain_pem = read_pem("certificate", chain)?;
    let key_pem = if chain == key { chain_pem.clone() } else { read_pem("private key", key)? };
    let bundle = parse(&chain_pem, &key_pem).map_err(|error| explain(&error, chain, key))?;
    Ok(bundle)
}

fn read_pem(what: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::new(Exit::Resource, format!("read {what} {}: {why}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => failed(&e).hint("copy it to a place that the user of the service may read, mode 0600"),
        _ => failed(&e),
    })?;
    if !metadata.is_file() || metadata.len() > PEM_MAX_BYTES {
        return Err(failed(&format!("not a PEM file (no regular file, or over {PEM_MAX_BYTES} bytes)")));
    }
    std::fs::read(path).map_err(|e| failed(&e))
}

fn explain(error: &BundleError, chain: &Path, key: &Path) -> Failure {
    let (chain, key) = (chain.display(), key.display());
    let (path, hint) = match error {
        BundleError::NoCertificate => (&chain, "set cert.chain to the PEM file that has the certificate (fullchain.pem)".to_owned()),
        BundleError::NoKey => (&key, "set cert.key to the PEM file that has the private key (privkey.pem)".to_owned()),
        BundleError::EncryptedKey => (
            &key,
            format!("remove the pass phrase: openssl pkey -in {key} -out {key}.plain && chmod 600 {key}.plain, then set cert.key to that file"),
        ),
        BundleError::KeyMismatch => {
            let same = format!("compare: openssl x509 -in {chain} -noout -pubkey; openssl pkey -in {key} -pubout");
            (&key, format!("take the key that the certificate was requested with; {same}"))
        }
        BundleError::LeafNotFirst(_) | BundleError::Order(_) => (&chain, format!("put them in order: cat server.pem intermediate.pem > {chain}")),
        BundleError::NoNames => {
            (&chain, "have it issued again with the site's names as subject alternative names; a common name alone is ignored".into())
        }
        BundleError::KeyKind => (&key, "make a P-256 key and have a certificate issued for it".into()),
        BundleError::Damaged(_) | BundleError::Pem(_) => (&chain, "fetch the file again from where it was issued".to_owned()),
    };
    Failure::new(Exit::Resource, format!("{path}: {error}")).hint(hint)
}
