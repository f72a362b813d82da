//! What we ever made on a machine, so that `down --purge` can take exactly that away. Written before the things themselves: a crash leaves
//! an entry without a thing, never a thing without an entry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{Host, HostError};

/// The newest and the one before.
const HASHES_KEPT: usize = 2;

/// `<state>/manifest.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Folders that were not there before, in the order they were made.
    pub folders: Vec<PathBuf>,
    /// Files outside the state folder.
    pub files: Vec<PathBuf>,
    /// Sites in nginx's folders, which stand among the files too, with the hashes of what we wrote last: the one before the newest may stand there
    /// still after a crash.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sites: BTreeMap<PathBuf, Vec<String>>,
    /// The user (and its group of the same name) that was not there before.
    pub user: Option<String>,
}

impl Manifest {
    pub fn path(state: &Path) -> PathBuf {
        state.join("manifest.json")
    }

    /// Where a broken one is kept.
    pub(super) fn aside(state: &Path) -> PathBuf {
        state.join("manifest.json.broken")
    }

    /// The second word is said to a person: the manifest is broken, and will be set aside when a new one is saved.
    pub fn load(host: &dyn Host, state: &Path) -> Result<(Self, Option<String>), HostError> {
        let path = Self::path(state);
        let Some(bytes) = host.read(&path)? else { return Ok((Self::default(), None)) };
        if let Ok(manifest) = serde_json::from_slice(&bytes) {
            return Ok((manifest, None));
        }
        let aside = Self::aside(state);
        let note = format!("{} is broken and is kept as {}; --purge will not know what was made before", path.display(), aside.display());
        Ok((Self::default(), Some(note)))
    }

    pub fn save(&self, host: &dyn Host, state: &Path) -> Result<(), HostError> {
        let path = Self::path(state);
        if host.read(&path)?.is_some_and(|bytes| serde_json::from_slice::<Self>(&bytes).is_err()) {
            host.rename(&path, &Self::aside(state))?;
        }
        let mut text = serde_json::to_vec_pretty(self).expect("paths from our own strings are UTF-8");
        text.push(b'\n');
        host.write(&path, &text, 0o600)
    }

    /// True when something was new.
    pub fn add_folder(&mut self, path: &Path) -> bool {
        add(&mut self.folders, path)
    }

    /// `sha256` of the bytes that are going to stand there.
    pub fn add_site(&mut self, path: &Path, sha256: String) {
        add(&mut self.files, path);
        let hashes = self.sites.entry(path.into()).or_default();
        if hashes.last() != Some(&sha256) {
            hashes.push(sha256);
        }
        let old = hashes.len().saturating_sub(HASHES_KEPT);
        hashes.drain(..old);
    }

    pub fn add_file(&mut self, path: &Path) -> bool {
        add(&mut self.files, path)
    }
}

fn add(paths: &mut Vec<PathBuf>, path: &Path) -> bool {
    let new = !paths.iter().any(|known| known == path);
    if new {
        paths.push(path.into());
    }
    new
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Manifest;
    use crate::host::Host;
    use crate::host::script::Script;

    #[test]
    fn a_broken_manifest_is_kept_and_said() {
        let host = Script::new(|_| Ok(String::new()));
        let state = Path::new("/s");
        host.make_dir(state, 0o700).unwrap();
        let mut manifest = Manifest::default();
        assert!(manifest.add_file(Path::new("/etc/x")) && !manifest.add_file(Path::new("/etc/x")));
        manifest.save(&host, state).unwrap();
        assert_eq!(Manifest::load(&host, state).unwrap(), (manifest, None));
        host.write(&Manifest::path(state), b"{", 0o600).unwrap();
        let (fresh, note) = Manifest::load(&host, state).unwrap();
        assert_eq!(fresh, Manifest::default());
        assert!(note.unwrap().contains("kept as /s/manifest.json.broken"));
        assert!(host.read(Path::new("/s/manifest.json.broken")).unwrap().is_none(), "looking changes nothing");
        fresh.save(&host, state).unwrap();
        assert_eq!(host.read(Path::new("/s/manifest.json.broken")).unwrap().as_deref(), Some(&b"{"[..]));
    }
}
