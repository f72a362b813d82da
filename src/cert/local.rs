//! The local CA of a state directory (`<state>/ca/{ca.pem,ca.key}`) and the leaves it issues when they are due.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::bundle::{self, Bundle};
use super::renew::{self, Why};
use super::selfsigned;
use super::store::{Found, Lock, Pems, Store};
use crate::config::HostName;
use crate::host::files;

/// A new CA is made when the old one has less than this left: a leaf never outlives its CA.
const CA_LEFT_AT_LEAST: Duration = Duration::from_secs(180 * 86_400);
/// Names carried over from a CA that is replaced; beyond that its list starts anew.
const CARRIED_NAMES_MAX: usize = 100;

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

/// Makes sure that `<state>/certs/<site>` holds a valid leaf of the local CA for these names (and more), making CA and leaf when needed. `site` names the
/// folder; the first name is the one that links carry.
///
/// Names that come and go without anybody's doing (short host names, global IPv6 addresses) never cost the CA: where it may not vouch for one, the
/// leaf goes without it and a note says so, because a new CA would have to be trusted anew on every device.
pub fn ensure_local(state: &Path, site: &str, names: &[HostName], now: SystemTime) -> anyhow::Result<Ensured> {
    ensure(state, site, names, now, |name| name == &names[0] || !is_fleeting(name))
}

/// The same, but every name is wanted so much that a new CA is made for it.
pub fn ensure_every(state: &Path, site: &str, names: &[HostName], now: SystemTime) -> anyhow::Result<Ensured> {
    ensure(state, site, names, now, |_| true)
}

/// The local CA if there is one.
pub fn local_ca(state: &Path) -> anyhow::Result<Option<LocalCa>> {
    let path = ca_pem(state);
    match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        text => {
            let text = text.with_context(|| format!("read {}", path.display()))?;
            let ca = parse_ca(text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
            Ok(Some(ca.public))
        }
    }
}

/// A CA certificate and what it may vouch for.
struct Ca {
    public: LocalCa,
    not_before: SystemTime,
    /// `None`: anything (a CA that somebody put there).
    permitted: Option<Vec<Subtree>>,
}

enum Subtree {
    Dns(String),
    Net { net: Vec<u8>, mask: Vec<u8> },
}

/// A CA that can sign.
struct Authority {
    ca: Ca,
    key_pem: String,
}

impl Ca {
    fn permits(&self, name: &HostName) -> bool {
        let Some(permitted) = &self.permitted else { return true };
        permitted.iter().any(|subtree| match (subtree, name) {
            (Subtree::Dns(base), HostName::Dns(name)) => selfsigned::under(name, base),
            (Subtree::Net { net, mask }, HostName::Ip(ip)) => {
                let bytes = match ip {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                };
                bytes.len() == net.len() && bytes.iter().zip(mask).zip(net).all(|((byte, mask), net)| byte & mask == *net)
            }
            _ => false,
        })
    }

    fn der(&self) -> CertificateDer<'_> {
        CertificateDer::from(self.public.der.as_slice())
    }

    fn is_nearly_over(&self, now: SystemTime) -> bool {
        self.public.not_after < now + CA_LEFT_AT_LEAST
    }

    /// The names it was made for, to be carried into the CA that takes its place.
    fn own_names(&self) -> Vec<HostName> {
        let subtrees = self.permitted.iter().flatten();
        let names = subtrees.filter_map(|subtree| match subtree {
            Subtree::Dns(base) => base.parse().ok().filter(|name| matches!(name, HostName::Dns(_))),
            Subtree::Net { net, .. } => {
                let v4 = <[u8; 4]>::try_from(net.as_slice()).map(IpAddr::from);
                v4.or_else(|_| <[u8; 16]>::try_from(net.as_slice()).map(IpAddr::from))
                    .ok()
                    .filter(|ip| !selfsigned::is_private(*ip))
                    .map(HostName::Ip)
            }
        });
        names.take(CARRIED_NAMES_MAX).collect()
    }
}

