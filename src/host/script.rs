//! A machine made of expectations, for tests and rehearsals: its files are a map, its commands are answered by the test, and any one act can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::exec::{Cmd, Entry, Host, HostError, Kind, Output, sha256};
use super::files::FileError;

/// What stands at a path of the made-up machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    pub kind: Kind,
    pub mode: u32,
    pub owner: String,
    pub bytes: Vec<u8>,
}

/// Answers a command: its output, or the exit code and words of a failure.
type Answer = Box<dyn Fn(&Cmd) -> Result<String, (i32, String)>>;

/// See the file's head. Acts (what changes something) are counted and written down; questions are not.
pub struct Script {
    things: RefCell<BTreeMap<PathBuf, Thing>>,
    acts: RefCell<Vec<String>>,
    fail_at: Cell<Option<usize>>,
    answer: Answer,
}

impl Script {
    /// An empty root folder; every command is answered by `answer`.
    pub fn new(answer: impl Fn(&Cmd) -> Result<String, (i32, String)> + 'static) -> Self {
        let root = Thing { kind: Kind::Dir, mode: 0o755, owner: "root".into(), bytes: Vec::new() };
        Self {
            things: RefCell::new(BTreeMap::from([(PathBuf::from("/"), root)])),
            acts: RefCell::default(),
            fail_at: Cell::new(None),
            answer: Box::new(answer),
        }
    }

    /// Lets the act with this number (from 0, counted from now) fail; what undoes it works again.
    pub fn fail_at(&self, act: Option<usize>) {
        self.fail_at.set(act);
        self.acts.borrow_mut().clear();
    }

    /// Every change so far, one line each.
    pub fn acts(&self) -> Vec<String> {
        self.acts.borrow().clone()
    }

    /// The whole file system, to compare before with after.
    pub fn things(&self) -> BTreeMap<PathBuf, Thing> {
        self.things.borrow().clone()
    }

    /// Puts a machine back that [`Script::things`] gave.
    pub fn set_things(&self, things: BTreeMap<PathBuf, Thing>) {
        self.things.replace(things);
    }

    fn act(&self, what: String, path: &Path) -> Result<(), HostError> {
        self.count(what).map_err(|cause| file_error("change", path, cause))
    }

    fn count(&self, what: String) -> Result<(), io::Error> {
        let mut acts = self.acts.borrow_mut();
        acts.push(what);
        if self.fail_at.get() == Some(acts.len() - 1) { Err(io::Error::other("the script says so")) } else { Ok(()) }
    }

    fn set(&self, path: &Path, kind: Kind, mode: u32, bytes: &[u8]) -> Result<(), HostError> {
        let missing = || file_error("write", path, io::ErrorKind::NotFound.into());
        let mut things = self.things.borrow_mut();
        let parent = path.parent().and_then(|parent| things.get(parent)).filter(|t| t.kind == Kind::Dir).ok_or_else(missing)?;
        let owner = parent.owner.clone();
        things.insert(path.into(), Thing { kind, mode, owner, bytes: bytes.into() });
        Ok(())
    }
}

impl Host for Script {
    fn run(&self, cmd: &Cmd) -> Result<Output, HostError> {
        self.count(format!("run {cmd}")).map_err(|source| HostError::Start { cmd: cmd.clone(), source })?;
        match (self.answer)(cmd) {
            Ok(stdout) => Ok(Output { code: 0, stdout, stderr: String::new() }),
            Err((code, stderr)) => Err(HostError::Failed { cmd: cmd.clone(), output: Output { code, stdout: String::new(), stderr } }),
        }
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        Ok(self.things.borrow().get(path).map(|t| Entry { kind: t.kind.clone(), mode: t.mode, uid: u32::from(t.owner != "root") * 999 }))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let things = self.things.borrow();
        Ok(things.get(&self.follow(path)).filter(|t| t.kind == Kind::File).map(|t| t.bytes.clone()))
    }

