//! Two machines on one cable, as network namespaces of this one. The namespaces, and whatever still runs in them, end when it is dropped.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Addresses of the server's end. No other network sees them: both ends of the cable are in namespaces of their own.
pub(crate) const SERVER_V4: &str = "10.66.0.1";
pub(crate) const SERVER_V6: &str = "fd66::1";

/// `<name>-s` is the server's namespace, `<name>-c` the clients'.
pub(crate) struct Cable {
    name: String,
}

impl Cable {
    /// `None`, said loudly, without root or the tools; with `RTCCTL_REQUIRE=all` that is a failure.
    pub(crate) fn plug() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            assert_ne!(std::env::var("RTCCTL_REQUIRE").as_deref(), Ok("all"), "network namespaces need root");
            super::chrome::say("NOT TESTED: network namespaces need root");
            return None;
        }
        if super::chrome::absent(&["ip", "nft", "unshare", "hostname"]) {
            return None;
        }
        sweep();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let cable = Self { name: format!("rtcctl-{:x}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)) };
        let (server, clients) = (cable.server(), cable.clients());
        for namespace in [&server, &clients] {
            must(&["ip", "netns", "add", namespace]);
            // An IPv6 address that becomes valid a second late makes Chromium abort what it loads just then.
            let dad = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"];
            must(&["ip", "netns", "exec", namespace, "sysctl", "-qew", dad[0], dad[1]]);
            must(&["ip", "-n", namespace, "link", "set", "lo", "up"]);
        }
        must(&["ip", "-n", &server, "link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", &clients]);
        for (namespace, v4, v6) in [(&server, SERVER_V4, SERVER_V6), (&clients, "10.66.0.2", "fd66::2")] {
            must(&["ip", "-n", namespace, "addr", "add", &format!("{v4}/24"), "dev", "lan0"]);
            must(&["ip", "-n", namespace, "addr", "add", &format!("{v6}/64"), "dev", "lan0", "nodad"]);
            must(&["ip", "-n", namespace, "link", "set", "lan0", "up"]);
        }
        Some(cable)
    }

    pub(crate) fn server(&self) -> String {
        format!("{}-s", self.name)
    }

    pub(crate) fn clients(&self) -> String {
        format!("{}-c", self.name)
    }

    /// What the clients' firewall drops of the packets that they send, as nft conditions.
    pub(crate) fn drop_outgoing(&self, conditions: &[&str]) {
        let rules: String = conditions.iter().map(|condition| format!("{condition} counter drop; ")).collect();
        let table = format!("table inet firewall {{ chain out {{ type filter hook output priority 0; policy accept; {rules}}}; }}\n");
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &self.clients(), "nft", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut nft = nft.spawn().unwrap();
        nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
        let done = nft.wait_with_output().unwrap();
        assert!(done.status.success(), "{table}{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        remove(&self.server());
        remove(&self.clients());
    }
}

/// What a test run left that was killed itself: its process id stands in the name.
fn sweep() {
    let listed = run(&["ip", "netns", "list"]);
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter_map(|line| line.split_whitespace().next()) {
        let pid = name.strip_prefix("rtcctl-").and_then(|rest| i32::from_str_radix(rest.split_once('-')?.0, 16).ok());
        if pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            remove(name);
        }
    }
}

fn remove(namespace: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    // A supervisor may start its service anew while we kill the old one.
    while let running = pids(namespace)
        && !running.is_empty()
        && Instant::now() < until
    {
        for pid in running {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    run(&["ip", "netns", "del", namespace]);
}

fn pids(namespace: &str) -> Vec<nix::unistd::Pid> {
    let listed = run(&["ip", "netns", "pids", namespace]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed.lines().filter_map(|line| line.trim().parse().ok()).map(nix::unistd::Pid::from_raw).collect()
}

fn must(words: &[&str]) {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn run(words: &[&str]) -> Output {
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().unwrap()
}
