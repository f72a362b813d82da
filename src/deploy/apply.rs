//! Performs steps one by one and remembers how to undo each; what undoes a step is written down before it begins, so that a step that fails halfway
//! is undone too. Undoing what was not done is no error.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::plan::{BINARY_FILE, CONFIG_FILE, RECORD_FILE, Step, UNIT_FILE};
use super::service::{NotReady, Service};
use crate::host::nginx::{self, Nginx};
use crate::host::ports::{Answer, Protocol, try_listen};
use crate::host::{Cmd, Host, Kind};
use crate::telemetry::status::Status;

/// A main file for one site. Everything that nginx would make lies below its prefix, which goes again.
const APART: &str = "error_log stderr;\npid nginx.pid;\nevents {}\nhttp {\n    client_body_temp_path body;\n    proxy_temp_path proxy;\n    \
                     fastcgi_temp_path fastcgi;\n    uwsgi_temp_path uwsgi;\n    scgi_temp_path scgi;\n    access_log off;\n    include site.conf;\n}\n";
/// nginx lets go of a port when it has read its new configuration.
const FREE_DEADLINE: Duration = Duration::from_secs(5);
const FREE_AGAIN: Duration = Duration::from_millis(20);

/// How one step is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Undo {
    RemoveUser(String),
    RemoveTree(PathBuf),
    GiveBack(PathBuf),
    Restore {
        path: PathBuf,
        bytes: Option<Vec<u8>>,
        mode: u32,
    },
    /// The file as it was, and nginx with it.
    Site {
        path: PathBuf,
        bytes: Option<Vec<u8>>,
        mode: u32,
        nginx: Nginx,
        running: bool,
        ports: Vec<SocketAddr>,
    },
    Unwatch,
    Relink {
        link: PathBuf,
        target: Option<PathBuf>,
    },
    Reload,
    Disable,
    Stop,
    StartAgain,
}

/// A step that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause:#}")]
pub struct StepFailed {
    /// What was being done, in words.
    pub step: String,
    pub cause: anyhow::Error,
    /// Ctrl-C, not the machine.
    pub interrupted: bool,
}

impl StepFailed {
    /// The service did not come up: its own words say more.
    pub fn is_about_service(&self) -> bool {
        self.cause.downcast_ref::<NotReady>().is_some()
    }
}

/// What could not be taken back: one sentence each.
pub type Remains = Vec<String>;

/// Work under way. Dropping it keeps what was done; [`Work::undo`] takes it back.
pub struct Work<'a> {
    host: &'a dyn Host,
    service: &'a dyn Service,
    /// How long the service may take to become ready.
    deadline: Duration,
    interrupted: &'a dyn Fn() -> bool,
    undos: Vec<Undo>,
    status: Option<Status>,
}

impl<'a> Work<'a> {
    pub fn new(host: &'a dyn Host, service: &'a dyn Service, deadline: Duration, interrupted: &'a dyn Fn() -> bool) -> Self {
        Self { host, service, deadline, interrupted, undos: Vec::new(), status: None }
    }

    /// The daemon as it answered after the last start.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Stops at the first failure; nothing is undone yet.
    pub fn apply(&mut self, steps: &[Step], on_step: &mut dyn FnMut(&Step)) -> Result<(), StepFailed> {
        for step in steps {
            on_step(step);
            let failed = |cause: anyhow::Error, interrupted| StepFailed { step: step.to_string(), cause, interrupted };
            if (self.interrupted)() {
                return Err(failed(anyhow::anyhow!("interrupted"), true));
            }
            self.perform(step).map_err(|cause| {
                let interrupted = matches!(cause.downcast_ref(), Some(NotReady::Interrupted));
                failed(cause, interrupted)
            })?;
        }
        Ok(())
    }

