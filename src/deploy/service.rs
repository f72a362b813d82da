//! The running service, whoever keeps it: start, stop, last words. systemd's part is here, our own supervisor's is in `supervisor`.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::facts::{self, Keeper};
use super::supervisor;
use crate::config::Paths;
use crate::host::{Cmd, Host, HostError};
use crate::telemetry::status::Status;

/// How often the admin socket is asked while the service starts. Short: every round is time from Enter to the link.
const ASK_AGAIN: Duration = Duration::from_millis(15);
/// How often the keeper is asked whether the service gave up: this costs a process with systemd.
const KEEPER_AGAIN: Duration = Duration::from_millis(250);
/// How long the supervisor may take to be there; the service itself is waited for apart.
const START_DEADLINE: Duration = Duration::from_secs(5);
/// How long the service may take to end: its own 5 s, and what systemd adds.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Lines of the service's log that are shown when it failed.
pub const LAST_WORDS: usize = 8;

/// What `apply` needs of the service. A trait, so that tests need neither systemd nor a daemon.
pub trait Service {
    fn start(&self) -> anyhow::Result<()>;
    fn restart(&self) -> anyhow::Result<()>;
    /// Not an error when it does not run. Returns when it has ended.
    fn stop(&self) -> anyhow::Result<()>;
    fn enable(&self) -> anyhow::Result<()>;
    fn disable(&self) -> anyhow::Result<()>;
    /// Enables the helper that lets nginx take a new certificate.
    fn watch(&self) -> anyhow::Result<()>;
    fn unwatch(&self) -> anyhow::Result<()>;
    /// Of the daemon that answers now.
    fn pid(&self) -> Option<u32>;
    /// Waits until a daemon with another pid than `before` is ready.
    fn wait_ready(&self, before: Option<u32>, deadline: Duration, stop: &dyn Fn() -> bool) -> Result<Status, NotReady>;
    /// The last lines that it logged, oldest first.
    fn last_words(&self) -> Vec<String>;
}

#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("the service is not ready after {} s", .0.as_secs())]
    Late(Duration),
    #[error("the service ends as soon as it starts")]
    Ends,
    #[error("interrupted")]
    Interrupted,
}

/// The service of this installation on this machine.
pub struct Installed<'a> {
    host: &'a dyn Host,
    keeper: Keeper,
    name: String,
    paths: Paths,
    /// Seconds since the epoch: older log lines belong to earlier runs.
    began: u64,
    /// The supervisor's log at the last start: only what follows is about this start.
    log_mark: Cell<usize>,
}

impl<'a> Installed<'a> {
    pub fn new(host: &'a dyn Host, keeper: Keeper, name: &str, paths: &Paths, now: u64) -> Self {
        Self { host, keeper, name: name.into(), paths: paths.clone(), began: now, log_mark: Cell::new(0) }
    }

    /// For a state that never had a unit, whoever asks.
    pub fn stop_supervised(&self) -> anyhow::Result<()> {
        supervisor::stop(&self.paths, STOP_DEADLINE).map(drop)
    }

    fn unit(&self) -> String {
        format!("{}.service", self.name)
    }

    fn systemctl(&self, verb: &[&str]) -> Result<String, HostError> {
        let unit = self.unit();
        let words = std::iter::once("systemctl").chain(verb.iter().copied()).chain([unit.as_str()]);
        self.host.run(&Cmd::new(words).within(STOP_DEADLINE)).map(|output| output.stdout)
    }

    /// A purge that was killed may have taken the unit away already.
    fn has_unit(&self) -> anyhow::Result<bool> {
        Ok(self.systemctl(&["show", "--property=LoadState"])?.trim() != "LoadState=not-found")
    }

    /// The keeper had to start it again, more than once, since we started it; or does not run any more.
    fn gave_up(&self) -> bool {
        match self.keeper {
            Keeper::Supervisor => {
                let again = self.new_log().lines().filter(|line| line.contains("the service ended: ") && line.contains("; again in ")).count();
                again > 1 || supervisor::running(&self.paths).is_none()
            }
            Keeper::Systemd => {
                let shown = self.systemctl(&["show", "--property=ActiveState,NRestarts"]).unwrap_or_default();
                shown.lines().any(|line| {
                    line == "ActiveState=failed" || line.strip_prefix("NRestarts=").is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 1))
                })
            }
        }
    }

    fn log(&self) -> Vec<u8> {
        self.host.read(&self.paths.log().join("current")).ok().flatten().unwrap_or_default()
    }

    /// What was written since the last start; a rotated log is all new.
    fn new_log(&self) -> String {
        let log = self.log();
        String::from_utf8_lossy(log.get(self.log_mark.get()..).unwrap_or(&log)).into_owned()
    }

    fn binary(&self) -> PathBuf {
        self.paths.current().join(super::plan::BINARY_FILE)
    }

    fn config(&self) -> PathBuf {
        self.paths.current().join(super::plan::CONFIG_FILE)
    }
}

