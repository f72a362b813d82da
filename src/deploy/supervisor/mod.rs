//! Keeps `rtcctl serve` alive where there is no systemd: one supervisor per run directory, one service per supervisor.
//!
//! Not for: deciding what runs (`deploy::plan`), knowing whether it serves well (the admin socket says so).

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Paths;

mod lock;
pub mod log;

use lock::ServiceLock;
pub use lock::{Running, running};
use log::Log;

/// Tells `rtcctl` where the run directory is when it does not lie below the state.
const RUN_VARIABLE: &str = "RTCCTL_RUN";
/// How often a lock is looked at while somebody waits for it.
const POLL: Duration = Duration::from_millis(20);

/// What is kept alive.
#[derive(Clone, Debug)]
pub struct Service {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

/// How patiently. The default is for people; tests are in a hurry.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Wait before the first restart; each further one doubles it.
    pub first: Duration,
    pub longest: Duration,
    /// After so long without an end the next wait is the first again.
    pub healthy: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(10), healthy: Duration::from_secs(60), grace: Duration::from_secs(7) }
    }
}

impl Pace {
    /// How long to wait after a service that lived for `uptime`, when the wait before it was `previous`.
    fn delay(&self, previous: Option<Duration>, uptime: Duration) -> Duration {
        match previous {
            Some(previous) if uptime < self.healthy => (previous * 2).min(self.longest),
            _ => self.first,
        }
    }
}

/// Starts `program supervise` detached from this terminal and returns once it holds the lock. One that already runs is left alone.
///
/// `config` is the applied config file. Variables that override keys are not handed on: what they said stands in that file.
pub fn start(paths: &Paths, program: &Path, config: &Path, deadline: Duration) -> anyhow::Result<Running> {
    if let Some(running) = running(paths) {
        return Ok(running);
    }
    let log = log::open_append(&paths.log())?;
    let mut command = std::process::Command::new(program);
    command.arg("supervise").arg("--config").arg(config).arg("--state").arg(&paths.state).current_dir("/");
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("RTCCTL_") && (name.contains("__") || matches!(&*name, "RTCCTL_NAME" | "RTCCTL_CONFIG" | "RTCCTL_STATE")) {
            command.env_remove(&variable);
        }
    }
    command.env(RUN_VARIABLE, &paths.run).stdin(Stdio::null()).stdout(log.try_clone().context("use the log")?).stderr(log);
    let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let began = Instant::now();
    loop {
        if let Some(running) = running(paths) {
            return Ok(running);
        }
        if let Some(status) = child.try_wait().context("wait for the supervisor")? {
            let words = log::tail(&paths.log(), 3).join("; ");
            bail!("the supervisor did not start: {status}: {words}");
        }
        if began.elapsed() > deadline {
            let _ = child.kill().and_then(|()| child.wait().map(drop));
            bail!("the supervisor took no lock within {} s", deadline.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// Ends the supervisor and whatever it left behind; afterwards nothing runs. `Ok(false)`: nothing ran before either.
///
/// Orderly within `deadline` (7 s are the service's own), then by force.
pub fn stop(paths: &Paths, deadline: Duration) -> anyhow::Result<bool> {
    let was_running = running(paths);
    if let Some(supervisor) = &was_running {
        signal(supervisor.pid, Signal::SIGTERM);
        let began = Instant::now();
        while running(paths).is_some_and(|now| now.pid == supervisor.pid) {
            if began.elapsed() > deadline {
                signal(supervisor.pid, Signal::SIGKILL);
                break;
            }
            std::thread::sleep(POLL);
        }
    }
    let orphans = lock::end_orphans(paths, Duration::from_secs(7))?;
    Ok(was_running.is_some() || orphans > 0)
}

/// The supervisor itself: takes the lock, ends an orphan of a killed predecessor, and runs until `stop`.
pub fn run(paths: &Paths, service: &Service, pace: Pace, stop: &CancellationToken) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let _lock = lock::take(paths)?;
    lock::end_orphans(paths, pace.grace)?;
    let service_lock = ServiceLock::take(paths)?;
    let mut log = Log::open(&paths.log())?;
    let ended = runtime.block_on(async {
        let (reader, writer) = std::io::pipe().context("make a pipe for the log")?;
        let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).context("read the pipe")?;
        let (notes, mut noted) = tokio::sync::mpsc::channel(16);
        let keeper = Keeper { service, pace, run: &paths.run, lock: &service_lock, output: writer, notes };
        let words = async {
            loop {
                tokio::select! {
                    biased;
                    read = log.pump(&mut reader) => read?,
                    Some(note) = noted.recv() => log.note(&note),
                }
            }
        };
        let ended = tokio::select! {
            ended = keeper.keep(stop) => ended,
            failed = words => failed,
        };
        while let Ok(note) = noted.try_recv() {
            log.note(&note);
        }
        log.drain(&reader);
        ended
    });
    log.note("stopped");
    ended
}

/// Restarts the service until it is told to stop.
struct Keeper<'a> {
    service: &'a Service,
    pace: Pace,
    run: &'a Path,
    lock: &'a ServiceLock,
    output: std::io::PipeWriter,
    /// For the log. Sixteen are more than one restart makes; a full queue waits.
    notes: tokio::sync::mpsc::Sender<String>,
}

