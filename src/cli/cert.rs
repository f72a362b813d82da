//! `rtcctl cert`: issue, list and show certificates; show, export and trust the local CA.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cx::Cx;
use super::trust;
use crate::cert::store::{Found, Store};
use crate::cert::{self, Bundle, LocalCa};
use crate::config::model::Authority;
use crate::config::{Config, HostName, SiteNames};
use crate::host::Machine;
use crate::telemetry::status;
use crate::ui::table::{Align, Table, terminal_width};
use crate::ui::{Exit, Failure, qr};

#[derive(Subcommand)]
pub(super) enum CertCommand {
    /// Make sure there is a certificate for the site's names, signed by the local CA
    Issue(IssueArgs),
    /// Every certificate in the store
    List,
    /// Names, issuer, dates, fingerprint and files of one certificate
    Show(ShowArgs),
    /// The local CA: fingerprint, where phones get it, QR code, PEM
    Ca(CaArgs),
    /// Let this machine's system store and browsers trust the local CA
    Trust,
    /// Undo what `cert trust` did
    Untrust,
}

#[derive(Args)]
pub(super) struct IssueArgs {
    /// Further names or addresses for the certificate
    #[arg(value_name = "NAME")]
    names: Vec<HostName>,
    /// By the local CA, whatever the config says
    #[arg(long)]
    self_signed: bool,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The site's folder, or any name in a certificate [default: the config's site]
    name: Option<String>,
}

#[derive(Args)]
pub(super) struct CaArgs {
    /// Draw the link as a QR code
    #[arg(long)]
    qr: bool,
    /// Write the CA's certificate as PEM; "-" is stdout
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

impl CertCommand {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Issue(_) => "cert.issue",
            Self::List => "cert.list",
            Self::Show(_) => "cert.show",
            Self::Ca(_) => "cert.ca",
            Self::Trust => "cert.trust",
            Self::Untrust => "cert.untrust",
        }
    }
}

pub(super) fn run(cx: &Cx, command: CertCommand) -> Result<(), Failure> {
    match command {
        CertCommand::Issue(args) => issue(cx, &args),
        CertCommand::List => list(cx),
        CertCommand::Show(args) => show(cx, args.name.as_deref()),
        CertCommand::Ca(args) => ca(cx, &args),
        CertCommand::Trust => trust::trust(cx),
        CertCommand::Untrust => trust::untrust(cx),
    }
}

/// One certificate as people and scripts see it.
#[derive(Serialize)]
struct Row {
    /// The folder in the store, or `files` for the operator's own.
    site: String,
    names: Vec<String>,
    issuer: String,
    not_before: String,
    not_after: String,
    days_left: i64,
    /// SHA-256 of the leaf, hexadecimal.
    sha256: String,
    fullchain: PathBuf,
    privkey: PathBuf,
}

#[derive(Serialize)]
struct Issued {
    #[serde(flatten)]
    row: Row,
    issued: bool,
    /// The daemon took the certificate over; `null`: none runs, or it had nothing to take.
    reloaded: Option<bool>,
    notes: Vec<String>,
}

fn issue(cx: &Cx, args: &IssueArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let paths = cx.paths(&config);
    if let (Authority::Files { chain, .. }, false) = (&config.cert.authority, args.self_signed) {
        return Err(Failure::new(Exit::Usage, format!("the config takes its certificate from {}: nothing to issue", chain.display()))
            .hint("take ca = \"files\" out of [cert], or issue one beside it with --self-signed"));
    }
    let site = cert::site_folder(&config);
    let now = SystemTime::now();
    let mut names = site_names(&config)?.all;
    names.extend(args.names.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    let step = cx.ui.step("certificate");
    let ensured = if args.names.is_empty() {
        cert::ensure_local(&paths.state, &site, &names, now)?
    } else {
        cert::ensure_every(&paths.state, &site, &names, now)?
    };
    let folder = Store::of(&paths.state).folder(&site);
    let row = row(&site, &ensured.bundle, folder.join("fullchain.pem"), folder.join("privkey.pem"), now);
    let unchanged = if ensured.issued { "" } else { ", unchanged" };
    step.ok(format!("{} ({}, valid {} days{unchanged})", row.names.join(", "), row.issuer, row.days_left));
    for note in &ensured.notes {
        cx.ui.warn(note);
    }
    let reloaded = if ensured.issued { reload(cx, &config) } else { None };
    if cx.ui.is_json() {
        cx.ui.out_json("cert.issue", &Issued { row, issued: ensured.issued, reloaded, notes: ensured.notes })?;
    }
    Ok(())
}

/// Tells a daemon that runs; that none runs is no error.
fn reload(cx: &Cx, config: &Config) -> Option<bool> {
    let asked = status::ask(&cx.paths(config).admin_socket(), "reload-certificate", cx.timeout());
    let refused = match asked {
        Ok(answer) => answer.get("error").map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return None,
        Err(e) => Some(e.to_string()),
    };
    match refused {
        None => cx.ui.say("  the service has taken it over"),
        Some(ref why) => cx.ui.warn(format!("the service still serves the old certificate: {why}")),
    }
    Some(refused.is_none())
}

fn list(cx: &Cx) -> Result<(), Failure> {
    let config = cx.config()?;
    let (rows, broken) = rows(cx, &config)?;
    for (site, why) in &broken {
        cx.ui.warn(format!("{site}: {why}"));
    }
    if cx.ui.is_json() {
        let broken: Vec<_> = broken.iter().map(|(site, why)| serde_json::json!({ "site": site, "why": why })).collect();
        return cx.ui.out_json("cert.list", &serde_json::json!({ "certificates": rows, "broken": broken }));
    }
    if rows.is_empty() {
        cx.ui.say("no certificate yet; next: rtcctl cert issue, or rtcctl up");
        return Ok(());
    }
    let mut table = Table::new(&[("site", Align::Left), ("days left", Align::Right), ("issuer", Align::Left), ("names", Align::Left)]);
    for row in rows {
        table.row([row.site, row.days_left.to_string(), row.issuer, shortened(&row.names)]);
    }
    cx.ui.out(table.lines(terminal_width()).join("\n"))
}

/// The first two names and how many more; all of them stand in `show`.
fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(2).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 2 { format!("{shown} +{}", names.len() - 2) } else { shown }
}

