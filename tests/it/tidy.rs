//! The house rules that no compiler keeps: who imports whom, what is pure, who prints, what lies where. Each rule is tried on bad input too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::expect_file;

/// Rooms by floor; imports run downhill, and rooms on one floor do not know each other.
const FLOORS: [&[&str]; 5] = [
    &["config", "stun", "net", "host", "ui", "telemetry", "web"],
    &["turn", "signal", "cert", "render"],
    &["deploy", "probe", "serve"],
    &["doctor"],
    &["cli"],
];

/// What a file that only decides has no business with.
const IMPURE: &[&str] = &[
    "std::net::Tcp",
    "std::net::Udp",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "std::fs",
    "File::open",
    "std::env",
    "std::process",
    "std::thread",
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "now_utc",
    "now_local",
    "SystemRandom",
    "getrandom",
    "rand::",
    "/dev/urandom",
];

const PRINTING: &[&str] = &["println!", "print!(", "dbg!", "io::stdout", "io::stderr"];

const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("unimple", "mented!"), concat!("to", "do!(")];

const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".clippy.toml",
    ".config",
    ".deny.toml",
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "completions",
    "src",
    "target",
    "templates",
    "tests",
];

/// A second provider of cryptography panics at run time; a second TLS stack is dead weight.
const UNWANTED_CRATES: &[&str] = &["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl-sys"];

#[test]
fn imports_run_downhill() {
    none_of(rust_files("src").iter().flat_map(|(path, text)| uphill(path, text)));
}

#[test]
fn pure_files_open_nothing() {
    let files = rust_files("src");
    assert!(files.iter().any(|(_, text)| text.starts_with("//! Pure:")), "no file is pure: is this the right place?");
    none_of(files.iter().flat_map(|(path, text)| impure(path, text)));
}

#[test]
fn only_the_face_prints() {
    none_of(rust_files("src").iter().flat_map(|(path, text)| prints(path, text)));
}

#[test]
fn every_file_says_what_it_is_for() {
    none_of(rust_files("src").iter().chain(&rust_files("tests")).flat_map(|(path, text)| silent(path, text)));
}

#[test]
fn nothing_is_left_for_later() {
    none_of(rust_files("src").iter().chain(&rust_files("tests")).flat_map(|(path, text)| unfinished(path, text)));
}

#[test]
fn the_top_level_holds_what_it_should() {
    let names = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    none_of(names.flat_map(|name| uninvited(&name)));
}

#[test]
fn every_room_stands_on_a_floor() {
    let rooms = std::fs::read_dir(root().join("src")).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir());
    for room in rooms.map(|entry| entry.file_name().into_string().unwrap()) {
        assert!(floor(&room).is_some(), "src/{room} is on no floor");
        assert!(root().join("src").join(&room).join("mod.rs").exists(), "src/{room} has no front door");
    }
}

#[test]
fn one_provider_of_cryptography() {
    none_of(unwanted_crates(&std::fs::read_to_string(root().join("Cargo.lock")).unwrap()));
}

#[test]
fn completions_are_in_step() {
    let files = rtcctl::cli::completion_files();
    assert_eq!(files.len(), 5);
    for (name, script) in &files {
        expect_file![root().join("completions").join(name)].assert_eq(&String::from_utf8_lossy(script));
    }
    same_files(&root().join("completions"), files.into_iter().map(|(name, _)| name));
}

#[test]
fn every_command_has_a_snapshot_and_every_snapshot_a_command() {
    let files = super::cli::commands()
        .into_iter()
        .map(|words| PathBuf::from(super::cli::snapshot_file(&words)).file_name().unwrap().to_str().unwrap().to_owned());
    same_files(&root().join("tests/it/help"), files);
}

