//! Pure: from what is wanted and what is there to the steps between. Empty steps mean: nothing to do.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::facts::{Facts, Keeper};
use super::manifest::Manifest;
use super::ports;
use super::release::{self, Release};
use crate::config::Paths;
use crate::host::nginx::Nginx;
use crate::host::sha256;
use crate::render::diff;
use crate::ui::{Exit, Failure};

/// Names inside a release folder.
pub const BINARY_FILE: &str = "rtcctl";
pub const CONFIG_FILE: &str = "rtcctl.toml";
pub const UNIT_FILE: &str = "rtcctl.service";
/// Where a site is tried apart, in the state folder; gone again at once.
pub const NGINX_TEST: &str = ".nginx-test";
pub const RECORD_FILE: &str = "release.json";

/// What must stay free beside two copies of the binary: certificates, logs, room for the rest of the machine.
const SPARE_BYTES: u64 = 16 << 20;

/// What the machine shall be.
#[derive(Clone, Debug)]
pub struct Want<'a> {
    pub name: &'a str,
    pub paths: &'a Paths,
    pub is_root: bool,
    /// The user that the service runs as, when that is not us.
    pub user: Option<&'a str>,
    /// Where the binary comes from, and what it is.
    pub binary: &'a Path,
    pub binary_sha256: String,
    pub binary_bytes: u64,
    pub version: &'a str,
    /// The resolved config as TOML.
    pub config: String,
    /// The unit where systemd keeps the service.
    pub unit: Option<String>,
    /// The site in front of us, where nginx is the proxy.
    pub site: Option<WantedSite>,
    /// Further units of the machine, beside the service's own: they reload nginx when the certificate has changed.
    pub helpers: Vec<(PathBuf, String)>,
    /// `turn.secret` is ours to make (the config names no other file).
    pub own_turn_secret: bool,
    /// Seconds since the epoch.
    pub now: u64,
}

/// A file in nginx's folders.
#[derive(Clone, Debug)]
pub struct WantedSite {
    pub path: PathBuf,
    pub text: String,
    pub nginx: Nginx,
    pub running: bool,
    /// Listened on for this site alone.
    pub ports: Vec<SocketAddr>,
}

/// A file that somebody changed, with what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    pub path: PathBuf,
    /// Where that version is kept.
    pub backup: PathBuf,
    /// From it to ours.
    pub diff: String,
}

/// One change to the machine. Each can be undone: see `apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Writes down what is about to be made.
    Record {
        state: PathBuf,
        manifest: Manifest,
    },
    /// A system user without home and shell, with a group of its name.
    MakeUser {
        name: String,
    },
    /// Makes a folder, or hands one that stands already to its owner.
    Folder {
        path: PathBuf,
        mode: u32,
        owner: Option<String>,
    },
    Secret {
        path: PathBuf,
        owner: Option<String>,
    },
    /// Nothing to do; when a later step fails, the service that ran before is started again.
    Hold {
        release: Option<u64>,
    },
    /// Makes the release folder whole before it gets its name.
    Stage {
        releases: PathBuf,
        release: Release,
        binary: PathBuf,
        #[serde(skip)]
        config: String,
        #[serde(skip)]
        unit: Option<String>,
        mode: u32,
    },
    /// Installs the unit; `backup` keeps one that was changed by hand.
    Unit {
        path: PathBuf,
        #[serde(skip)]
        text: String,
        backup: Option<PathBuf>,
    },
    Activate {
        current: PathBuf,
        number: u64,
    },
    Enable,
    Start,
    Restart,
    /// Enables the helper that watches for a new certificate.
    Watch,
    /// Tries the site apart, writes it, tries the whole and lets nginx take it; `backup` keeps one that was changed by hand.
    Site {
        path: PathBuf,
        #[serde(skip)]
        text: String,
        backup: Option<PathBuf>,
        #[serde(skip)]
        nginx: Nginx,
        /// It runs, so that it is reloaded and not started.
        running: bool,
        /// Nobody else's: nginx holds them for our site alone.
        #[serde(skip)]
        ports: Vec<SocketAddr>,
        #[serde(skip)]
        scratch: PathBuf,
    },
    /// Takes a site of ours away again; `ports` are free afterwards.
    Unsite {
        path: PathBuf,
        #[serde(skip)]
        nginx: Nginx,
        running: bool,
        ports: Vec<SocketAddr>,
    },
    Prune {
        releases: PathBuf,
        numbers: Vec<u64>,
    },
}

