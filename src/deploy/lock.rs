//! One operator at a time: a lock file in the state folder that says who holds it, since when and for what. The kernel frees it with the process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::host::files::FileError;

/// How often a waiter looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub user: String,
    pub pid: u32,
    /// `rtcctl up`
    pub command: String,
    /// Seconds since the epoch.
    pub since: u64,
}

/// The lock, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Still held after the wait. `None`: it does not say by whom.
    #[error("another operator is at work{}", .0.as_ref().map(|o| format!(": {} by {} (pid {})", o.command, o.user, o.pid)).unwrap_or_default())]
    Busy(Option<Owner>),
    #[error(transparent)]
    File(#[from] FileError),
}

impl Lock {
    /// Waits at most `patience`. The folder of `path` exists.
    pub fn take(path: &Path, owner: &Owner, patience: Duration) -> Result<Self, LockError> {
        let failed = |cause| FileError { doing: "lock", path: path.into(), cause };
        let until = Instant::now() + patience;
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // A purge may have removed the file between open and lock: what we hold then locks nobody out.
                Ok(mut file) if is_still_at(&file, path) => {
                    let was_there = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
                    if let Err(cause) = sign(&mut file, owner) {
                        // On a full disk: nothing of ours stays. A lock that was there before us may be what others know the folder by.
                        if !was_there {
                            let _ = std::fs::remove_file(path);
                        }
                        return Err(failed(cause).into());
                    }
                    return Ok(Self { _file: file, path: path.into() });
                }
                Ok(_) => {}
                Err((file, Errno::EWOULDBLOCK)) if Instant::now() >= until => return Err(LockError::Busy(signature(file))),
                Err((_, Errno::EWOULDBLOCK)) => std::thread::sleep(LOOK_AGAIN),
                Err((_, errno)) => return Err(failed(errno.into()).into()),
            }
        }
    }

    /// Takes the file away with the lock: for a purge, and for a first `up` that left nothing.
    pub fn remove(self) -> Result<(), FileError> {
        std::fs::remove_file(&self.path).map_err(|cause| FileError { doing: "remove", path: self.path.clone(), cause })
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn sign(file: &mut File, owner: &Owner) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(owner).map_err(io::Error::other)?)
}

fn signature(mut file: File) -> Option<Owner> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Lock, LockError, Owner};

    fn owner(user: &str) -> Owner {
        Owner { user: user.into(), pid: 7, command: "rtcctl up".into(), since: 0 }
    }

    #[test]
    fn the_second_waits_and_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path, &owner("anna"), Duration::ZERO).unwrap();
        let began = Instant::now();
        let busy = Lock::take(&path, &owner("ben"), Duration::from_millis(60)).unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(60));
        assert_eq!(busy.to_string(), "another operator is at work: rtcctl up by anna (pid 7)");
        drop(held);
        Lock::take(&path, &owner("ben"), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_waiter_survives_that_the_file_is_purged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path, &owner("anna"), Duration::ZERO).unwrap();
        let waiter = std::thread::spawn({
            let path = path.clone();
            move || Lock::take(&path, &owner("ben"), Duration::from_secs(20))
        });
        held.remove().unwrap();
        let second = waiter.join().unwrap().unwrap();
        assert!(matches!(Lock::take(&path, &owner("cleo"), Duration::ZERO), Err(LockError::Busy(Some(o))) if o.user == "ben"));
        drop(second);
    }

    #[test]
    fn a_lock_file_full_of_nonsense_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, b"\xff{").unwrap();
        let held = Lock::take(&path, &owner("anna"), Duration::ZERO).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("anna"));
        drop(held);
    }
}