    fn digest(&self, path: &Path) -> Result<Option<String>, HostError> {
        Ok(self.read(path)?.map(|bytes| sha256(&bytes)))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        let inside = |p: &&PathBuf| p.parent() == Some(path);
        Ok(self.things.borrow().keys().filter(inside).filter_map(|p| p.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), HostError> {
        self.act(format!("write {}", path.display()), path)?;
        self.set(path, Kind::File, mode, bytes)
    }

    fn put(&self, local: &Path, path: &Path, mode: u32) -> Result<(), HostError> {
        self.act(format!("put {} {}", local.display(), path.display()), path)?;
        self.set(path, Kind::File, mode, local.as_os_str().as_encoded_bytes())
    }

    fn make_dir(&self, path: &Path, mode: u32) -> Result<(), HostError> {
        if self.entry(path)?.is_some() {
            return Ok(());
        }
        self.act(format!("make {}", path.display()), path)?;
        self.set(path, Kind::Dir, mode, &[])
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.act(format!("rename {} {}", from.display(), to.display()), to)?;
        let mut things = self.things.borrow_mut();
        let moved: Vec<PathBuf> = things.keys().filter(|p| p.starts_with(from)).cloned().collect();
        for path in moved {
            let thing = things.remove(&path).expect("its key was just read");
            let rest = path.strip_prefix(from).expect("it starts with it");
            things.insert(if rest.as_os_str().is_empty() { to.into() } else { to.join(rest) }, thing);
        }
        Ok(())
    }

    fn relink(&self, link: &Path, target: &Path) -> Result<(), HostError> {
        self.act(format!("link {} {}", link.display(), target.display()), link)?;
        self.set(link, Kind::Link(target.into()), 0o777, &[])
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        if self.entry(path)?.is_none() {
            return Ok(());
        }
        self.act(format!("remove {}", path.display()), path)?;
        if !self.list(path)?.is_empty() {
            return Err(file_error("remove", path, io::ErrorKind::DirectoryNotEmpty.into()));
        }
        self.things.borrow_mut().remove(path);
        Ok(())
    }

    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        if self.entry(path)?.is_none() {
            return Ok(());
        }
        self.act(format!("remove tree {}", path.display()), path)?;
        self.things.borrow_mut().retain(|p, _| !p.starts_with(path));
        Ok(())
    }

    fn give(&self, path: &Path, user: &str) -> Result<(), HostError> {
        self.act(format!("give {} {user}", path.display()), path)?;
        let missing = || file_error("give away", path, io::ErrorKind::NotFound.into());
        let mut things = self.things.borrow_mut();
        things.get(path).ok_or_else(missing)?;
        things.iter_mut().filter(|(p, _)| p.starts_with(path)).for_each(|(_, thing)| thing.owner = user.into());
        Ok(())
    }

    fn secret(&self, path: &Path) -> Result<(), HostError> {
        if self.entry(path)?.is_some() {
            return Ok(());
        }
        self.act(format!("secret {}", path.display()), path)?;
        self.set(path, Kind::File, 0o600, b"a secret")
    }

    fn free_bytes(&self, _path: &Path) -> Result<u64, HostError> {
        Ok(1 << 40)
    }
}

impl Script {
    /// A link in the middle of the path is followed once, which is as deep as our own files go.
    fn follow(&self, path: &Path) -> PathBuf {
        let things = self.things.borrow();
        for folder in path.ancestors() {
            if let Some(Thing { kind: Kind::Link(target), .. }) = things.get(folder) {
                let rest = path.strip_prefix(folder).expect("an ancestor of it");
                return folder.parent().unwrap_or_else(|| Path::new("/")).join(target).join(rest);
            }
        }
        path.into()
    }
}

fn file_error(doing: &'static str, path: &Path, cause: io::Error) -> HostError {
    HostError::File(FileError { doing, path: path.into(), cause })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Script;
    use crate::host::exec::{Cmd, Host};

    #[test]
    fn counts_acts_and_fails_where_it_is_told() {
        let host = Script::new(|_| Ok(String::new()));
        host.make_dir(Path::new("/a"), 0o755).unwrap();
        host.fail_at(Some(1));
        host.write(Path::new("/a/x"), b"1", 0o644).unwrap();
        assert!(host.write(Path::new("/a/y"), b"1", 0o644).is_err());
        assert!(host.run(&Cmd::new(["true"])).is_ok());
        assert_eq!(host.acts(), ["write /a/x", "write /a/y", "run true"]);
        assert_eq!(host.list(Path::new("/a")).unwrap(), ["x"]);
        assert!(host.write(Path::new("/none/x"), b"1", 0o644).is_err(), "no folder, no file");
    }

    #[test]
    fn reads_through_a_link_in_the_path() {
        let host = Script::new(|_| Ok(String::new()));
        host.make_dir(Path::new("/r"), 0o755).unwrap();
        host.write(Path::new("/r/f"), b"1", 0o644).unwrap();
        host.relink(Path::new("/now"), Path::new("r")).unwrap();
        assert_eq!(host.read(Path::new("/now/f")).unwrap(), Some(b"1".to_vec()));
    }
}