/// The steps in order. Between `ground` and `change` the certificate is made, by whoever knows how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub ground: Vec<Step>,
    pub change: Vec<Step>,
    /// After the result was proven.
    pub after: Vec<Step>,
    /// Sentences for a person.
    pub notes: Vec<String>,
    /// To be agreed to before anything is touched.
    pub replaces: Vec<Replaced>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.ground.is_empty() && self.change.is_empty()
    }

    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.ground.iter().chain(&self.change).chain(&self.after)
    }
}

/// Where systemd looks for units of the machine's own.
pub fn unit_path(name: &str) -> PathBuf {
    Path::new("/etc/systemd/system").join(format!("{name}.service"))
}

/// The unit that waits for a new certificate.
pub fn watcher(name: &str) -> String {
    format!("{name}-proxy.path")
}

/// Where the helpers lie: what waits, and what it starts.
pub fn helper_paths(name: &str) -> [PathBuf; 2] {
    let folder = Path::new("/etc/systemd/system");
    [folder.join(watcher(name)), folder.join(format!("{name}-proxy.service"))]
}

/// Every folder and secret that a plan may make.
pub fn makes(paths: &Paths) -> Vec<PathBuf> {
    vec![paths.releases(), paths.certs(), paths.ca(), paths.webroot(), paths.log(), paths.run.clone(), paths.turn_secret(), paths.signal_key()]
}

/// Fails before anything is touched: with the ports in the way, a unit of somebody else's, no room, or a state that the service could not see.
pub fn plan(want: &Want<'_>, facts: &Facts) -> Result<Plan, Failure> {
    refuse(want, facts)?;
    let mut plan = Plan { notes: facts.notes.clone(), ..Plan::default() };
    let wanted = Release {
        number: release::next(&facts.releases, facts.current.as_ref().map(|r| r.number)),
        version: want.version.into(),
        binary: want.binary_sha256.clone(),
        config: sha256(want.config.as_bytes()),
        unit: want.unit.as_ref().map(|text| sha256(text.as_bytes())),
        made: want.now,
    };
    let kept = facts.current.as_ref().filter(|current| current.is_same(&wanted));
    if kept.is_none() {
        refuse_a_full_disk(want, facts)?;
    }
    plan.change = change(want, facts, &wanted, kept.is_some(), &mut plan.notes);
    plan.change.extend(site(want, facts, &mut plan.replaces));
    plan.ground = ground(want, facts);
    let number = kept.map_or(wanted.number, |current| current.number);
    let mut numbers = facts.releases.clone();
    if !numbers.contains(&number) {
        numbers.push(number);
    }
    let old = release::to_prune(&numbers, number);
    if !old.is_empty() {
        plan.after.push(Step::Prune { releases: want.paths.releases(), numbers: old });
    }
    Ok(plan)
}

fn refuse(want: &Want<'_>, facts: &Facts) -> Result<(), Failure> {
    if let Some(failure) = ports::obstacles(&facts.ports) {
        return Err(failure);
    }
    let state = &want.paths.state;
    if !facts.foreign.is_empty() {
        let failure = Failure::new(Exit::Resource, format!("somebody else's things stand where the state would be: {}", state.display()));
        let failure = facts.foreign.iter().fold(failure, |failure, path| failure.detail(format!("not ours: {}", path.display())));
        return Err(failure.hint("choose a folder of its own: rtcctl up --state DIR"));
    }
    if facts.keeper == Keeper::Systemd {
        if let Some(hidden) = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"].into_iter().find(|folder| state.starts_with(folder)) {
            return Err(Failure::new(Exit::Resource, format!("the service could not see its state: its sandbox hides {hidden}"))
                .hint(format!("choose another folder: rtcctl up --state /srv/{}", want.name)));
        }
        let path = unit_path(want.name);
        let ours = facts.manifest.files.contains(&path) || facts.current_unit.is_some();
        if facts.unit.text.is_some() && !ours {
            return Err(Failure::new(Exit::Resource, format!("a unit that is not ours stands in the way: {}", path.display()))
                .hint("choose another name: rtcctl up --set name=calls")
                .hint(format!("or remove it: systemctl disable --now {}; rm {}", want.name, path.display())));
        }
    }
    Ok(())
}

