//! What stands on a machine before anything is done to it, and how it is found out. Nothing is changed here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::manifest::Manifest;
use super::plan::Step;
use super::ports::{self, PortFact};
use super::proxy::Around;
use super::release::Release;
use crate::config::model::Proxy;
use crate::config::{Config, Paths};
use crate::host::ports::{Answer, Holder, Protocol, try_listen};
use crate::host::{Cmd, Host, HostError, Kind};
use crate::telemetry::status::{self, Status};

/// How long a daemon may take to say what it is.
const STATUS_DEADLINE: Duration = Duration::from_secs(2);

/// Who keeps the service alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    Systemd,
    /// Our own supervisor: no systemd, or not root.
    Supervisor,
}

impl Keeper {
    /// systemd is there when it says so by its folder; what virtual machine this is does not matter.
    pub fn of(host: &dyn Host, is_root: bool) -> Result<Self, HostError> {
        let systemd = is_root && host.entry(Path::new("/run/systemd/system"))?.is_some();
        Ok(if systemd { Self::Systemd } else { Self::Supervisor })
    }
}

/// A daemon that answers on its admin socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub pid: u32,
    pub release: Option<u64>,
    pub ready: bool,
}

/// The unit as systemd knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFact {
    /// What stands at `/etc/systemd/system/NAME.service`.
    pub text: Option<Vec<u8>>,
    pub enabled: bool,
    /// Active, or on its way there.
    pub active: bool,
}

/// Everything that [`super::plan`] decides from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub keeper: Keeper,
    /// Of those ports that our own running daemon does not hold.
    pub ports: Vec<PortFact>,
    pub running: Option<Running>,
    pub releases: Vec<u64>,
    /// Where `current` leads, when that is a release with its files as they were made.
    pub current: Option<Release>,
    /// What `current` says, even when what it leads to is broken.
    pub current_link: Option<PathBuf>,
    /// The unit that the current release was made with.
    pub current_unit: Option<Vec<u8>>,
    pub unit: UnitFact,
    /// Of the helpers that a plan may write: those that stand there.
    pub helpers: BTreeMap<PathBuf, Vec<u8>>,
    /// The helper that watches is enabled.
    pub watching: bool,
    /// What stands where our site in front of nginx belongs.
    pub site: Option<Vec<u8>>,
    /// How to take away a site of ours that nobody wants any more.
    pub old_site: Option<Step>,
    /// Of the service user, when there is one.
    pub user_uid: Option<u32>,
    /// Of the folders and secrets that a plan may make: those that stand already, with their owner.
    pub existing: BTreeMap<PathBuf, u32>,
    pub manifest: Manifest,
    /// Things of somebody else's where ours would have to be.
    pub foreign: Vec<PathBuf>,
    pub free_bytes: u64,
    /// Broken things that a person should hear of.
    pub notes: Vec<String>,
}

/// Looks at everything. `around` is what was found of nginx where it is the proxy, or has a site of ours still; `user` is the service user where there is one.
pub fn look(
    host: &dyn Host,
    config: &Config,
    paths: &Paths,
    keeper: Keeper,
    user: Option<&str>,
    around: Option<&Around>,
) -> Result<Facts, HostError> {
    let mut notes = Vec::new();
    let status = running(paths);
    let running = status.as_ref().map(|s| Running { pid: s.pid, release: s.release.or_else(|| release_of(host, s.pid)), ready: s.ready });
    let current_link = match host.entry(&paths.current())?.map(|entry| entry.kind) {
        Some(Kind::Link(target)) => Some(target),
        _ => None,
    };
    let current = match &current_link {
        Some(_) => intact(host, &paths.current(), &mut notes)?,
        None => None,
    };
    let (manifest, note) = Manifest::load(host, &paths.state)?;
    notes.extend(note);
    let mut existing = BTreeMap::new();
    for path in super::plan::makes(paths) {
        if let Some(entry) = host.entry(&path)? {
            existing.insert(path, entry.uid);
        }
    }
    let behind_nginx = config.site.proxy == Proxy::Nginx;
    let standing = around.filter(|around| around.standing.is_some() && manifest.sites.contains_key(&around.path));
    let old_site = standing.filter(|_| !behind_nginx).map(|around| around.unsite(ports::everything_of_page(config)));
    Ok(Facts {
        keeper,
        ports: port_facts(config, paths, status.as_ref(), around),
        helpers: helpers(host, &config.name)?,
        watching: keeper == Keeper::Systemd && is_watching(host, &config.name)?,
        site: around.and_then(|around| around.standing.clone()),
        old_site,
        running,
        releases: host.list(&paths.releases())?.iter().filter_map(|name| name.parse().ok()).collect(),
        current_unit: host.read(&paths.current().join(super::plan::UNIT_FILE))?,
        current,
        current_link,
        unit: if keeper == Keeper::Systemd { unit(host, &config.name)? } else { UnitFact::default() },
        user_uid: user.and_then(|user| uid_of(host, user)),
        existing,
        foreign: super::ours::foreign(host, paths, &manifest)?,
        manifest,
        free_bytes: host.free_bytes(&paths.state)?,
        notes,
    })
}

/// The daemon's own word; `None` when none answers.
pub fn running(paths: &Paths) -> Option<Status> {
    let answer = status::ask(&paths.admin_socket(), "status", STATUS_DEADLINE).ok()?;
    serde_json::from_value(answer).ok()
}

