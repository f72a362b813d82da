//! What can be done to a machine: run a command with a deadline, and a handful of file operations. `host::Local` does it here; tests use `host::script`.
//! A command is a list of words, never a line for a shell; [`Cmd`]'s `Display` is the one place that quotes, and only for people to read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::FileError;

/// A program with its arguments and what it is fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmd {
    pub argv: Vec<String>,
    pub stdin: Vec<u8>,
    pub deadline: Duration,
}

impl Cmd {
    /// `argv[0]` is looked up in `PATH`. The deadline is 30 s unless changed.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), stdin: Vec::new(), deadline: Duration::from_secs(30) }
    }

    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// As one would type it into a POSIX shell.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.argv.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&quoted(word))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// What a command left behind. Each stream is cut at 1 MiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit code, or 128 + signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Why a machine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("run {cmd}: {source}")]
    Start { cmd: Cmd, source: io::Error },
    #[error("run {cmd}: no end after {} s", .cmd.deadline.as_secs())]
    Deadline { cmd: Cmd },
    #[error("{cmd}: exit {}: {}", .output.code, last_line(&.output.stderr))]
    Failed { cmd: Cmd, output: Output },
    #[error(transparent)]
    File(#[from] FileError),
}

impl HostError {
    /// The kernel's word, when this was about a file.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Start { source, .. } => Some(source),
            Self::File(error) => Some(&error.cause),
            Self::Deadline { .. } | Self::Failed { .. } => None,
        }
    }
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands at a path; links are not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits only.
    pub mode: u32,
    pub uid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Dir,
    Link(PathBuf),
    Other,
}

/// A machine. All paths are absolute and belong to that machine, except `local` ones.
pub trait Host {
    /// `Err` when the command cannot be started, does not end in time, or ends with another code than 0.
    fn run(&self, cmd: &Cmd) -> Result<Output, HostError>;

    /// `None` when nothing stands there.
    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError>;

    /// `None` when there is no such file.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError>;

    /// SHA-256 in hex; `None` when there is no such file.
    fn digest(&self, path: &Path) -> Result<Option<String>, HostError>;

    /// Names in a folder, sorted; empty when there is none.
    fn list(&self, path: &Path) -> Result<Vec<String>, HostError>;

    /// Old or new bytes, never half of them, whenever the power goes.
    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), HostError>;

    /// Brings a file of the machine we run on to the host.
    fn put(&self, local: &Path, path: &Path, mode: u32) -> Result<(), HostError>;

    /// One folder; its parent exists. Not an error when it is there already.
    fn make_dir(&self, path: &Path, mode: u32) -> Result<(), HostError>;

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError>;

    /// Makes `link` point to `target` by one rename, whether it existed or not.
    fn relink(&self, link: &Path, target: &Path) -> Result<(), HostError>;

    /// A file, a link or an empty folder; not an error when it is not there.
    fn remove(&self, path: &Path) -> Result<(), HostError>;

    /// With everything inside; links are removed, not followed.
    fn remove_tree(&self, path: &Path) -> Result<(), HostError>;

    /// Hands a file, or a folder with everything inside, to a user and its group of the same name. Links are not followed.
    fn give(&self, path: &Path, user: &str) -> Result<(), HostError>;

    /// A random secret that is made once, readable by its owner alone.
    fn secret(&self, path: &Path) -> Result<(), HostError>;

    /// Free bytes of the file system that holds `path` or its nearest parent that exists.
    fn free_bytes(&self, path: &Path) -> Result<u64, HostError>;
}

#[cfg(test)]
mod tests {
    use super::Cmd;

    #[test]
    fn quotes_for_people() {
        let shown = |words: &[&str]| Cmd::new(words.iter().copied()).to_string();
        assert_eq!(shown(&["systemctl", "start", "a.service"]), "systemctl start a.service");
        assert_eq!(shown(&["x", "", "a b", "it's", "$HOME;rm"]), r"x '' 'a b' 'it'\''s' '$HOME;rm'");
    }
}
