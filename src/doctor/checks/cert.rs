//! The certificate: on disk, as it is shown, and what devices make of it. Each row judges one thing, so that one fault gives one finding.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use crate::cert::bundle::{self, BundleError};
use crate::config::HostName;
use crate::config::model::{Address, Authority};
use crate::deploy::facts::Keeper;
use crate::doctor::check::{Fault, Verdict};
use crate::doctor::evidence::{CertFiles, Chain, Shared, now};
use crate::doctor::leaf::{self, Leaf, Path};
use crate::doctor::subject::{Own, Subject, Target};

const DAY: Duration = Duration::from_secs(86_400);
/// A life of at most this is short, and has another measure (Let's Encrypt's `shortlived` has 160 h).
const SHORT_LIFE: Duration = Duration::from_secs(10 * 86_400);
const EVERYTHING: &[&str] = &["every browser and app", "WebSocket", "TURN over TLS"];

pub(super) async fn present(evidence: Shared) -> Verdict {
    let (Some(own), Some(files)) = (evidence.own(), evidence.files().await) else { return Verdict::Skip("not our certificate".into()) };
    for (what, path, read) in [("certificate", &files.chain, &files.chain_pem), ("private key", &files.key, &files.key_pem)] {
        if read.as_ref().is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)) {
            let fault = Fault::new(format!("there is no {what} at {}", path.display())).breaks(EVERYTHING);
            return match own.config.cert.authority {
                Authority::Local => fault.run("rtcctl cert issue", "makes a certificate and hands it to the service").fail(),
                Authority::Files { .. } => {
                    let key = if what == "certificate" { "cert.chain" } else { "cert.key" };
                    fault.hint(format!("put the file there, or set {key} in rtcctl.toml to where it is, then rtcctl up")).fail()
                }
            };
        }
    }
    Verdict::Pass
}

pub(super) async fn readable(evidence: Shared) -> Verdict {
    let (Some(own), Some(files)) = (evidence.own(), evidence.files().await) else { return Verdict::Skip("not our certificate".into()) };
    let pid = evidence.status().await.ok().map(|status| status.pid);
    let reader = match pid.and_then(owner_of).or_else(|| service_user(own)) {
        Some(reader) => reader,
        None => nix::unistd::geteuid().as_raw(),
    };
    if reader == nix::unistd::geteuid().as_raw() {
        let failed = |read: &std::io::Result<Vec<u8>>| read.as_ref().err().map(|error| (error.kind(), error.to_string()));
        return match failed(&files.key_pem).or_else(|| failed(&files.chain_pem)) {
            None => Verdict::Pass,
            Some((std::io::ErrorKind::PermissionDenied, _)) if pid.is_none() => {
                Fault::new(format!("{}: this user may not read it", files.key.display())).run("sudo rtcctl doctor", "looks as root").unknown()
            }
            Some((_, why)) => unreadable(own, files, reader, &why),
        };
    }
    let Ok(Some(user)) = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(reader)) else { return Verdict::Pass };
    match [&files.key, &files.chain].into_iter().find_map(|path| barred(path, reader, user.gid.as_raw())) {
        Some(bar) => unreadable(own, files, reader, &bar),
        None => Verdict::Pass,
    }
}

fn unreadable(own: &Own, files: &CertFiles, reader: u32, why: &str) -> Verdict {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(reader)).ok().flatten().map_or_else(|| reader.to_string(), |user| user.name);
    let key = files.key.display();
    let fault = Fault::new(format!("the service runs as {user}, who may not read {key}")).proof("bar", why).breaks(EVERYTHING);
    match own.config.cert.authority {
        Authority::Local => fault.run(format!("chown -R {user}: {}", own.paths.certs().display()), "gives the store back to the service").fail(),
        Authority::Files { .. } => {
            fault.run(format!("chgrp {user} {key} && chmod 640 {key}"), "lets the service's group read it; its folders must let it pass too").fail()
        }
    }
}

