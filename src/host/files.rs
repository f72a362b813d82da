//! Files that are whole or not there: every write is temp file + fsync + rename + fsync of the directory, so that a crash at any point leaves the old
//! content or the new. Secrets are made once and refused when others could read them.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ring::rand::SecureRandom as _;

/// A secret longer than this is not a secret but a mistake in a path.
const SECRET_MAX_BYTES: u64 = 4096;
/// How many files of one name are kept aside before somebody must look.
const SET_ASIDE_MAX: u32 = 100;

/// What could not be done, to which file, why, and for common causes what to do.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {cause}{}", path.display(), advice(cause))]
pub struct FileError {
    pub doing: &'static str,
    pub path: PathBuf,
    /// Not a `source`: the message carries it already.
    pub cause: io::Error,
}

/// Writes the whole file or leaves the old one. `mode` holds before the first byte is there, whatever the umask. Written by root, the file belongs to the
/// owner of its directory, so that a folder may be given to a service user.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let failed = naming("write", path);
    let dir = parent(path);
    let temp = filled_temp(path, bytes, mode).map_err(&failed)?;
    temp.persist(path).map_err(|e| failed(e.error))?;
    sync_dir(dir).map_err(failed)
}

/// Makes the directory and its missing parents with exactly this mode. One that is there stays as it is.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    let failed = naming("make directory", path);
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    if !parent.is_dir() {
        make_dir(parent, mode)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(failed(io::Error::other("there is something that is no directory"))),
        made => made.map_err(&failed)?,
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(&failed)?;
    if let Some((uid, gid)) = owner_to_give(parent).map_err(&failed)? {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(&failed)?;
    }
    sync_dir(parent).map_err(failed)
}

/// Points the symlink at `target` by one rename: whoever opens it sees the old target or the new one. Makes it when there is none.
pub fn relink(link: &Path, target: &Path) -> Result<(), FileError> {
    let failed = naming("link", link);
    let dir = parent(link);
    let temp = tempfile::Builder::new().prefix(&temp_prefix(link)).make_in(dir, |path| symlink(target, path)).map_err(&failed)?;
    if let Some((uid, gid)) = owner_to_give(dir).map_err(&failed)? {
        std::os::unix::fs::lchown(temp.path(), Some(uid), Some(gid)).map_err(&failed)?;
    }
    temp.persist(link).map_err(|e| failed(e.error))?;
    sync_dir(dir).map_err(failed)
}

/// The secret in this file as bytes (its text without surrounding white space). Where there is no file, one with `random_bytes` random bytes as hex is made,
/// mode 0600; of two processes that race, both get the secret of the first. A file that others may read, an empty one or a huge one is refused.
pub fn secret_file(path: &Path, random_bytes: usize) -> Result<Vec<u8>, FileError> {
    match read_secret(path) {
        Err(e) if e.cause.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let failed = naming("make secret", path);
    let mut random = vec![0; random_bytes];
    ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| failed(io::Error::other("the system gives no random bytes")))?;
    let mut text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    let temp = filled_temp(path, text.as_bytes(), 0o600).map_err(&failed)?;
    match temp.persist_noclobber(path) {
        Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e.error)),
        _ => sync_dir(parent(path)).map_err(failed)?,
    }
    read_secret(path)
}

/// Moves a broken or outlived file (or folder) out of the way, never deleting it; returns its new name, `NAME.aside-N`.
pub fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let failed = naming("set aside", path);
    for number in 1..=SET_ASIDE_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".aside-{number}"));
        let aside = PathBuf::from(name);
        if aside.symlink_metadata().is_ok() {
            continue;
        }
        fs::rename(path, &aside).map_err(&failed)?;
        sync_dir(parent(path)).map_err(failed)?;
        return Ok(aside);
    }
    Err(failed(io::Error::other(format!("{SET_ASIDE_MAX} stand there already; look at them, then remove them"))))
}

fn read_secret(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = naming("read secret", path);
    let file = File::open(path).map_err(&failed)?;
    let metadata = file.metadata().map_err(&failed)?;
    let refuse = |why: String| Err(failed(io::Error::other(why)));
    if !metadata.is_file() {
        return refuse("not a regular file".into());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return refuse(format!("others may read it (mode {mode:04o}); chmod 600 {}, and make a new secret if somebody could have", path.display()));
    }
    let mut text = Vec::new();
    file.take(SECRET_MAX_BYTES + 1).read_to_end(&mut text).map_err(&failed)?;
    if text.len() as u64 > SECRET_MAX_BYTES {
        return refuse(format!("longer than {SECRET_MAX_BYTES} bytes: not a secret"));
    }
    match text.trim_ascii() {
        [] => refuse("empty; remove it and a new one is made".into()),
        secret => Ok(secret.to_vec()),
    }
}

/// A synced temp file beside `path`, removed again unless it is persisted.
fn filled_temp(path: &Path, bytes: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let dir = parent(path);
    // Opened by hand: tempfile's own errors carry the temp name, which nobody knows.
    let open = |temp: &Path| fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(temp);
    let mut temp = tempfile::Builder::new().prefix(&temp_prefix(path)).make_in(dir, open)?;
    if let Some((uid, gid)) = owner_to_give(dir)? {
        std::os::unix::fs::fchown(temp.as_file(), Some(uid), Some(gid))?;
    }
    temp.as_file().set_permissions(Permissions::from_mode(mode))?;
    temp.as_file_mut().write_all(bytes)?;
    temp.as_file().sync_all()?;
    Ok(temp)
}

