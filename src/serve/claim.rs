//! One daemon per installation: a lock that is held for life, and the admin socket beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Paths;
use crate::host::files;
use crate::ui::{Exit, Failure};

/// Verbs that wait in the kernel.
const BACKLOG: i32 = 16;

/// Dropping it frees the place and removes the socket.
#[derive(Debug)]
pub(super) struct Claim {
    /// Released by the kernel when the process ends, however it ends.
    _lock: File,
    pub(super) socket: PathBuf,
}

/// Fails when another daemon lives on the same run directory. What a dead one left behind is replaced.
pub(super) fn claim(paths: &Paths) -> Result<(Claim, UnixListener), Failure> {
    let refused = |doing: &str, path: &Path, cause: io::Error| Failure::new(Exit::Resource, format!("{doing} {}: {cause}", path.display()));
    files::make_dir(&paths.run, 0o700).map_err(|e| Failure::new(Exit::Resource, e.to_string()))?;
    let lock_path = paths.run.join("serve.lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|cause| refused("open", &lock_path, cause))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(already_running(&mut lock)),
        Err(TryLockError::Error(cause)) => return Err(refused("lock", &lock_path, cause)),
    }
    let written = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
    written.map_err(|cause| refused("write", &lock_path, cause))?;

    let socket = paths.admin_socket();
    match fs::remove_file(&socket) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(refused("replace", &socket, cause)),
        _ => {}
    }
    let listener = listen(&socket).map_err(|cause| refused("listen on", &socket, cause))?;
    Ok((Claim { _lock: lock, socket }, listener))
}

fn already_running(lock: &mut File) -> Failure {
    let mut pid = String::new();
    let read = lock.rewind().and_then(|()| lock.take(16).read_to_string(&mut pid));
    let who = match read {
        Ok(_) if !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()) => format!(" (pid {pid})"),
        _ => String::new(),
    };
    Failure::new(Exit::Resource, format!("already running{who}")).hint("see what it does: rtcctl status").hint("stop it: rtcctl down")
}

/// Nobody but the owner can connect: the mode is set before anybody is listened to.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_second_daemon_is_told_the_pid_of_the_first() {
        let (_folder, paths) = paths();
        let (first, _listener) = claim(&paths).unwrap();
        assert_eq!(fs::metadata(&first.socket).unwrap().permissions().mode() & 0o777, 0o600);
        let failure = claim(&paths).unwrap_err();
        assert_eq!((failure.exit, failure.message), (Exit::Resource, format!("already running (pid {})", std::process::id())));
        UnixStream::connect(&first.socket).expect("the first one still listens");
    }

    #[test]
    fn what_a_dead_daemon_left_is_replaced() {
        let (_folder, paths) = paths();
        fs::create_dir_all(&paths.run).unwrap();
        drop(UnixListener::bind(paths.admin_socket()).unwrap());
        fs::write(paths.run.join("serve.lock"), "4711").unwrap();
        let (claimed, _listener) = claim(&paths).expect("nobody holds the lock");
        UnixStream::connect(&claimed.socket).expect("a fresh socket");
        let socket = claimed.socket.clone();
        drop(claimed);
        assert!(!socket.exists());
    }

    #[test]
    fn a_run_directory_too_deep_for_a_socket_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("x".repeat(120));
        let failure = claim(&Paths { state: folder.path().into(), run: run.clone() }).unwrap_err();
        assert!(failure.message.starts_with(&format!("listen on {}", run.display())), "{}", failure.message);
    }

    fn paths() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { state: folder.path().into(), run: folder.path().join("run") };
        (folder, paths)
    }
}
