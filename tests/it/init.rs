//! The wizard: through a terminal as people use it, and by flags as scripts do. The same answers give the same bytes.

use std::io::Read as _;
use std::process::Command;
use std::time::{Duration, Instant};

use expect_test::expect;
use expectrl::session::OsSession;
use expectrl::{Eof, Expect as _, Session};
use serde_json::{Value, json};

use super::support::cli::Home;

const SOON: Duration = Duration::from_secs(20);
const DOWN: &str = "\x1b[B";
const UP: &str = "\x1b[A";

#[test]
fn the_wizard_and_its_flags_write_the_same_bytes() {
    for (typed, keys, flags) in [
        ("lan", "", "--address lan"),
        ("192.168.1.20", "", "--address 192.168.1.20 --open-rooms anyone"),
        (" 192.168.1.20 ", UP, "--address 192.168.1.20 --open-rooms hosts"),
        ("call.example.invalid", "", "--address call.example.invalid --open-rooms hosts --ca local"),
        ("call.example.invalid", DOWN, "--address call.example.invalid --open-rooms anyone --ca local"),
    ] {
        let home = Home::new();
        let mut wizard = wizard(&home, &["init"]);
        wizard.expect("What will people type into their browser?").unwrap();
        wizard.expect("]: ").unwrap();
        wizard.send_line(typed).unwrap();
        wizard.expect("Who may open rooms?").unwrap();
        wizard.expect("anyone").unwrap();
        wizard.send_line(keys).unwrap();
        let said = rest(&mut wizard);
        assert!(said.contains("wrote rtcctl.toml") && said.contains("next: rtcctl up"), "{said}");
        let written = std::fs::read(home.path("here/rtcctl.toml")).unwrap();
        let command = said.lines().find_map(|line| line.trim().strip_prefix("same by flags: rtcctl ")).unwrap().to_owned();
        assert!(command.contains(flags), "{command}");

        let other = Home::new();
        let words: Vec<&str> = command.split(' ').collect();
        let again = other.rtcctl(&words).run();
        assert_eq!(again.code, Some(0), "{}", again.snapshot());
        assert_eq!(std::fs::read(other.path("here/rtcctl.toml")).unwrap(), written, "{command}");
        assert_eq!(other.rtcctl(&["config", "check"]).run().code, Some(0), "and it is a config");
    }
}

#[test]
fn what_is_no_address_is_said_and_asked_again() {
    let home = Home::new();
    let mut wizard = wizard(&home, &["init", "--open-rooms", "anyone"]);
    wizard.expect("]: ").unwrap();
    wizard.send_line("https://call.example.org/").unwrap();
    wizard.expect("site.address").unwrap();
    wizard.expect("]: ").unwrap();
    wizard.send_line("192.168.1.20").unwrap();
    let said = rest(&mut wizard);
    assert!(said.contains("wrote rtcctl.toml"), "{said}");
    assert!(std::fs::read_to_string(home.path("here/rtcctl.toml")).unwrap().contains("address = \"192.168.1.20\""));
}

#[test]
fn ctrl_c_at_every_question_writes_nothing_and_leaves_the_terminal_sane() {
    for question in ["exists. Write it anew?", "What will people type", "Who may open rooms?"] {
        let home = Home::new();
        home.write("here/rtcctl.toml", "# by hand\n");
        let flags: &[&str] = match question {
            "exists. Write it anew?" => &["init"],
            "What will people type" => &["init", "--force"],
            _ => &["init", "--force", "--address", "lan"],
        };
        let mut wizard = wizard(&home, flags);
        wizard.expect(question).unwrap();
        if question != "exists. Write it anew?" {
            wizard.expect(if question.starts_with("What") { "]: " } else { "anyone" }).unwrap();
        }
        wizard.send("\x03").unwrap();
        let said = rest(&mut wizard);
        assert!(said.contains("\x1b[?25h"), "the cursor is back: {said:?}");
        assert!(said.contains("exit 130"), "{question}: {said:?}");
        assert_eq!(std::fs::read_to_string(home.path("here/rtcctl.toml")).unwrap(), "# by hand\n", "{question}");
        assert_eq!(std::fs::read_dir(home.work()).unwrap().count(), 1, "{question}");
    }
}

#[test]
fn a_file_that_is_there_is_asked_about_and_kept() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "# by hand\n");
    let mut no = wizard(&home, &["init"]);
    no.expect("exists. Write it anew?").unwrap();
    no.send("n").unwrap();
    let said = rest(&mut no);
    assert!(said.contains("nothing was written") && said.contains("exit 1"), "{said}");

    let mut yes = wizard(&home, &["init", "--address", "lan", "--open-rooms", "anyone"]);
    yes.expect("exists. Write it anew?").unwrap();
    yes.send("y").unwrap();
    let said = rest(&mut yes);
    assert!(said.contains("kept the old one as rtcctl.toml.aside-1"), "{said}");
    assert_eq!(std::fs::read_to_string(home.path("here/rtcctl.toml.aside-1")).unwrap(), "# by hand\n");

    let init = |openers: &str, more: &[&str]| {
        let said = home.rtcctl(&[&["init", "--no-input", "--address", "lan", "--open-rooms", openers], more].concat()).run();
        (said.code, said.stderr)
    };
    let (code, said) = init("anyone", &[]);
    assert!(code == Some(0) && said.contains("rtcctl.toml says so already"), "{said}");
    let (code, said) = init("hosts", &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("error: rtcctl.toml exists, with other content; nothing was written\nhint: replace it with --force"), "{said}");
    let (code, said) = init("hosts", &["--force"]);
    assert!(code == Some(0) && said.contains("kept the old one as rtcctl.toml.aside-2"), "{said}");
}

