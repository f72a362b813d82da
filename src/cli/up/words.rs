//! What `up` and `down` say: lines and failures, made from data. Nothing is printed here but notes.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Broke;
use super::site::{Certificate, Site};
use crate::cli::call::HostLink;
use crate::cli::front;
use crate::config::model::{Authority, Transport};
use crate::config::{Config, HostName};
use crate::deploy::facts::Keeper;
use crate::deploy::lock::{LockError, Owner};
use crate::deploy::plan::{Plan, Step};
use crate::probe::{self, Proof};
use crate::ui::{Exit, Failure, Ui};

const DAY: u64 = 86_400;
/// Names of a certificate that one line shows.
const NAMES_SHOWN: usize = 4;
const STOP: &str = "Stop: rtcctl down";

pub(super) fn notes<'a>(ui: &Ui, notes: impl IntoIterator<Item = &'a String>) {
    for note in notes {
        ui.warn(note);
    }
}

pub(super) fn link(primary: &HostName, https_port: u16) -> String {
    match https_port {
        443 => format!("https://{}/", primary.in_url()),
        port => format!("https://{}:{port}/", primary.in_url()),
    }
}

/// `this machine, 192.168.1.20: local CA, https 443, turn 3478, relay 61000-65535`
pub(super) fn plan(site: &Site, plan: &Plan) -> String {
    let config = &site.config;
    let authority = match config.cert.authority {
        Authority::Local => "local CA",
        Authority::Files { .. } => "certificate from files",
    };
    let turn = config.turn.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let what = format!("{authority}, https {}, turn {turn}, relay {}", front::https(config), config.turn.relay_ports);
    let place = format!("this machine, {}", site.names.primary);
    if plan.is_empty() { format!("{place}: nothing to do ({what})") } else { format!("{place}: {what}") }
}

/// Those that people type; the machine's names for itself are left out, and long lists are cut.
pub(super) fn names(all: &[HostName]) -> String {
    let told: Vec<String> = all.iter().filter(|name| !is_loopback(name)).map(ToString::to_string).collect();
    match told.len() {
        0 => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        n if n > NAMES_SHOWN => format!("{} and {} more", told[..NAMES_SHOWN].join(", "), n - NAMES_SHOWN),
        _ => told.join(", "),
    }
}

/// `192.168.1.20, myhost, myhost.local (local CA, valid 397 days)`
pub(super) fn certificate(certificate: &Certificate) -> String {
    let left = certificate.not_after.saturating_sub(seconds(SystemTime::now()));
    format!("{} ({}, valid {} days)", names(&certificate.names), certificate.issuer, (left + DAY / 2) / DAY)
}

pub(super) fn service(site: &Site, pid: Option<u32>, unchanged: bool) -> String {
    let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let still = if unchanged { ", unchanged" } else { "" };
    match site.keeper {
        Keeper::Systemd => format!("{}.service running{pid}{still}", site.config.name),
        Keeper::Supervisor => format!("{} running{pid}{still}, kept by its own supervisor", site.config.name),
    }
}

/// `page, room, WebSocket both ways; relay over udp 1.2 ms, tcp 1.3 ms, tls 2.1 ms`
pub(super) fn proof(proof: &Proof) -> String {
    let over = |p: &probe::RelayProof| format!("{} {:.1} ms", transport(p.transport), p.rtt.as_secs_f64() * 1000.0);
    let relay = proof.relay.iter().map(over).collect::<Vec<_>>().join(", ");
    if relay.is_empty() { "page, room, WebSocket both ways".into() } else { format!("page, room, WebSocket both ways; relay over {relay}") }
}

fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    }
}

/// People were told another link the last time.
pub(super) fn moved(last: Option<&str>, link: &str) -> Option<String> {
    last.filter(|last| *last != link).map(|last| format!("the address changed since the last time: {last} is {link} now; hand out the new link"))
}

/// Said before the other steps: without it nobody can open a room.
pub(super) fn first_host(made: &HostLink) -> Vec<String> {
    vec![
        "Only hosts open rooms here. Open this link in your own browser first; it is good for 2 h:".to_owned(),
        format!("  {}", made.link),
        "Another one: rtcctl call invite --as-host".to_owned(),
    ]
}