/// Only a new release takes room; on a full disk the old one may still be started.
fn refuse_a_full_disk(want: &Want<'_>, facts: &Facts) -> Result<(), Failure> {
    let needed = 2 * want.binary_bytes + SPARE_BYTES;
    if facts.free_bytes < needed {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        return Err(Failure::new(
            Exit::Resource,
            format!("too little room in {}: {} MiB free, {} needed", want.paths.state.display(), facts.free_bytes >> 20, mib(needed)),
        )
        .hint("free some space, or choose another place with --state DIR"));
    }
    Ok(())
}

fn ground(want: &Want<'_>, facts: &Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut manifest = facts.manifest.clone();
    if let Some(user) = want.user.filter(|_| facts.user_uid.is_none()) {
        manifest.user = Some(user.into());
        steps.push(Step::MakeUser { name: user.into() });
    }
    for (path, mode, given) in folders(want, facts.keeper) {
        let owner = want.user.filter(|_| given);
        let Some(uid) = facts.existing.get(&path) else {
            manifest.add_folder(&path);
            steps.push(Step::Folder { path, mode, owner: owner.map(Into::into) });
            continue;
        };
        if owner.is_some() && Some(*uid) != facts.user_uid {
            steps.push(Step::Folder { path, mode, owner: owner.map(Into::into) });
        }
    }
    let secrets = [want.own_turn_secret.then(|| want.paths.turn_secret()), Some(want.paths.signal_key())];
    for path in secrets.into_iter().flatten() {
        let uid = facts.existing.get(&path);
        if uid.is_none() || want.user.is_some() && uid.copied() != facts.user_uid {
            steps.push(Step::Secret { path, owner: want.user.map(Into::into) });
        }
    }
    if want.unit.is_some() {
        manifest.add_file(&unit_path(want.name));
    }
    for (path, _) in &want.helpers {
        manifest.add_file(path);
    }
    if let Some(site) = &want.site {
        manifest.add_site(&site.path, sha256(site.text.as_bytes()));
    }
    if manifest != facts.manifest {
        steps.insert(0, Step::Record { state: want.paths.state.clone(), manifest });
    }
    steps
}

/// Path, mode, and whether the service writes there.
fn folders(want: &Want<'_>, keeper: Keeper) -> Vec<(PathBuf, u32, bool)> {
    let paths = want.paths;
    let open = if want.is_root { 0o755 } else { 0o700 };
    let mut folders = vec![(paths.releases(), open, false), (paths.certs(), 0o700, true), (paths.ca(), 0o700, true)];
    if want.site.is_some() {
        folders.push((paths.webroot(), 0o755, true));
    }
    match keeper {
        // Directly under /run systemd makes it, with the unit's RuntimeDirectory.
        Keeper::Systemd if paths.run.parent() == Some(Path::new("/run")) => {}
        Keeper::Systemd => folders.push((paths.run.clone(), 0o750, true)),
        Keeper::Supervisor => folders.extend([(paths.log(), 0o700, true), (paths.run.clone(), 0o700, true)]),
    }
    folders
}

