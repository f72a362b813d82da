//! Finds the file, lays environment and flags over it, and resolves: flag over `RTCCTL_SECTION__KEY` over file over default.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::file::{Problem, Written};
use super::model::Config;
use super::paths::Paths;
use super::resolve::{check_machine, resolve};

/// A config file is a page of text; what is larger is something else.
const LARGEST_FILE: u64 = 1 << 20;

/// Where a config may come from. Nothing else is looked at.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// `--config` or `$RTCCTL_CONFIG`: must be there.
    pub explicit: Option<PathBuf>,
    /// `--state` or `$RTCCTL_STATE`: where the applied config is kept.
    pub state: Option<PathBuf>,
    /// `--set KEY=VALUE`, the later over the earlier.
    pub set: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub working_directory: PathBuf,
    pub is_root: bool,
}

/// A config, and everything that is needed to say where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub written: Written,
    /// `None`: no file was found, the defaults are meant.
    pub file: Option<PathBuf>,
}

impl Loaded {
    /// What does not fit the machine with these addresses, each at the place where it was written.
    pub fn check_machine(&self, addresses: &[IpAddr]) -> Vec<Problem> {
        let place = self.written.source_of("site.listen").map(|(_, place)| place.clone());
        check_machine(&self.config, addresses).into_iter().map(|problem| Problem { place: place.clone(), ..problem }).collect()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    /// What was written is wrong. The sources are in `written`.
    #[error("{} problems in the config", problems.len())]
    Wrong { problems: Vec<Problem>, written: Box<Written> },
}

/// Every problem at once, or the config.
pub fn load(search: &Search) -> Result<Loaded, LoadError> {
    let mut written = Written::default();
    let file = find(search)?;
    if let Some((path, text)) = &file {
        let absolute = search.working_directory.join(path);
        let base = absolute.parent().unwrap_or(&search.working_directory).to_path_buf();
        written.add_file(path.clone(), text.clone(), base);
    }
    for (variable, text) in &search.environment {
        written.add_variable(variable, text, search.working_directory.clone());
    }
    for assignment in &search.set {
        written.add_flag(assignment, search.working_directory.clone());
    }
    match resolve(&written) {
        Ok(config) => Ok(Loaded { config, written, file: file.map(|(path, _)| path) }),
        Err(problems) => Err(LoadError::Wrong { problems, written: Box::new(written) }),
    }
}

/// The first file that is there.
fn find(search: &Search) -> Result<Option<(PathBuf, String)>, LoadError> {
    let failed = |path: &Path, error| LoadError::Read { path: path.to_path_buf(), error };
    if let Some(path) = &search.explicit {
        return match read(&search.working_directory.join(path)) {
            Ok(text) => Ok(Some((path.clone(), text))),
            Err(error) => Err(failed(path, error)),
        };
    }
    for path in candidates(search) {
        match read(&search.working_directory.join(&path)) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Ok(None)
}

fn candidates(search: &Search) -> Vec<PathBuf> {
    let variable = |key: &str| search.environment.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let directory = |key: &str| variable(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config")));
    // The name is not known before a file is read; a flag or variable may still say it.
    let name = search.set.iter().rev().find_map(|set| set.strip_prefix("name=").map(str::to_owned)).or_else(|| variable("RTCCTL_NAME"));
    let name = name.filter(|name| !name.is_empty() && !name.contains('/')).unwrap_or_else(|| "rtcctl".to_owned());
    let applied = Paths::of(search.state.as_deref(), &name, search.is_root, &variable).current().join("rtcctl.toml");
    let mut candidates = vec![PathBuf::from("rtcctl.toml")];
    candidates.extend(user.map(|user| user.join("rtcctl/rtcctl.toml")));
    candidates.push(PathBuf::from("/etc/rtcctl/rtcctl.toml"));
    candidates.push(applied);
    candidates
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB: not a config"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}
