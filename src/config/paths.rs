//! Pure: where everything is kept (the table of files in the README), computed from the user and the environment.

use std::path::{Path, PathBuf};

/// The directories of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub state: PathBuf,
    pub run: PathBuf,
}

impl Paths {
    /// `state` is the flag or `$RTCCTL_STATE`; `env` looks a variable up; `name` is the config's `name`.
    pub fn of(state: Option<&Path>, name: &str, is_root: bool, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let from_env = |key: &str| env(key).filter(|v| !v.is_empty()).map(PathBuf::from);
        let chosen = state.map(Path::to_path_buf).or_else(|| from_env("RTCCTL_STATE"));
        // What the unit and the supervisor tell the daemon, so that both ends meet whoever asks.
        let told_run = from_env("RTCCTL_RUN");
        let default_run = |state: &Path| told_run.clone().unwrap_or_else(|| state.join("run"));
        match (chosen, is_root) {
            (Some(state), _) => Self { run: default_run(&state), state },
            (None, true) => {
                let run = told_run.unwrap_or_else(|| Path::new("/run").join(name));
                Self { state: Path::new("/var/lib").join(name), run }
            }
            (None, false) => {
                let home = from_env("HOME").unwrap_or_else(|| PathBuf::from("/"));
                let state = from_env("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state")).join(name);
                let run = told_run.clone().or_else(|| from_env("XDG_RUNTIME_DIR").map(|dir| dir.join(name))).unwrap_or_else(|| default_run(&state));
                Self { state, run }
            }
        }
    }

    /// The local CA: `ca.pem` and `ca.key`.
    pub fn ca(&self) -> PathBuf {
        self.state.join("ca")
    }

    pub fn certs(&self) -> PathBuf {
        self.state.join("certs")
    }

    /// What answers to a certificate authority lies below it; nginx reads it, so it is open to everybody.
    pub fn webroot(&self) -> PathBuf {
        self.state.join("webroot")
    }

    pub fn turn_secret(&self) -> PathBuf {
        self.state.join("turn.secret")
    }

    /// Counts the generations of host links; raised to revoke them all.
    pub fn generation(&self) -> PathBuf {
        self.state.join("hosts.generation")
    }

    /// Key of the client ids and cookies that signaling signs.
    pub fn signal_key(&self) -> PathBuf {
        self.state.join("signal.key")
    }

    pub fn releases(&self) -> PathBuf {
        self.state.join("releases")
    }

    /// Link to the release that runs.
    pub fn current(&self) -> PathBuf {
        self.state.join("current")
    }

    pub fn history(&self) -> PathBuf {
        self.state.join("history.jsonl")
    }

    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    pub fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    /// Written by the daemon whenever it serves another certificate: who waits for it lets a proxy take it too.
    pub fn certificate_mark(&self) -> PathBuf {
        self.run.join("certificate")
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(state: Option<&str>, is_root: bool, env: &[(&str, &str)]) -> (String, String) {
        let lookup = |key: &str| env.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        let paths = Paths::of(state.map(Path::new), "calls", is_root, &lookup);
        (paths.state.display().to_string(), paths.run.display().to_string())
    }

    fn pair(state: &str, run: &str) -> (String, String) {
        (state.to_owned(), run.to_owned())
    }

    #[test]
    fn where_things_are_kept() {
        assert_eq!(of(None, true, &[("HOME", "/root")]), pair("/var/lib/calls", "/run/calls"));
        assert_eq!(of(None, false, &[("HOME", "/h")]), pair("/h/.local/state/calls", "/h/.local/state/calls/run"));
        let user = [("HOME", "/h"), ("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r")];
        assert_eq!(of(None, false, &user), pair("/s/calls", "/r/calls"));
        assert_eq!(of(Some("/x"), true, &user), pair("/x", "/x/run"));
        assert_eq!(of(None, true, &[("RTCCTL_STATE", "/e")]), pair("/e", "/e/run"));
        assert_eq!(of(Some("/x"), false, &[("RTCCTL_STATE", "/e")]), pair("/x", "/x/run"));
        assert_eq!(of(Some("/x"), true, &[("RTCCTL_RUN", "/told")]), pair("/x", "/told"));
        assert_eq!(of(None, false, &[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r"), ("RTCCTL_RUN", "/told")]), pair("/h/.local/state/calls", "/told"));
        assert_eq!(of(None, true, &[("RTCCTL_STATE", "")]), pair("/var/lib/calls", "/run/calls"));
    }
}