#[test]
fn the_rules_can_fail() {
    let bad = |found: Vec<String>, count: usize| assert_eq!(found.len(), count, "{found:?}");
    bad(uphill("src/stun/mod.rs", "use crate::turn::Server;"), 1);
    bad(uphill("src/turn/mod.rs", "use crate::signal::Lobby;\nuse crate::stun::Message;"), 1);
    bad(uphill("src/turn/mod.rs", "use crate::{cli::Cx, stun::Message, signal};"), 2);
    bad(uphill("src/turn/mod.rs", "fn f() { let _ = crate::serve::run(); }\n// crate::cli in a comment\n"), 1);
    bad(uphill("src/turn/mod.rs", "use crate::turn::auth::Auth; use crate::{stun::{a, b}, config::Secret};"), 0);
    bad(uphill("src/deploy/apply.rs", "use crate::serve::run;\nuse crate::cert::ensure;"), 1 + 1);
    bad(uphill("src/attic/mod.rs", ""), 1);
    bad(impure("src/a/b.rs", "//! Pure: so it says.\nuse std::net::TcpStream;\nlet now = Instant::now();"), 3);
    bad(impure("src/a/b.rs", "//! Honest about it.\nuse std::fs;"), 0);
    bad(impure("src/a/b.rs", "//! Pure: no tokio here.\n\n#[cfg(test)]\nmod tests { use std::fs; }"), 0);
    bad(prints("src/turn/mod.rs", "println!(\"x\"); eprintln!(\"y\");"), 1);
    bad(prints("src/ui/voice.rs", "std::io::stdout()"), 0);
    bad(silent("src/a.rs", "use std::fs;\n"), 1);
    bad(silent("src/a.rs", &"//! a line\n".repeat(9)), 1);
    bad(silent("src/lib.rs", "#![doc = include_str!(\"README.md\")]\n"), 0);
    bad(unfinished("src/a.rs", concat!("// TO", "DO: later\nfn f() { unimple", "mented!() }")), 2);
    bad(uninvited("Makefile"), 1);
    bad(unwanted_crates("[[package]]\nname = \"aws-lc-rs\"\n[[package]]\nname = \"ring\"\n"), 1);
    assert_eq!(imported("use crate::{\n    a::{b, c},\n    d,\n};\nuse crate::e::f; pub(crate) fn g() {}"), ["a", "d", "e"]);
}

/// Imports that go up or sideways. `deploy` never links to what it deploys, though `cert` lies below it.
fn uphill(path: &str, text: &str) -> Vec<String> {
    let Some(room) = room(path) else { return Vec::new() };
    let Some(own) = floor(room) else { return vec![format!("{path}: {room} is on no floor")] };
    let found = imported(&without_comments(text)).into_iter().filter(|target| target != room);
    let wrong = found.filter_map(|target| {
        let below = floor(&target).is_none_or(|floor| floor < own);
        let never = room == "deploy" && target == "cert";
        (!below || never).then(|| format!("{path}: {room} may not import {target}"))
    });
    wrong.collect()
}

fn impure(path: &str, text: &str) -> Vec<String> {
    if !text.starts_with("//! Pure:") {
        return Vec::new();
    }
    let text = without_comments(without_tests(text));
    IMPURE.iter().filter(|word| text.contains(**word)).map(|word| format!("{path}: says it is pure, but: {word}")).collect()
}

fn prints(path: &str, text: &str) -> Vec<String> {
    let text = without_comments(without_tests(text));
    let allowed = |word: &str| match room(path) {
        Some("cli" | "ui") => true,
        // The log of the daemon is its voice.
        Some("telemetry") => word == "io::stderr",
        _ => false,
    };
    let words = PRINTING.iter().filter(|word| text.contains(**word) && !allowed(word));
    words.map(|word| format!("{path}: only cli and ui print, but: {word}")).collect()
}

fn silent(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
    // Eight leave room for a small picture of bytes.
    let fine = (1..=8).contains(&lines) || (lines == 0 && text.starts_with("#![doc = include_str!"));
    if fine { Vec::new() } else { vec![format!("{path}: opens with {lines} lines of //! instead of 1 to 8")] }
}

fn unfinished(path: &str, text: &str) -> Vec<String> {
    let found = UNFINISHED.iter().flat_map(|word| text.lines().enumerate().filter(move |(_, line)| line.contains(word)));
    found.map(|(index, line)| format!("{path}:{}: {}", index + 1, line.trim())).collect()
}

fn uninvited(name: &str) -> Vec<String> {
    if TOP_LEVEL.contains(&name) { Vec::new() } else { vec![format!("{name} does not belong on the top level")] }
}

fn unwanted_crates(lock: &str) -> Vec<String> {
    let named = |name: &&&str| lock.contains(&format!("name = \"{name}\"\n"));
    UNWANTED_CRATES.iter().filter(named).map(|name| format!("Cargo.lock: {name} came in")).collect()
}

/// First segments of every `crate::…` path, groups opened.
fn imported(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(identifier(rest));
            continue;
        };
        let (mut depth, mut starts) = (0, true);
        for (index, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                letter if starts && !letter.is_whitespace() => {
                    found.push(identifier(&group[index..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

/// `src/turn/auth.rs` lies in `turn`; `lib.rs` and `main.rs` lie in no room.
fn room(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    below.split_once('/').map(|(room, _)| room)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path from the root and text of every Rust file below `folder`.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!files.is_empty(), "no Rust file below {folder}");
    files
}

fn same_files(folder: &Path, expected: impl Iterator<Item = String>) {
    let found: BTreeSet<String> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected.collect::<BTreeSet<_>>(), "{}", folder.display());
}

fn none_of(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{} broken:\n{}", found.len(), found.join("\n"));
}
