//! Trust in the local CA on this machine: the system's store and the NSS stores of Chromium and Firefox. What is changed is written down in
//! `<state>/trust.json` before it is changed, so that it can be undone, and nothing else with it.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use super::local::LocalCa;
use crate::host::files;

/// The slow one is a system store with hooks (Java's key store).
const COMMAND_WAIT: Duration = Duration::from_secs(60);
/// Firefox profiles looked at in one folder.
const PROFILES_MAX: usize = 50;

/// Where trust can be put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Place {
    /// A file among the system's anchors, and the command that reads them.
    System { file: PathBuf, command: Vec<String>, undo: Vec<String>, bundle: PathBuf },
    /// A certificate database of NSS (`cert9.db` in this folder).
    Nss { browser: String, folder: PathBuf, nickname: String },
}

/// Something that was done and can be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// SHA-256 of the CA's DER, hexadecimal.
    pub ca: String,
    pub place: Place,
    /// Folders that were made for it, the outermost first.
    #[serde(default)]
    pub made: Vec<PathBuf>,
}

/// What could be changed here.
#[derive(Debug)]
pub struct Survey {
    pub places: Vec<Place>,
    /// The system's store may not be written by this user.
    pub system_needs_root: bool,
    /// There are NSS stores, but no `certutil` to write them.
    pub certutil_missing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    Done,
    /// It was trusted before, by somebody else's doing; undoing will not touch it.
    Already,
}

/// The machine to look at; a test gives a home of its own.
#[derive(Clone, Debug)]
pub struct Scope {
    pub home: Option<PathBuf>,
    /// `/` but in tests.
    pub root: PathBuf,
    /// Folders in which commands are looked for.
    pub path: Vec<PathBuf>,
}

impl Scope {
    /// The user who called, also through sudo. `env` looks a variable up.
    pub fn of_caller(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let is_root = nix::unistd::geteuid().is_root();
        let sudo_home = env("SUDO_USER").filter(|_| is_root).and_then(|name| nix::unistd::User::from_name(&name).ok().flatten()).map(|user| user.dir);
        let home = sudo_home.or_else(|| env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from));
        let mut path: Vec<PathBuf> = env("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        // update-ca-certificates stands where a user's PATH does not lead.
        path.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        Self { home, root: PathBuf::from("/"), path }
    }

    fn command(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(name)).find(|file| file.is_file())
    }
}

/// Anchors, the command that reads them (and again after one is gone), and the bundle in which it shows.
const SYSTEM_STORES: [(&str, &[&str], &[&str], &str); 4] = [
    ("usr/local/share/ca-certificates", &["update-ca-certificates"], &["update-ca-certificates", "--fresh"], "etc/ssl/certs/ca-certificates.crt"),
    ("etc/pki/ca-trust/source/anchors", &["update-ca-trust"], &["update-ca-trust"], "etc/pki/tls/certs/ca-bundle.crt"),
    ("etc/ca-certificates/trust-source/anchors", &["trust", "extract-compat"], &["trust", "extract-compat"], "etc/ssl/certs/ca-certificates.crt"),
    ("etc/pki/trust/anchors", &["update-ca-certificates"], &["update-ca-certificates"], "var/lib/ca-certificates/ca-bundle.pem"),
];
/// Folders below the home whose subfolders are Firefox profiles: native (old and XDG), snap, flatpak.
const FIREFOX: [&str; 4] =
    [".mozilla/firefox", ".config/mozilla/firefox", "snap/firefox/common/.mozilla/firefox", ".var/app/org.mozilla.firefox/.mozilla/firefox"];
/// Stores of Chromium and its kin: the usual one, XDG, snap, flatpak.
const CHROMIUM: [&str; 4] =
    [".pki/nssdb", ".local/share/pki/nssdb", "snap/chromium/current/.pki/nssdb", ".var/app/org.chromium.Chromium/data/pki/nssdb"];
const CHROMIUM_COMMANDS: [&str; 6] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge-stable", "brave-browser"];

/// Finds the stores of this machine and this user; changes nothing.
pub fn survey(scope: &Scope, ca: &LocalCa) -> Survey {
    let id = short_id(ca);
    let mut places = Vec::new();
    let mut system_needs_root = false;
    let found = SYSTEM_STORES.iter().find(|(anchors, command, ..)| scope.root.join(anchors).is_dir() && scope.command(command[0]).is_some());
    if let Some((anchors, command, undo, bundle)) = found {
        let anchors = scope.root.join(anchors);
        if nix::unistd::access(&anchors, nix::unistd::AccessFlags::W_OK).is_ok() {
            let words = |words: &[&str]| {
                let program = scope.command(words[0]).map(|program| program.display().to_string());
                program.into_iter().chain(words[1..].iter().map(|word| (*word).to_owned())).collect()
            };
            let file = anchors.join(format!("rtcctl-{id}.crt"));
            places.push(Place::System { file, command: words(command), undo: words(undo), bundle: scope.root.join(bundle) });
        } else {
            system_needs_root = true;
        }
    }
    let stores = nss_stores(scope);
    let certutil_missing = !stores.is_empty() && scope.command("certutil").is_none();
    if !certutil_missing {
        let nickname = format!("rtcctl local CA {id}");
        places.extend(stores.into_iter().map(|(browser, folder)| Place::Nss { browser, folder, nickname: nickname.clone() }));
    }
    Survey { places, system_needs_root, certutil_missing }
}