fn change(want: &Want<'_>, facts: &Facts, wanted: &Release, kept: bool, notes: &mut Vec<String>) -> Vec<Step> {
    let mut steps: Vec<Step> = facts.old_site.iter().cloned().collect();
    if !kept {
        let (config, unit, mode) = (want.config.clone(), want.unit.clone(), if want.is_root { 0o755 } else { 0o700 });
        steps.push(Step::Stage { releases: want.paths.releases(), release: wanted.clone(), binary: want.binary.into(), config, unit, mode });
    }
    let unit = want.unit.as_ref().filter(|text| facts.unit.text.as_deref() != Some(text.as_bytes()));
    if let Some(text) = unit {
        let path = unit_path(want.name);
        let by_hand = facts.unit.text.is_some() && facts.unit.text != facts.current_unit;
        let backup = by_hand.then(|| want.paths.state.join(format!("{}.service.by-hand-{}", want.name, want.now)));
        if let Some(backup) = &backup {
            notes.push(format!("{} was changed by hand; that version is kept as {}", path.display(), backup.display()));
        }
        steps.push(Step::Unit { path, text: text.clone(), backup });
    }
    let helpers = want.helpers.iter().filter(|(path, text)| facts.helpers.get(path).map(Vec::as_slice) != Some(text.as_bytes()));
    let before = steps.len();
    steps.extend(helpers.map(|(path, text)| Step::Unit { path: path.clone(), text: text.clone(), backup: None }));
    let watch = !want.helpers.is_empty() && (steps.len() > before || !facts.watching);
    steps.extend(watch.then_some(Step::Watch));
    if !kept {
        steps.push(Step::Activate { current: want.paths.current(), number: wanted.number });
    }
    if want.unit.is_some() && !facts.unit.enabled {
        steps.push(Step::Enable);
    }
    let number = if kept { facts.current.as_ref().map(|r| r.number) } else { Some(wanted.number) };
    let runs = facts.running.as_ref().is_some_and(|r| r.ready && r.release == number);
    if !kept || unit.is_some() || !runs {
        let was_up = facts.running.is_some() || facts.unit.active;
        if was_up {
            steps.insert(0, Step::Hold { release: facts.running.as_ref().and_then(|r| r.release) });
        }
        steps.push(if was_up { Step::Restart } else { Step::Start });
    }
    steps
}

