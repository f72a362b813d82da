//! The README is held to the program: its command lines parse, its table names every command, and its session was recorded.

use std::collections::BTreeSet;

/// What the README writes for something to be filled in, and a word that fits.
const PLACEHOLDERS: &[(&str, &str)] = &[("SHELL", "bash"), ("[DIR]", "pages"), ("FILE", "rtcctl.toml"), ("DIR", "state")];

#[test]
fn every_command_line_parses() {
    let readme = readme();
    let lines = command_lines(&readme);
    assert!(lines.len() > 12, "is this the right README? {lines:?}");
    for line in lines {
        parse(&words(line));
    }
}

#[test]
fn every_command_is_in_the_table_and_every_row_is_a_command() {
    let readme = readme();
    let rows = rows(&readme);
    let told: BTreeSet<String> = rows.iter().flat_map(|row| row.commands.iter().cloned()).collect();
    let all = super::cli::commands();
    let is_leaf = |words: &&Vec<String>| !words.is_empty() && !all.iter().any(|other| other.len() > words.len() && other.starts_with(words));
    let expected: BTreeSet<String> = all.iter().filter(is_leaf).map(|words| words.join(" ")).collect();
    assert_eq!(told, expected);
}

#[test]
fn the_flags_of_a_row_belong_to_its_command() {
    let readme = readme();
    let mut seen = 0;
    for row in rows(&readme) {
        for flag in code_spans(row.text).filter(|span| span.starts_with('-') && !row.line.contains(span)) {
            seen += 1;
            parse(&[&row.line[..], &[flag]].concat());
        }
    }
    assert!(seen > 3, "{seen} flags in the table");
}

#[test]
fn the_flags_for_everywhere_are_global() {
    let readme = readme();
    let line = readme.lines().find(|line| line.starts_with("Every command takes ")).expect("a sentence about flags");
    let flags: Vec<&str> = code_spans(line).filter(|span| span.starts_with('-')).collect();
    assert!(flags.len() > 4, "{flags:?}");
    for flag in flags {
        parse(&[&["cert", "list"], &words(flag)[..]].concat());
    }
}

#[test]
fn the_session_was_recorded_and_shows_a_whole_life() {
    let readme = readme();
    let (_, rest) = readme.split_once("<!-- session: recorded by tests/record -->").expect("the start of the session");
    let (session, _) = rest.split_once("<!-- end of session -->").expect("its end");
    for said in ["$ rtcctl up\n", " ok  proof ", "relay over udp ", "\nhttps://192.168.1.20/\n", "nothing to do", "$ rtcctl status\n"] {
        assert!(session.contains(said), "not in the session: {said}");
    }
}

#[test]
fn the_rules_can_fail() {
    let parses = |line| rtcctl::cli::command().try_get_matches_from([&["rtcctl"], &words(line)[..]].concat()).is_ok();
    assert!(parses("up --set site.https_port=8443") && parses("config example > rtcctl.toml") && parses("down   # a comment"));
    assert!(!parses("up --purge") && !parses("cret list"));
    assert_eq!(command_lines("see `rtcctl up`\n```\n$ rtcctl down\nrtcctl is one word\n```\n"), ["up", "down"]);
    let row = &rows("| `rtcctl cert issue` `list`, `rtcctl man [DIR]` | words, `--json` |\n")[0];
    assert_eq!(row.commands, ["cert issue", "cert list", "man"]);
    assert_eq!(rows("| `rtcctl call invite --as-host` | words |\n")[0].line, ["call", "invite", "--as-host"]);
}

/// A row of the table of commands.
struct Row<'a> {
    /// `cert issue`
    commands: Vec<String>,
    /// The first of them as it is called, with the flags that stand there.
    line: Vec<&'a str>,
    text: &'a str,
}

/// In `rtcctl cert issue` `list` the second is `cert list`.
fn rows(readme: &str) -> Vec<Row<'_>> {
    let lines = readme.lines().filter_map(|line| line.strip_prefix("| `rtcctl ").map(|_| line));
    lines
        .map(|line| {
            let (names, text) = line[2..].split_once(" | ").expect("two columns");
            let mut commands: Vec<String> = Vec::new();
            for span in code_spans(names) {
                let own = match span.strip_prefix("rtcctl ") {
                    Some(words) => words.split(' ').filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect::<Vec<_>>().join(" "),
                    None => {
                        let (parent, _) = commands.last().and_then(|last| last.rsplit_once(' ')).expect("a command before it, with a parent");
                        format!("{parent} {span}")
                    }
                };
                commands.push(own);
            }
            let line = code_spans(names).find_map(|span| span.strip_prefix("rtcctl ")).map(words).expect("a row begins with a command");
            Row { commands, line, text }
        })
        .collect()
}

/// What stands after `rtcctl `: in code spans, and behind the prompt of a console.
fn command_lines(readme: &str) -> Vec<&str> {
    let spans = readme.lines().flat_map(code_spans);
    let prompts = readme.lines().filter_map(|line| line.strip_prefix("$ "));
    spans.chain(prompts).filter_map(|text| text.strip_prefix("rtcctl ")).collect()
}

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// As a shell would hand them over.
fn words(line: &str) -> Vec<&str> {
    let filled = |word| PLACEHOLDERS.iter().find(|(name, _)| *name == word).map_or(word, |(_, example)| *example);
    line.split_whitespace().take_while(|word| !matches!(*word, ">" | "#" | "|")).map(filled).collect()
}

fn parse(words: &[&str]) {
    if let Err(error) = rtcctl::cli::command().try_get_matches_from([&["rtcctl"], words].concat()) {
        panic!("the README says: rtcctl {}\n{error}", words.join(" "));
    }
}

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}