/// The first thing on the way to a file that bars a user; `None`: nothing does.
fn barred(path: &FilePath, uid: u32, gid: u32) -> Option<String> {
    if uid == 0 {
        return None;
    }
    let real = std::fs::canonicalize(path).ok()?;
    let may = |metadata: &std::fs::Metadata, bit: u32| {
        let shift = if metadata.uid() == uid {
            6
        } else if metadata.gid() == gid {
            3
        } else {
            0
        };
        metadata.mode() >> shift & bit != 0
    };
    let said =
        |path: &FilePath, m: &std::fs::Metadata| format!("{} is mode {:04o}, owner {}:{}", path.display(), m.mode() & 0o7777, m.uid(), m.gid());
    for folder in real.ancestors().skip(1) {
        let metadata = std::fs::metadata(folder).ok()?;
        if !may(&metadata, 1) {
            return Some(said(folder, &metadata));
        }
    }
    let metadata = std::fs::metadata(&real).ok()?;
    (!may(&metadata, 4)).then(|| said(&real, &metadata))
}

fn owner_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// Who will run the service where systemd does.
fn service_user(own: &Own) -> Option<u32> {
    let user = (own.keeper == Keeper::Systemd).then(|| nix::unistd::User::from_name(&own.config.name).ok().flatten())??;
    Some(user.uid.as_raw())
}

pub(super) async fn parse(evidence: Shared) -> Verdict {
    let Some((files, error)) = parsed(&evidence).await else { return Verdict::Pass };
    let (chain, key) = (files.chain.display(), files.key.display());
    let (path, fault) = match &error {
        BundleError::EncryptedKey => {
            let command = format!("openssl pkey -in {key} -out {key}.plain && chmod 600 {key}.plain");
            (&key, Fault::new(error.to_string()).run(command, format!("asks for the pass phrase once; then set cert.key to {key}.plain")))
        }
        BundleError::NoKey => (&key, Fault::new(error.to_string()).hint("set cert.key to the PEM file that has the private key (privkey.pem)")),
        BundleError::NoCertificate => {
            (&chain, Fault::new(error.to_string()).hint("set cert.chain to the PEM file that has the certificate (fullchain.pem)"))
        }
        BundleError::KeyKind => (&key, Fault::new(error.to_string()).hint("make a P-256 key and have a certificate issued for it")),
        BundleError::Damaged(_) | BundleError::Pem(_) => {
            (&chain, Fault::new(error.to_string()).hint("fetch the file again from where it was issued"))
        }
        _ => return Verdict::Pass,
    };
    let mut fault = Fault { cause: format!("{path}: {}", fault.cause), ..fault };
    if is_local(&evidence) {
        fault.ways = Vec::new();
        fault = fault.run("rtcctl cert issue", "sets the broken file aside and makes a new certificate");
    }
    fault.breaks(EVERYTHING).fail()
}

pub(super) async fn key(evidence: Shared) -> Verdict {
    let Some((files, error)) = parsed(&evidence).await else { return Verdict::Pass };
    let (chain, key) = (files.chain.display(), files.key.display());
    let fault = match &error {
        BundleError::KeyMismatch => Fault::new(format!("{key} does not belong to the certificate in {chain}")),
        BundleError::LeafNotFirst(place) => Fault::new(format!("{key} belongs to certificate {place} in {chain}: the server's own must come first")),
        _ => return Verdict::Pass,
    };
    let fault = fault.proof("certificate", chain.to_string()).proof("key", key.to_string()).breaks(EVERYTHING);
    if is_local(&evidence) {
        return fault.run("rtcctl cert issue", "sets the pair aside and makes a new one").fail();
    }
    fault
        .run(format!("openssl x509 -in {chain} -noout -pubkey; openssl pkey -in {key} -pubout"), "shows both: they must be the same")
        .hint("take the key that the certificate was requested with, or have the certificate issued again for this key")
        .fail()
}

/// Why our files are no usable pair.
async fn parsed(evidence: &Shared) -> Option<(&CertFiles, BundleError)> {
    let files = evidence.files().await?;
    let (Ok(chain), Ok(key)) = (&files.chain_pem, &files.key_pem) else { return None };
    bundle::parse(chain, key).err().map(|error| (files, error))
}

fn is_local(evidence: &Shared) -> bool {
    evidence.own().is_some_and(|own| own.config.cert.authority == Authority::Local)
}

