//! `up` and `down` as people run them: without systemd in a home of their own, and as root on a machine with real systemd.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rtcctl::deploy::lock::{Lock, Owner};

use crate::support::cli::Home;
use crate::support::lab::Lab;

/// An installation on ports of the kernel's choice; whatever runs is ended with it.
struct Site {
    home: Home,
    ports: [u16; 3],
}

impl Site {
    fn new() -> Self {
        let free = || {
            // As the daemon will: a port may be free on loopback and taken by a connection from another address of this machine.
            let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            UdpSocket::bind(("0.0.0.0", port)).is_ok().then_some((tcp, port))
        };
        let held: Vec<(TcpListener, u16)> = std::iter::repeat_with(free).flatten().take(3).collect();
        Self { home: Home::new(), ports: [held[0].1, held[1].1, held[2].1] }
    }

    fn up(&self, more: &[&str]) -> (i32, String, String) {
        let [https, http, turn] = self.ports;
        let set = [format!("site.https_port={https}"), format!("site.http_port={http}"), format!("turn.ports=[{turn}]")];
        let mut words = vec!["up", "--set", &set[0], "--set", &set[1], "--set", &set[2], "--set", "metrics.listen=off"];
        words.extend(more);
        self.run(&words)
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let said = self.home.rtcctl(words).env("RTCCTL_RUN", self.home.path("state/run").to_str().unwrap()).run();
        (said.code.unwrap_or(-1), said.stdout, said.stderr)
    }

    fn state(&self) -> PathBuf {
        self.home.path("state")
    }

    /// Everything below the home: mode, owner, and bytes or where a link leads.
    fn tree(&self) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
        let mut tree = BTreeMap::new();
        walk(&self.home.path("."), &mut tree);
        tree
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.run(&["down", "--purge", "--yes"]);
    }
}

fn walk(folder: &Path, tree: &mut BTreeMap<PathBuf, (u32, u32, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let bytes = match meta.file_type() {
            t if t.is_symlink() => std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            t if t.is_file() => std::fs::read(&path).unwrap(),
            _ => Vec::new(),
        };
        if meta.is_dir() {
            walk(&path, tree);
        }
        tree.insert(path, (meta.mode(), meta.uid(), bytes));
    }
}