/// Owner and group of the directory when root writes into somebody else's.
fn owner_to_give(dir: &Path) -> io::Result<Option<(u32, u32)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let metadata = fs::metadata(dir)?;
    Ok(Some((metadata.uid(), metadata.gid())).filter(|owner| *owner != (0, 0)))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some file systems (overlays, network mounts) cannot sync a directory; there the rename is as safe as it gets.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn temp_prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

fn naming(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError {
    move |cause| FileError { doing, path: path.to_owned(), cause }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (free some space there, or choose another place with --state)",
        io::ErrorKind::ReadOnlyFilesystem => " (choose a writable place with --state)",
        io::ErrorKind::PermissionDenied => " (run as the user it belongs to or with sudo, or choose another place with --state)",
        io::ErrorKind::NotFound => " (make the directory first)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::{make_dir, relink, secret_file, set_aside, write_atomic};

    fn mode(path: &std::path::Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn writes_the_whole_file_with_its_mode_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
        write_atomic(&path, b"open", 0o666).unwrap();
        assert_eq!(mode(&path), 0o666, "the umask has no say");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        make_dir(&path, 0o700).unwrap();
        let error = write_atomic(&path, b"x", 0o600).unwrap_err().to_string();
        assert!(error.starts_with(&format!("write {}: ", path.display())), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temp file stays");
        let gone = dir.path().join("no/such/file");
        let error = write_atomic(&gone, b"x", 0o600).unwrap_err().to_string();
        assert!(error.contains("no/such/file: No such file") && error.ends_with("(make the directory first)"), "{error}");
        assert!(!error.contains("/.file."), "the temp name tells nobody anything: {error}");
    }

    #[test]
    fn full_disk_and_read_only_and_forbidden_say_what_to_do() {
        for (errno, word) in [(nix::libc::ENOSPC, "free some space"), (nix::libc::EROFS, "writable place"), (nix::libc::EACCES, "sudo")] {
            let error = super::naming("write", std::path::Path::new("/x/y"))(std::io::Error::from_raw_os_error(errno)).to_string();
            assert!(error.starts_with("write /x/y: ") && error.contains(word), "{error}");
        }
    }

    #[test]
    fn full_disk_is_met_for_real() {
        let path = std::path::Path::new("/dev/full");
        let error = fs::OpenOptions::new().write(true).open(path).and_then(|mut f| std::io::Write::write_all(&mut f, b"x")).unwrap_err();
        assert!(super::naming("write", path)(error).to_string().contains("free some space"));
    }

    #[test]
    fn directories_get_their_mode_once() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        make_dir(&deep, 0o700).unwrap();
        assert_eq!((mode(&deep), mode(&dir.path().join("a"))), (0o700, 0o700));
        make_dir(&deep, 0o755).unwrap();
        assert_eq!(mode(&deep), 0o700, "one that is there stays as it is");
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(make_dir(&file, 0o700).unwrap_err().to_string().ends_with("file: there is something that is no directory"));
    }

    #[test]
    fn root_gives_new_files_to_the_owner_of_the_directory() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12_345), Some(12_346)).unwrap();
        write_atomic(&dir.path().join("f"), b"x", 0o600).unwrap();
        make_dir(&dir.path().join("d"), 0o700).unwrap();
        relink(&dir.path().join("l"), std::path::Path::new("f")).unwrap();
        for name in ["f", "d", "l"] {
            let metadata = fs::symlink_metadata(dir.path().join(name)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (12_345, 12_346), "{name}");
        }
    }

    #[test]
    fn a_link_moves_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        relink(&link, std::path::Path::new("1")).unwrap();
        relink(&link, std::path::Path::new("2")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), std::path::Path::new("2"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn racing_makers_of_a_secret_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn.secret");
        let secrets: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(|| secret_file(&path, 32).unwrap())).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|s| *s == secrets[0] && s.len() == 64));
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_ne!(secret_file(&dir.path().join("other"), 32).unwrap(), secrets[0]);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn.secret");
        write_atomic(&path, b"hunter2hunter2\n", 0o600).unwrap();
        assert_eq!(secret_file(&path, 32).unwrap(), b"hunter2hunter2");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = secret_file(&path, 32).unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        assert!(!error.contains("hunter2"));
        write_atomic(&path, b" \n", 0o600).unwrap();
        assert!(secret_file(&path, 32).unwrap_err().to_string().contains("empty"));
        write_atomic(&path, &[b'x'; 5000], 0o600).unwrap();
        assert!(secret_file(&path, 32).unwrap_err().to_string().contains("not a secret"));
    }

    #[test]
    fn broken_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        for n in 1..=2 {
            fs::write(&path, n.to_string()).unwrap();
            let aside = set_aside(&path).unwrap();
            assert_eq!((fs::read_to_string(&aside).unwrap(), path.exists()), (n.to_string(), false));
        }
    }
}