/// getent answers with a line of passwd(5), or with exit 2.
fn uid_of(host: &dyn Host, user: &str) -> Option<u32> {
    let line = host.run(&Cmd::new(["getent", "passwd", user])).ok()?.stdout;
    line.split(':').nth(2)?.parse().ok()
}

/// `/var/lib/rtcctl/releases/3/rtcctl` -> 3
fn release_of(host: &dyn Host, pid: u32) -> Option<u64> {
    let Kind::Link(exe) = host.entry(&PathBuf::from(format!("/proc/{pid}/exe"))).ok()??.kind else { return None };
    exe.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The release at `folder` if its binary and config are what its own record says.
fn intact(host: &dyn Host, folder: &Path, notes: &mut Vec<String>) -> Result<Option<Release>, HostError> {
    let record = host.read(&folder.join(super::plan::RECORD_FILE))?;
    let Some(release) = record.and_then(|bytes| serde_json::from_slice::<Release>(&bytes).ok()) else {
        notes.push(format!("{}: no readable record of the release; a new one is made", folder.display()));
        return Ok(None);
    };
    let binary = host.digest(&folder.join(super::plan::BINARY_FILE))?;
    let config = host.digest(&folder.join(super::plan::CONFIG_FILE))?;
    let may_run = host.entry(&folder.join(super::plan::BINARY_FILE))?.is_some_and(|entry| entry.mode & 0o100 != 0);
    if may_run && binary.as_ref() == Some(&release.binary) && config.as_ref() == Some(&release.config) {
        return Ok(Some(release));
    }
    notes.push(format!("release {} was changed by hand; it is kept, and a new one is made", release.number));
    Ok(None)
}

fn helpers(host: &dyn Host, name: &str) -> Result<BTreeMap<PathBuf, Vec<u8>>, HostError> {
    let mut found = BTreeMap::new();
    for path in super::plan::helper_paths(name) {
        if let Some(bytes) = host.read(&path)? {
            found.insert(path, bytes);
        }
    }
    Ok(found)
}

fn is_watching(host: &dyn Host, name: &str) -> Result<bool, HostError> {
    let unit = super::plan::watcher(name);
    let shown = host.run(&Cmd::new(["systemctl", "show", "--property=ActiveState,UnitFileState", &unit]))?.stdout;
    Ok(shown.lines().any(|line| line == "ActiveState=active") && shown.lines().any(|line| line == "UnitFileState=enabled"))
}

/// Every port the service needs that it does not hold already, with what the kernel says to a listener there.
pub fn port_facts(config: &Config, paths: &Paths, status: Option<&Status>, around: Option<&Around>) -> Vec<PortFact> {
    let ours = |address: &str, protocol: Protocol| {
        let listeners = status.map(|s| s.listeners.as_slice()).unwrap_or_default();
        listeners.iter().any(|l| l.address == address && l.protocol == protocol.to_string())
    };
    let behind_nginx = config.site.proxy == Proxy::Nginx;
    let of_nginx = if behind_nginx { ports::of_proxy(config) } else { Vec::new() };
    let others = ports::wanted(config).into_iter().chain(of_nginx).filter(|w| !ours(&w.address.to_string(), w.protocol));
    others
        .map(|wanted| PortFact { answer: try_listen(wanted.address, wanted.protocol), wanted })
        .filter(|fact| !is_own(fact, config, paths))
        .filter(|fact| !around.is_some_and(|around| is_of_nginx(fact, around, behind_nginx)))
        .collect()
}

/// Held by nginx, which is right where nginx is to hold it, and no obstacle where it does so for our own site, which is going to be removed.
fn is_of_nginx(PortFact { wanted, answer }: &PortFact, around: &Around, behind_nginx: bool) -> bool {
    let Answer::Held(Some(Holder { process: Some(process), .. })) = answer else { return false };
    let of_page = matches!(wanted.key, "site.https_port" | "site.http_port");
    process.command == "nginx" && of_page && (behind_nginx || (around.standing.is_some() && !around.is_used(wanted.address.port())))
}

/// Held by our own service although it does not answer (it starts, or hangs): then it is restarted, not avoided.
fn is_own(fact: &PortFact, config: &Config, paths: &Paths) -> bool {
    let Answer::Held(Some(Holder { process: Some(process), .. })) = &fact.answer else { return false };
    let is_unit = process.unit.as_deref().and_then(|unit| unit.strip_suffix(".service")) == Some(config.name.as_str());
    is_unit || process.exe.as_ref().is_some_and(|exe| exe.starts_with(paths.releases()))
}

fn unit(host: &dyn Host, name: &str) -> Result<UnitFact, HostError> {
    let text = host.read(&super::plan::unit_path(name))?;
    let shown = host.run(&Cmd::new(["systemctl", "show", "--property=ActiveState,UnitFileState", &format!("{name}.service")]))?.stdout;
    let is = |key: &str, values: &[&str]| shown.lines().any(|line| line.split_once('=').is_some_and(|(k, v)| k == key && values.contains(&v)));
    Ok(UnitFact { text, enabled: is("UnitFileState", &["enabled"]), active: is("ActiveState", &["active", "activating", "reloading"]) })
}
