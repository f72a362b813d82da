//! The state folder of an installation, held by one operator. What had to be made for it is remembered, and goes again when nothing came of it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::lock::{Lock, LockError, Owner};
use super::manifest::Manifest;
use crate::host::files::{self, FileError};

/// Held until it is dropped, abandoned or purged.
#[derive(Debug)]
pub struct State {
    pub lock: Lock,
    /// Folders that were not there before, outermost first.
    pub made: Vec<PathBuf>,
}

impl State {
    /// Makes the folder with this mode when it is not there, and takes the lock in it.
    pub fn open(state: &Path, mode: u32, owner: &Owner, patience: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + patience;
        loop {
            match Self::try_open(state, mode, owner, until.saturating_duration_since(Instant::now())) {
                // A purge that we waited for took the folder with it: now it is ours to make.
                Err(LockError::File(error)) if error.cause.kind() == io::ErrorKind::NotFound && is_missing(state) && Instant::now() < until => {}
                opened => return opened,
            }
        }
    }

    fn try_open(state: &Path, mode: u32, owner: &Owner, patience: Duration) -> Result<Self, LockError> {
        let mut made: Vec<PathBuf> = state.ancestors().take_while(|folder| !folder.exists()).map(Into::into).collect();
        made.reverse();
        let had_lock = state.join("lock").exists();
        let lock = match files::make_dir(state, mode).map_err(LockError::from).and_then(|()| Lock::take(&state.join("lock"), owner, patience)) {
            Ok(lock) => lock,
            Err(error) => {
                remove_empty(&made);
                return Err(error);
            }
        };
        // Nothing but a lock that was there before us: a first `up` was killed before it could write down that the folder is its own.
        if had_lock && !Manifest::path(state).exists() && only_beginnings(state) {
            made.push(state.into());
        }
        Ok(Self { lock, made })
    }

    /// For an `up` that touched nothing else.
    pub fn abandon(self) -> Result<(), FileError> {
        if !self.made.is_empty() {
            self.lock.remove()?;
            remove_empty(&self.made);
        }
        Ok(())
    }
}

/// Not even a link of this name.
fn is_missing(folder: &Path) -> bool {
    folder.symlink_metadata().is_err()
}

/// The lock, and a manifest that was being written.
fn only_beginnings(state: &Path) -> bool {
    let is_beginning = |name: &str| name == "lock" || name.starts_with(".manifest.json.");
    std::fs::read_dir(state).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name().to_str().is_some_and(is_beginning)))
}

/// What others have put something into meanwhile stays.
fn remove_empty(folders: &[PathBuf]) {
    for folder in folders.iter().rev() {
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::State;
    use crate::deploy::lock::{LockError, Owner};

    fn open(state: &Path) -> Result<State, LockError> {
        let owner = Owner { user: "anna".into(), pid: 7, command: "rtcctl up".into(), since: 0 };
        State::open(state, 0o700, &owner, Duration::ZERO)
    }

    #[test]
    fn what_was_made_goes_again_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b/state");
        let opened = open(&state).unwrap();
        assert_eq!(opened.made, [dir.path().join("a"), dir.path().join("a/b"), state.clone()]);
        std::fs::write(dir.path().join("a/mine"), "x").unwrap();
        opened.abandon().unwrap();
        assert!(!dir.path().join("a/b").exists() && dir.path().join("a/mine").exists());
    }

    #[test]
    fn a_folder_that_was_there_stays_and_so_does_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("manifest.json"), "{}").unwrap();
        let opened = open(dir.path()).unwrap();
        assert!(opened.made.is_empty());
        assert!(matches!(open(dir.path()), Err(LockError::Busy(Some(_)))));
        opened.abandon().unwrap();
        assert!(dir.path().join("lock").exists());
    }

    #[test]
    fn an_up_killed_at_once_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        drop(open(&state).unwrap());
        std::fs::write(state.join(".manifest.json.Ab3"), "{").unwrap();
        assert_eq!(open(&state).unwrap().made, std::slice::from_ref(&state));
        std::fs::write(state.join("photo.jpg"), "x").unwrap();
        assert_eq!(open(&state).unwrap().made, [""; 0].map(std::path::PathBuf::from), "somebody uses it");
    }

    #[test]
    fn an_empty_folder_that_was_given_stays() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).unwrap().made.is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = open(Path::new("/proc/none/state")).unwrap_err().to_string();
        assert!(error.starts_with("make directory /proc/none"), "{error}");
    }

    #[test]
    fn a_folder_that_is_purged_while_we_wait_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        let purging = open(&state).unwrap();
        let owner = Owner { user: "bert".into(), pid: 8, command: "rtcctl up".into(), since: 0 };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| State::open(&state, 0o700, &owner, Duration::from_secs(20)));
            // The waiter has the lock file open, or is about to: both ways must end well.
            while holders(&state.join("lock")) < 2 && !waiting.is_finished() {
                std::thread::yield_now();
            }
            purging.abandon().unwrap();
            let opened = waiting.join().unwrap().unwrap();
            assert!(opened.made.contains(&state) && state.join("lock").exists());
        });
    }

    /// Descriptors of this process that lead to the file.
    fn holders(file: &Path) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == file)).count()
    }
}
