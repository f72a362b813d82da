//! `rtcctl down`: stop the service; with `--purge` take away everything that `up` ever wrote, and look whether it is gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use serde::Serialize;

use super::cx::Cx;
use super::up::words::{not_locked, owner, seconds, user};
use crate::config::Paths;
use crate::deploy::facts::{self, Keeper};
use crate::deploy::history;
use crate::deploy::lock::Lock;
use crate::deploy::manifest::Manifest;
use crate::deploy::ours;
use crate::deploy::purge::{self, Purged};
use crate::deploy::service::{Installed, Service};
use crate::host::Local;
use crate::ui::{Exit, Failure};

/// How often it is asked whether calls still run.
const ASK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(super) struct DownArgs {
    /// Remove everything that `up` ever wrote: releases, certificates, secrets, the local CA, unit and user
    #[arg(long)]
    purge: bool,
    /// Wait at most this long for running calls to end, as "30s"
    #[arg(long, value_name = "DURATION", value_parser = super::parse_duration)]
    drain: Option<Duration>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    /// It ran.
    stopped: bool,
    /// `null` without `--purge`.
    purged: Option<Purged>,
}

pub(super) fn run(cx: &Cx, args: DownArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let paths = cx.absolute_paths(&config)?;
    let keeper = Keeper::of(&Local, nix::unistd::geteuid().is_root()).map_err(anyhow::Error::from)?;
    let service = Installed::new(&Local, keeper, &config.name, &paths, seconds(SystemTime::now()));
    let down = Down { cx, name: &config.name, paths: &paths, service: &service };
    if !paths.state.exists() {
        return down.nothing_here();
    }
    if args.purge {
        down.agree_to_purge()?;
    }
    let lock = Lock::take(&paths.lock(), &owner("rtcctl down"), cx.timeout()).map_err(not_locked)?;
    if let Some(patience) = args.drain {
        down.drain(patience);
    }
    let stopped = down.stop()?;
    if args.purge {
        return down.purge(lock, stopped);
    }
    down.remember(stopped);
    if cx.ui.is_json() {
        return cx.ui.out_json("down", &Answer { stopped, purged: None });
    }
    cx.ui.say("Start again: rtcctl up    remove everything: rtcctl down --purge");
    Ok(())
}

struct Down<'a> {
    cx: &'a Cx,
    name: &'a str,
    paths: &'a Paths,
    service: &'a Installed<'a>,
}

