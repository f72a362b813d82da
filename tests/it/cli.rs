//! The face: help, errors, pipes and colours of the real binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use expect_test::{expect, expect_file};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::cli::Home;

/// Every visible command by its words: `["config", "show"]`.
pub(crate) fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        found.push(words.to_vec());
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            walk(sub, &[words, &[sub.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    walk(&rtcctl::cli::command(), &[], &mut found);
    found
}

/// Where the help and one error of a command are kept.
pub(crate) fn snapshot_file(words: &[String]) -> String {
    format!("{}/tests/it/help/{}.txt", env!("CARGO_MANIFEST_DIR"), [&["rtcctl".to_owned()], words].concat().join("-"))
}

#[test]
fn help_and_one_error_of_every_command() {
    let home = Home::new();
    for words in commands() {
        let call = |flag: &str| home.rtcctl(&words.iter().map(String::as_str).chain([flag]).collect::<Vec<_>>()).run();
        let (help, error) = (call("--help"), call("--no-such-flag"));
        assert_eq!((help.code, error.code), (Some(0), Some(2)), "{words:?}");
        for line in help.stdout.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: wider than 80 columns: {line}");
        }
        expect_file![snapshot_file(&words)].assert_eq(&format!("{}\n{}", help.snapshot(), error.snapshot()));
    }
}

#[test]
fn json_errors_of_words_that_are_none() {
    let home = Home::new();
    let said = home.rtcctl(&["config", "shwo", "--json"]).run();
    assert_eq!((said.code, said.stderr.as_str()), (Some(2), ""));
    assert_eq!(said.json()["error"]["exit"], 2);
    expect![[r#"
        {"schema":"rtcctl.error/1","error":{"details":[],"exit":2,"hints":["a similar subcommand exists: 'show'"],"message":"unrecognized subcommand 'shwo'"}}
    "#]].assert_eq(&said.stdout);
}

#[test]
fn a_reader_that_goes_away_is_success() {
    for arguments in [&["config", "example"][..], &["config", "schema"], &["completions", "bash"], &["man"], &["--help"]] {
        let home = Home::new();
        let mut child = home.rtcctl(arguments).spawn();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn colour_is_for_those_who_want_it() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "prots = 1\n");
    let coloured = |arguments: &[&str], variables: &[(&str, &str)]| {
        let cli = home.rtcctl(&[&["config", "check"], arguments].concat());
        variables.iter().fold(cli, |cli, (key, value)| cli.env(key, value)).run().stderr.contains('\x1b')
    };
    assert!(!coloured(&[], &[]));
    assert!(coloured(&["--color", "always"], &[]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "0")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn a_locale_without_utf8_gets_plain_marks() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "prots = 1\n");
    assert!(home.rtcctl(&["config", "check"]).run().stderr.contains('╭'));
    assert!(home.rtcctl(&["config", "check"]).env("LC_ALL", "C").run().stderr.contains(",-["));
}

#[test]
fn man_pages_for_every_command() {
    let home = Home::new();
    let said = home.rtcctl(&["man", "pages"]).run();
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), "wrote the man pages into pages\n"));
    let mut pages: Vec<String> =
        std::fs::read_dir(home.path("here/pages")).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    let mut expected: Vec<String> = commands().iter().map(|words| format!("{}.1", [&["rtcctl".to_owned()], &words[..]].concat().join("-"))).collect();
    expected.sort();
    assert_eq!(pages, expected);
    home.write("here/taken", "a file");
    assert_eq!(home.rtcctl(&["man", "taken"]).run().code, Some(3));
}

#[test]
fn where_nothing_runs_status_and_logs_say_the_next_step() {
    let home = Home::new();
    expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: nothing is running
        hint: rtcctl up
    "#]]
    .assert_eq(&home.rtcctl(&["status"]).run().snapshot());
    expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: no log: nothing was started from ~/state
        hint: rtcctl up
    "#]]
    .assert_eq(&home.rtcctl(&["logs"]).run().snapshot());
    assert_eq!(home.rtcctl(&["status", "--json"]).run().json()["error"]["exit"], 1);
    let said = home.rtcctl(&["logs", "--since", "yesterday"]).run();
    assert!(said.code == Some(2) && said.stderr.contains("neither a duration nor a time: yesterday"), "{}", said.snapshot());
}

