//! Two locks in the run directory. `supervisor.lock` belongs to the supervisor alone. `service.lock` is the standard input of the service,
//! so that it stays taken as long as any part of the service lives, also after its supervisor was killed: two services never run.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{POLL, now, open_lock_file, signal};
use crate::config::Paths;

/// Whoever only looks holds the lock for an instant; one that is held longer belongs to a supervisor.
const LOOKERS: Duration = Duration::from_millis(300);
/// A killed process is gone when the kernel has had this long.
const AFTER_KILL: Duration = Duration::from_secs(2);

/// A supervisor that holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    /// Seconds since the epoch.
    pub since: u64,
}

/// The supervisor of these directories, if one lives.
pub fn running(paths: &Paths) -> Option<Running> {
    let began = Instant::now();
    let path = supervisor_lock(paths);
    loop {
        let file = File::open(&path).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_free) => return None,
            Err((mut file, _)) => {
                let mut text = String::new();
                file.read_to_string(&mut text).ok()?;
                // Between the lock and the words in it there is an instant.
                match serde_json::from_str(&text) {
                    Ok(running) => return Some(running),
                    Err(_) if began.elapsed() > LOOKERS => return None,
                    Err(_) => std::thread::sleep(POLL),
                }
            }
        }
    }
}

/// The supervisor's lock, held until it is dropped.
pub(super) fn take(paths: &Paths) -> anyhow::Result<Flock<File>> {
    let path = supervisor_lock(paths);
    let began = Instant::now();
    let mut file = open_lock_file(&path)?;
    let mut lock = loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => break lock,
            Err((back, Errno::EWOULDBLOCK)) if began.elapsed() < LOOKERS => file = back,
            Err((_, Errno::EWOULDBLOCK)) => match running(paths) {
                Some(other) => bail!("a supervisor already runs: pid {}", other.pid),
                None => bail!("a supervisor already runs: {} is locked", path.display()),
            },
            Err((_, errno)) => bail!("lock {}: {errno}", path.display()),
        }
        std::thread::sleep(POLL);
    };
    let words = serde_json::to_string(&Running { pid: std::process::id(), since: now() }).context("write JSON")?;
    lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{words}")).with_context(|| format!("write {}", path.display()))?;
    Ok(lock)
}

/// The lock that a service shares with its supervisor.
pub(super) struct ServiceLock {
    lock: Flock<File>,
}

impl ServiceLock {
    pub(super) fn take(paths: &Paths) -> anyhow::Result<Self> {
        let path = service_lock(paths);
        match Flock::lock(open_lock_file(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { lock }),
            Err((_, errno)) => bail!("lock {}: {errno}", path.display()),
        }
    }

    /// For the standard input of the service: the same open file, hence the same lock.
    pub(super) fn share(&self) -> anyhow::Result<File> {
        self.lock.try_clone().context("share the service's lock")
    }

    /// Kills what the service left behind.
    pub(super) fn kill_leftovers(&self) {
        for pid in holders(&self.lock) {
            signal(pid, Signal::SIGKILL);
        }
    }
}

/// Ends services whose supervisor was killed; returns how many processes were told.
pub(super) fn end_orphans(paths: &Paths, grace: Duration) -> anyhow::Result<usize> {
    let path = service_lock(paths);
    if !path.exists() {
        return Ok(0);
    }
    let mut told = 0;
    for (order, patience) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, AFTER_KILL)] {
        let began = Instant::now();
        let mut file = open_lock_file(&path)?;
        let orphans = holders(&file);
        orphans.iter().for_each(|pid| signal(*pid, order));
        told = told.max(orphans.len());
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(_free) => return Ok(told),
                Err((back, _)) if began.elapsed() < patience => file = back,
                Err(_) => break,
            }
            std::thread::sleep(POLL);
        }
    }
    bail!("a service of a killed supervisor does not end: pids {:?}", holders(&open_lock_file(&path)?))
}

/// Processes whose standard input is this file.
fn holders(file: &File) -> Vec<u32> {
    let Ok(wanted) = file.metadata() else { return Vec::new() };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| std::fs::metadata(format!("/proc/{pid}/fd/0")).is_ok_and(|m| (m.dev(), m.ino()) == (wanted.dev(), wanted.ino()));
    pids.filter(|pid| *pid != std::process::id()).filter(holds).collect()
}

fn supervisor_lock(paths: &Paths) -> PathBuf {
    paths.run.join("supervisor.lock")
}

fn service_lock(paths: &Paths) -> PathBuf {
    paths.run.join("service.lock")
}
