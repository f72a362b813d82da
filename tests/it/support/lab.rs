//! A machine with real systemd, in namespaces of this one: `tests/lab/host.sh`. Gone when it is dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// One booted machine.
pub(crate) struct Lab {
    name: String,
}

impl Lab {
    /// `None`, said loudly, where it cannot be had; with `RTCCTL_REQUIRE=all` that is a failure.
    pub(crate) fn up() -> Option<Self> {
        if let Some(why) = missing() {
            assert_ne!(std::env::var("RTCCTL_REQUIRE").as_deref(), Ok("all"), "a systemd machine is required: {why}");
            #[expect(clippy::print_stderr, reason = "what is skipped is said")]
            {
                eprintln!("SKIPPED: no systemd machine: {why}");
            }
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let lab = Self { name: format!("t{:x}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)) };
        let up = lab.host(&["up"]);
        assert!(up.status.success(), "boot the machine: {}", String::from_utf8_lossy(&up.stderr));
        Some(lab)
    }

    /// As root inside; stdout and stderr together with the exit code.
    pub(crate) fn run(&self, words: &[&str]) -> (i32, String) {
        let output = self.host(&[&["run"], words].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    /// The same for what must succeed; its stdout.
    pub(crate) fn must(&self, words: &[&str]) -> String {
        let output = self.host(&[&["run"], words].concat());
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {stdout}{stderr}");
        stdout.into_owned()
    }

    pub(crate) fn put(&self, file: &Path, path: &str) {
        let put = self.host(&["put", file.to_str().unwrap(), path]);
        assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    }

    pub(crate) fn reboot(&self) {
        let reboot = self.host(&["reboot"]);
        assert!(reboot.status.success(), "{}", String::from_utf8_lossy(&reboot.stderr));
    }

    fn host(&self, words: &[&str]) -> Output {
        Command::new(scripts().join("host.sh")).args(words).env("LAB", &self.name).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.host(&["down"]);
        if !down.status.success() && !std::thread::panicking() {
            panic!("the machine was not taken away: {}", String::from_utf8_lossy(&down.stderr));
        }
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab")
}

fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".into());
    }
    let has = |tool: &str| std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(tool).is_file());
    let absent: Vec<&str> = ["systemd-nspawn", "mmdebstrap", "ip", "nsenter", "unshare", "findmnt"].into_iter().filter(|tool| !has(tool)).collect();
    (!absent.is_empty()).then(|| format!("not installed: {}", absent.join(", ")))
}