/// One next step per line.
pub(super) fn next(config: &Config, primary: &HostName, link: &str) -> Vec<String> {
    if is_loopback(primary) {
        let here = "This machine has no address in a network: the link works here only.".to_owned();
        let trust = (config.cert.authority == Authority::Local).then(|| "Browser warns? rtcctl cert trust".to_owned());
        return [here].into_iter().chain(trust).chain([STOP.to_owned()]).collect();
    }
    let mut lines = vec!["Open this link on a second device in the same network.".to_owned()];
    if config.cert.authority == Authority::Local {
        let host = primary.in_url();
        let phones = match config.site.http_port {
            Some(80) => format!("http://{host}/ca"),
            Some(port) => format!("http://{host}:{port}/ca"),
            None => format!("{link}ca"),
        };
        lines.push(format!("Browser warns? here: rtcctl cert trust    phones: {phones}"));
    }
    lines.push(STOP.to_owned());
    lines
}

/// How to get `rtcctl` as a command, which every hint takes for granted: for those who built it and ran it from where it was built.
/// `path` is the variable of that name.
pub(super) fn install(program: &Path, path: &OsStr, is_root: bool) -> Option<String> {
    let found = std::env::split_paths(path).any(|folder| folder.join("rtcctl").is_file());
    let sudo = if is_root { "" } else { "sudo " };
    (!found).then(|| format!("To have rtcctl as a command: {sudo}install {} /usr/local/bin/rtcctl", program.display()))
}

/// A name for the machine itself, of no use to others.
fn is_loopback(name: &HostName) -> bool {
    match name {
        HostName::Dns(name) => name == "localhost",
        HostName::Ip(ip) => ip.is_loopback(),
    }
}

pub(super) fn put_back(plan: &Plan) -> String {
    match plan.change.first() {
        Some(Step::Hold { release: Some(number) }) => format!("release {number} running again"),
        Some(Step::Hold { release: None }) => "the service that ran before runs again".into(),
        _ => "everything is as it was".into(),
    }
}

/// The line of the step that failed.
pub(super) struct Told {
    pub(super) label: &'static str,
    pub(super) line: String,
    /// The service's last words belong to it.
    pub(super) about_service: bool,
}

impl Told {
    pub(super) fn of(broke: &Broke) -> Self {
        match broke {
            Broke::Step(failed) if failed.interrupted => Self { label: "service", line: "interrupted".into(), about_service: false },
            Broke::Step(failed) => Self { label: "service", line: failed.to_string(), about_service: failed.is_about_service() },
            Broke::Certificate(error) => Self { label: "certificate", line: format!("{error:#}"), about_service: false },
            Broke::Proof(broken) => {
                Self { label: "proof", line: format!("{}: {}\n{}", hop(broken.step), broken.cause, broken.url), about_service: true }
            }
            Broke::Interrupted => Self { label: "proof", line: "interrupted".into(), about_service: false },
        }
    }
}

fn hop(step: probe::Step) -> String {
    match step {
        probe::Step::Page => "page".into(),
        probe::Step::Room => "room".into(),
        probe::Step::WebSocket => "WebSocket".into(),
        probe::Step::Relay(over) => format!("relay over {}", transport(over)),
    }
}

/// Something was changed and taken back, or could not be.
pub(super) fn not_kept(broke: &Broke, told: Told, last_words: Vec<String>, remains: &[String]) -> Failure {
    let what = format!("{}: {}", told.label, told.line.lines().next().unwrap_or_default());
    let failure = match (remains.is_empty(), is_interrupt(broke)) {
        (true, true) => Failure::new(Exit::Interrupted, "interrupted; everything was put back"),
        (true, false) => Failure::new(Exit::PutBack, format!("{what}; everything was put back")),
        (false, _) => Failure::new(Exit::Stuck, format!("{what}; not everything could be put back")),
    };
    let failure = remains.iter().fold(failure, |failure, line| failure.detail(line));
    let failure = with_words(failure, last_words);
    if is_interrupt(broke) { failure } else { failure.hint("see every step: rtcctl up -v") }
}

/// It ran before, it runs now, and still the proof failed.
pub(super) fn nothing_to_undo(broke: &Broke, told: Told, last_words: Vec<String>) -> Failure {
    let line = told.line.lines().next().unwrap_or_default().to_owned();
    let failure = match broke {
        broke if is_interrupt(broke) => return Failure::new(Exit::Interrupted, "interrupted; nothing was changed"),
        Broke::Proof(_) => Failure::new(Exit::No, format!("the running service fails the proof: {line}")),
        _ => Failure::new(Exit::Resource, format!("{}: {line}", told.label)),
    };
    with_words(failure, last_words).hint("see what it says: rtcctl logs").hint("start it anew: rtcctl down, then rtcctl up")
}