fn show(cx: &Cx, wanted: Option<&str>) -> Result<(), Failure> {
    let config = cx.config()?;
    let (rows, broken) = rows(cx, &config)?;
    let default = match config.cert.authority {
        Authority::Local => cert::site_folder(&config),
        Authority::Files { .. } => "files".to_owned(),
    };
    let wanted = wanted.unwrap_or(&default);
    let named = |row: &&Row| row.names.iter().any(|name| name == wanted);
    let Some(row) = rows.iter().find(|row| row.site == wanted).or_else(|| rows.iter().find(named)) else {
        if let Some((site, why)) = broken.iter().find(|(site, _)| site == wanted) {
            return Err(Failure::new(Exit::No, format!("the certificate of {site} is broken: {why}")).hint("make it anew: rtcctl cert issue"));
        }
        return Err(Failure::new(Exit::No, format!("no certificate for {wanted}")).hint("issue one: rtcctl cert issue; see all: rtcctl cert list"));
    };
    if cx.ui.is_json() {
        return cx.ui.out_json("cert.show", row);
    }
    let mut lines = vec![
        format!("{:<13} {}", "names", row.names.join(", ")),
        format!("{:<13} {}", "issuer", row.issuer),
        format!("{:<13} {} to {} ({} days left)", "valid", row.not_before, row.not_after, row.days_left),
    ];
    let grouped = grouped(&row.sha256);
    lines.extend(grouped.iter().enumerate().map(|(index, line)| format!("{:<13} {line}", if index == 0 { "SHA-256" } else { "" })));
    lines.push(format!("{:<13} {}", "certificate", row.fullchain.display()));
    lines.push(format!("{:<13} {}", "key", row.privkey.display()));
    cx.ui.out(lines.join("\n"))
}

#[derive(Serialize)]
struct CaRow<'a> {
    sha256: String,
    not_after: String,
    link: String,
    file: PathBuf,
    pem: &'a str,
}

fn ca(cx: &Cx, args: &CaArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let ca = existing_ca(cx, &config)?;
    let link = ca_link(cx, &config)?;
    if let Some(file) = &args.export {
        if file.as_os_str() == "-" {
            return cx.ui.out_raw(ca.pem.as_bytes());
        }
        crate::host::files::write_atomic(file, ca.pem.as_bytes(), 0o644).map_err(|e| Failure::new(Exit::Resource, e.to_string()))?;
        cx.ui.say(format!("  wrote {}", file.display()));
    }
    let sha256 = hex(&ca.sha256);
    if cx.ui.is_json() {
        let file = cx.paths(&config).ca().join("ca.pem");
        return cx.ui.out_json("cert.ca", &CaRow { sha256, not_after: stamp(ca.not_after), link, file, pem: &ca.pem });
    }
    let mut lines: Vec<String> =
        grouped(&sha256).iter().enumerate().map(|(index, line)| format!("{:<9} {line}", if index == 0 { "SHA-256" } else { "" })).collect();
    lines.push(format!("{:<9} {}", "valid to", stamp(ca.not_after)));
    lines.push(format!("{:<9} {link}", "phones"));
    cx.ui.out(lines.join("\n"))?;
    if args.qr {
        cx.ui.out(qr::qr(&link, cx.ui.unicode()))?;
    }
    Ok(())
}