/// What is judged: the chain of the files or of a foreign server, and its leaf. Else the verdict that says why not.
async fn judged(evidence: &Shared) -> Result<(Chain, Leaf), Verdict> {
    if let Subject::Foreign(target) = &evidence.subject
        && evidence.served().await.is_err()
    {
        let row = match target {
            Target::Page(_) => "signal.join",
            Target::Relay(_) => "turn.tls",
        };
        return Err(Verdict::Skip(format!("no certificate is shown there: see {row}")));
    }
    let chain = evidence.chain().await.map_err(|why| Fault::new(format!("the certificate cannot be read: {why}")).unknown())?;
    let leaf = Leaf::of(&chain).ok_or_else(|| Fault::new("the certificate cannot be read: it is damaged").unknown())?;
    Ok((chain, leaf))
}

pub(super) async fn name(evidence: Shared) -> Verdict {
    let (chain, leaf) = match judged(&evidence).await {
        Ok(judged) => judged,
        Err(verdict) => return verdict,
    };
    let contacted = contacted(&evidence);
    let missing: Vec<&HostName> = contacted.iter().filter(|name| !leaf::covers(&chain, name)).collect();
    let Some(first) = missing.first() else { return Verdict::Pass };
    let told = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    if leaf.names.is_empty() {
        let common = leaf.common_name.as_deref().unwrap_or("nobody");
        return Fault::new(format!("the certificate names {common} only in its common name, which browsers ignore; clients connect to {told}"))
            .breaks(EVERYTHING)
            .hint(format!("have it issued again with {told} as subject alternative name"))
            .fail();
    }
    let mut fault = Fault::new(format!("clients connect to {told}, the certificate is for {}", leaf.told()))
        .proof("certificate", format!("CN {}, SAN {}", leaf.common_name.as_deref().unwrap_or("none"), leaf.names.join(", ")))
        .breaks(&["every browser that opens the address", "WebSocket", "TURN over TLS"]);
    let own = evidence.own();
    if is_local(&evidence) {
        let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        fault = fault.run(format!("rtcctl cert issue {names}"), "a certificate for exactly what clients connect to");
    }
    if let (HostName::Ip(_), Some(name)) = (first, leaf.names.iter().find(|name| is_dns(name))) {
        let link = format!("https://{}{}/", name.replacen('*', "call", 1), own.map(port_of).unwrap_or_default());
        fault = match own {
            Some(_) => fault.hint(format!("set site.address = \"{name}\" in rtcctl.toml, then rtcctl up, and hand out {link}")),
            None => fault.hint(format!("hand out {link} instead of the address")),
        };
    }
    fault.hint(format!("have a certificate issued for {told} by the authority that issued this one")).fail()
}

fn is_dns(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_err()
}

fn port_of(own: &Own) -> String {
    if own.config.site.https_port == 443 { String::new() } else { format!(":{}", own.config.site.https_port) }
}

/// Everything that clients are told to connect to by TLS.
fn contacted(evidence: &Shared) -> Vec<HostName> {
    match &evidence.subject {
        Subject::Own(Ok(own)) => {
            let told = match &own.config.site.address {
                Address::Lan => own.names.primary.clone(),
                Address::Host(name) => name.clone(),
            };
            std::iter::once(told).chain(own.config.site.aliases.iter().cloned()).collect()
        }
        Subject::Own(Err(_)) => Vec::new(),
        Subject::Foreign(Target::Page(url)) => {
            url.host_str().and_then(|host| host.trim_start_matches('[').trim_end_matches(']').parse().ok()).into_iter().collect()
        }
        Subject::Foreign(Target::Relay(servers)) => servers.first().and_then(|server| server.host.parse().ok()).into_iter().collect(),
    }
}

