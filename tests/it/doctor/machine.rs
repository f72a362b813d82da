//! What needs a machine of its own: a network, a resolver, a firewall and a disk to break. All of it in namespaces that end with the test.

use std::process::{Command, Stdio};

use super::world::{Findings, have};

/// A script in network and mount namespaces of its own, with `$RTCCTL`, `$T` (a folder) and the functions below; its last output is the doctor's JSON.
fn inside(config: &str, script: &str) -> Option<Findings> {
    if !have(&["unshare", "ip", "nft", "turnserver", "mount", "nsenter"], true) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rtcctl.toml"), format!("{config}\n[metrics]\nlisten = \"off\"\n")).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    std::fs::write(folder.path().join("script"), format!("{PRELUDE}\n{script}\n")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private", "bash"]);
    command.arg(folder.path().join("script")).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("LANG", "C.UTF-8");
    command.env("T", folder.path()).env("HOME", folder.path()).env("RTCCTL", env!("CARGO_BIN_EXE_rtcctl"));
    command.env("RTCCTL_STATE", folder.path().join("state")).env("RTCCTL_RUN", folder.path().join("run"));
    command.env("RTCCTL_CONFIG", folder.path().join("rtcctl.toml"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    Some(Findings::read(output.status.code(), &String::from_utf8_lossy(&output.stdout), &format!("{}{log}", String::from_utf8_lossy(&output.stderr))))
}

const PRELUDE: &str = r#"
set -u
exec 3>&1 1>&2
export PATH=$PATH:/usr/sbin:/sbin
ip link set lo up
hosts() { # hosts LINE... : what the resolver knows, and nothing else
  printf '%s\n' "127.0.0.1 localhost" "$@" > "$T/hosts"
  printf 'hosts: files\n' > "$T/nsswitch.conf"
  mount --bind "$T/hosts" /etc/hosts
  mount --bind "$T/nsswitch.conf" /etc/nsswitch.conf
}
serve() { # until it is ready, at most 20 s
  "$RTCCTL" serve > "$T/log" 2>&1 &
  for _ in $(seq 1000); do
    "$RTCCTL" status > /dev/null 2>&1 && return 0
    kill -0 $! || return 1
    sleep 0.02
  done
  return 1
}
doctor() { "$RTCCTL" doctor --json "$@" >&3; exit $?; }
"#;

/// A network with this machine's address 192.0.2.7 in it, and a neighbour 203.0.113.99 with nothing listening.
const NEIGHBOUR: &str = r#"
unshare --net sleep 60 &
neighbour=$!
for _ in $(seq 200); do [ "$(readlink /proc/$neighbour/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.02; done
ip link add here type veth peer name there netns $neighbour
ip addr add 203.0.113.7/24 dev here
ip link set here up
nsenter -t $neighbour -n ip addr add 203.0.113.99/24 dev there
nsenter -t $neighbour -n ip link set there up
"#;

const BY_ADDRESS: &str = "[site]\naddress = \"203.0.113.7\"\n[cert]\nca = \"local\"\n[turn]\nmax_allocations = 100\n";
const BY_NAME: &str = "[site]\naddress = \"call.test\"\n[cert]\nca = \"local\"\n[turn]\nmax_allocations = 100\n";

#[test]
fn a_site_by_address_on_the_usual_ports() {
    let Some(findings) = inside(BY_ADDRESS, &format!("{NEIGHBOUR} serve; doctor")) else { return };
    findings.well();
    let passed = findings.with_status("pass");
    for id in ["net.firewall", "port.http", "turn.relayed-address", "turn.tls"] {
        assert!(passed.contains(&id), "{id}: {}", findings.raw);
    }
}

#[test]
fn a_public_site_on_which_strangers_open_rooms() {
    let config = format!("{BY_ADDRESS}[signal]\nopen_rooms = \"anyone\"\n");
    let Some(findings) = inside(&config, &format!("{NEIGHBOUR} serve; doctor")) else { return };
    let finding = findings.warns_only("signal.open", &["everybody who finds https://203.0.113.7/ may open rooms"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("open_rooms = \"hosts\""), "{finding}");
}

#[test]
fn a_site_by_name() {
    let Some(findings) = inside(BY_NAME, &format!("{NEIGHBOUR} hosts '203.0.113.7 call.test'; serve; doctor")) else { return };
    findings.well();
    assert!(findings.with_status("pass").contains(&"dns.points-here"), "{}", findings.raw);
}

#[test]
fn a_name_without_an_address() {
    let Some(findings) = inside(BY_NAME, &format!("{NEIGHBOUR} hosts; serve; doctor")) else { return };
    let finding = findings.only("dns.resolves", &["call.test has no address"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("call.test. A 203.0.113.7"), "{finding}");
}

#[test]
fn a_name_that_leads_to_another_machine() {
    let Some(findings) = inside(BY_NAME, &format!("{NEIGHBOUR} hosts '203.0.113.99 call.test'; serve; doctor")) else { return };
    let finding = findings.only("dns.points-here", &["call.test leads to 203.0.113.99", "203.0.113.7"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("call.test. A 203.0.113.99 becomes 203.0.113.7"), "{finding}");
}

#[test]
fn a_firewall_that_drops_turn() {
    let drop = "nft 'table inet t { chain input { type filter hook input priority 0; policy accept; udp dport 3478 counter drop; }; }'";
    let Some(findings) = inside(BY_ADDRESS, &format!("{NEIGHBOUR} serve; {drop}; doctor")) else { return };
    let finding = findings.only("net.firewall", &["3478/udp", "inet t input"]);
    let rule = super::world::command(finding, "nft insert rule inet t input udp dport 3478 accept");
    assert_eq!(findings.find("turn.udp")["because"], "net.firewall");
    let Some(findings) = inside(BY_ADDRESS, &format!("{NEIGHBOUR} serve; {drop}; {rule}; doctor")) else { return };
    findings.well();
}

#[test]
fn a_disk_that_is_full() {
    let full = "mount -t tmpfs -o size=80m tmpfs \"$RTCCTL_STATE\"; serve; fallocate -l 60M \"$RTCCTL_STATE/full\"";
    let Some(findings) = inside(BY_ADDRESS, &format!("{NEIGHBOUR} {full}; doctor")) else { return };
    findings.only("host.disk", &["/state has room for ", " MiB only"]);
    let Some(findings) = inside(BY_ADDRESS, &format!("{NEIGHBOUR} {full}; rm \"$RTCCTL_STATE/full\"; doctor")) else { return };
    findings.well();
}

#[test]
fn a_disk_that_became_read_only() {
    let script = "mount -t tmpfs tmpfs \"$RTCCTL_STATE\"; serve; mount -o remount,ro \"$RTCCTL_STATE\"; doctor";
    let Some(findings) = inside(BY_ADDRESS, &format!("{NEIGHBOUR} {script}")) else { return };
    findings.only("host.disk", &["/state is on a file system that is read-only"]);
}

#[test]
fn coturn_that_gives_out_its_inner_address() {
    let coturn = r#"
ip addr add 10.9.9.9/32 dev here
printf 'right\n' > "$T/password"
turnserver -n --listening-ip=203.0.113.7 --relay-ip=10.9.9.9 --no-cli --no-tls --no-dtls --lt-cred-mech --realm=test --user=u:right \
  --pidfile="$T/pid" --userdb="$T/db" --log-file=stdout > "$T/log" 2>&1 &
for _ in $(seq 500); do ss -lnt 'sport = :3478' | grep -q LISTEN && break; sleep 0.02; done
doctor turn:203.0.113.7:3478 --user u --password-file "$T/password"
"#;
    let Some(findings) = inside("", &format!("{NEIGHBOUR} {coturn}")) else { return };
    let finding = findings.only("turn.relayed-address", &["10.9.9.9", "turn:203.0.113.7:3478"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("external-ip="));
}