impl Keeper<'_> {
    async fn keep(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut delay = None;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let end = match self.spawn() {
                Ok(mut child) => {
                    tokio::select! {
                        status = child.wait() => format!("the service ended: {}", ended(&status.context("wait for the service")?)),
                        () = stop.cancelled() => return self.end(child).await,
                    }
                }
                Err(error) => format!("the service does not start: {error:#}"),
            };
            let wait = self.pace.delay(delay, began.elapsed());
            delay = Some(wait);
            self.note(format!("{end}; again in {:.1} s", wait.as_secs_f64())).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.service.program);
        command.args(&self.service.arguments).env(RUN_VARIABLE, self.run).stdin(Stdio::from(self.lock.share()?));
        command.stdout(self.output.try_clone().context("use the log")?).stderr(self.output.try_clone().context("use the log")?);
        command.spawn().with_context(|| format!("start {}", self.service.program.display()))
    }

    async fn end(&self, mut child: Child) -> anyhow::Result<()> {
        if let Some(pid) = child.id() {
            signal(pid, Signal::SIGTERM);
        }
        let status = match timeout(self.pace.grace, child.wait()).await {
            Ok(status) => status.context("wait for the service")?,
            Err(_) => {
                self.note(format!("the service did not end within {:.1} s: killed", self.pace.grace.as_secs_f64())).await;
                child.kill().await.context("kill the service")?;
                child.wait().await.context("wait for the service")?
            }
        };
        self.note(format!("the service ended: {}", ended(&status))).await;
        self.lock.kill_leftovers();
        Ok(())
    }

    async fn note(&self, note: String) {
        // The reader lives as long as the keeper does.
        let _ = self.notes.send(note).await;
    }
}

fn ended(status: &ExitStatus) -> String {
    status.to_string().replace("exit status: ", "exit ")
}

/// To a process that may be gone already.
fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Leaves the terminal and the session of whoever started us. A process group's leader, started by hand, stays where it is.
pub fn detach() {
    let _ = nix::unistd::setsid();
}

