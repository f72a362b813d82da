//! `<state>/certs`: every site is one symlink to its newest version, a folder written whole before the link moves. So a reader sees the old set or the
//! new one, never a key beside the other's certificate, and a crash at any step leaves one of the two.
//!
//! ```text
//! certs/192.168.1.20 -> .versions/192.168.1.20/2
//! certs/.versions/192.168.1.20/1/{fullchain,privkey,chain,cert,combined}.pem     the previous one is kept
//! certs/.versions/192.168.1.20/2/…
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::bundle::{self, Bundle};
use crate::config::Config;
use crate::config::model::Address;
use crate::host::files;

/// Issuing takes milliseconds; whoever holds the lock longer is stuck.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// The live version and the one before it.
const VERSIONS_KEPT: usize = 2;

/// The folder of a config's site: its address as configured, so that a LAN whose addresses change keeps its folder.
pub fn site_folder(config: &Config) -> String {
    match &config.site.address {
        Address::Lan => "lan".to_owned(),
        Address::Host(name) => name.to_string(),
    }
}

/// The certificates of one state directory.
#[derive(Clone, Debug)]
pub struct Store {
    certs: PathBuf,
}

/// What a site's folder holds.
#[derive(Debug)]
pub enum Found {
    Nothing,
    Bundle(Box<Bundle>),
    /// There, but of no use; the sentence says why.
    Broken(String),
}

/// PEM texts to keep.
pub struct Pems<'a> {
    pub leaf: &'a str,
    /// What stands between the leaf and the device's trust, the root included for a local CA.
    pub chain: &'a str,
    pub key: &'a str,
}

/// Held while CA and leaves change; released when dropped.
#[derive(Debug)]
pub struct Lock {
    _dir: File,
}

impl Store {
    pub fn of(state: &Path) -> Self {
        Self { certs: state.join("certs") }
    }

    /// The folder to give to other programs: a symlink to the live version.
    pub fn folder(&self, site: &str) -> PathBuf {
        self.certs.join(site)
    }