/// What was done so far and not undone.
pub fn records(state: &Path) -> anyhow::Result<Vec<Record>> {
    let path = state.join("trust.json");
    match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => {
            let text = text.with_context(|| format!("read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
        }
    }
}

/// Puts the CA into one store, and looks whether it is there afterwards.
pub fn add(state: &Path, ca: &LocalCa, place: &Place) -> anyhow::Result<Added> {
    if trusts(place, ca)? {
        return Ok(Added::Already);
    }
    let record = Record { ca: hex(&ca.sha256), place: place.clone(), made: folders_to_make(place) };
    let mut records = records(state)?;
    records.retain(|known| known.place != record.place);
    records.push(record.clone());
    write_records(state, &records)?;
    if let Err(error) = put(ca, place) {
        // What was half done is undone; if that fails too, the record stays for `untrust`.
        if take_out(&record).is_ok() {
            records.pop();
            write_records(state, &records)?;
        }
        return Err(error);
    }
    if !trusts(place, ca)? {
        bail!("{place} was written, but does not show the CA");
    }
    Ok(Added::Done)
}

/// Undoes one record; what is gone already is no error.
pub fn remove(state: &Path, record: &Record) -> anyhow::Result<()> {
    take_out(record)?;
    let mut records = records(state)?;
    records.retain(|known| known != record);
    if !records.is_empty() {
        return write_records(state, &records);
    }
    let path = state.join("trust.json");
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(|| format!("remove {}", path.display())),
        _ => Ok(()),
    }
}

/// Whether this store vouches for the CA now.
pub fn trusts(place: &Place, ca: &LocalCa) -> anyhow::Result<bool> {
    match place {
        Place::System { bundle, .. } => match fs::read(bundle) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            text => {
                let text = text.with_context(|| format!("read {}", bundle.display()))?;
                Ok(CertificateDer::pem_slice_iter(&text).flatten().any(|certificate| *certificate == *ca.der))
            }
        },
        Place::Nss { folder, nickname, .. } => {
            if !folder.join("cert9.db").is_file() {
                return Ok(false);
            }
            let listed = certutil(folder, &["-L"])?;
            let vouches = listed.lines().any(|line| line.strip_prefix(nickname.as_str()).is_some_and(|flags| flags.trim().starts_with('C')));
            if !vouches {
                return Ok(false);
            }
            let pem = certutil(folder, &["-L", "-n", nickname, "-a"])?;
            Ok(CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().any(|certificate| *certificate == *ca.der))
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System { file, .. } => write!(f, "{}", file.display()),
            Self::Nss { folder, .. } => write!(f, "{}", folder.display()),
        }
    }
}

fn put(ca: &LocalCa, place: &Place) -> anyhow::Result<()> {
    match place {
        Place::System { file, command, .. } => {
            files::write_atomic(file, ca.pem.as_bytes(), 0o644)?;
            run(command, None).map(drop)
        }
        Place::Nss { folder, nickname, .. } => {
            files::make_dir(folder, 0o700)?;
            if !folder.join("cert9.db").is_file() {
                certutil(folder, &["-N", "--empty-password"])?;
            }
            // certutil reads a file, and as the owner of the store it may not reach into our state.
            let mut pem = tempfile::NamedTempFile::new().context("make a temp file")?;
            io::Write::write_all(&mut pem, ca.pem.as_bytes()).context("write a temp file")?;
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            pem.as_file().set_permissions(permissions).context("write a temp file")?;
            certutil(folder, &["-A", "-t", "C,,", "-n", nickname, "-i", &pem.path().to_string_lossy()]).map(drop)
        }
    }
}

