//! Which of the things in a state folder are ours. A name alone says little: `releases` and `current` are what other tools call theirs too, and
//! `--state` may name any folder. So a folder that the manifest does not list is ours only when everything in it is what we put there.

use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::plan::{NGINX_TEST, RECORD_FILE, UNIT_FILE, unit_path};
use crate::config::Paths;
use crate::host::{Host, HostError, Kind};

/// Files of a state folder that only we call so.
const FILES: &[&str] = &["turn.secret", "signal.key", "hosts.generation", "trust.json", "history.jsonl"];
/// Random letters of the temp file that becomes a file.
const TEMP_LETTERS: usize = 6;

/// Is this entry of the state folder something that we made?
pub(super) fn is_ours(host: &dyn Host, paths: &Paths, name: &str, manifest: &Manifest, entry: &str) -> Result<bool, HostError> {
    let path = paths.state.join(entry);
    let by_hand = [format!("{name}.service.by-hand-"), format!("zz-{name}.conf.by-hand-")];
    let is_backup = by_hand.iter().any(|prefix| entry.strip_prefix(prefix).is_some_and(is_number));
    if FILES.iter().any(|known| is_or_was(entry, known)) || is_backup || entry == NGINX_TEST {
        return Ok(true);
    }
    if is_or_was(entry, "manifest.json") {
        // The manifest itself goes last.
        return Ok(entry != "manifest.json");
    }
    match entry {
        "current" => Ok(is_link_to_release(host, &path)?),
        "releases" | "certs" | "acme" | "webroot" | "ca" | "log" | "run" => is_our_folder(host, manifest, &path),
        // What a crash left of a link that was being moved.
        _ if is_temp(entry, "current") => Ok(is_link_to_release(host, &path)?),
        _ => Ok(false),
    }
}

/// Made by us, or holding nothing but what we put there. One that is not there is nobody's.
pub(super) fn is_our_folder(host: &dyn Host, manifest: &Manifest, path: &Path) -> Result<bool, HostError> {
    if host.entry(path)?.is_none() {
        return Ok(false);
    }
    Ok(manifest.folders.iter().any(|made| made == path) || holds_only_ours(host, path)?)
}

/// What stands in the way of an installation here: a folder or link that we would use and somebody else does.
pub(super) fn foreign(host: &dyn Host, paths: &Paths, manifest: &Manifest) -> Result<Vec<PathBuf>, HostError> {
    let mut foreign = Vec::new();
    for folder in [paths.releases(), paths.certs(), paths.ca(), paths.log(), paths.run.clone()] {
        if host.entry(&folder)?.is_some() && !is_our_folder(host, manifest, &folder)? {
            foreign.push(folder);
        }
    }
    if host.entry(&paths.current())?.is_some() && !is_link_to_release(host, &paths.current())? {
        foreign.push(paths.current());
    }
    Ok(foreign)
}

/// Was the unit made by us? A broken manifest has forgotten it; then it is ours when it is what the release installed.
pub fn has_unit(host: &dyn Host, paths: &Paths, name: &str, manifest: &Manifest) -> Result<bool, HostError> {
    let path = unit_path(name);
    if manifest.files.contains(&path) {
        return Ok(true);
    }
    let installed = host.read(&paths.current().join(UNIT_FILE))?;
    Ok(installed.is_some() && host.read(&path)? == installed)
}