    /// Everything backwards, as far as it goes. Empty: the machine is as it was.
    pub fn undo(&mut self) -> Remains {
        let mut remains = Remains::new();
        while let Some(undo) = self.undos.pop() {
            if let Err(cause) = self.take_back(&undo) {
                remains.push(format!("{undo}: {cause:#}"));
            }
        }
        remains
    }

    fn perform(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Record { state, manifest } => {
                self.remember_file(&super::manifest::Manifest::path(state))?;
                manifest.save(self.host, state)?;
            }
            Step::MakeUser { name } => {
                self.undos.push(Undo::RemoveUser(name.clone()));
                let words =
                    ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name];
                self.host.run(&Cmd::new(words))?;
            }
            Step::Folder { path, mode, owner } => {
                self.remember_path(path, owner.as_deref())?;
                self.host.make_dir(path, *mode)?;
                self.give(path, owner.as_deref())?;
            }
            Step::Secret { path, owner } => {
                self.remember_path(path, owner.as_deref())?;
                self.host.secret(path)?;
                self.give(path, owner.as_deref())?;
            }
            Step::Hold { .. } => self.undos.push(Undo::StartAgain),
            Step::Stage { releases, release, binary, config, unit, mode } => {
                let folder = releases.join(release.number.to_string());
                self.undos.push(Undo::RemoveTree(folder.clone()));
                self.stage(releases, &folder, binary, config, unit.as_deref(), *mode, release)?;
            }
            Step::Unit { path, text, backup } => {
                self.undos.push(Undo::Reload);
                self.remember_file(path)?;
                if let (Some(backup), Some(bytes)) = (backup, self.host.read(path)?) {
                    self.remember_file(backup)?;
                    self.host.write(backup, &bytes, 0o600)?;
                }
                self.host.write(path, text.as_bytes(), 0o644)?;
                self.reload()?;
            }
            Step::Activate { current, number } => {
                let target = match self.host.entry(current)?.map(|entry| entry.kind) {
                    Some(Kind::Link(target)) => Some(target),
                    _ => None,
                };
                self.undos.push(Undo::Relink { link: current.clone(), target });
                self.host.relink(current, &Path::new("releases").join(number.to_string()))?;
            }
            Step::Enable => {
                self.undos.push(Undo::Disable);
                self.service.enable()?;
            }
            Step::Start => {
                self.undos.push(Undo::Stop);
                self.service.start()?;
                self.status = Some(self.service.wait_ready(None, self.deadline, self.interrupted)?);
            }
            Step::Restart => {
                let before = self.service.pid();
                self.undos.push(Undo::Stop);
                self.service.restart()?;
                self.status = Some(self.service.wait_ready(before, self.deadline, self.interrupted)?);
            }
            Step::Watch => {
                self.undos.push(Undo::Unwatch);
                self.service.watch()?;
            }
            Step::Site { path, text, backup, nginx, running, ports, scratch } => {
                self.undos.push(Undo::RemoveTree(scratch.clone()));
                self.try_apart(nginx, text, scratch)?;
                self.replace(path, Some(text.as_bytes()), backup.as_deref(), nginx, *running, ports)?;
            }
            Step::Unsite { path, nginx, running, ports } => {
                self.replace(path, None, None, nginx, *running, &[])?;
                wait_until_free(ports)?;
            }
            Step::Prune { releases, numbers } => {
                for number in numbers {
                    self.host.remove_tree(&releases.join(number.to_string()))?;
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one step, which has no other use for a type")]
    fn stage(
        &self,
        releases: &Path,
        folder: &Path,
        binary: &Path,
        config: &str,
        unit: Option<&str>,
        mode: u32,
        release: &super::release::Release,
    ) -> anyhow::Result<()> {
        let half = releases.join(format!(".new-{}", release.number));
        self.host.remove_tree(&half)?;
        self.host.make_dir(&half, mode)?;
        let filled = (|| -> anyhow::Result<()> {
            self.host.put(binary, &half.join(BINARY_FILE), mode)?;
            // Read by the service's user; secrets are files of their own.
            self.host.write(&half.join(CONFIG_FILE), config.as_bytes(), 0o644 & mode)?;
            if let Some(unit) = unit {
                self.host.write(&half.join(UNIT_FILE), unit.as_bytes(), 0o644)?;
            }
            self.host.write(&half.join(RECORD_FILE), &serde_json::to_vec_pretty(release)?, 0o644 & mode)?;
            Ok(self.host.rename(&half, folder)?)
        })();
        if filled.is_err() {
            self.host.remove_tree(&half)?;
        }
        filled
    }

    /// The site alone below a main file of our own: what is wrong with it is found before anything of nginx's is touched.
    fn try_apart(&self, nginx: &Nginx, text: &str, scratch: &Path) -> anyhow::Result<()> {
        self.host.remove_tree(scratch)?;
        self.host.make_dir(scratch, 0o700)?;
        let tried = (|| {
            let conf = scratch.join("nginx.conf");
            self.host.write(&scratch.join("site.conf"), text.as_bytes(), 0o600)?;
            self.host.write(&conf, APART.as_bytes(), 0o600)?;
            nginx.test_apart(self.host, scratch, &conf)
        })();
        self.host.remove_tree(scratch)?;
        tried?.map_err(|lines| anyhow::anyhow!("nginx does not take the site: {}", lines.join("; ")))
    }

    /// `None`: the file goes. nginx sees it only after it has said that it would take the whole.
    fn replace(
        &mut self,
        path: &Path,
        text: Option<&[u8]>,
        backup: Option<&Path>,
        nginx: &Nginx,
        running: bool,
        ports: &[SocketAddr],
    ) -> anyhow::Result<()> {
        let mode = self.host.entry(path)?.map_or(0o644, |entry| entry.mode);
        let before = self.host.read(path)?;
        if let (Some(backup), Some(bytes)) = (backup, &before) {
            self.remember_file(backup)?;
            self.host.write(backup, bytes, 0o600)?;
        }
        self.remember_file(path)?;
        match text {
            Some(text) => self.host.write(path, text, 0o644)?,
            None => self.host.remove(path)?,
        }
        nginx.test(self.host)?.map_err(|lines| anyhow::anyhow!("nginx does not take its configuration with it: {}", lines.join("; ")))?;
        let (path, nginx, ports) = (path.into(), nginx.clone(), ports.to_vec());
        self.undos.push(Undo::Site { path, bytes: before, mode, nginx: nginx.clone(), running, ports });
        self.let_nginx_take_it(&nginx, running)
    }

    fn let_nginx_take_it(&self, nginx: &Nginx, running: bool) -> anyhow::Result<()> {
        if running {
            self.host.run(&nginx.reload())?;
        } else if nginx::has_unit(self.host)? {
            self.host.run(&Cmd::new(["systemctl", "start", "nginx.service"]))?;
        } else {
            self.host.run(&nginx.start())?;
        }
        Ok(())
    }

    /// The file is what it was again; nginx follows, or ends if it was started by us.
    fn take_back_site(&self, undo: &Undo) -> anyhow::Result<()> {
        let Undo::Site { path, bytes, mode, nginx, running, ports } = undo else { return Ok(()) };
        match bytes {
            Some(bytes) => self.host.write(path, bytes, *mode)?,
            None => self.host.remove(path)?,
        }
        if *running {
            self.host.run(&nginx.reload())?;
        } else if nginx::has_unit(self.host)? {
            self.host.run(&Cmd::new(["systemctl", "stop", "nginx.service"]))?;
        } else {
            self.host.run(&nginx.quit())?;
        }
        if bytes.is_none() {
            wait_until_free(ports)?;
        }
        Ok(())
    }

    fn take_back(&self, undo: &Undo) -> anyhow::Result<()> {
        match undo {
            Undo::RemoveUser(name) => remove_user(self.host, name)?,
            Undo::RemoveTree(path) => self.host.remove_tree(path)?,
            Undo::GiveBack(path) => self.host.give(path, "root")?,
            Undo::Restore { path, bytes: Some(bytes), mode } => self.host.write(path, bytes, *mode)?,
            Undo::Restore { path, bytes: None, .. } => self.host.remove(path)?,
            Undo::Relink { link, target: Some(target) } => self.host.relink(link, target)?,
            Undo::Relink { link, target: None } => self.host.remove(link)?,
            Undo::Site { .. } => self.take_back_site(undo)?,
            Undo::Unwatch => self.service.unwatch()?,
            Undo::Reload => self.reload()?,
            Undo::Disable => self.service.disable()?,
            Undo::Stop => self.service.stop()?,
            Undo::StartAgain => {
                self.service.restart()?;
                self.service.wait_ready(None, self.deadline, &|| false)?;
            }
        }
        Ok(())
    }

    fn remember_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let mode = self.host.entry(path)?.map_or(0, |entry| entry.mode);
        let bytes = self.host.read(path)?;
        self.undos.push(Undo::Restore { path: path.into(), bytes, mode });
        Ok(())
    }

    /// A path that did not stand goes away again; one of root's that is given away is given back.
    fn remember_path(&mut self, path: &Path, owner: Option<&str>) -> anyhow::Result<()> {
        match self.host.entry(path)? {
            None => self.undos.push(Undo::RemoveTree(path.into())),
            Some(entry) if owner.is_some() && entry.uid == 0 => self.undos.push(Undo::GiveBack(path.into())),
            Some(_) => {}
        }
        Ok(())
    }

    fn give(&self, path: &Path, owner: Option<&str>) -> anyhow::Result<()> {
        if let Some(owner) = owner {
            self.host.give(path, owner)?;
        }
        Ok(())
    }

    fn reload(&self) -> anyhow::Result<()> {
        self.host.run(&Cmd::new(["systemctl", "daemon-reload"]))?;
        Ok(())
    }
}

/// A reload returns before it is done.
pub(super) fn wait_until_free(ports: &[SocketAddr]) -> anyhow::Result<()> {
    let until = Instant::now() + FREE_DEADLINE;
    for address in ports {
        while matches!(try_listen(*address, Protocol::Tcp), Answer::Held(_)) {
            anyhow::ensure!(Instant::now() < until, "nginx still holds {address} after {} s", FREE_DEADLINE.as_secs());
            std::thread::sleep(FREE_AGAIN);
        }
    }
    Ok(())
}

/// The user and the group that came with it. Not an error when they are gone.
pub(super) fn remove_user(host: &dyn Host, name: &str) -> anyhow::Result<()> {
    for (database, remove) in [("passwd", "userdel"), ("group", "groupdel")] {
        if host.run(&Cmd::new(["getent", database, name])).is_ok() {
            host.run(&Cmd::new([remove, name]))?;
        }
    }
    Ok(())
}

/// As what remains when it could not be done.
impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveUser(name) => write!(f, "the user {name} is still there"),
            Self::RemoveTree(path) | Self::Restore { path, bytes: None, .. } | Self::Relink { link: path, target: None } => {
                write!(f, "still there: {}", path.display())
            }
            Self::GiveBack(path) => write!(f, "belongs to another user now: {}", path.display()),
            Self::Restore { path, .. } => write!(f, "not as it was: {}", path.display()),
            Self::Relink { link, target: Some(target) } => write!(f, "{} should point to {}", link.display(), target.display()),
            Self::Site { path, .. } => write!(f, "nginx may still serve what stood in {}", path.display()),
            Self::Unwatch => f.write_str("the unit that watches for a new certificate is still enabled"),
            Self::Reload => f.write_str("systemd was not told of the old unit (systemctl daemon-reload)"),
            Self::Disable => f.write_str("the service is still enabled at boot"),
            Self::Stop => f.write_str("the new service may still run"),
            Self::StartAgain => f.write_str("the service that ran before does not run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::rc::Rc;
    use std::time::Duration;

    use super::Work;
    use crate::deploy::facts::{Facts, Running, UnitFact};
    use crate::deploy::plan::tests::{nothing, root_paths, want};
    use crate::deploy::plan::{self, Plan, Step, Want, WantedSite};
    use crate::deploy::release::Release;
    use crate::deploy::service::{NotReady, Service};
    use crate::host::nginx::Nginx;
    use crate::host::script::Script;
    use crate::host::{Cmd, Host};
    use crate::telemetry::status::{CertificateStatus, Status};

    /// Users and the service of the made-up machine; all of it changes through commands of the script, so that each can be made to fail.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct World {
        users: BTreeSet<String>,
        enabled: bool,
        running: bool,
        /// Commands that never succeed.
        broken: Option<&'static str>,
    }