fn take_out(record: &Record) -> anyhow::Result<()> {
    match &record.place {
        Place::System { file, undo, .. } => {
            match fs::remove_file(file) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("remove {}", file.display()))?,
            }
            run(undo, None).map(drop)
        }
        Place::Nss { folder, nickname, .. } => {
            if folder.join("cert9.db").is_file() {
                if certutil(folder, &["-L"])?.lines().any(|line| line.starts_with(nickname.as_str())) {
                    certutil(folder, &["-D", "-n", nickname])?;
                }
                if record.made.last() == Some(folder) && is_empty_store(folder)? {
                    for name in ["cert9.db", "key4.db", "pkcs11.txt"] {
                        fs::remove_file(folder.join(name)).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
                    }
                }
            }
            // Innermost first; what others put something into stays.
            for folder in record.made.iter().rev() {
                let _ = fs::remove_dir(folder);
            }
            Ok(())
        }
    }
}

/// Nobody put a certificate or a key into the store that was made for us.
fn is_empty_store(folder: &Path) -> anyhow::Result<bool> {
    let certificates = certutil(folder, &["-L"])?;
    let rows =
        certificates.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("Certificate Nickname") && !line.contains("SSL,S/MIME"));
    // With no key in it certutil -K fails, and says so.
    let keys = certutil(folder, &["-K"]).is_ok_and(|listed| listed.lines().any(|line| line.trim_start().starts_with('<')));
    Ok(rows.count() == 0 && !keys)
}

fn nss_stores(scope: &Scope) -> Vec<(String, PathBuf)> {
    let Some(home) = &scope.home else { return Vec::new() };
    let mut stores: Vec<(String, PathBuf)> = Vec::new();
    for folder in CHROMIUM {
        let folder = home.join(folder);
        if folder.join("cert9.db").is_file() {
            stores.push(("Chromium".to_owned(), folder));
        }
    }
    for root in FIREFOX {
        let Ok(profiles) = fs::read_dir(home.join(root)) else { continue };
        let mut profiles: Vec<PathBuf> = profiles.filter_map(|profile| Some(profile.ok()?.path())).take(PROFILES_MAX).collect();
        profiles.sort();
        stores.extend(profiles.into_iter().filter(|profile| profile.join("cert9.db").is_file()).map(|profile| ("Firefox".to_owned(), profile)));
    }
    let chromium_without =
        CHROMIUM_COMMANDS.iter().any(|name| scope.command(name).is_some()) && !stores.iter().any(|(browser, _)| browser == "Chromium");
    if home.is_dir() && (chromium_without || stores.is_empty()) {
        stores.insert(0, ("Chromium".to_owned(), home.join(CHROMIUM[0])));
    }
    stores
}

fn folders_to_make(place: &Place) -> Vec<PathBuf> {
    let Place::Nss { folder, .. } = place else { return Vec::new() };
    let mut missing: Vec<PathBuf> = folder.ancestors().take_while(|ancestor| !ancestor.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

fn write_records(state: &Path, records: &[Record]) -> anyhow::Result<()> {
    files::make_dir(state, 0o700)?;
    let text = serde_json::to_vec_pretty(records).context("write trust.json")?;
    Ok(files::write_atomic(&state.join("trust.json"), &text, 0o600)?)
}

fn certutil(folder: &Path, words: &[&str]) -> anyhow::Result<String> {
    let database = format!("sql:{}", folder.display());
    let mut command = vec!["certutil".to_owned(), words[0].to_owned(), "-d".to_owned(), database];
    command.extend(words[1..].iter().map(|word| (*word).to_owned()));
    run(&command, Some(folder))
}

/// Runs it with an end in sight and no terminal to ask on; as the owner of `folder` when we are root, so that the store stays theirs.
fn run(words: &[String], folder: Option<&Path>) -> anyhow::Result<String> {
    let said = words.join(" ");
    let mut output = tempfile::tempfile().context("make a temp file")?;
    let mut command = Command::new(&words[0]);
    let writer = || output.try_clone().context("make a temp file");
    command.args(&words[1..]).stdin(Stdio::null()).stdout(writer()?).stderr(writer()?).process_group(0);
    if let Some(owner) = folder.filter(|_| nix::unistd::geteuid().is_root()) {
        let metadata = fs::metadata(owner).with_context(|| format!("read {}", owner.display()))?;
        command.uid(metadata.uid()).gid(metadata.gid());
    }
    let mut child = command.spawn().with_context(|| format!("run {said}"))?;
    let deadline = Instant::now() + COMMAND_WAIT;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("wait for {said}"))? {
            break status;
        }
        if Instant::now() > deadline {
            let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            child.wait().with_context(|| format!("stop {said}"))?;
            bail!("{said}: no end after {} s", COMMAND_WAIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = Vec::new();
    output.rewind().and_then(|()| output.read_to_end(&mut text)).with_context(|| format!("read what {said} said"))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    if !status.success() {
        bail!("{said}: {}", text.lines().next().unwrap_or("it failed without a word"));
    }
    Ok(text)
}

fn short_id(ca: &LocalCa) -> String {
    hex(&ca.sha256[..4])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