impl Service for Installed<'_> {
    fn start(&self) -> anyhow::Result<()> {
        match self.keeper {
            Keeper::Systemd => {
                // Its count of failures is about the release that was; and without --no-block the wait would be systemd's, without our deadline.
                let _ = self.systemctl(&["reset-failed"]);
                self.systemctl(&["start", "--no-block"])?;
            }
            Keeper::Supervisor => {
                self.log_mark.set(self.log().len());
                supervisor::start(&self.paths, &self.binary(), &self.config(), START_DEADLINE)?;
            }
        }
        Ok(())
    }

    fn restart(&self) -> anyhow::Result<()> {
        self.stop()?;
        self.start()
    }

    fn stop(&self) -> anyhow::Result<()> {
        match self.keeper {
            Keeper::Systemd if self.has_unit()? => drop(self.systemctl(&["stop"])?),
            Keeper::Systemd => {}
            Keeper::Supervisor => self.stop_supervised()?,
        }
        Ok(())
    }

    fn enable(&self) -> anyhow::Result<()> {
        if self.keeper == Keeper::Systemd {
            self.systemctl(&["enable", "--quiet"])?;
        }
        Ok(())
    }

    fn disable(&self) -> anyhow::Result<()> {
        if self.keeper == Keeper::Systemd && self.has_unit()? {
            self.systemctl(&["disable", "--quiet"])?;
        }
        Ok(())
    }

    fn watch(&self) -> anyhow::Result<()> {
        self.host.run(&Cmd::new(["systemctl", "enable", "--quiet", "--now", &super::plan::watcher(&self.name)]))?;
        Ok(())
    }

    /// Not an error when it is gone.
    fn unwatch(&self) -> anyhow::Result<()> {
        let unit = super::plan::watcher(&self.name);
        let [path, _] = super::plan::helper_paths(&self.name);
        if self.keeper == Keeper::Systemd && self.host.entry(&path)?.is_some() {
            self.host.run(&Cmd::new(["systemctl", "disable", "--quiet", "--now", &unit]))?;
        }
        Ok(())
    }

    fn pid(&self) -> Option<u32> {
        facts::running(&self.paths).map(|status| status.pid)
    }

    fn wait_ready(&self, before: Option<u32>, deadline: Duration, stop: &dyn Fn() -> bool) -> Result<Status, NotReady> {
        let until = Instant::now() + deadline;
        let mut ask_keeper = Instant::now() + KEEPER_AGAIN;
        loop {
            if let Some(status) = facts::running(&self.paths).filter(|s| s.ready && Some(s.pid) != before) {
                return Ok(status);
            }
            let now = Instant::now();
            if stop() {
                return Err(NotReady::Interrupted);
            }
            if now >= until {
                return Err(NotReady::Late(deadline));
            }
            if now >= ask_keeper {
                if self.gave_up() {
                    return Err(NotReady::Ends);
                }
                ask_keeper = now + KEEPER_AGAIN;
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn last_words(&self) -> Vec<String> {
        match self.keeper {
            Keeper::Systemd => {
                let (since, lines, unit) = (format!("--since=@{}", self.began), format!("--lines={LAST_WORDS}"), self.unit());
                let cmd = Cmd::new(["journalctl", "--unit", &unit, &since, &lines, "--output=cat", "--no-pager", "--quiet"]);
                tail(&self.host.run(&cmd).map(|output| output.stdout).unwrap_or_default())
            }
            Keeper::Supervisor => tail(&self.new_log()),
        }
    }
}

/// The last lines, without colour and other control characters: they end on somebody's terminal.
fn tail(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let clean = |line: &&str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].iter().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::{Installed, LAST_WORDS, Service as _, tail};
    use crate::config::Paths;
    use crate::deploy::facts::Keeper;

    #[test]
    fn last_words_are_few_and_harmless() {
        let text: String = (0..20).map(|n| format!("line {n}\x1b[2J\n\n")).collect();
        let words = tail(&text);
        assert_eq!((words.len(), words[0].as_str(), words[7].as_str()), (LAST_WORDS, "line 12 [2J", "line 19 [2J"));
        assert!(tail("").is_empty());
    }

    #[test]
    fn last_words_are_of_this_start() {
        let state = tempfile::tempdir().unwrap();
        let paths = Paths { state: state.path().into(), run: state.path().join("run") };
        std::fs::create_dir(paths.log()).unwrap();
        let log = paths.log().join("current");
        std::fs::write(&log, "stopped\n").unwrap();
        let service = Installed::new(&crate::host::Local, Keeper::Supervisor, "rtcctl", &paths, 0);
        service.start().unwrap_err();
        std::fs::write(&log, "stopped\nerror: no such key\n").unwrap();
        assert_eq!(service.last_words(), ["error: no such key"]);
    }
}