#[test]
fn up_again_down_up_and_purge() {
    let site = Site::new();
    let before = site.tree();
    let (code, stdout, stderr) = site.up(&[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("https://") && stdout.trim_end().ends_with(&format!(":{}/", site.ports[0])), "{stdout}");
    for line in [" ok  plan ", " ok  certificate ", " ok  service ", "relay over udp ", "Stop: rtcctl down"] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }

    let (code, again, stderr) = site.up(&["--json"]);
    let answer: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!((code, &answer["changed"], &answer["schema"]), (0, &false.into(), &"rtcctl.up/1".into()), "{stderr}");
    assert_eq!((&answer["release"], &answer["link"]), (&1.into(), &stdout.trim_end().into()));
    assert_eq!(answer["proof"]["relay"].as_array().map(Vec::len), Some(3));
    assert!(site.up(&[]).2.contains("nothing to do"));

    let (code, _, stderr) = site.run(&["down"]);
    assert!(code == 0 && stderr.contains("stopped (pid "), "{stderr}");
    assert!(TcpListener::bind(("0.0.0.0", site.ports[0])).is_ok(), "the port is free again");
    assert!(site.run(&["down"]).2.contains("nothing was running"));
    assert_eq!(site.up(&["--no-test-call"]).0, 0);

    let (code, _, stderr) = site.run(&["down", "--purge"]);
    assert!(code == 2 && stderr.contains("answer yes with --yes"), "{stderr}");
    let (code, _, stderr) = site.run(&["down", "--purge", "--yes"]);
    assert!(code == 0 && stderr.contains("looked that it is gone"), "{stderr}");
    assert_eq!(site.tree().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(site.tree(), before);
}

#[test]
fn a_site_of_hosts_says_its_first_host_link_once() {
    let site = Site::new();
    let hosts = ["--set", "signal.open_rooms=hosts"];
    let (code, link, stderr) = site.up(&hosts);
    assert_eq!(code, 0, "the proof opens a room as the operator: {stderr}");
    let invited = format!("{}#host=", link.trim());
    assert!(stderr.contains("Only hosts open rooms here") && stderr.contains(&invited), "{stderr}");
    let (code, _, stderr) = site.up(&hosts);
    assert!(code == 0 && !stderr.contains("#host="), "{stderr}");

    let (code, again, stderr) = site.run(&["call", "invite", "--as-host"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(again.starts_with(&invited) && again.lines().count() == 1, "the link alone is data: {again}");
    assert!(site.run(&["status"]).1.contains("rooms opened by hosts"));
    let (code, _, stderr) = site.run(&["call", "invite", "--as-host", "--revoke", "--yes"]);
    assert!(code == 0 && stderr.starts_with("Revoked."), "{stderr}");

    let (code, json, stderr) = site.up(&["--json", "--set", "signal.open_rooms=anyone"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(json.contains(r#""host_link":null"#), "anyone may open rooms now: {json}");
    let (code, _, stderr) = site.run(&["call", "invite", "--as-host"]);
    assert!(code == 2 && stderr.contains("nobody needs a host link"), "{stderr}");
    assert_eq!(site.run(&["down", "--purge", "--yes"]).0, 0);
    assert!(!site.state().exists(), "the file that counts goes with the rest");
}

#[test]
fn a_purge_leaves_what_is_not_ours() {
    let site = Site::new();
    let photo = site.home.write("state/photos/one.jpg", "x");
    assert_eq!(site.up(&["--no-test-call"]).0, 0);
    let (code, _, stderr) = site.run(&["down", "--purge", "--yes"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(photo.exists());
    assert_eq!(std::fs::read_dir(site.state()).unwrap().count(), 1);
}

/// `--state` may name any folder, and other tools have releases, logs and a `current` too.
#[test]
fn a_folder_of_somebody_else_is_neither_used_nor_purged() {
    let site = Site::new();
    for file in ["releases/20260101/app.rb", "log/production.log", "run/app.pid", "certs/mine.pem", "ca.crt", "run.sh"] {
        site.home.write(&format!("state/{file}"), "precious");
    }
    std::os::unix::fs::symlink("/srv/app/releases/20260101", site.state().join("current")).unwrap();
    let before = site.tree();
    let (code, _, stderr) = site.up(&[]);
    assert!(code == 3 && stderr.contains("not ours: ") && stderr.contains("state/releases"), "{code} {stderr}");
    site.run(&["down"]);
    site.run(&["down", "--purge", "--yes"]);
    let files = |tree: BTreeMap<PathBuf, (u32, u32, Vec<u8>)>| {
        let ours = ["lock", "history.jsonl"].map(|name| site.state().join(name));
        tree.into_iter().filter(|(path, _)| !ours.iter().any(|own| path.ends_with(own.file_name().unwrap()))).collect::<Vec<_>>()
    };
    assert_eq!(files(site.tree()), files(before));
}

#[test]
fn a_dry_run_touches_nothing() {
    let site = Site::new();
    let before = site.tree();
    let (code, stdout, stderr) = site.up(&["--dry-run"]);
    assert!(code == 0 && stdout.contains("start the service") && stdout.contains("certificate for "), "{stdout}{stderr}");
    let plan: serde_json::Value = serde_json::from_str(&site.up(&["--dry-run", "--json"]).1).unwrap();
    assert_eq!((&plan["changed"], &plan["change"][0]["step"]), (&true.into(), &"stage".into()));
    assert_eq!(site.tree(), before);
}

#[test]
fn a_held_port_is_named_and_nothing_is_touched() {
    let site = Site::new();
    let before = site.tree();
    let _held = TcpListener::bind(("0.0.0.0", site.ports[0])).unwrap();
    let (code, stdout, stderr) = site.up(&[]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    let holder = format!("(pid {}", std::process::id());
    assert!(stderr.contains(&format!("{}/tcp is held by ", site.ports[0])) && stderr.contains(&holder), "{stderr}");
    assert!(stderr.contains("hint: take another port: rtcctl up --set site.https_port="), "{stderr}");
    assert_eq!(site.tree(), before);
}

#[test]
fn a_release_that_does_not_start_is_taken_back() {
    let site = Site::new();
    assert_eq!(site.up(&[]).0, 0);
    let before = site.run(&["up", "--json"]).1;
    let link: serde_json::Value = serde_json::from_str(&before).unwrap();
    let secret = site.home.write("seen-by-all", "not a secret");
    std::os::unix::fs::chown(&secret, None, None).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (code, stdout, stderr) = site.up(&["--set", &format!("turn.secret_file={}", secret.display())]);
    assert_eq!((code, stdout.as_str()), (7, ""), "{stderr}");
    assert!(stderr.contains("FAIL service") && stderr.contains("last words of the service") && stderr.contains("others may read it"), "{stderr}");
    assert!(stderr.contains("undo          release 1 running again"), "{stderr}");
    let (code, after, stderr) = site.run(&["up", "--json"]);
    let after: serde_json::Value = serde_json::from_str(&after).unwrap();
    assert_eq!((code, &after["changed"], &after["release"], &after["link"]), (0, &false.into(), &1.into(), &link["link"]), "{stderr}");
    assert!(!site.state().join("releases/2").exists());
}

#[test]
fn a_first_up_that_fails_leaves_nothing() {
    let site = Site::new();
    let secret = site.home.write("seen-by-all", "not a secret");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let before = site.tree();
    let (code, _, stderr) = site.up(&["--set", &format!("turn.secret_file={}", secret.display())]);
    assert!(code == 7 && stderr.contains("everything is as it was"), "{stderr}");
    assert_eq!(site.tree(), before);
}

#[test]
fn a_certificate_that_is_not_there_is_said_before_anything_is_touched() {
    let site = Site::new();
    let before = site.tree();
    let (code, _, stderr) = site.up(&["--set", "cert.ca=files", "--set", "cert.chain=none.pem", "--set", "cert.key=none.pem"]);
    assert!(code == 3 && stderr.contains("read certificate ~/here/none.pem: No such file"), "{code} {stderr}");
    assert!(!stderr.contains("put back"), "{stderr}");
    assert_eq!(site.tree(), before);
}

#[test]
fn where_nothing_can_be_written_nothing_is_left() {
    let site = Site::new();
    let before = site.tree();
    let full = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_rtcctl"), "up", "--state"])
        .arg(site.state())
        .env("HOME", site.home.path("."))
        .current_dir(site.home.work())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(3) && stderr.starts_with("error: lock "), "{stderr}");
    assert_eq!(site.tree(), before);
}

#[test]
fn the_second_operator_is_told_who_is_at_work() {
    let site = Site::new();
    std::fs::create_dir(site.state()).unwrap();
    let owner = Owner { user: "anna".into(), pid: 4711, command: "rtcctl up".into(), since: 0 };
    let _lock = Lock::take(&site.state().join("lock"), &owner, Duration::ZERO).unwrap();
    for words in [["up", "--timeout", "50ms"], ["down", "--timeout", "50ms"]] {
        let (code, _, stderr) = site.run(&[&words[..], &["--yes"]].concat());
        assert!(code == 3 || code == 6 && stderr.contains("another operator is at work: rtcctl up by anna (pid 4711)"), "{code} {stderr}");
        assert_eq!(code, 6, "{stderr}");
    }
}

/// Whatever the moment, the next `up` finds the old or the new state and finishes, and a purge leaves nothing.
#[test]
fn killed_at_any_moment_the_next_up_finishes() {
    for moment in (0..300).step_by(60) {
        let site = Site::new();
        let before = site.tree();
        let [https, http, turn] = site.ports;
        let set = [format!("site.https_port={https}"), format!("site.http_port={http}"), format!("turn.ports=[{turn}]")];
        let words = ["up", "--set", &set[0], "--set", &set[1], "--set", &set[2], "--set", "metrics.listen=off"];
        let run = site.home.path("state/run");
        let mut killed = site.home.rtcctl(&words).env("RTCCTL_RUN", run.to_str().unwrap()).spawn();
        // The moment is the input of this test, not something that is waited for.
        std::thread::sleep(Duration::from_millis(moment));
        killed.kill().unwrap();
        killed.wait().unwrap();
        let (code, _, stderr) = site.up(&[]);
        assert_eq!(code, 0, "killed after {moment} ms: {stderr}");
        let (code, _, stderr) = site.run(&["down", "--purge", "--yes"]);
        assert_eq!(code, 0, "killed after {moment} ms: {stderr}");
        assert_eq!(site.tree(), before, "killed after {moment} ms");
    }
}

/// Files that a purge can restore: the backups of useradd and userdel, logs and what systemd keeps about itself change with any such command.
const LAB_TREE: &str = r"cd / && find etc home opt root srv usr/local var \( -path var/log -o -path var/lib/systemd -o -path 'etc/*-' -o -path var/tmp \) -prune \
    -o -printf '%p %y %m %u %g %l\n' | sort; find etc home opt root srv usr/local var/lib -xdev -path var/lib/systemd -prune -o -path 'etc/*-' -prune -o -type f -exec sha256sum {} + | sort";

#[test]
fn a_machine_with_systemd() {
    let Some(lab) = Lab::up() else { return };
    lab.put(Path::new(env!("CARGO_BIN_EXE_rtcctl")), "/usr/local/bin/rtcctl");
    let before = lab.must(&["bash", "-c", LAB_TREE]);

    let (code, said) = lab.run(&["rtcctl", "up"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("rtcctl.service running (pid ") && said.contains("relay over udp ") && said.contains("https://10.77.0.101/"), "{said}");
    assert_eq!(lab.must(&["systemctl", "is-enabled", "rtcctl"]).trim(), "enabled");
    assert!(lab.must(&["journalctl", "--unit=rtcctl", "--output=cat", "--no-pager"]).contains("https://10.77.0.101/"));
    let exposure = lab.must(&["systemd-analyze", "security", "--threshold=20", "--no-pager", "rtcctl.service"]);
    assert!(exposure.contains("Overall exposure level"), "{exposure}");
    let owner = lab.must(&["ps", "-C", "rtcctl", "-o", "user="]);
    assert_eq!(owner.trim(), "rtcctl", "the daemon is not root");
    let (code, said) = lab.run(&["setpriv", "--reuid=rtcctl", "--regid=rtcctl", "--clear-groups", "touch", "/var/lib/rtcctl/current/rtcctl"]);
    assert_ne!(code, 0, "the service may not change its own binary: {said}");

    let (code, said) = lab.run(&["rtcctl", "up"]);
    assert!(code == 0 && said.contains("nothing to do"), "{said}");

    lab.must(&["bash", "-c", "echo '# mine' >> /etc/systemd/system/rtcctl.service"]);
    let (code, said) = lab.run(&["rtcctl", "up"]);
    assert!(code == 0 && said.contains("was changed by hand"), "{said}");

    lab.reboot();
    let (code, said) = lab.run(&["rtcctl", "up"]);
    assert!(code == 0 && said.contains("nothing to do"), "enabled at boot: {said}");

    let (code, said) = lab.run(&["rtcctl", "down", "--purge", "--yes"]);
    assert!(code == 0 && said.contains("user rtcctl"), "{said}");
    assert_ne!(lab.run(&["getent", "passwd", "rtcctl"]).0, 0);
    assert_ne!(lab.run(&["getent", "group", "rtcctl"]).0, 0);
    let after = lab.must(&["bash", "-c", LAB_TREE]);
    let changed: Vec<&str> = after.lines().filter(|line| !before.lines().any(|b| b == *line)).collect();
    assert_eq!(changed, [""; 0]);
    assert_eq!(before.lines().count(), after.lines().count());
}