pub(super) async fn chain(evidence: Shared) -> Verdict {
    let (chain, leaf) = match judged(&evidence).await {
        Ok(judged) => judged,
        Err(verdict) => return verdict,
    };
    let place = place(&evidence).await;
    if let Some(at) = leaf::break_in(&chain) {
        return Fault::new(format!("{place}: certificate {at} is not signed by the one after it: order is server, intermediate, root"))
            .breaks(&["Android and other devices that fetch nothing themselves"])
            .hint("put them in order: cat server.pem intermediate.pem > fullchain.pem")
            .fail();
    }
    let alone = chain.len() == 1 && !leaf.is_self_signed;
    if alone && leads(&evidence, &chain, &leaf).await == Path::UnknownIssuer {
        return Fault::new(format!("{place} has the server's certificate alone; the one of {} that signed it is missing", leaf.issuer))
            .proof("issuer", leaf.issuer.clone())
            .breaks(&["Android, curl and other devices that fetch nothing themselves (desktop browsers may work)"])
            .hint("use fullchain.pem instead of cert.pem, or append the intermediate: cat cert.pem intermediate.pem > fullchain.pem")
            .fail();
    }
    Verdict::Pass
}

async fn place(evidence: &Shared) -> String {
    match evidence.files().await {
        Some(files) => files.chain.display().to_string(),
        None => "what the server shows".to_owned(),
    }
}