    fn machine() -> (Script, Rc<RefCell<World>>) {
        let world = Rc::new(RefCell::new(World::default()));
        let inner = Rc::clone(&world);
        let host = Script::new(move |cmd| answer(&mut inner.borrow_mut(), cmd));
        for folder in ["/etc", "/etc/nginx", "/etc/systemd", "/etc/systemd/system", "/var", "/var/lib", "/var/lib/rtcctl"] {
            host.make_dir(Path::new(folder), 0o755).unwrap();
        }
        (host, world)
    }

    fn answer(world: &mut World, cmd: &Cmd) -> Result<String, (i32, String)> {
        let words: Vec<&str> = cmd.argv.iter().map(String::as_str).collect();
        if Some(words[0]) == world.broken {
            return Err((1, "out of order".into()));
        }
        match words[..] {
            ["getent", _, user] if !world.users.contains(user) => return Err((2, String::new())),
            ["useradd", .., user] => drop(world.users.insert(user.into())),
            ["userdel", user] => drop(world.users.remove(user)),
            ["service", "start" | "restart"] => world.running = true,
            ["service", "stop"] => world.running = false,
            ["service", "enable"] => world.enabled = true,
            ["service", "disable"] => world.enabled = false,
            _ => {}
        }
        Ok(String::new())
    }

