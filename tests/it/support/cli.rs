//! The real binary in directories of its own: no variable and no file of the machine leaks in.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A home that is thrown away, and commands that live in it.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

/// One call of `rtcctl` being put together.
pub(crate) struct Cli {
    command: Command,
    home: PathBuf,
}

/// What a call said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("here")).unwrap();
        Self { directory }
    }

    /// Where commands run: `./rtcctl.toml` would stand here.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("here")
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    pub(crate) fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// State lies in `<home>/state`, so that root and others find the same.
    pub(crate) fn rtcctl(&self, arguments: &[&str]) -> Cli {
        self.rtcctl_under(&[], arguments)
    }

    /// The same by way of another command, which is given ours as its last words.
    pub(crate) fn rtcctl_under(&self, wrapper: &[&str], arguments: &[&str]) -> Cli {
        let words = [wrapper, &[env!("CARGO_BIN_EXE_rtcctl")], arguments].concat();
        let mut command = Command::new(words[0]);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("RTCCTL_") || name.starts_with("LC_") || name.starts_with("XDG_") || name.starts_with("SUDO_") {
                command.env_remove(&key);
            }
        }
        for key in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "RUST_LOG"] {
            command.env_remove(key);
        }
        command.env("HOME", self.directory.path()).env("LANG", "C.UTF-8").env("TERM", "xterm");
        command.env("RTCCTL_STATE", self.path("state")).args(&words[1..]).current_dir(self.work());
        Cli { command, home: self.directory.path().to_path_buf() }
    }
}

impl Cli {
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Said {
        Said::new(&self.command.stdin(Stdio::null()).output().unwrap(), &self.home)
    }

    /// Runs in the background; the caller ends it.
    pub(crate) fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().unwrap()
    }
}

impl Said {
    fn new(output: &Output, home: &Path) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&home.display().to_string(), "~");
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// For snapshots: code, stdout, stderr.
    pub(crate) fn snapshot(&self) -> String {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        format!("exit {code}\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not one JSON object: {e}\n{}", self.snapshot()))
    }
}