/// The local CA, or why there is none.
pub(super) fn existing_ca(cx: &Cx, config: &Config) -> Result<LocalCa, Failure> {
    let state = cx.paths(config).state;
    let found = cert::local_ca(&state).map_err(unreadable)?;
    found.ok_or_else(|| {
        Failure::new(Exit::No, format!("there is no local CA in {} yet", state.display()))
            .hint("make one: rtcctl up, or rtcctl cert issue --self-signed")
    })
}

/// The state of a service that runs as root is closed to others.
fn unreadable(error: anyhow::Error) -> Failure {
    let denied = error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::PermissionDenied));
    let failure = Failure::from(error);
    if denied { failure.hint("run it with sudo: this state belongs to another user") } else { failure }
}

/// Where other devices get the CA: on plain http, because they do not trust us yet. A daemon that had to move to high ports knows best.
fn ca_link(cx: &Cx, config: &Config) -> Result<String, Failure> {
    let primary = site_names(config)?.primary.in_url();
    let running = status::ask(&cx.paths(config).admin_socket(), "status", cx.timeout()).ok();
    let link = running.as_ref().and_then(|answer| answer.get("link")?.as_str()).unwrap_or_default().to_owned();
    let moved = config.site.ports_may_move && link.trim_end_matches('/').ends_with(":8443");
    Ok(match (config.site.http_port, config.site.https_port) {
        (Some(_), _) if moved => format!("http://{primary}:8080/ca"),
        (Some(80), _) => format!("http://{primary}/ca"),
        (Some(port), _) => format!("http://{primary}:{port}/ca"),
        (None, 443) => format!("https://{primary}/ca"),
        (None, port) => format!("https://{primary}:{port}/ca"),
    })
}

fn site_names(config: &Config) -> Result<SiteNames, Failure> {
    let machine = Machine::look().map_err(|e| Failure::new(Exit::Resource, format!("look at this machine's addresses: {e}")))?;
    Ok(SiteNames::of(config, &machine.hostname, &machine.addresses))
}

/// Every certificate that can be read, and the sites whose files are broken with the reason.
type Rows = (Vec<Row>, Vec<(String, String)>);

fn rows(cx: &Cx, config: &Config) -> Result<Rows, Failure> {
    let state = cx.paths(config).state;
    let store = Store::of(&state);
    let now = SystemTime::now();
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    let local = cert::local_ca(&state).ok().flatten();
    for site in store.sites().map_err(unreadable)? {
        match store.load(&site).map_err(unreadable)? {
            Found::Nothing => {}
            Found::Broken(why) => broken.push((site, why)),
            Found::Bundle(mut bundle) => {
                if local.as_ref().is_some_and(|ca| bundle.chain.last().is_some_and(|last| **last == *ca.der)) {
                    "local CA".clone_into(&mut bundle.issuer);
                }
                let folder = store.folder(&site);
                rows.push(row(&site, &bundle, folder.join("fullchain.pem"), folder.join("privkey.pem"), now));
            }
        }
    }
    if let Authority::Files { chain, key } = &config.cert.authority {
        match cert::load_files(chain, key) {
            Ok(bundle) => rows.push(row("files", &bundle, chain.clone(), key.clone(), now)),
            Err(error) => broken.push(("files".to_owned(), format!("{error:#}"))),
        }
    }
    Ok((rows, broken))
}

fn row(site: &str, bundle: &Bundle, fullchain: PathBuf, privkey: PathBuf, now: SystemTime) -> Row {
    let left = OffsetDateTime::from(bundle.not_after) - OffsetDateTime::from(now);
    Row {
        site: site.to_owned(),
        names: bundle.names.iter().map(ToString::to_string).chain(bundle.wildcards.iter().cloned()).collect(),
        issuer: bundle.issuer.clone(),
        not_before: stamp(bundle.not_before),
        not_after: stamp(bundle.not_after),
        // A leaf issued this second is valid for 397 days, not for 396 and some hours.
        days_left: (left + time::Duration::minutes(5)).whole_days(),
        sha256: hex(&bundle.sha256()),
        fullchain,
        privkey,
    }
}

/// RFC 3339 in UTC.
fn stamp(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_else(|_| "out of range".to_owned())
}

/// Upper-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// `3A F1  0C 7E  …`, eight groups a line: as `/ca` shows it, to be compared by eye.
pub(super) fn grouped(hex: &str) -> Vec<String> {
    let group = |group: &[u8]| group.chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
    hex.as_bytes().chunks(32).map(|line| line.chunks(4).map(group).collect::<Vec<_>>().join("  ")).collect()
}

#[cfg(test)]
mod tests {
    use super::{grouped, hex};

    #[test]
    fn a_fingerprint_is_grouped_for_the_eye() {
        let bytes: Vec<u8> = (0..32).collect();
        assert_eq!(
            grouped(&hex(&bytes)),
            ["00 01  02 03  04 05  06 07  08 09  0A 0B  0C 0D  0E 0F", "10 11  12 13  14 15  16 17  18 19  1A 1B  1C 1D  1E 1F"]
        );
    }
}
