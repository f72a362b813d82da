//! Where the certificate comes from, and what changes for everybody when it changes.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use super::http::CaFiles;
use crate::cert;
use crate::config::model::{Address, Authority, Config};
use crate::config::{Paths, SiteNames};
use crate::net::tls::Swap;
use crate::telemetry::status::CertificateStatus;

/// A certificate that is being served.
pub(super) struct Live {
    pub(super) facts: CertificateStatus,
    /// Those of the certificate, with the primary name in front.
    pub(super) names: SiteNames,
    /// With a local CA only.
    pub(super) ca: Option<CaFiles>,
    pub(super) notes: Vec<String>,
    /// It was made just now.
    pub(super) issued: bool,
}

/// Loads or issues a certificate for these names and swaps it in. On an error the one that is being served stays. Blocks on files and on signing.
pub(super) fn refresh(config: &Config, paths: &Paths, names: &SiteNames, swap: &Swap) -> anyhow::Result<Live> {
    let (bundle, notes, issued) = match &config.cert.authority {
        Authority::Local => {
            let ensured = cert::ensure_local(&paths.state, &folder(config), &names.all, SystemTime::now())?;
            (ensured.bundle, ensured.notes, ensured.issued)
        }
        Authority::Files { chain, key } => (cert::load_files(chain, key)?, Vec::new(), false),
    };
    let ca = match config.cert.authority {
        Authority::Local => cert::local_ca(&paths.state)?.map(|ca| CaFiles { mobileconfig: cert::mobileconfig(&ca, &config.site.title), ca }),
        Authority::Files { .. } => None,
    };
    let facts = CertificateStatus {
        names: bundle.names.iter().map(ToString::to_string).collect(),
        issuer: bundle.issuer.clone(),
        not_after: seconds(bundle.not_after),
    };
    let mut all = vec![names.primary.clone()];
    all.extend(bundle.names.into_iter().filter(|name| *name != names.primary));
    swap.set(bundle.chain, bundle.key).context("use the certificate")?;
    Ok(Live { facts, names: SiteNames { primary: names.primary.clone(), all }, ca, notes, issued })
}

/// The folder of this site's certificate; an address that changes with the network must not leave one behind for each.
fn folder(config: &Config) -> String {
    match &config.site.address {
        Address::Lan => "lan".to_owned(),
        Address::Host(name) => name.to_string(),
    }
}

/// Changes whenever one of the operator's own files does; `None` for a local CA, which is asked by itself.
pub(super) fn stamp(config: &Config) -> Option<[Option<SystemTime>; 2]> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    match &config.cert.authority {
        Authority::Local => None,
        Authority::Files { chain, key } => Some([changed(chain), changed(key)]),
    }
}

/// Since the epoch.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