impl Down<'_> {
    fn nothing_here(&self) -> Result<(), Failure> {
        if self.cx.ui.is_json() {
            return self.cx.ui.out_json("down", &Answer { stopped: false, purged: None });
        }
        self.cx.ui.step("service").skip(format!("nothing to stop: no state in {}", self.paths.state.display()));
        Ok(())
    }

    /// Devices and this machine may trust a CA that cannot be made again.
    fn agree_to_purge(&self) -> Result<(), Failure> {
        if crate::cert::trust::records(&self.paths.state).is_ok_and(|records| !records.is_empty()) {
            return Err(Failure::new(Exit::Usage, "this machine still trusts the local CA, and only its state knows where")
                .hint("first: rtcctl cert untrust"));
        }
        let question = format!("remove {} with its certificates, secrets and local CA?", self.paths.state.display());
        if self.cx.ui.confirm(&question, "--yes")? { Ok(()) } else { Err(Failure::new(Exit::Usage, "nothing was removed")) }
    }

    fn drain(&self, patience: Duration) {
        let step = self.cx.ui.step("drain");
        let until = Instant::now() + patience;
        loop {
            let calls = facts::running(self.paths).map_or(0, |status| status.allocations);
            if calls == 0 {
                return step.ok("no call is relayed");
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return step.warn(format!("{calls} relayed connections end now, after {} s of waiting", patience.as_secs()));
            }
            step.now(&format!("{calls} relayed connections, {} s left", left.as_secs()));
            std::thread::sleep(ASK_AGAIN.min(left));
        }
    }

    /// Ends it and keeps it from coming back at boot. True when it ran.
    fn stop(&self) -> Result<bool, Failure> {
        let step = self.cx.ui.step("service");
        let before = self.service.pid();
        let manifest = Manifest::load(&Local, &self.paths.state).map_err(anyhow::Error::from)?.0;
        let has_unit = ours::has_unit(&Local, self.paths, self.name, &manifest).map_err(anyhow::Error::from)?;
        let done = if has_unit { self.service.disable().and_then(|()| self.service.stop()) } else { self.service.stop_supervised() };
        if let Err(error) = done {
            step.fail(format!("{error:#}"));
            return Err(Failure::new(Exit::Stuck, format!("the service was not stopped: {error:#}")));
        }
        if let Some(pid) = self.service.pid() {
            step.fail(format!("still running (pid {pid})"));
            return Err(Failure::new(Exit::Stuck, format!("a daemon still runs that neither systemd nor our supervisor keeps: pid {pid}"))
                .hint(format!("end it where it was started, or: kill {pid}")));
        }
        match before {
            Some(pid) => step.ok(format!("stopped (pid {pid})")),
            None => step.skip("nothing was running"),
        }
        Ok(before.is_some())
    }

    fn purge(&self, lock: Lock, stopped: bool) -> Result<(), Failure> {
        let ui = &self.cx.ui;
        let step = ui.step("purge");
        let purged = match purge::purge(&Local, self.service, self.name, self.paths, lock) {
            Ok(purged) => purged,
            Err(error) => {
                step.fail(format!("{error:#}"));
                return Err(
                    Failure::new(Exit::Stuck, format!("not everything could be removed: {error:#}")).hint("mend it, then again: rtcctl down --purge")
                );
            }
        };
        if !purged.remains.is_empty() {
            step.fail(purged.remains.join("\n"));
            let failure = Failure::new(Exit::Stuck, "not everything could be removed");
            return Err(purged.remains.iter().fold(failure, |failure, line| failure.detail(line)));
        }
        step.ok(gone(&purged, self.paths));
        for note in &purged.notes {
            ui.warn(note);
        }
        for path in &purged.foreign {
            ui.warn(format!("not ours, so it stays: {}", path.display()));
        }
        if ui.is_json() {
            return ui.out_json("down", &Answer { stopped, purged: Some(purged) });
        }
        Ok(())
    }

    fn remember(&self, stopped: bool) {
        let outcome = if stopped { "done" } else { "nothing ran" };
        let entry =
            history::Entry { at: seconds(SystemTime::now()), user: user(), verb: "down".into(), outcome: outcome.into(), release: None, link: None };
        if let Err(error) = history::append(&Local, &self.paths.history(), &entry) {
            self.cx.ui.warn(error.to_string());
        }
    }
}

/// `removed, and looked that it is gone: /var/lib/rtcctl, user rtcctl`. Empty folders above ours (`~/.local`), which an `up` made and which go
/// again, are not named: it would read as if what others keep there had gone too.
fn gone(purged: &Purged, paths: &Paths) -> String {
    let is_above = |path: &Path| path != paths.state && paths.state.starts_with(path);
    let ours: Vec<&PathBuf> = purged.removed.iter().filter(|path| !is_above(path)).collect();
    let outermost = |path: &&&PathBuf| !ours.iter().any(|other| other != *path && path.starts_with(other));
    let mut words: Vec<String> = ours.iter().filter(outermost).map(|path| path.display().to_string()).collect();
    words.extend(purged.user.as_ref().map(|user| format!("user {user}")));
    if words.is_empty() { "nothing was there".into() } else { format!("removed, and looked that it is gone: {}", words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::{Paths, Purged, gone};

    #[test]
    fn a_purge_names_what_was_ours() {
        let paths = Paths { state: "/home/anna/.local/state/rtcctl".into(), run: "/home/anna/.local/state/rtcctl/run".into() };
        let removed = ["/home/anna/.local/state/rtcctl/ca", "/home/anna/.local/state/rtcctl", "/home/anna/.local/state", "/home/anna/.local"];
        let purged = Purged { removed: removed.map(Into::into).to_vec(), user: Some("rtcctl".into()), ..Purged::default() };
        assert_eq!(gone(&purged, &paths), "removed, and looked that it is gone: /home/anna/.local/state/rtcctl, user rtcctl");
        assert_eq!(gone(&Purged::default(), &paths), "nothing was there");
    }
}