fn with_words(failure: Failure, last_words: Vec<String>) -> Failure {
    if last_words.is_empty() {
        return failure;
    }
    last_words.into_iter().fold(failure.detail("last words of the service:"), |failure, line| failure.detail(format!("  {line}")))
}

pub(super) fn is_interrupt(broke: &Broke) -> bool {
    matches!(broke, Broke::Interrupted) || matches!(broke, Broke::Step(failed) if failed.interrupted)
}

pub(super) fn not_opened(site: &Site, error: LockError) -> Failure {
    let elsewhere = format!("keep the state elsewhere: --state DIR (now {})", site.paths.state.display());
    match &error {
        LockError::File(file) if !file.to_string().contains("--state") => not_locked(error).hint(elsewhere),
        _ => not_locked(error),
    }
}

/// Exit 6 with the owner, or exit 3.
pub(in crate::cli) fn not_locked(error: LockError) -> Failure {
    match &error {
        LockError::Busy(owner) => {
            let failure = Failure::new(Exit::Locked, error.to_string());
            let since = owner.as_ref().and_then(|o| seconds(SystemTime::now()).checked_sub(o.since));
            let failure = match since {
                Some(ago) => failure.detail(format!("since {ago} s")),
                None => failure,
            };
            failure.hint("wait for it longer: --timeout 5m")
        }
        LockError::File(_) => Failure::new(Exit::Resource, error.to_string()),
    }
}

/// Who works here, for the lock and the history.
pub(in crate::cli) fn owner(command: &str) -> Owner {
    Owner { user: user(), pid: std::process::id(), command: command.into(), since: seconds(SystemTime::now()) }
}

/// Through sudo: the person behind it.
pub(in crate::cli) fn user() -> String {
    let known = || nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    std::env::var("SUDO_USER").ok().or_else(known).unwrap_or_else(|| nix::unistd::geteuid().to_string())
}

/// Since the epoch.
pub(in crate::cli) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::{install, link, moved, names, next};
    use crate::config::{Config, HostName};

    fn host(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn links() {
        assert_eq!(link(&host("192.168.1.20"), 443), "https://192.168.1.20/");
        assert_eq!(link(&host("fd00::1"), 8443), "https://[fd00::1]:8443/");
    }

    #[test]
    fn next_steps_are_those_that_can_be_taken() {
        let mut config = Config::default();
        let steps = next(&config, &host("192.168.1.20"), "https://192.168.1.20/");
        assert_eq!(steps[1], "Browser warns? here: rtcctl cert trust    phones: http://192.168.1.20/ca");
        config.site.http_port = None;
        assert!(next(&config, &host("box.local"), "https://box.local/")[1].ends_with("phones: https://box.local/ca"));
        for alone in ["127.0.0.1", "::1", "localhost"] {
            let steps = next(&config, &host(alone), "https://localhost/").join("\n");
            assert!(steps.contains("works here only") && !steps.contains("second device") && !steps.contains("phones"), "{steps}");
        }
    }

    #[test]
    fn who_cannot_type_the_command_is_told_how() {
        let dir = tempfile::tempdir().unwrap();
        let said = |is_root| install("/src/target/release/rtcctl".as_ref(), dir.path().as_os_str(), is_root);
        assert_eq!(said(true).unwrap(), "To have rtcctl as a command: install /src/target/release/rtcctl /usr/local/bin/rtcctl");
        assert!(said(false).unwrap().contains(": sudo install"));
        std::fs::write(dir.path().join("rtcctl"), "").unwrap();
        assert_eq!(said(true), None);
    }

    #[test]
    fn names_that_people_type() {
        let all = |words: &[&str]| names(&words.iter().map(|word| host(word)).collect::<Vec<_>>());
        assert_eq!(all(&["192.168.1.20", "box", "box.local", "localhost", "127.0.0.1", "::1"]), "192.168.1.20, box, box.local");
        assert_eq!(all(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "box", "box.local"]), "10.0.0.1, 10.0.0.2, 10.0.0.3, fd00::1 and 2 more");
        assert_eq!(all(&["127.0.0.1", "localhost"]), "127.0.0.1, localhost");
    }

    #[test]
    fn a_new_link_is_said_only_when_it_is_new() {
        assert_eq!(moved(None, "https://a/"), None);
        assert_eq!(moved(Some("https://a/"), "https://a/"), None);
        assert!(moved(Some("https://a/"), "https://b/").unwrap().contains("https://a/ is https://b/ now"));
    }
}