fn ensure(state: &Path, site: &str, names: &[HostName], now: SystemTime, required: impl Fn(&HostName) -> bool) -> anyhow::Result<Ensured> {
    if names.is_empty() {
        bail!("a certificate needs at least one name");
    }
    if site.is_empty() || site.starts_with('.') || site.contains(['/', '\0']) {
        bail!("not a name for a folder: {site}");
    }
    let store = Store::of(state);
    if let Some(bundle) = nothing_to_do(state, &store, site, names, now, &required)? {
        return Ok(Ensured { bundle: vouched(bundle), issued: false, notes: key_notes(state) });
    }
    files::make_dir(state, 0o700)?;
    let lock = store.lock()?;
    let mut notes = Vec::new();
    let authority = authority_for(&lock, state, names, now, &required, &mut notes)?;
    let (wanted, left_out): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| authority.ca.permits(name));
    let why = match store.load(site)? {
        // Another process was faster.
        Found::Bundle(bundle) => match renew::due(&bundle, &authority.ca.der(), &wanted, now) {
            None => return Ok(Ensured { bundle: vouched(*bundle), issued: false, notes }),
            Some(why) => Some(why),
        },
        Found::Nothing => None,
        Found::Broken(why) => {
            let aside = store.set_aside(&lock, site)?;
            notes.push(format!("the certificate in {} is broken ({why}): set aside as {}", store.folder(site).display(), aside.display()));
            None
        }
    };
    if why == Some(Why::NotYet) {
        notes.push("the certificate was of a later day than this machine's clock shows: check the clock".to_owned());
    }
    if now < authority.ca.not_before {
        notes.push("the local CA is of a later day than this machine's clock shows: check the clock, browsers refuse it until then".to_owned());
    }
    notes.extend(left_out.iter().map(|name| {
        format!(
            "{name} is not in the certificate: the local CA was made for other names (rtcctl cert issue {name} makes a new one, to be trusted anew)"
        )
    }));
    let bundle = issue(&lock, &store, site, &authority, &wanted, now)?;
    Ok(Ensured { bundle, issued: true, notes })
}

/// The fast path: no lock, no key of the CA, a few files read.
fn nothing_to_do(
    state: &Path,
    store: &Store,
    site: &str,
    names: &[HostName],
    now: SystemTime,
    required: &impl Fn(&HostName) -> bool,
) -> anyhow::Result<Option<Bundle>> {
    let Ok(text) = fs::read_to_string(ca_pem(state)) else { return Ok(None) };
    let Ok(ca) = parse_ca(text) else { return Ok(None) };
    let wanted: Vec<HostName> = names.iter().filter(|name| required(name) || ca.permits(name)).cloned().collect();
    if ca.is_nearly_over(now) {
        return Ok(None);
    }
    match store.load(site)? {
        Found::Bundle(bundle) if renew::due(&bundle, &ca.der(), &wanted, now).is_none() => Ok(Some(*bundle)),
        _ => Ok(None),
    }
}

/// The CA that is there, if it is whole and may vouch for every required name; else a new one, and a note that devices must trust anew.
fn authority_for(
    lock: &Lock,
    state: &Path,
    names: &[HostName],
    now: SystemTime,
    required: &impl Fn(&HostName) -> bool,
    notes: &mut Vec<String>,
) -> anyhow::Result<Authority> {
    let had_leaf = || Store::of(state).sites().is_ok_and(|sites| !sites.is_empty());
    let (why, carried) = match read_authority(state)? {
        Read::Whole(authority) => {
            let refused: Vec<String> = names.iter().filter(|name| required(name) && !authority.ca.permits(name)).map(ToString::to_string).collect();
            if refused.is_empty() && !authority.ca.is_nearly_over(now) {
                notes.extend(key_notes(state));
                return Ok(authority);
            }
            if refused.is_empty() {
                ("the old one is near its end".to_owned(), Vec::new())
            } else {
                (format!("the old one may not vouch for {}", refused.join(", ")), authority.ca.own_names())
            }
        }
        // Somebody may trust the one that is gone.
        Read::Missing if had_leaf() => ("ca.pem is gone".to_owned(), Vec::new()),
        Read::Missing => (String::new(), Vec::new()),
        Read::Broken(why) => (why, Vec::new()),
    };
    let mut aside = Vec::new();
    for path in [ca_pem(state), ca_key(state)] {
        if path.symlink_metadata().is_ok() {
            aside.push(files::set_aside(&path)?.display().to_string());
        }
    }
    if !why.is_empty() {
        let kept = if aside.is_empty() { String::new() } else { format!(" (kept as {})", aside.join(" and ")) };
        notes.push(format!("a new local CA was made: {why}{kept}; every device must trust it anew (rtcctl cert trust, phones: /ca)"));
    }
    let mut permitted = names.to_vec();
    permitted.extend(carried.into_iter().filter(|name| !names.contains(name)));
    make_authority(lock, state, &permitted, now)
}

fn make_authority(_lock: &Lock, state: &Path, names: &[HostName], now: SystemTime) -> anyhow::Result<Authority> {
    let issued = selfsigned::new_ca(names, now)?;
    files::make_dir(&state.join("ca"), 0o700)?;
    // The key first: a CA counts from the moment its certificate stands there.
    files::write_atomic(&ca_key(state), issued.key_pem.as_bytes(), 0o600)?;
    files::write_atomic(&ca_pem(state), issued.certificate_pem.as_bytes(), 0o644)?;
    let ca = parse_ca(issued.certificate_pem).map_err(|why| anyhow::anyhow!("the local CA just made: {why}"))?;
    Ok(Authority { ca, key_pem: issued.key_pem })
}