    struct Commanded<'a>(&'a Script);

    impl Commanded<'_> {
        fn say(&self, verb: &str) -> anyhow::Result<()> {
            Ok(self.0.run(&Cmd::new(["service", verb])).map(drop)?)
        }
    }

    impl Service for Commanded<'_> {
        fn start(&self) -> anyhow::Result<()> {
            self.say("start")
        }
        fn restart(&self) -> anyhow::Result<()> {
            self.say("restart")
        }
        fn stop(&self) -> anyhow::Result<()> {
            self.say("stop")
        }
        fn enable(&self) -> anyhow::Result<()> {
            self.say("enable")
        }
        fn disable(&self) -> anyhow::Result<()> {
            self.say("disable")
        }
        fn watch(&self) -> anyhow::Result<()> {
            self.say("watch")
        }
        fn unwatch(&self) -> anyhow::Result<()> {
            self.say("unwatch")
        }
        fn pid(&self) -> Option<u32> {
            Some(7)
        }
        fn wait_ready(&self, _before: Option<u32>, _deadline: Duration, stop: &dyn Fn() -> bool) -> Result<Status, NotReady> {
            if stop() {
                return Err(NotReady::Interrupted);
            }
            self.say("ready").map_err(|_| NotReady::Ends)?;
            let certificate = CertificateStatus { names: Vec::new(), issuer: String::new(), not_after: 0 };
            Ok(Status {
                link: "https://10.0.0.1/".into(),
                pid: 8,
                version: String::new(),
                release: None,
                started: 0,
                ready: true,
                listeners: Vec::new(),
                certificate,
                open_rooms: String::new(),
                rooms: 0,
                sockets: 0,
                allocations: 0,
                relayed_bytes: 0,
                warnings: Vec::new(),
            })
        }
        fn last_words(&self) -> Vec<String> {
            Vec::new()
        }
    }

    fn run(host: &Script, plan: &Plan) -> (Result<(), String>, Vec<String>) {
        let service = Commanded(host);
        let mut work = Work::new(host, &service, Duration::ZERO, &|| false);
        let all: Vec<_> = plan.steps().cloned().collect();
        match work.apply(&all, &mut |_| {}) {
            Ok(()) => (Ok(()), Vec::new()),
            Err(failed) => (Err(failed.to_string()), work.undo()),
        }
    }

    /// The facts after `want` was applied to the made-up machine.
    fn after(host: &Script, want: &Want<'_>) -> Facts {
        let paths = want.paths;
        let release: Release = serde_json::from_slice(&host.read(&paths.current().join("release.json")).unwrap().unwrap()).unwrap();
        let unit = host.read(&plan::unit_path(want.name)).unwrap();
        let existing = plan::makes(paths).into_iter().filter_map(|path| Some((path.clone(), host.entry(&path).unwrap()?.uid)));
        Facts {
            running: Some(Running { pid: 7, release: Some(release.number), ready: true }),
            releases: vec![release.number],
            current: Some(release),
            current_unit: unit.clone(),
            unit: UnitFact { text: unit, enabled: true, active: true },
            user_uid: Some(999),
            existing: existing.collect(),
            manifest: crate::deploy::manifest::Manifest::load(host, &paths.state).unwrap().0,
            ..nothing()
        }
    }

    #[test]
    fn a_failure_at_any_act_leaves_a_bare_machine_bare() {
        let (paths, (host, world)) = (root_paths(), machine());
        let plan = plan::plan(&want(&paths), &nothing()).unwrap();
        fails_everywhere(&host, &world, &plan);
    }

    #[test]
    fn a_failure_at_any_act_of_an_update_brings_the_old_release_back() {
        let (paths, (host, world)) = (root_paths(), machine());
        let first = want(&paths);
        run(&host, &plan::plan(&first, &nothing()).unwrap()).0.unwrap();
        let mut facts = after(&host, &first);
        assert!(plan::plan(&first, &facts).unwrap().is_empty(), "what was applied needs nothing more");
        // The unit was edited meanwhile: the update keeps it aside, its undo brings it back.
        let edited = b"[Service]\nNice=5\n".to_vec();
        host.write(&plan::unit_path("rtcctl"), &edited, 0o644).unwrap();
        facts.unit.text = Some(edited);
        let second = Want { binary_sha256: "b2".into(), unit: Some("[Service]\nNew=1\n".into()), ..first };
        fails_everywhere(&host, &world, &plan::plan(&second, &facts).unwrap());
    }

    #[test]
    fn a_failure_at_any_act_leaves_nginx_as_it_was() {
        let (paths, (host, world)) = (root_paths(), machine());
        let path = Path::new("/etc/nginx/zz-rtcctl.conf");
        host.write(path, b"# ours, changed by hand\n", 0o600).unwrap();
        let nginx = Nginx::find(&host).unwrap().unwrap();
        let site = |running| WantedSite { path: path.into(), text: "# ours\n".into(), nginx: nginx.clone(), running, ports: Vec::new() };
        for running in [true, false] {
            let helpers = vec![(plan::helper_paths("rtcctl")[0].clone(), "[Path]\n".to_owned())];
            let want = Want { site: Some(site(running)), helpers, ..want(&paths) };
            let facts = Facts { site: host.read(path).unwrap(), ..nothing() };
            let (machine, plan) = (host.things(), plan::plan(&want, &facts).unwrap());
            assert_eq!(plan.replaces.len(), 1);
            fails_everywhere(&host, &world, &plan);
            assert_eq!(host.read(path).unwrap().unwrap(), b"# ours\n");
            let kept = &plan.replaces[0].backup;
            assert_eq!(host.read(kept).unwrap().unwrap(), b"# ours, changed by hand\n");
            host.set_things(machine);
            *world.borrow_mut() = World::default();
        }
    }

    #[test]
    fn a_site_that_nginx_does_not_take_is_never_reloaded() {
        let host = Script::new(|cmd| match cmd.argv.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["nginx", "-t", "-q"] => Err((1, "nginx: [emerg] duplicate listen options in a:1".into())),
            _ => Ok(String::new()),
        });
        host.make_dir(Path::new("/s"), 0o755).unwrap();
        let nginx = Nginx::find(&host).unwrap().unwrap();
        let (path, scratch) = ("/s/zz.conf".into(), "/s/.nginx-test".into());
        let step = Step::Site { path, text: "# x\n".into(), backup: None, nginx, running: true, ports: Vec::new(), scratch };
        let service = Commanded(&host);
        let mut work = Work::new(&host, &service, Duration::ZERO, &|| false);
        let before = host.things();
        let failed = work.apply(&[step], &mut |_| {}).unwrap_err().to_string();
        assert!(failed.ends_with("nginx does not take its configuration with it: [emerg] duplicate listen options in a:1"), "{failed}");
        assert_eq!(work.undo(), [""; 0]);
        assert_eq!(host.things(), before);
        assert!(!host.acts().iter().any(|act| act.contains("reload")), "{:?}", host.acts());
    }

    /// Lets each act fail in turn until one run succeeds.
    fn fails_everywhere(host: &Script, world: &RefCell<World>, plan: &Plan) {
        let before = (host.things(), world.borrow().clone());
        let mut failures = 0;
        for act in 0.. {
            host.fail_at(Some(act));
            let (result, remains) = run(host, plan);
            if result.is_ok() && host.acts().len() <= act {
                break;
            }
            let failed = result.expect_err("an act failed, so the plan did");
            assert_eq!(remains, [""; 0], "act {act}: {failed}");
            assert_eq!(host.things(), before.0, "act {act}: {failed}: {:?}", host.acts());
            assert_eq!(*world.borrow(), before.1, "act {act}: {failed}: {:?}", host.acts());
            failures += 1;
        }
        assert!(failures >= plan.change.len(), "every step was made to fail at least once");
        assert!(world.borrow().running && world.borrow().enabled);
    }

    #[test]
    fn what_cannot_be_put_back_is_said() {
        let (paths, (host, world)) = (root_paths(), machine());
        let plan = plan::plan(&want(&paths), &nothing()).unwrap();
        world.borrow_mut().broken = Some("userdel");
        let total = {
            let (host, _) = machine();
            host.fail_at(None);
            run(&host, &plan).0.unwrap();
            host.acts().len()
        };
        host.fail_at(Some(total - 1));
        let (result, remains) = run(&host, &plan);
        assert_eq!(result.unwrap_err(), "start the service: the service ends as soon as it starts");
        assert_eq!(remains, ["the user rtcctl is still there: userdel rtcctl: exit 1: out of order"]);
        assert!(!world.borrow().running);
    }

    #[test]
    fn ctrl_c_stops_between_steps() {
        let (paths, (host, _)) = (root_paths(), machine());
        let plan = plan::plan(&want(&paths), &nothing()).unwrap();
        let before = host.things();
        let service = Commanded(&host);
        let stop = std::cell::Cell::new(false);
        let is_stopped = || stop.get();
        let mut work = Work::new(&host, &service, Duration::ZERO, &is_stopped);
        let mut seen = 0;
        let failed = work.apply(&plan.ground, &mut |_| {
            seen += 1;
            stop.set(seen == 3);
        });
        assert!(failed.unwrap_err().interrupted);
        assert_eq!(work.undo(), [""; 0]);
        assert_eq!(host.things(), before);
    }
}