/// To the local CA, else to what this machine trusts.
async fn leads(evidence: &Shared, chain: &[CertificateDer<'static>], leaf: &Leaf) -> Path {
    let mut roots = evidence.roots().await.cloned().unwrap_or_default();
    if let Ok(Some(ca)) = evidence.local_ca().await {
        roots.push(CertificateDer::from(ca.der.clone()));
    }
    leaf::follow(chain, &roots, leaf, now())
}

pub(super) async fn trusted(evidence: Shared) -> Verdict {
    let (chain, leaf) = match judged(&evidence).await {
        Ok(judged) => judged,
        Err(verdict) => return verdict,
    };
    let roots = evidence.roots().await;
    if let Ok(roots) = roots
        && leaf::follow(&chain, roots, &leaf, now()) == Path::Trusted
    {
        return Verdict::Pass;
    }
    if let Ok(Some(ca)) = evidence.local_ca().await
        && leaf::follow(&chain, &[CertificateDer::from(ca.der.clone())], &leaf, now()) == Path::Trusted
    {
        if evidence.is_trusted_here().await {
            return Verdict::Pass;
        }
        return Fault::new("the certificate is signed by our local CA, which this machine does not trust")
            .breaks(&["a warning in browsers on devices that do not have the CA"])
            .run("rtcctl cert trust", "lets this machine and its browsers trust it")
            .run("rtcctl cert ca --qr", "the link from which phones fetch it")
            .warn();
    }
    let why = match leaf::follow(&chain, roots.map(Vec::as_slice).unwrap_or_default(), &leaf, now()) {
        _ if leaf.is_self_signed => "the certificate is signed by itself: nobody else vouches for it".to_owned(),
        Path::Wrong(why) => format!("the certificate is not trusted: {why}"),
        _ => format!("nobody trusts who signed the certificate: {}", issuer_of(&chain, &leaf)),
    };
    let fault = Fault::new(why).proof("issuer", issuer_of(&chain, &leaf)).breaks(EVERYTHING);
    if let Err(why) = roots
        && !leaf.is_self_signed
    {
        return Fault::new(why.clone()).hint("install the ca-certificates package").unknown();
    }
    match evidence.own().map(|own| &own.config.cert.authority) {
        Some(Authority::Local) => fault.run("rtcctl cert issue", "has the local CA sign a new one").fail(),
        Some(Authority::Files { .. }) => fault
            .hint("take ca = \"files\", chain and key out of [cert] in rtcctl.toml, then rtcctl up: the local CA signs, and devices fetch that CA from /ca")
            .hint("or have an authority sign it that devices know")
            .fail(),
        None => fault.hint("have an authority sign it that devices know").fail(),
    }
}

/// Of the last certificate that is shown.
fn issuer_of(chain: &[CertificateDer<'_>], leaf: &Leaf) -> String {
    chain.last().and_then(|last| Leaf::of(std::slice::from_ref(last))).map_or_else(|| leaf.issuer.clone(), |last| last.issuer)
}

pub(super) async fn expiry(evidence: Shared) -> Verdict {
    let (_, leaf) = match judged(&evidence).await {
        Ok(judged) => judged,
        Err(verdict) => return verdict,
    };
    let now = now();
    if now < leaf.not_before {
        let ahead = span(leaf.not_before.duration_since(now).unwrap_or_default());
        return Fault::new(format!("the certificate is valid only in {ahead}"))
            .breaks(EVERYTHING)
            .run("timedatectl", "shows whether this machine's clock is right")
            .fail();
    }
    let life = leaf.not_after.duration_since(leaf.not_before).unwrap_or_default();
    let left = leaf.not_after.duration_since(now).unwrap_or_default();
    let (least, early) = if life <= SHORT_LIFE { (DAY / 2, life / 2) } else { (DAY, life / 3) };
    if left >= early {
        return Verdict::Pass;
    }
    let cause = match now.duration_since(leaf.not_after) {
        Ok(since) => format!("the certificate expired {} ago", span(since)),
        Err(_) => format!("the certificate expires in {}", span(left)),
    };
    let fault = Fault::new(cause).proof("not after", stamp(leaf.not_after)).breaks(EVERYTHING);
    let fault = match evidence.own().map(|own| &own.config.cert.authority) {
        Some(Authority::Local) => {
            fault.run("rtcctl cert issue", "issues a new one and hands it to the service").run("rtcctl logs", "says why the service did not")
        }
        Some(Authority::Files { chain, .. }) => {
            fault.hint(format!("put the renewed certificate into {}: the service takes it over within a minute", chain.display()))
        }
        None => fault.hint("renew it, and have the server read it again"),
    };
    if left < least { fault.fail() } else { fault.warn() }
}

pub(super) async fn served(evidence: Shared) -> Verdict {
    let (Some(own), Ok(chain)) = (evidence.own(), evidence.chain().await) else { return Verdict::Skip("not our certificate".into()) };
    let shown = match evidence.served().await {
        Ok(shown) => shown,
        Err(broken) => {
            return Fault::new(format!("no TLS handshake with {}: {}", broken.url, broken.cause))
                .run("rtcctl logs", "says what the service met")
                .fail();
        }
    };
    if shown.first() == chain.first() {
        return Verdict::Pass;
    }
    let leaf = Leaf::of(shown);
    let until = leaf.as_ref().map(|leaf| format!("{}, valid until {}", leaf.told(), stamp(leaf.not_after))).unwrap_or_default();
    let fault = Fault::new(format!("port {} shows another certificate than the one in the files", own.config.site.https_port))
        .proof("shown", until)
        .proof("file", place(&evidence).await)
        .breaks(&["whatever the new certificate was made for"]);
    match own.keeper {
        Keeper::Systemd => fault.run(format!("systemctl restart {}", own.config.name), "reads the files again; calls reconnect"),
        Keeper::Supervisor => fault.run("rtcctl down && rtcctl up", "reads the files again; calls reconnect"),
    }
    .hint("or wait: the service looks once a minute whether files of your own have changed")
    .fail()
}

pub(super) async fn refused(evidence: Shared) -> Verdict {
    let Ok(status) = evidence.status().await else { return Verdict::Waits("signal.health") };
    // The daemon's own sentence; it counts addresses whose TLS alerts distrust the certificate.
    let Some(warning) = status.warnings.iter().find(|warning| warning.contains("not trust this certificate")) else { return Verdict::Pass };
    let fault = Fault::new(warning.clone()).breaks(&["those devices: their browser warns, their app does not connect"]);
    if is_local(&evidence) {
        fault.run("rtcctl cert ca --qr", "the link from which devices fetch the CA").warn()
    } else {
        fault.run("rtcctl doctor --check cert.trusted --check cert.chain", "says whether the certificate itself is at fault").warn()
    }
}

fn span(time: Duration) -> String {
    let (days, hours, minutes) = (time.as_secs() / 86_400, time.as_secs() / 3600, time.as_secs() / 60);
    match (days, hours) {
        (2.., _) => format!("{days} days"),
        (_, 2..) => format!("{hours} hours"),
        _ => format!("{minutes} minutes"),
    }
}

fn stamp(time: SystemTime) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    time::OffsetDateTime::from(time).format(format).unwrap_or_default()
}
