//! Our own installation on loopback, healthy and broken.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{Background, Config, World, command, eventually, have};

#[test]
fn a_healthy_stack_gives_no_false_alarm_and_is_looked_at_quickly() {
    let world = World::started();
    let started = Instant::now();
    let findings = world.doctor();
    let took = started.elapsed();
    findings.well();
    let passed = findings.with_status("pass");
    for id in ["signal.join", "signal.websocket", "turn.udp", "turn.tcp", "turn.tls", "turn.auth", "turn.handover", "cert.served", "cert.name"] {
        assert!(passed.contains(&id), "{id}: {}", findings.raw);
    }
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn before_the_first_up_it_is_the_preflight() {
    let world = World::new(Config::default());
    let output = world.command(&["doctor"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("nothing is running yet; next: rtcctl up\n"), "{text}");
    assert!(!world.path("state").exists(), "it only looks");
    world.doctor().well();
}

#[test]
fn the_report_for_people() {
    let mut world = World::started();
    world.kill();
    let output = world.command(&["doctor"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\nFAIL  signal.health the service does not run\n      proof        asked: https://127.0.0.1:"), "{text}");
    assert!(text.contains("\n      mend         rtcctl up   (starts it, and proves it)\n"), "{text}");
    assert!(text.contains("wait for signal.health\n") && text.ends_with("\nnext: rtcctl up\n"), "{text}");
    let strict = World::started();
    assert_eq!(strict.command(&["doctor", "--strict"]).output().unwrap().status.code(), Some(1), "a warning counts");
    assert_eq!(strict.command(&["doctor"]).output().unwrap().status.code(), Some(0));
}

#[test]
fn one_check_brings_what_it_needs_and_a_wrong_id_is_said() {
    let world = World::started();
    let mut one = world.command(&["doctor", "--json", "--check", "cert.name"]);
    let findings = super::world::Findings::read(Some(0), &String::from_utf8_lossy(&one.output().unwrap().stdout), "");
    let ids: Vec<_> = findings.all.iter().map(|finding| finding["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["config.valid", "host.disk", "cert.present", "cert.readable", "cert.parse", "cert.name"]);
    let output = world.command(&["doctor", "--check", "cert.nam"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean cert.name?"));
    let page = world.command(&["explain", "cert.name"]).output().unwrap();
    assert!(String::from_utf8_lossy(&page.stdout).starts_with("# cert.name: the certificate is for what clients connect to\n"));
}

#[test]
fn a_typo_in_the_config() {
    let mut world = World::new(Config { turn: "prots = [1]\n".into(), ..Config::default() });
    let findings = world.doctor();
    let finding = findings.only("config.valid", &["prots", "rtcctl.toml:"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("did you mean `ports`?"), "{finding}");
    world.config = Config::default();
    world.write();
    world.doctor().well();
}

/// A python web server on a port of ours.
fn squat(port: u16) -> Background {
    let mut python = Command::new("python3");
    python.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]).stdout(Stdio::null()).stderr(Stdio::null());
    let squatter = Background(python.spawn().unwrap());
    eventually("python listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    squatter
}

#[test]
fn somebody_else_has_the_https_port() {
    if !have(&["python3"], false) {
        return;
    }
    let world = World::new(Config::default());
    let squatter = squat(world.ports.https);
    let findings = world.doctor();
    let pid = format!("(pid {})", squatter.0.id());
    let finding = findings.only("port.https", &[&format!("{}/tcp is held by python", world.ports.https), &pid, "-m http.server"]);
    world.mend(&command(finding, "kill "));
    eventually("python ends", || std::net::TcpStream::connect(("127.0.0.1", world.ports.https)).is_err());
    world.doctor().well();
}

#[test]
fn somebody_else_has_the_http_port() {
    if !have(&["python3"], false) {
        return;
    }
    let world = World::new(Config::default());
    let squatter = squat(world.ports.http);
    let pid = format!("(pid {})", squatter.0.id());
    world.doctor().only("port.http", &[&format!("{}/tcp is held by python", world.ports.http), &pid]);
    drop(squatter);
    world.doctor().well();
}

#[test]
fn somebody_else_has_the_turn_port_over_udp() {
    let world = World::new(Config::default());
    let held = std::net::UdpSocket::bind(("127.0.0.1", world.ports.turn)).unwrap();
    let pid = format!("(pid {})", std::process::id());
    world.doctor().only("port.turn", &[&format!("{}/udp is held by ", world.ports.turn), &pid]);
    drop(held);
    world.doctor().well();
}

#[test]
fn another_installation_is_stopped_by_its_own_command() {
    let first = World::started();
    let mut second = World::new(Config::default());
    second.ports = first.ports;
    second.write();
    // The daemon of `up` carries its state in its words; this one has it in the environment, so it is a program like any other.
    let findings = second.doctor();
    assert_eq!(findings.with_status("fail"), ["port.http", "port.https", "port.turn"], "{}", findings.raw);
}

#[test]
fn a_relay_range_of_ten_ports() {
    let mut world = World::new(Config { turn: "relay_ports = \"61000-61009\"\nmax_allocations = 100\n".into(), ..Config::default() });
    world.doctor().only("port.relay-range", &["61000-61009", "10 ports", "turn.max_allocations asks for 100"]);
    world.config.turn = "relay_ports = \"61000-65535\"\nmax_allocations = 100\n".into();
    world.write();
    world.doctor().well();
}

#[test]
fn the_daemon_was_killed() {
    let mut world = World::started();
    world.kill();
    world.doctor().only("signal.health", &["the service does not run", &world.ports.https.to_string()]);
    world.start();
    world.doctor().well();
}

#[test]
fn a_limit_of_256_open_files() {
    let mut world = World::new(Config { turn: "max_allocations = 1000\n".into(), ..Config::default() });
    world.start_with(|daemon| {
        let mut shell = Command::new("sh");
        shell.env_clear().envs(daemon.get_envs().filter_map(|(key, value)| Some((key, value?))));
        shell.args(["-c", "ulimit -n 256; exec \"$0\" serve"]).arg(daemon.get_program()).stdin(Stdio::null());
        shell
    });
    world.doctor().only("host.files", &["256 files", "max_allocations = 1000"]);
    world.kill();
    world.start();
    world.doctor().well();
}

#[test]
fn the_clock_was_set_back() {
    let world = World::started();
    let secret = world.path("state/turn.secret");
    let touch = |when: &str| assert!(Command::new("touch").args(["-d", when]).arg(&secret).status().unwrap().success());
    touch("+2 hours");
    world.doctor().only("host.clock", &["slow", "turn.secret"]);
    touch("now");
    world.doctor().well();
}

#[test]
fn a_release_whose_program_does_not_start() {
    if std::path::Path::new("/run/systemd/system").exists() && nix::unistd::geteuid().is_root() {
        // There systemd keeps the service, on ports of the whole machine: `machine.rs` has that row.
        return;
    }
    let world = World::new(Config::default());
    let up = || world.command(&["up"]).output().unwrap();
    let said = up();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let end = Down(&world);
    world.doctor().well();
    let program = world.path("state/current/rtcctl").canonicalize().unwrap();
    let whole = std::fs::read(&program).unwrap();
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "#!/bin/sh\necho broken by hand >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let pid = rtcctl::telemetry::status::ask(&world.path("state/run/admin.sock"), "status", Duration::from_secs(5)).unwrap()["pid"].as_i64().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("it is started again, and ends", || {
        std::fs::read_to_string(world.path("state/log/current")).is_ok_and(|log| log.contains("broken by hand"))
    });
    let findings = world.doctor();
    let finding = findings.only("host.service", &["ends as soon as it starts"]);
    assert!(finding["evidence"]["log"].is_string(), "{finding}");
    drop(whole);
    world.mend(&command(finding, "rtcctl up"));
    world.doctor().well();
    drop(end);
}

struct Down<'a>(&'a World);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.0.command(&["down", "--purge", "--yes"]).output().ok();
    }
}