fn open_lock_file(path: &Path) -> anyhow::Result<File> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    File::options().read(true).write(true).create(true).truncate(false).open(path).with_context(|| format!("open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread::JoinHandle;

    use super::*;

    const HURRY: Pace = Pace {
        first: Duration::from_millis(10),
        longest: Duration::from_millis(40),
        healthy: Duration::from_secs(60),
        grace: Duration::from_millis(300),
    };

    #[test]
    fn waits_double_up_to_a_bound_and_health_forgives() {
        let pace = Pace::default();
        let mut waits = Vec::new();
        let mut delay = None;
        for _ in 0..9 {
            let wait = pace.delay(delay, Duration::from_secs(1));
            waits.push(wait.as_millis());
            delay = Some(wait);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(pace.delay(delay, Duration::from_secs(60)), Duration::from_millis(100));
    }

    #[test]
    fn a_service_that_crashes_is_started_again_and_its_words_are_kept() {
        let nest = Nest::new("echo life >> \"$0.lives\"; echo words from $$; exit 3");
        let supervisor = nest.supervise();
        nest.until("four lives", || nest.lives() >= 4);
        supervisor.stop();
        let log = nest.log();
        assert!(log.contains("words from"), "{log}");
        assert!(log.contains("the service ended: exit 3; again in 0.0 s"), "{log}");
        assert!(log.trim_end().ends_with("stopped"), "{log}");
    }

    #[test]
    fn a_program_that_is_missing_is_tried_again() {
        let nest = Nest::new("echo life >> \"$0.lives\"; exec sleep 60");
        std::fs::rename(&nest.program, nest.program.with_extension("away")).unwrap();
        let supervisor = nest.supervise();
        nest.until("a failed start", || nest.log().contains("the service does not start"));
        std::fs::rename(nest.program.with_extension("away"), &nest.program).unwrap();
        nest.until("a life", || nest.lives() == 1);
        supervisor.stop();
    }

    #[test]
    fn the_service_may_end_in_order() {
        let nest = Nest::new("trap 'echo goodbye; exit 0' TERM; echo life >> \"$0.lives\"; while :; do sleep 0.01; done");
        let supervisor = nest.supervise();
        nest.until("a life", || nest.lives() == 1);
        supervisor.stop();
        let log = nest.log();
        assert!(log.contains("goodbye") && log.contains("the service ended: exit 0"), "{log}");
    }

    #[test]
    fn a_service_that_will_not_end_is_killed_with_its_children() {
        let nest =
            Nest::new("trap '' TERM; exec 3<&0; sleep 600 <&3 & echo $! > \"$0.child\"; echo life >> \"$0.lives\"; while :; do sleep 0.01; done");
        let supervisor = nest.supervise();
        nest.until("a life", || nest.lives() == 1);
        let child: u32 = std::fs::read_to_string(nest.program.with_extension("child")).unwrap().trim().parse().unwrap();
        supervisor.stop();
        assert!(nest.log().contains("did not end within 0.3 s: killed"), "{}", nest.log());
        nest.until("the end of the child", || !lives(child));
    }

    #[test]
    fn one_supervisor_at_a_time() {
        let nest = Nest::new("exec sleep 60");
        assert_eq!(running(&nest.paths), None);
        let supervisor = nest.supervise();
        nest.until("the lock", || running(&nest.paths).is_some());
        assert_eq!(running(&nest.paths).unwrap().pid, std::process::id());
        let service = Service { program: nest.program.clone(), arguments: Vec::new() };
        let error = run(&nest.paths, &service, HURRY, &CancellationToken::new()).unwrap_err();
        assert!(error.to_string().contains("already runs"), "{error:#}");
        supervisor.stop();
        assert_eq!(running(&nest.paths), None);
    }

    #[test]
    fn the_service_is_told_where_the_run_directory_is() {
        let nest = Nest::new("echo \"run: $RTCCTL_RUN\"; echo life >> \"$0.lives\"; exec sleep 60");
        let supervisor = nest.supervise();
        nest.until("a life", || nest.lives() == 1);
        supervisor.stop();
        assert!(nest.log().contains(&format!("run: {}", nest.paths.run.display())), "{}", nest.log());
    }

    fn lives(pid: u32) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    /// Directories of its own and a script that plays the service.
    struct Nest {
        _home: tempfile::TempDir,
        paths: Paths,
        program: PathBuf,
    }

    struct Supervisor {
        token: CancellationToken,
        thread: JoinHandle<anyhow::Result<()>>,
    }

    impl Nest {
        fn new(script: &str) -> Self {
            let home = tempfile::tempdir().unwrap();
            let program = home.path().join("service.sh");
            std::fs::write(&program, format!("#!/bin/sh\n{}\n", script.replace("$0", "${0%.sh}"))).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let paths = Paths { state: home.path().join("state"), run: home.path().join("run") };
            Self { _home: home, paths, program }
        }

        fn supervise(&self) -> Supervisor {
            let (paths, token) = (self.paths.clone(), CancellationToken::new());
            let service = Service { program: self.program.clone(), arguments: Vec::new() };
            let stop = token.clone();
            Supervisor { token, thread: std::thread::spawn(move || run(&paths, &service, HURRY, &stop)) }
        }

        fn lives(&self) -> usize {
            std::fs::read_to_string(self.program.with_extension("lives")).unwrap_or_default().lines().count()
        }

        fn log(&self) -> String {
            std::fs::read_to_string(self.paths.log().join("current")).unwrap_or_default()
        }

        fn until(&self, what: &str, mut true_yet: impl FnMut() -> bool) {
            let began = Instant::now();
            while !true_yet() {
                assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s for {what}; the log:\n{}", self.log());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl Supervisor {
        fn stop(self) {
            self.token.cancel();
            self.thread.join().unwrap().unwrap();
        }
    }
}
