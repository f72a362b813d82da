//! The machine we run on, as a [`Host`].

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use super::exec::{Cmd, Entry, Host, HostError, Kind, Output, hex};
use super::files::{self, FileError};

/// Bytes kept of each stream of a command.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Host for Local {
    fn run(&self, cmd: &Cmd) -> Result<Output, HostError> {
        let start = |source| HostError::Start { cmd: cmd.clone(), source };
        let Some((program, args)) = cmd.argv.split_first() else { return Err(start(io::ErrorKind::InvalidInput.into())) };
        let mut child = Command::new(program)
            .args(args)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that the deadline ends its children too.
            .process_group(0)
            .spawn()
            .map_err(start)?;
        let output = feed_and_collect(&mut child, cmd).ok_or_else(|| HostError::Deadline { cmd: cmd.clone() })?.map_err(start)?;
        if output.code == 0 { Ok(output) } else { Err(HostError::Failed { cmd: cmd.clone(), output }) }
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        let Some(meta) = found(fs::symlink_metadata(path), "look at", path)? else { return Ok(None) };
        let kind = match meta.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Dir,
            t if t.is_symlink() => Kind::Link(fs::read_link(path).map_err(about("read link", path))?),
            _ => Kind::Other,
        };
        Ok(Some(Entry { kind, mode: meta.mode() & 0o7777, uid: meta.uid() }))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        found(fs::read(path), "read", path)
    }

    fn digest(&self, path: &Path) -> Result<Option<String>, HostError> {
        let Some(mut file) = found(fs::File::open(path), "read", path)? else { return Ok(None) };
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer).map_err(about("read", path))? {
                0 => return Ok(Some(hex(context.finish().as_ref()))),
                n => context.update(&buffer[..n]),
            }
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        let Some(entries) = found(fs::read_dir(path), "list", path)? else { return Ok(Vec::new()) };
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), HostError> {
        Ok(files::write_atomic(path, bytes, mode)?)
    }

    fn put(&self, local: &Path, path: &Path, mode: u32) -> Result<(), HostError> {
        // std uses copy_file_range, which shares the blocks where the file system can. Never a hard link: its owner could change the bytes later.
        fs::copy(local, path).map_err(about("copy to", path))?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(about("set the mode of", path))?;
        fs::File::open(path).and_then(|file| file.sync_all()).map_err(about("sync", path))
    }

    fn make_dir(&self, path: &Path, mode: u32) -> Result<(), HostError> {
        Ok(files::make_dir(path, mode)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        fs::rename(from, to).map_err(about("rename to", to))?;
        let folder = to.parent().unwrap_or_else(|| Path::new("/"));
        fs::File::open(folder).and_then(|dir| dir.sync_all()).map_err(about("sync", folder))
    }

    fn relink(&self, link: &Path, target: &Path) -> Result<(), HostError> {
        Ok(files::relink(link, target)?)
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        let Some(entry) = self.entry(path)? else { return Ok(()) };
        let removed = if entry.kind == Kind::Dir { fs::remove_dir(path) } else { fs::remove_file(path) };
        found(removed, "remove", path).map(drop)
    }

    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        match self.entry(path)? {
            Some(Entry { kind: Kind::Dir, .. }) => found(fs::remove_dir_all(path), "remove", path).map(drop),
            _ => self.remove(path),
        }
    }

    fn give(&self, path: &Path, user: &str) -> Result<(), HostError> {
        let unknown = || about("give away", path)(io::Error::other(format!("no such user: {user}")));
        let user = nix::unistd::User::from_name(user).ok().flatten().ok_or_else(unknown)?;
        give_tree(path, user.uid.as_raw(), user.gid.as_raw())
    }

    fn secret(&self, path: &Path) -> Result<(), HostError> {
        Ok(files::secret_file(path, 32).map(drop)?)
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        let existing = path.ancestors().find(|p| p.exists()).unwrap_or_else(|| Path::new("/"));
        let stat = nix::sys::statvfs::statvfs(existing).map_err(|e| about("look at", existing)(e.into()))?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

fn give_tree(path: &Path, uid: u32, gid: u32) -> Result<(), HostError> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(about("give away", path))?;
    if !fs::symlink_metadata(path).map_err(about("look at", path))?.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(about("list", path))? {
        give_tree(&entry.map_err(about("list", path))?.path(), uid, gid)?;
    }
    Ok(())
}