fn holds_only_ours(host: &dyn Host, folder: &Path) -> Result<bool, HostError> {
    if host.entry(folder)?.is_none_or(|entry| entry.kind != Kind::Dir) {
        return Ok(false);
    }
    let purpose = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    for entry in host.list(folder)? {
        let path = folder.join(&entry);
        let is_known = match purpose {
            "releases" if is_number(&entry) => host.entry(&path.join(RECORD_FILE))?.is_some(),
            "releases" => entry.strip_prefix(".new-").is_some_and(is_number),
            "certs" => match host.entry(&path)?.map(|entry| entry.kind) {
                Some(Kind::Link(target)) => target.starts_with(".versions"),
                _ => entry == ".versions" || was_set_aside(&entry),
            },
            "webroot" => entry == ".well-known",
            "ca" => ["ca.key", "ca.pem"].iter().any(|known| is_or_was(&entry, known)),
            "log" => entry == "current" || entry.strip_prefix("old.").is_some_and(is_number),
            // The run directory is called as the installation is, or `run`.
            _ => matches!(&*entry, "admin.sock" | "serve.lock" | "service.lock" | "supervisor.lock") || is_or_was(&entry, "certificate"),
        };
        if !is_known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `releases/3`, as only we write it.
fn is_link_to_release(host: &dyn Host, path: &Path) -> Result<bool, HostError> {
    let Some(Kind::Link(target)) = host.entry(path)?.map(|entry| entry.kind) else { return Ok(false) };
    Ok(target.to_str().and_then(|target| target.strip_prefix("releases/")).is_some_and(is_number))
}

/// The file, one that was set aside because it was broken (`turn.secret.aside-1`), or a write that a crash cut off (`.turn.secret.Ab3xYz`).
fn is_or_was(entry: &str, known: &str) -> bool {
    entry == known || is_temp(entry, known) || entry.strip_prefix(known).is_some_and(|rest| rest == ".broken" || was_set_aside(rest))
}

fn is_temp(entry: &str, known: &str) -> bool {
    let letters = entry.strip_prefix('.').and_then(|rest| rest.strip_prefix(known)).and_then(|rest| rest.strip_prefix('.'));
    letters.is_some_and(|letters| letters.len() == TEMP_LETTERS && letters.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn was_set_aside(entry: &str) -> bool {
    entry.rsplit_once(".aside-").is_some_and(|(_, number)| is_number(number))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::Local;
    use crate::host::script::Script;

    struct State(tempfile::TempDir);

    impl State {
        fn new(files: &[&str]) -> Self {
            let state = Self(tempfile::tempdir().unwrap());
            for file in files {
                let path = state.0.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
            state
        }

        fn paths(&self) -> Paths {
            Paths { state: self.0.path().into(), run: self.0.path().join("run") }
        }

        fn ours(&self, manifest: &Manifest) -> Vec<String> {
            let entries = Local.list(self.0.path()).unwrap();
            entries.into_iter().filter(|entry| is_ours(&Local, &self.paths(), "rtcctl", manifest, entry).unwrap()).collect()
        }
    }

    #[test]
    fn files_are_known_by_name_and_by_what_became_of_them() {
        let ours = [
            ".turn.secret.Ab3xYz",
            "manifest.json.broken",
            "rtcctl.service.by-hand-3",
            "turn.secret",
            "turn.secret.aside-1",
            "zz-rtcctl.conf.by-hand-3",
        ];
        let foreign =
            [".bashrc", "ca.crt", "log.txt", "run.sh", "manifest.json", "lock", "other.service.by-hand-1", ".turn.secret.swp", "turn.secret.txt"];
        let state = State::new(&[ours.as_slice(), &foreign].concat());
        assert_eq!(state.ours(&Manifest::default()), ours);
    }

    #[test]
    fn a_folder_of_our_name_is_not_ours() {
        let state = State::new(&["releases/20260101/app.rb", "certs/mine.pem", "ca/index.txt", "log/production.log", "run/postgres.pid"]);
        symlink("/srv/app/releases/20260101", state.0.path().join("current")).unwrap();
        assert_eq!(state.ours(&Manifest::default()), <[&str; 0]>::default());
        let foreign = foreign(&Local, &state.paths(), &Manifest::default()).unwrap();
        assert_eq!(foreign.len(), 6, "{foreign:?}");
    }

    #[test]
    fn without_its_manifest_our_own_state_is_recognised() {
        let files = ["releases/1/release.json", "certs/.versions/lan/1/cert.pem", "ca/ca.key", "ca/ca.pem.aside-1", "log/old.1", "run/serve.lock"];
        let state = State::new(&files);
        symlink("releases/1", state.0.path().join("current")).unwrap();
        symlink(".versions/lan/1", state.0.path().join("certs/lan")).unwrap();
        assert_eq!(state.ours(&Manifest::default()), ["ca", "certs", "current", "log", "releases", "run"]);
        assert_eq!(foreign(&Local, &state.paths(), &Manifest::default()).unwrap(), <[PathBuf; 0]>::default());
    }

    #[test]
    fn a_unit_that_a_broken_manifest_has_forgotten_is_recognised() {
        let host = Script::new(|_| Ok(String::new()));
        let paths = Paths { state: "/var/lib/rtcctl".into(), run: "/run/rtcctl".into() };
        let has_unit = |manifest: &Manifest| has_unit(&host, &paths, "rtcctl", manifest).unwrap();
        for folder in [Path::new("/etc/systemd/system"), &paths.current()] {
            let ancestors: Vec<&Path> = folder.ancestors().collect();
            ancestors.iter().rev().for_each(|folder| host.make_dir(folder, 0o755).unwrap());
        }
        host.write(&unit_path("rtcctl"), b"[Service]", 0o644).unwrap();
        assert!(!has_unit(&Manifest::default()), "there is no release that it could be of");
        assert!(has_unit(&Manifest { files: vec![unit_path("rtcctl")], ..Manifest::default() }));
        host.write(&paths.current().join(UNIT_FILE), b"[Service]", 0o644).unwrap();
        assert!(has_unit(&Manifest::default()));
        host.write(&unit_path("rtcctl"), b"[Service]\nUser=other", 0o644).unwrap();
        assert!(!has_unit(&Manifest::default()), "somebody else's");
    }

    #[test]
    fn a_folder_that_the_manifest_lists_is_ours_whatever_it_holds() {
        let state = State::new(&["releases/notes.txt"]);
        let manifest = Manifest { folders: vec![state.paths().releases()], ..Manifest::default() };
        assert_eq!(state.ours(&manifest), ["releases"]);
    }
}