#[test]
fn without_a_terminal_what_is_missing_is_named_at_once() {
    let home = Home::new();
    let said = home.rtcctl(&["init"]).run();
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    let first = said.stderr.lines().next().unwrap();
    assert_eq!(first, "error: answers are missing, and there is no terminal to ask on: --address, --open-rooms");
    assert!(said.stderr.contains("hint: give them, or take the defaults with --yes: --address "), "{}", said.stderr);
    expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: an answer is missing, and there is no terminal to ask on: --open-rooms
        hint: give them, or take the defaults with --yes: --address 203.0.113.7 --open-rooms hosts
    "#]]
    .assert_eq(&home.rtcctl(&["init", "--address", "203.0.113.7"]).run().snapshot());
    expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: --address: a name or an address was expected, not a https link: https://a.test/
        hint: write a domain name, an IP address, or lan
    "#]]
    .assert_eq(&home.rtcctl(&["init", "--yes", "--address", "https://a.test/"]).run().snapshot());
    assert_eq!(std::fs::read_dir(home.work()).unwrap().count(), 0);
}

#[test]
fn yes_takes_the_defaults_in_under_a_second() {
    let home = Home::new();
    let begun = Instant::now();
    let said = home.rtcctl(&["init", "--yes"]).run();
    // A debug build on a busy machine; what could take longer is a question to a network, and none is asked.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(said.code, Some(0), "{}", said.snapshot());
    assert_eq!(home.rtcctl(&["config", "check"]).run().code, Some(0));
}

#[test]
fn a_name_that_leads_elsewhere_or_nowhere_is_a_warning_and_no_error() {
    let home = Home::new();
    let init = |address: &str| {
        let said = home.rtcctl(&["init", "--force", "--address", address, "--open-rooms", "hosts", "--json"]).run();
        assert_eq!(said.code, Some(0), "{}", said.snapshot());
        said.json()
    };
    let notes = |answer: &Value| answer["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let nowhere = init("no-such-host.invalid");
    assert!(notes(&nowhere)[0].starts_with("no-such-host.invalid does not resolve") || notes(&nowhere)[0].contains("is unknown"), "{nowhere}");
    assert_eq!((&nowhere["schema"], &nowhere["ca"], &nowhere["open_rooms"]), (&json!("rtcctl.init/1"), &json!("local"), &json!("hosts")));
    assert!(notes(&nowhere).iter().any(|note| note.contains("each device has to trust it once")), "{nowhere}");
    let elsewhere = init("203.0.113.7");
    assert!(notes(&elsewhere)[0].contains("203.0.113.7 is not an address of this machine"), "{elsewhere}");
    assert!(notes(&elsewhere)[0].contains("let the router forward 80 and 443/tcp, 3478/tcp and udp, 61000-65535/udp"), "{elsewhere}");
    assert!(notes(&init("localhost"))[0].contains("for itself only"));
    assert_eq!(init("localhost")["kept"], Value::Null, "the same answers again change nothing");
}

#[test]
fn an_authority_that_is_not_built_is_refused_before_anything_is_written() {
    let home = Home::new();
    let said = home.rtcctl(&["init", "--yes", "--address", "call.example.invalid", "--ca", "letsencrypt"]).run();
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("ACME is not built yet") && said.stderr.contains("nothing was written"), "{}", said.stderr);
    assert_eq!(std::fs::read_dir(home.work()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_takes_no_file_is_an_error_that_names_it() {
    let home = Home::new();
    let said = home.rtcctl(&["init", "--yes", "--config", "no/such/rtcctl.toml"]).run();
    assert_eq!(said.code, Some(3));
    assert!(said.stderr.contains("no/such/rtcctl.toml"), "{}", said.stderr);
}

/// Behind a terminal, with its exit code said at the end.
fn wizard(home: &Home, arguments: &[&str]) -> OsSession {
    let mut command = Command::new("sh");
    command.args(["-c", r#""$@"; echo "exit $?""#, "sh", env!("CARGO_BIN_EXE_rtcctl")]).args(arguments).current_dir(home.work());
    for variable in ["RTCCTL_CONFIG", "RTCCTL_STATE", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.env("HOME", home.path("")).env("LANG", "C.UTF-8").env("TERM", "xterm").env("NO_COLOR", "1");
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(SOON));
    session
}

fn rest(session: &mut OsSession) -> String {
    let found = session.expect(Eof).unwrap();
    let mut text = String::from_utf8_lossy(found.as_bytes()).into_owned();
    // What came after the end was seen.
    let _ = session.read_to_string(&mut text);
    text.replace('\r', "")
}