/// `None`: the deadline passed and the whole group was killed.
fn feed_and_collect(child: &mut Child, cmd: &Cmd) -> Option<io::Result<Output>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (done, finished) = channel();
    let (done_err, input) = (done.clone(), cmd.stdin.clone());
    // The threads end with the pipes, which end with the group.
    std::thread::spawn(move || {
        // A command that does not read all of it has its reasons; its exit code tells.
        let _ = stdin.map(|mut pipe| pipe.write_all(&input));
    });
    std::thread::spawn(move || done.send((true, stdout.map(keep_beginning).unwrap_or_default())));
    std::thread::spawn(move || done_err.send((false, stderr.map(keep_beginning).unwrap_or_default())));
    let until = std::time::Instant::now() + cmd.deadline;
    let mut output = Output::default();
    for _ in 0..2 {
        match finished.recv_timeout(until.saturating_duration_since(std::time::Instant::now())) {
            Ok((true, text)) => output.stdout = text,
            Ok((false, text)) => output.stderr = text,
            Err(_) => {
                let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
                let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
                let _ = child.wait();
                return None;
            }
        }
    }
    Some(child.wait().map(|status| {
        output.code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1);
        output
    }))
}

/// Reads to the end, so that the writer never blocks, but keeps only the first part.
fn keep_beginning(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut bytes);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn about(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError {
    move |cause| HostError::File(FileError { doing, path: PathBuf::from(path), cause })
}

fn found<T>(result: io::Result<T>, doing: &'static str, path: &Path) -> Result<Option<T>, HostError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(about(doing, path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Local;
    use crate::host::exec::{Cmd, Entry, Host, HostError, Kind};

    #[test]
    fn a_command_is_fed_and_heard() {
        let mut cmd = Cmd::new(["sh", "-c", "cat; echo gone wrong >&2; exit 3"]);
        cmd.stdin = b"words".to_vec();
        let Err(HostError::Failed { output, .. }) = Local.run(&cmd) else { panic!("exit 3 is a failure") };
        assert_eq!((output.code, output.stdout.as_str()), (3, "words"));
        assert_eq!(Local.run(&cmd).unwrap_err().to_string(), "sh -c 'cat; echo gone wrong >&2; exit 3': exit 3: gone wrong");
    }

    #[test]
    fn the_deadline_ends_the_whole_group() {
        let began = Instant::now();
        let cmd = Cmd::new(["sh", "-c", "sleep 60 & sleep 60"]).within(Duration::from_millis(100));
        assert!(matches!(Local.run(&cmd), Err(HostError::Deadline { .. })));
        assert!(began.elapsed() < Duration::from_secs(10), "did not wait for the sleeping child");
    }

    #[test]
    fn much_output_does_not_block() {
        let cmd = Cmd::new(["sh", "-c", "head -c 3000000 /dev/zero"]).within(Duration::from_secs(20));
        assert_eq!(Local.run(&cmd).unwrap().stdout.len(), 1 << 20);
    }

    #[test]
    fn removes_links_without_following_them() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, tree) = (dir.path().join("kept"), dir.path().join("tree"));
        std::fs::create_dir_all(tree.join("inner")).unwrap();
        std::fs::write(&kept, "x").unwrap();
        Local.relink(&tree.join("inner/link"), &kept).unwrap();
        assert_eq!(Local.entry(&tree.join("inner/link")).unwrap().map(|e| e.kind), Some(Kind::Link(kept.clone())));
        Local.remove_tree(&tree).unwrap();
        Local.remove_tree(&tree).unwrap();
        assert!(matches!(Local.entry(&kept), Ok(Some(Entry { kind: Kind::File, .. }))));
        assert_eq!(Local.entry(&tree).unwrap(), None);
    }
}