#[test]
fn a_socket_of_a_daemon_that_died_is_nothing_running() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("state/run")).unwrap();
    drop(UnixListener::bind(home.path("state/run/admin.sock")).unwrap());
    let said = home.rtcctl(&["status"]).run();
    assert!(said.code == Some(1) && said.stderr.contains("nothing is running"), "{}", said.snapshot());
}

#[test]
fn status_prints_what_the_daemon_answers() {
    let home = Home::new();
    let answer = answering(&home, true, 1);
    let said = home.rtcctl(&["status"]).run();
    assert_eq!(said.code, Some(0), "{}", said.snapshot());
    assert!(said.stdout.contains("0.0.0.0:3478") && said.stdout.starts_with("https://192.168.1.20/"), "{}", said.stdout);
    answer.join().unwrap();
    let answer = answering(&home, false, 1);
    let said = home.rtcctl(&["status", "--json"]).run();
    assert_eq!(said.code, Some(1), "not ready is not yes");
    assert!(said.stdout.starts_with(r#"{"schema":"rtcctl.status/1""#), "{}", said.stdout);
    answer.join().unwrap();
}

#[test]
fn watching_ends_by_ctrl_c_with_130() {
    let home = Home::new();
    let answer = answering(&home, true, 2);
    let mut child = home.rtcctl(&["status", "--watch", "--json"]).spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert!(lines.next().unwrap().unwrap().contains("rtcctl.status/1"));
    }
    answer.join().unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn logs_come_from_every_file_of_the_supervisor() {
    let home = Home::new();
    home.write("state/log/old.2", "2026-01-01T00:00:00Z first\n");
    home.write("state/log/old.1", "2026-01-02T00:00:00Z second\n  more of it\n");
    home.write("state/log/current", "2026-01-03T00:00:00Z third\n");
    let all = home.rtcctl(&["logs"]).run();
    assert_eq!(all.stdout, "2026-01-01T00:00:00Z first\n2026-01-02T00:00:00Z second\n  more of it\n2026-01-03T00:00:00Z third\n");
    let some = home.rtcctl(&["logs", "--since", "2026-01-02T00:00:00Z", "--json"]).run();
    let lines: Vec<serde_json::Value> = some.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{}", some.stdout);
    assert_eq!((lines[1]["schema"].as_str(), lines[1]["line"].as_str()), (Some("rtcctl.logs/1"), Some("  more of it")));
}

#[test]
fn followed_logs_cross_a_rotation_and_end_by_ctrl_c() {
    let home = Home::new();
    let current = home.write("state/log/current", &(1..=12).map(|number| format!("line {number}\n")).collect::<String>());
    let mut child = home.rtcctl(&["logs", "-f"]).spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.by_ref().take(10).collect::<Vec<_>>(), (3..=12).map(|number| format!("line {number}")).collect::<Vec<_>>());
    let mut file = std::fs::File::options().append(true).open(&current).unwrap();
    writeln!(file, "line 13").unwrap();
    assert_eq!(lines.next().unwrap(), "line 13");
    write!(file, "line 14, torn").unwrap();
    std::fs::rename(&current, home.path("state/log/old.1")).unwrap();
    home.write("state/log/current", "line 15\n");
    assert_eq!([lines.next().unwrap(), lines.next().unwrap()], ["line 14, torn", "line 15"]);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn followed_logs_end_with_their_reader() {
    let home = Home::new();
    home.write("state/log/current", "one line\n");
    let mut child = home.rtcctl(&["logs", "-f"]).spawn();
    let mut first = [0; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "follows although nobody reads");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_killed_supervisor_leaves_no_second_service() {
    let home = Home::new();
    let program = home.write("service", "#!/bin/sh\necho \"$$\" >> \"$0.pids\"\necho \"$@\"\nexec sleep 600\n");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = home.write("applied.toml", "");
    let arguments = ["supervise", "--program", program.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let services =
        || std::fs::read_to_string(home.path("service.pids")).unwrap_or_default().lines().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>();
    let mut first = home.rtcctl(&arguments).spawn();
    until("the first service", || services().len() == 1);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(is_alive(services()[0]), "a killed supervisor cannot end its service");
    let mut second = home.rtcctl(&arguments).spawn();
    until("the second service", || services().len() == 2);
    assert!(!is_alive(services()[0]), "two services at once");
    let third = home.rtcctl(&arguments).run();
    assert!(third.code == Some(3) && third.stderr.contains(&format!("a supervisor already runs: pid {}", second.id())), "{}", third.snapshot());
    kill(Pid::from_raw(i32::try_from(second.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert!(!is_alive(services()[1]));
    let log = home.rtcctl(&["logs"]).run().stdout;
    assert!(log.contains("serve --config ~/applied.toml --state ~/state"), "{log}");
}

#[test]
fn the_supervisor_is_started_detached_and_stopped_for_good() {
    use rtcctl::config::Paths;
    use rtcctl::deploy::supervisor;
    let home = Home::new();
    let program = home.write("state/current/rtcctl", "");
    std::fs::remove_file(&program).unwrap();
    let service = "#!/bin/sh\n[ \"$1\" = supervise ] && exec \"$RTCCTL\" \"$@\"\nexec sleep 600\n".replace("$RTCCTL", env!("CARGO_BIN_EXE_rtcctl"));
    let program = home.write("state/current/rtcctl", &service);
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = home.write("state/current/rtcctl.toml", "");
    let paths = Paths { state: home.path("state"), run: home.path("state/run") };
    let started = supervisor::start(&paths, &program, &config, Duration::from_secs(20)).unwrap();
    assert_eq!(supervisor::start(&paths, &program, &config, Duration::from_secs(20)).unwrap(), started, "one is enough");
    assert_eq!(supervisor::running(&paths), Some(started));
    let session = nix::unistd::getsid(Some(Pid::from_raw(i32::try_from(started.pid).unwrap()))).unwrap();
    assert_eq!(session.as_raw(), i32::try_from(started.pid).unwrap(), "it leads a session of its own");
    assert!(supervisor::stop(&paths, Duration::from_secs(20)).unwrap());
    assert_eq!(supervisor::running(&paths), None);
    assert!(!supervisor::stop(&paths, Duration::from_secs(20)).unwrap());
    home.write("state/current/rtcctl.toml", "nonsense = 1");
    let error = supervisor::start(&paths, &program, &config, Duration::from_secs(20)).unwrap_err().to_string();
    assert!(error.contains("the supervisor did not start: exit status: 2") && error.contains("help:"), "{error}");
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn until(what: &str, mut true_yet: impl FnMut() -> bool) {
    let began = Instant::now();
    while !true_yet() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn interrupt(child: &std::process::Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
}

/// Plays the daemon: answers the admin socket so many times.
fn answering(home: &Home, ready: bool, times: usize) -> std::thread::JoinHandle<()> {
    let socket = home.path("state/run/admin.sock");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let status = serde_json::json!({
        "link": "https://192.168.1.20/", "pid": 7, "version": "0.1.0", "release": 4, "started": 1, "ready": ready,
        "listeners": [{ "address": "0.0.0.0:3478", "protocol": "udp", "serves": "turn", "pid": 7, "since": 1 }],
        "certificate": { "names": ["192.168.1.20"], "issuer": "local CA", "not_after": 4_000_000_000_u64 },
        "rooms": 0, "sockets": 0, "allocations": 0, "relayed_bytes": 0, "warnings": [],
    });
    std::thread::spawn(move || {
        for _ in 0..times {
            let (stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            assert_eq!(request.trim(), r#"{"verb":"status"}"#);
            writeln!(&stream, "{status}").unwrap();
        }
    })
}