    /// Names of all sites, sorted.
    pub fn sites(&self) -> anyhow::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.certs) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("read {}", self.certs.display()))?,
        };
        let mut sites = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", self.certs.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().is_dir() && !name.contains(".aside-") {
                sites.push(name);
            }
        }
        sites.sort();
        Ok(sites)
    }

    /// The live bundle. Errors only when the files cannot be read at all (permission).
    pub fn load(&self, site: &str) -> anyhow::Result<Found> {
        // The link is followed once: chain and key come from one version even if it moves meanwhile.
        let link = self.folder(site);
        let folder = fs::read_link(&link).map_or(link, |target| self.certs.join(target));
        let read = |name: &str| match fs::read(folder.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).with_context(|| format!("read {}", folder.join(name).display())),
        };
        if fs::metadata(&folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Ok(Found::Nothing);
        }
        let (Some(chain), Some(key)) = (read("fullchain.pem")?, read("privkey.pem")?) else {
            return Ok(Found::Broken("fullchain.pem or privkey.pem is missing".to_owned()));
        };
        Ok(match bundle::parse(&chain, &key) {
            Ok(bundle) => Found::Bundle(Box::new(bundle)),
            Err(error) => Found::Broken(error.to_string()),
        })
    }

    /// Waits at most 10 s for another process that issues.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        files::make_dir(&self.certs, 0o700)?;
        // The folder itself is locked: a lock file made by root could not be opened by the service's user.
        let dir = File::open(&self.certs).with_context(|| format!("open {}", self.certs.display()))?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match dir.try_lock() {
                Ok(()) => return Ok(Lock { _dir: dir }),
                Err(fs::TryLockError::Error(e)) => return Err(e).with_context(|| format!("lock {}", self.certs.display())),
                Err(fs::TryLockError::WouldBlock) if Instant::now() > deadline => {
                    bail!("another process has been changing the certificates in {} for {} s", self.certs.display(), LOCK_WAIT.as_secs())
                }
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Makes `pems` the live version of the site and forgets all but the one before.
    pub fn put(&self, lock: &Lock, site: &str, pems: &Pems<'_>) -> anyhow::Result<()> {
        let version = self.stage(lock, site, pems)?;
        self.activate(lock, site, version)?;
        self.prune(lock, site, version)
    }

    /// Moves what stands in the site's place out of the way; returns where it is now.
    pub fn set_aside(&self, _lock: &Lock, site: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder(site);
        // The link stays and dangles until the next version is live: with a crash in between nothing is found, and a leaf is issued.
        // One that leads elsewhere is itself what is broken: whoever may write here must not have root move what it points to.
        let own = self.certs.join(".versions").join(site);
        let target = fs::read_link(&folder).ok().filter(|target| target.parent().is_some_and(|parent| own.ends_with(parent)));
        let version = target.and_then(|target| target.file_name()?.to_str()?.parse::<u64>().ok());
        let broken = version.map_or(folder, |version| own.join(version.to_string()));
        Ok(files::set_aside(&broken)?)
    }

    fn stage(&self, _lock: &Lock, site: &str, pems: &Pems<'_>) -> anyhow::Result<u64> {
        let version = self.next_version(site)?;
        let folder = self.version_folder(site, version);
        files::make_dir(&folder, 0o700)?;
        let fullchain = format!("{}{}", pems.leaf, pems.chain);
        let combined = format!("{}{fullchain}", pems.key);
        for (name, text, mode) in [
            ("cert.pem", pems.leaf, 0o644),
            ("chain.pem", pems.chain, 0o644),
            ("fullchain.pem", fullchain.as_str(), 0o644),
            ("combined.pem", combined.as_str(), 0o600),
            ("privkey.pem", pems.key, 0o600),
        ] {
            files::write_atomic(&folder.join(name), text.as_bytes(), mode)?;
        }
        Ok(version)
    }

    fn activate(&self, _lock: &Lock, site: &str, version: u64) -> anyhow::Result<()> {
        let link = self.folder(site);
        if link.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
            files::set_aside(&link)?;
        }
        Ok(files::relink(&link, &Path::new(".versions").join(site).join(version.to_string()))?)
    }

    fn prune(&self, _lock: &Lock, site: &str, live: u64) -> anyhow::Result<()> {
        let versions = self.versions(site)?;
        let old = versions.iter().rev().filter(|version| **version <= live).skip(VERSIONS_KEPT);
        for version in old {
            let folder = self.version_folder(site, *version);
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        Ok(())
    }

    /// One more than the newest. What a crash left above the live one never was live and goes.
    fn next_version(&self, site: &str) -> anyhow::Result<u64> {
        let mut versions = self.versions(site)?;
        let link = fs::read_link(self.folder(site)).ok();
        let live: Option<u64> = link.and_then(|target| target.file_name()?.to_str()?.parse().ok());
        if let Some(live) = live.filter(|live| versions.contains(live)) {
            while let Some(half) = versions.pop_if(|version| *version > live) {
                let folder = self.version_folder(site, half);
                fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
            }
        }
        Ok(versions.last().copied().unwrap_or(0) + 1)
    }

    fn version_folder(&self, site: &str, version: u64) -> PathBuf {
        self.certs.join(".versions").join(site).join(version.to_string())
    }

    /// Numbers in use, ascending, half-written ones too.
    fn versions(&self, site: &str) -> anyhow::Result<Vec<u64>> {
        let folder = self.certs.join(".versions").join(site);
        // Root works here too, in folders of the service's user: a link would have it write and remove elsewhere.
        for path in [folder.parent().unwrap_or(&folder), &folder] {
            if path.is_symlink() {
                bail!("a link where a folder must be: {}", path.display());
            }
        }
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("read {}", folder.display()))?,
        };
        let mut versions: Vec<u64> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::{Found, Pems, Store};
    use crate::cert::selfsigned::{CA_LIFE, new_ca, new_leaf};

    #[test]
    fn a_crash_at_any_step_leaves_the_old_set_or_the_new_one() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::of(state.path());
        put(&store, "old.local");
        let lock = store.lock().unwrap();
        let live = |store: &Store| match store.load("site").unwrap() {
            Found::Bundle(bundle) => bundle.names[0].to_string(),
            other => panic!("{other:?}"),
        };

        let (leaf, chain, key) = pems("new.local");
        let new = Pems { leaf: &leaf, chain: &chain, key: &key };
        let whole = store.stage(&lock, "site", &new).unwrap();
        assert_eq!(live(&store), "old.local", "written, not yet live");
        for half in ["privkey.pem", "combined.pem", "fullchain.pem", "chain.pem"] {
            fs::remove_file(store.version_folder("site", whole).join(half)).unwrap();
            assert_eq!(live(&store), "old.local", "stopped before {half}");
        }

        let again = store.stage(&lock, "site", &new).unwrap();
        assert_eq!(fs::read_dir(store.version_folder("site", again)).unwrap().count(), 5, "nothing of the half-written one stays");
        store.activate(&lock, "site", again).unwrap();
        assert_eq!(live(&store), "new.local", "live, old ones not yet removed");
        store.prune(&lock, "site", again).unwrap();
        assert_eq!(live(&store), "new.local");
        assert_eq!(store.versions("site").unwrap(), [1, 2], "the one before is the last that was live");
    }

    #[test]
    fn keeps_the_version_before_and_five_files_with_their_modes() {
        use std::os::unix::fs::MetadataExt as _;
        let state = tempfile::tempdir().unwrap();
        let store = Store::of(state.path());
        for name in ["a.local", "b.local", "c.local"] {
            put(&store, name);
        }
        assert_eq!(store.versions("site").unwrap(), [2, 3]);
        assert_eq!(store.sites().unwrap(), ["site"]);
        let mode = |name: &str| fs::metadata(store.folder("site").join(name)).unwrap().mode() & 0o7777;
        let modes: Vec<u32> = ["privkey.pem", "combined.pem", "cert.pem", "chain.pem", "fullchain.pem"].into_iter().map(mode).collect();
        assert_eq!(modes, [0o600, 0o600, 0o644, 0o644, 0o644]);
        assert_eq!(fs::metadata(state.path().join("certs")).unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_link_that_leads_elsewhere_moves_and_removes_nothing_there() {
        let (state, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(elsewhere.path().join("1")).unwrap();
        let store = Store::of(state.path());
        put(&store, "a.local");
        let link = store.folder("site");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        assert!(matches!(store.load("site").unwrap(), Found::Broken(_)));
        let aside = store.set_aside(&store.lock().unwrap(), "site").unwrap();
        assert!(elsewhere.path().is_dir() && fs::read_link(aside).unwrap() == elsewhere.path(), "the link was moved, not what it leads to");
        put(&store, "b.local");

        fs::remove_dir_all(state.path().join("certs/.versions/site")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), state.path().join("certs/.versions/site")).unwrap();
        let (leaf, chain, key) = pems("c.local");
        let refused = store.put(&store.lock().unwrap(), "site", &Pems { leaf: &leaf, chain: &chain, key: &key }).unwrap_err().to_string();
        assert!(refused.contains("a link where a folder must be"), "{refused}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_broken_is_set_aside_and_a_real_folder_too() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::of(state.path());
        put(&store, "a.local");
        fs::write(store.folder("site").join("privkey.pem"), "rubbish").unwrap();
        assert!(matches!(store.load("site").unwrap(), Found::Broken(why) if why.contains("no private key")));
        let aside = store.set_aside(&store.lock().unwrap(), "site").unwrap();
        assert_eq!(fs::read_to_string(aside.join("privkey.pem")).unwrap(), "rubbish");
        assert!(matches!(store.load("site").unwrap(), Found::Nothing));
        put(&store, "b.local");
        fs::remove_file(store.folder("site")).unwrap();
        fs::create_dir(store.folder("site")).unwrap();
        fs::write(store.folder("site").join("mine.txt"), "kept").unwrap();
        put(&store, "c.local");
        assert_eq!(fs::read_to_string(state.path().join("certs/site.aside-1/mine.txt")).unwrap(), "kept");
    }

    #[test]
    fn the_lock_keeps_others_out_until_it_is_dropped() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::of(state.path());
        let lock = store.lock().unwrap();
        let certs = fs::File::open(state.path().join("certs")).unwrap();
        assert!(matches!(certs.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(lock);
        assert!(certs.try_lock().is_ok());
    }

    fn put(store: &Store, name: &str) {
        let (leaf, chain, key) = pems(name);
        store.put(&store.lock().unwrap(), "site", &Pems { leaf: &leaf, chain: &chain, key: &key }).unwrap();
    }

    fn pems(name: &str) -> (String, String, String) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let names = [name.parse().unwrap()];
        let ca = new_ca(&names, now).unwrap();
        let leaf = new_leaf(&ca.certificate_pem, &ca.key_pem, now + CA_LIFE, &names, now).unwrap();
        (leaf.certificate_pem, ca.certificate_pem, leaf.key_pem)
    }
}