enum Read {
    Whole(Authority),
    Missing,
    Broken(String),
}

/// Errors only when the files cannot be read (permission): then nothing may be replaced.
fn read_authority(state: &Path) -> anyhow::Result<Read> {
    let read = |path: PathBuf| match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).with_context(|| format!("read {}", path.display())),
    };
    let Some(pem) = read(ca_pem(state))? else { return Ok(Read::Missing) };
    let Some(key) = read(ca_key(state))? else { return Ok(Read::Broken("its key ca.key is missing".to_owned())) };
    let (pem, key_pem) = (String::from_utf8_lossy(&pem).into_owned(), String::from_utf8_lossy(&key).into_owned());
    let ca = match parse_ca(pem) {
        Ok(ca) => ca,
        Err(why) => return Ok(Read::Broken(format!("ca.pem is broken ({why})"))),
    };
    let Ok(key) = rcgen::KeyPair::from_pem(&key_pem) else { return Ok(Read::Broken("ca.key is broken".to_owned())) };
    let fits = X509Certificate::from_der(&ca.public.der).is_ok_and(|(_, ca)| ca.public_key().subject_public_key.data == key.public_key_raw());
    Ok(if fits { Read::Whole(Authority { ca, key_pem }) } else { Read::Broken("ca.key does not belong to ca.pem".to_owned()) })
}

fn parse_ca(pem: String) -> Result<Ca, &'static str> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "no certificate in it")?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| "the certificate in it is damaged")?;
    if !certificate.is_ca() {
        return Err("the certificate in it is not that of a CA");
    }
    let constraints = certificate.name_constraints().map_err(|_| "its name constraints are damaged")?;
    let permitted = constraints.and_then(|extension| extension.value.permitted_subtrees.as_ref()).map(|subtrees| {
        let read = subtrees.iter().filter_map(|subtree| match &subtree.base {
            GeneralName::DNSName(base) => Some(Subtree::Dns(base.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => {
                let (net, mask) = bytes.split_at(bytes.len() / 2);
                Some(Subtree::Net { net: net.to_vec(), mask: mask.to_vec() })
            }
            _ => None,
        });
        read.collect()
    });
    let (not_before, not_after) = bundle::life(&certificate);
    let public = LocalCa { sha256: bundle::sha256(&der), not_after, der: der.to_vec(), pem };
    Ok(Ca { public, not_before, permitted })
}

fn issue(lock: &Lock, store: &Store, site: &str, authority: &Authority, names: &[HostName], now: SystemTime) -> anyhow::Result<Bundle> {
    let ca = &authority.ca.public;
    let leaf = selfsigned::new_leaf(&ca.pem, &authority.key_pem, ca.not_after, names, now)?;
    store.put(lock, site, &Pems { leaf: &leaf.certificate_pem, chain: &ca.pem, key: &leaf.key_pem })?;
    let chain = format!("{}{}", leaf.certificate_pem, ca.pem);
    let bundle = bundle::parse(chain.as_bytes(), leaf.key_pem.as_bytes()).context("read the certificate just issued")?;
    bundle.verify(&authority.ca.der(), now).context("verify the certificate just issued")?;
    Ok(vouched(bundle))
}

fn vouched(mut bundle: Bundle) -> Bundle {
    "local CA".clone_into(&mut bundle.issuer);
    bundle
}

/// A name that changes without anybody's doing: a host name without a dot, a global IPv6 address (RFC 8981, renumbering).
fn is_fleeting(name: &HostName) -> bool {
    match name {
        HostName::Dns(dns) => !dns.contains('.'),
        HostName::Ip(ip) => ip.is_ipv6(),
    }
}

/// What is wrong with the CA's key without reading it: the leaf may be good for months, and nobody would hear of it before.
fn key_notes(state: &Path) -> Vec<String> {
    let path = ca_key(state);
    let Ok(metadata) = fs::metadata(&path) else {
        return vec![format!("the key of the local CA is gone ({}): the next renewal makes a new CA, to be trusted anew", path.display())];
    };
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() || metadata.len() == 0 {
        vec![format!("the key of the local CA is broken ({}): the next renewal makes a new CA, to be trusted anew", path.display())]
    } else if mode & 0o077 != 0 {
        vec![format!("others may read the key of the local CA (mode {mode:04o}): chmod 600 {}", path.display())]
    } else {
        Vec::new()
    }
}

fn ca_pem(state: &Path) -> PathBuf {
    state.join("ca/ca.pem")
}

fn ca_key(state: &Path) -> PathBuf {
    state.join("ca/ca.key")
}