/// Ours in nginx's folders, last: it leads to a service that answers, with a certificate that is there.
fn site(want: &Want<'_>, facts: &Facts, replaces: &mut Vec<Replaced>) -> Option<Step> {
    let site = want.site.as_ref()?;
    let standing = facts.site.as_deref();
    if standing == Some(site.text.as_bytes()) && site.running {
        return None;
    }
    let known = facts.manifest.sites.get(&site.path).map(Vec::as_slice).unwrap_or_default();
    let by_hand = standing.filter(|bytes| *bytes != site.text.as_bytes() && !known.contains(&sha256(bytes)));
    let file = site.path.file_name().unwrap_or_default().to_string_lossy();
    let backup = by_hand.map(|_| want.paths.state.join(format!("{file}.by-hand-{}", want.now)));
    if let (Some(bytes), Some(backup)) = (by_hand, &backup) {
        let shown = site.path.display().to_string();
        let diff = diff::unified((&shown, &String::from_utf8_lossy(bytes)), ("ours", &site.text));
        replaces.push(Replaced { path: site.path.clone(), backup: backup.clone(), diff });
    }
    Some(Step::Site {
        path: site.path.clone(),
        text: site.text.clone(),
        backup,
        nginx: site.nginx.clone(),
        running: site.running,
        ports: site.ports.clone(),
        scratch: want.paths.state.join(NGINX_TEST),
    })
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owned = |owner: &Option<String>| owner.as_ref().map(|owner| format!(", owner {owner}")).unwrap_or_default();
        match self {
            Self::Record { state, .. } => write!(f, "write down what is made in {}", Manifest::path(state).display()),
            Self::MakeUser { name } => write!(f, "make user and group {name} (system, no shell)"),
            Self::Folder { path, mode, owner } => write!(f, "make folder {} ({mode:04o}{})", path.display(), owned(owner)),
            Self::Secret { path, owner } => write!(f, "make secret {} (0600{})", path.display(), owned(owner)),
            Self::Hold { release: Some(number) } => write!(f, "keep release {number} ready to come back"),
            Self::Hold { release: None } => f.write_str("keep the running service ready to come back"),
            Self::Stage { releases, release, .. } => {
                write!(f, "put release {} into {}", release.number, releases.join(release.number.to_string()).display())
            }
            Self::Unit { path, .. } => write!(f, "write {} and reload systemd", path.display()),
            Self::Activate { current, number } => write!(f, "point {} to release {number}", current.display()),
            Self::Enable => f.write_str("enable the service at boot"),
            Self::Start => f.write_str("start the service"),
            Self::Restart => f.write_str("restart the service"),
            Self::Watch => f.write_str("watch for a new certificate, so that nginx takes it"),
            Self::Site { path, running: true, .. } => write!(f, "write {}, test it and reload nginx", path.display()),
            Self::Site { path, .. } => write!(f, "write {}, test it and start nginx", path.display()),
            Self::Unsite { path, .. } => write!(f, "remove {} and reload nginx", path.display()),
            Self::Prune { numbers, .. } => write!(f, "remove old releases: {}", numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use expect_test::{Expect, expect};

    use super::{Plan, Step, Want, WantedSite, plan, unit_path};
    use crate::config::Paths;
    use crate::deploy::facts::{Facts, Keeper, Running, UnitFact};
    use crate::deploy::manifest::Manifest;
    use crate::deploy::release::Release;
    use crate::host::nginx::Nginx;
    use crate::host::script::Script;
    use crate::host::sha256;

    pub(in crate::deploy) fn root_paths() -> Paths {
        Paths { state: "/var/lib/rtcctl".into(), run: "/run/rtcctl".into() }
    }

    pub(in crate::deploy) fn want(paths: &Paths) -> Want<'_> {
        Want {
            name: "rtcctl",
            paths,
            is_root: true,
            user: Some("rtcctl"),
            binary: Path::new("/bin/rtcctl"),
            binary_sha256: "b1".into(),
            binary_bytes: 20 << 20,
            version: "0.1.0",
            config: "name = \"rtcctl\"\n".into(),
            unit: Some("[Service]\n".into()),
            site: None,
            helpers: Vec::new(),
            own_turn_secret: true,
            now: 1000,
        }
    }

    pub(in crate::deploy) fn nothing() -> Facts {
        Facts {
            keeper: Keeper::Systemd,
            ports: Vec::new(),
            running: None,
            releases: Vec::new(),
            current: None,
            current_link: None,
            current_unit: None,
            unit: UnitFact::default(),
            helpers: BTreeMap::new(),
            watching: false,
            site: None,
            old_site: None,
            user_uid: None,
            existing: BTreeMap::new(),
            manifest: Manifest { folders: vec!["/var/lib/rtcctl".into()], ..Manifest::default() },
            foreign: Vec::new(),
            free_bytes: 1 << 40,
            notes: Vec::new(),
        }
    }

    /// As after an `up` of exactly `want`.
    fn done(want: &Want<'_>) -> Facts {
        let release = Release {
            number: 1,
            version: "0.1.0".into(),
            binary: want.binary_sha256.clone(),
            config: sha256(want.config.as_bytes()),
            unit: want.unit.as_ref().map(|text| sha256(text.as_bytes())),
            made: 900,
        };
        let unit = want.unit.clone().map(String::into_bytes);
        let folders = ["releases", "certs", "ca"].map(|name| want.paths.state.join(name));
        let owner = |path: PathBuf| if path.ends_with("releases") { (path, 0) } else { (path, 999) };
        let secrets = [want.paths.turn_secret(), want.paths.signal_key()];
        Facts {
            running: Some(Running { pid: 7, release: Some(1), ready: true }),
            releases: vec![1],
            current: Some(release),
            current_link: Some("releases/1".into()),
            current_unit: unit.clone(),
            unit: UnitFact { text: unit, enabled: true, active: true },
            user_uid: Some(999),
            existing: folders.iter().cloned().chain(secrets).map(owner).collect(),
            manifest: Manifest {
                folders: std::iter::once(want.paths.state.clone()).chain(folders).collect(),
                files: vec![unit_path("rtcctl")],
                user: Some("rtcctl".into()),
                ..Manifest::default()
            },
            ..nothing()
        }
    }

    fn check(plan: &Plan, expected: Expect) {
        let lines: Vec<String> =
            plan.steps().map(|step| format!("{step}\n")).chain(plan.notes.iter().map(|note| format!("note: {note}\n"))).collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn bare_machine() {
        let paths = root_paths();
        check(
            &plan(&want(&paths), &nothing()).unwrap(),
            expect![[r#"
                write down what is made in /var/lib/rtcctl/manifest.json
                make user and group rtcctl (system, no shell)
                make folder /var/lib/rtcctl/releases (0755)
                make folder /var/lib/rtcctl/certs (0700, owner rtcctl)
                make folder /var/lib/rtcctl/ca (0700, owner rtcctl)
                make secret /var/lib/rtcctl/turn.secret (0600, owner rtcctl)
                make secret /var/lib/rtcctl/signal.key (0600, owner rtcctl)
                put release 1 into /var/lib/rtcctl/releases/1
                write /etc/systemd/system/rtcctl.service and reload systemd
                point /var/lib/rtcctl/current to release 1
                enable the service at boot
                start the service
            "#]],
        );
    }

    #[test]
    fn user_without_systemd() {
        let paths = Paths { state: "/home/anna/.local/state/rtcctl".into(), run: "/run/user/1000/rtcctl".into() };
        let want = Want { is_root: false, user: None, unit: None, ..want(&paths) };
        let facts = Facts { keeper: Keeper::Supervisor, manifest: Manifest::default(), ..nothing() };
        check(
            &plan(&want, &facts).unwrap(),
            expect![[r#"
                write down what is made in /home/anna/.local/state/rtcctl/manifest.json
                make folder /home/anna/.local/state/rtcctl/releases (0700)
                make folder /home/anna/.local/state/rtcctl/certs (0700)
                make folder /home/anna/.local/state/rtcctl/ca (0700)
                make folder /home/anna/.local/state/rtcctl/log (0700)
                make folder /run/user/1000/rtcctl (0700)
                make secret /home/anna/.local/state/rtcctl/turn.secret (0600)
                make secret /home/anna/.local/state/rtcctl/signal.key (0600)
                put release 1 into /home/anna/.local/state/rtcctl/releases/1
                point /home/anna/.local/state/rtcctl/current to release 1
                start the service
            "#]],
        );
    }

    #[test]
    fn nothing_to_do() {
        let paths = root_paths();
        let want = want(&paths);
        let plan = plan(&want, &done(&want)).unwrap();
        assert!(plan.is_empty());
        check(&plan, expect![""]);
    }

    #[test]
    fn new_binary_and_old_releases() {
        let paths = root_paths();
        let before = want(&paths);
        let facts = Facts { releases: vec![1, 2, 3, 4, 5, 6], ..done(&before) };
        check(
            &plan(&Want { binary_sha256: "b2".into(), ..before }, &facts).unwrap(),
            expect![[r#"
                keep release 1 ready to come back
                put release 7 into /var/lib/rtcctl/releases/7
                point /var/lib/rtcctl/current to release 7
                restart the service
                remove old releases: 1, 2
            "#]],
        );
    }

    #[test]
    fn killed_between_activate_and_restart() {
        let paths = root_paths();
        let want = want(&paths);
        let facts = Facts { running: Some(Running { pid: 7, release: Some(0), ready: true }), ..done(&want) };
        check(
            &plan(&want, &facts).unwrap(),
            expect![[r#"
                keep release 0 ready to come back
                restart the service
            "#]],
        );
    }

    #[test]
    fn stopped_and_disabled_by_down() {
        let paths = root_paths();
        let want = want(&paths);
        let mut facts = Facts { running: None, ..done(&want) };
        facts.unit.enabled = false;
        facts.unit.active = false;
        check(
            &plan(&want, &facts).unwrap(),
            expect![[r#"
                enable the service at boot
                start the service
            "#]],
        );
    }

    #[test]
    fn unit_changed_by_hand_is_kept() {
        let paths = root_paths();
        let want = want(&paths);
        let mut facts = done(&want);
        facts.unit.text = Some(b"[Service]\nNice=5\n".to_vec());
        check(
            &plan(&want, &facts).unwrap(),
            expect![[r#"
                keep release 1 ready to come back
                write /etc/systemd/system/rtcctl.service and reload systemd
                restart the service
                note: /etc/systemd/system/rtcctl.service was changed by hand; that version is kept as /var/lib/rtcctl/rtcctl.service.by-hand-1000
            "#]],
        );
    }

    fn with_site(paths: &Paths) -> Want<'_> {
        let host = Script::new(|_| Ok(String::new()));
        let nginx = Nginx::find(&host).unwrap().unwrap();
        let path = "/etc/nginx/sites-enabled/zz-rtcctl.conf".into();
        let site = WantedSite { path, text: "# ours\n".into(), nginx, running: true, ports: Vec::new() };
        Want { site: Some(site), helpers: vec![("/etc/systemd/system/rtcctl-proxy.path".into(), "[Path]\n".into())], ..want(paths) }
    }

    #[test]
    fn the_site_comes_last_and_only_when_it_is_not_there() {
        let paths = root_paths();
        let want = with_site(&paths);
        let mut facts = done(&want);
        check(
            &plan(&want, &facts).unwrap(),
            expect![[r#"
            write down what is made in /var/lib/rtcctl/manifest.json
            make folder /var/lib/rtcctl/webroot (0755, owner rtcctl)
            write /etc/systemd/system/rtcctl-proxy.path and reload systemd
            watch for a new certificate, so that nginx takes it
            write /etc/nginx/sites-enabled/zz-rtcctl.conf, test it and reload nginx
        "#]],
        );
        facts.manifest.add_site(Path::new("/etc/nginx/sites-enabled/zz-rtcctl.conf"), sha256(b"# ours\n"));
        facts.manifest.add_file(Path::new("/etc/systemd/system/rtcctl-proxy.path"));
        facts.existing.insert(paths.webroot(), 999);
        facts.helpers.insert("/etc/systemd/system/rtcctl-proxy.path".into(), b"[Path]\n".to_vec());
        (facts.watching, facts.site) = (true, Some(b"# ours\n".to_vec()));
        assert!(plan(&want, &facts).unwrap().is_empty());
    }

    #[test]
    fn a_site_changed_by_hand_is_shown_asked_about_and_kept() {
        let paths = root_paths();
        let want = with_site(&paths);
        let path = Path::new("/etc/nginx/sites-enabled/zz-rtcctl.conf");
        let mut facts = done(&want);
        facts.manifest.add_site(path, sha256(b"# older\n"));
        facts.site = Some(b"# older\n".to_vec());
        assert!(plan(&want, &facts).unwrap().replaces.is_empty(), "an older one of ours is nobody's work");
        facts.site = Some(b"# ours\n# and mine\n".to_vec());
        let plan = plan(&want, &facts).unwrap();
        assert_eq!(plan.replaces[0].backup, paths.state.join("zz-rtcctl.conf.by-hand-1000"));
        assert!(plan.replaces[0].diff.ends_with("\n # ours\n-# and mine\n"), "{}", plan.replaces[0].diff);
    }

    #[test]
    fn certificates_that_root_made_by_hand_are_given_to_the_service() {
        let paths = root_paths();
        let want = want(&paths);
        let mut facts = done(&want);
        facts.existing.insert(paths.ca(), 0);
        facts.existing.remove(&paths.signal_key());
        check(
            &plan(&want, &facts).unwrap(),
            expect![[r#"
                make folder /var/lib/rtcctl/ca (0700, owner rtcctl)
                make secret /var/lib/rtcctl/signal.key (0600, owner rtcctl)
            "#]],
        );
    }

    #[test]
    fn refuses_in_words_before_anything_is_touched() {
        let paths = root_paths();
        let refused = |want: &Want<'_>, facts: &Facts| plan(want, facts).unwrap_err().message;
        let foreign = Facts { unit: UnitFact { text: Some(b"x".to_vec()), ..UnitFact::default() }, ..nothing() };
        assert_eq!(refused(&want(&paths), &foreign), "a unit that is not ours stands in the way: /etc/systemd/system/rtcctl.service");
        let full = Facts { free_bytes: 30 << 20, ..nothing() };
        assert_eq!(refused(&want(&paths), &full), "too little room in /var/lib/rtcctl: 30 MiB free, 56 needed");
        let stopped = Facts { running: None, free_bytes: 0, ..done(&want(&paths)) };
        assert_eq!(plan(&want(&paths), &stopped).unwrap().change.last(), Some(&Step::Restart), "the release that is there needs no room");
        let theirs = Facts { foreign: vec!["/var/lib/rtcctl/releases".into()], ..nothing() };
        assert_eq!(refused(&want(&paths), &theirs), "somebody else's things stand where the state would be: /var/lib/rtcctl");
        let hidden = Paths { state: "/home/anna/x".into(), run: "/home/anna/x/run".into() };
        assert_eq!(refused(&want(&hidden), &nothing()), "the service could not see its state: its sandbox hides /home");
    }
}
