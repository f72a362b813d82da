//! `rtcctl logs`: from the supervisor's files, or from the journal where systemd runs the service.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cx::Cx;
use crate::config::values;
use crate::deploy::supervisor::log;
use crate::ui::{Exit, Failure, json_line};

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// What `-f` shows of the past when no `--since` says otherwise.
const PAST_LINES: usize = 10;
/// A longer line is shown in pieces, bytes.
const LONGEST_LINE: u64 = 64 << 10;

#[derive(Args)]
pub(super) struct LogsArgs {
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only what is younger: "10m", "2h", or a time as 2026-11-25T10:00:00Z
    #[arg(long, value_name = "T", value_parser = since)]
    since: Option<OffsetDateTime>,
}

pub(super) fn run(cx: &Cx, args: LogsArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let directory = cx.paths(&config).log();
    if directory.join("current").exists() {
        return if args.follow {
            follow_files(cx, &directory, args.since)
        } else {
            print_files(cx, &log::files(&directory), &mut Since::new(args.since)).map(drop)
        };
    }
    let unit = format!("{}.service", config.name);
    if Path::new("/run/systemd/system").exists() && Path::new("/etc/systemd/system").join(&unit).exists() {
        return journal(cx, &unit, &args);
    }
    Err(Failure::new(Exit::No, format!("no log: nothing was started from {}", directory.parent().unwrap_or(&directory).display())).hint("rtcctl up"))
}

fn since(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(ago) = values::duration(text) {
        return OffsetDateTime::now_utc()
            .checked_sub(ago.try_into().map_err(|_| format!("too long ago: {text}"))?)
            .ok_or_else(|| format!("too long ago: {text}"));
    }
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| format!("neither a duration nor a time: {text} (write \"10m\" or \"2026-11-25T10:00:00Z\")"))
}

/// Prints a line; `false` when nobody reads any more.
fn print(cx: &Cx, line: &str) -> Result<bool, Failure> {
    if cx.ui.is_json() { cx.ui.out_stream(json_line("logs", &serde_json::json!({ "line": line }))?) } else { cx.ui.out_stream(line) }
}

/// All whole lines of an open file. `Ok(false)`: nobody reads any more.
fn show_lines(cx: &Cx, tail: &mut Tail, filter: &mut Since) -> Result<bool, Failure> {
    while let Some(line) = tail.line()? {
        if filter.passes(&line) && !print(cx, &line)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same to the very end, for a file that grows no more.
fn show_all(cx: &Cx, tail: &mut Tail, filter: &mut Since) -> Result<bool, Failure> {
    if !show_lines(cx, tail, filter)? {
        return Ok(false);
    }
    match tail.rest() {
        Some(line) if filter.passes(&line) => print(cx, &line),
        _ => Ok(true),
    }
}

fn print_files(cx: &Cx, files: &[PathBuf], filter: &mut Since) -> Result<bool, Failure> {
    for path in files {
        if let Some(mut tail) = Tail::open(path)?
            && !show_all(cx, &mut tail, filter)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn follow_files(cx: &Cx, directory: &Path, since: Option<OffsetDateTime>) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(Exit::Resource, format!("listen for Ctrl-C: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(failed)?;
        let mut following = Following::start(cx, directory, since)?;
        while following.step(cx)? && !reader_is_gone() {
            tokio::select! {
                _ = interrupt.recv() => return Err(Failure::interrupted()),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        Ok(())
    })
}

/// `current`, across its rotations.
struct Following {
    current: PathBuf,
    tail: Option<Tail>,
    filter: Since,
}

impl Following {
    fn start(cx: &Cx, directory: &Path, since: Option<OffsetDateTime>) -> Result<Self, Failure> {
        let current = directory.join("current");
        let mut filter = Since::new(since);
        if since.is_some() {
            let files = log::files(directory);
            print_files(cx, &files[..files.len().saturating_sub(1)], &mut filter)?;
        }
        let mut tail = Tail::open(&current)?;
        if let (Some(tail), None) = (&mut tail, since) {
            tail.skip_to_last(PAST_LINES)?;
        }
        Ok(Self { current, tail, filter })
    }

    /// Shows what is new. `Ok(false)`: nobody reads any more.
    fn step(&mut self, cx: &Cx) -> Result<bool, Failure> {
        let rotated = self.tail.as_ref().is_none_or(Tail::is_rotated);
        if let Some(tail) = &mut self.tail
            && !(if rotated { show_all(cx, tail, &mut self.filter)? } else { show_lines(cx, tail, &mut self.filter)? })
        {
            return Ok(false);
        }
        if rotated {
            self.tail = Tail::open(&self.current)?;
            if let Some(tail) = &mut self.tail {
                return show_lines(cx, tail, &mut self.filter);
            }
        }
        Ok(true)
    }
}

/// A pipe that nobody reads says so without being written to.
fn reader_is_gone() -> bool {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let stdout = std::io::stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLNVAL;
    poll(&mut asked, PollTimeout::ZERO).is_ok() && asked[0].revents().is_some_and(|events| events.intersects(gone))
}

/// Lets a line through from the first one that is young enough. Lines without a time belong to the one before.
struct Since {
    from: Option<OffsetDateTime>,
}

impl Since {
    fn new(from: Option<OffsetDateTime>) -> Self {
        Self { from }
    }

    fn passes(&mut self, line: &str) -> bool {
        let Some(from) = self.from else { return true };
        if stamp(line).is_some_and(|stamp| stamp >= from) {
            self.from = None;
        }
        self.from.is_none()
    }
}

/// The time that a line begins with, in text or in JSON.
fn stamp(line: &str) -> Option<OffsetDateTime> {
    let start = line.strip_prefix("{\"timestamp\":\"").unwrap_or(line);
    let word = start.split([' ', '"']).next()?;
    OffsetDateTime::parse(word, &Rfc3339).ok()
}

/// A growing file, read by whole lines.
struct Tail {
    path: PathBuf,
    reader: BufReader<File>,
    inode: (u64, u64),
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl Tail {
    /// `None` when the file is gone, as between two names of a rotation.
    fn open(path: &Path) -> Result<Option<Self>, Failure> {
        let failed = |e: std::io::Error| match e.kind() {
            ErrorKind::PermissionDenied => {
                Failure::new(Exit::Resource, format!("read {}: {e}", path.display())).hint("ask as the user who ran rtcctl up")
            }
            _ => Failure::new(Exit::Resource, format!("read {}: {e}", path.display())),
        };
        let file = match File::open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        Ok(Some(Self { path: path.to_path_buf(), reader: BufReader::new(file), inode: (metadata.dev(), metadata.ino()), partial: Vec::new() }))
    }

    /// The next whole line, without its end. `None`: not yet.
    fn line(&mut self) -> Result<Option<String>, Failure> {
        let room = LONGEST_LINE - self.partial.len() as u64;
        let read = self.reader.by_ref().take(room).read_until(b'\n', &mut self.partial);
        read.map_err(|e| Failure::new(Exit::Resource, format!("read {}: {e}", self.path.display())))?;
        let whole = self.partial.ends_with(b"\n") || self.partial.len() as u64 >= LONGEST_LINE;
        Ok(if whole { self.rest() } else { None })
    }

    /// What stands there without an end.
    fn rest(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned())
    }

    fn is_rotated(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) != self.inode)
    }

    fn skip_to_last(&mut self, lines: usize) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::new(Exit::Resource, format!("read the log: {e}"));
        let mut text = Vec::new();
        self.reader.read_to_end(&mut text).map_err(failed)?;
        // The newline that ends the last line is not the start of another.
        let newlines = text.iter().enumerate().rev().skip(1).filter(|(_, byte)| **byte == b'\n');
        let start = newlines.map(|(index, _)| index + 1).nth(lines - 1).unwrap_or(0);
        self.reader.seek(SeekFrom::Start(start as u64)).map(drop).map_err(failed)
    }
}

fn journal(cx: &Cx, unit: &str, args: &LogsArgs) -> Result<(), Failure> {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--quiet", "--output=short-iso", "--unit", unit]);
    command.args(args.follow.then_some("--follow"));
    command.args(args.since.map(|since| format!("--since=@{}", since.unix_timestamp())));
    if !cx.ui.is_json() {
        // journalctl ends by itself on Ctrl-C and on a broken pipe.
        let status = command.status().map_err(|e| no_journal(&e))?;
        return judge(status);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| no_journal(&e))?;
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        let line = line.map_err(|e| Failure::new(Exit::Resource, format!("read from journalctl: {e}")))?;
        if !print(cx, &line)? {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(());
        }
    }
    judge(child.wait().map_err(|e| no_journal(&e))?)
}

fn no_journal(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Resource, format!("run journalctl: {error}"))
}

fn judge(status: std::process::ExitStatus) -> Result<(), Failure> {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGPIPE: i32 = nix::sys::signal::Signal::SIGPIPE as i32;
    const SIGINT: i32 = nix::sys::signal::Signal::SIGINT as i32;
    match (status.success(), status.signal()) {
        (true, _) | (_, Some(SIGPIPE)) => Ok(()),
        (_, Some(SIGINT)) => Err(Failure::interrupted()),
        _ => Err(Failure::new(Exit::Resource, format!("journalctl failed: {status}")).hint("only root and the group systemd-journal may read it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_durations_and_times() {
        let ten_minutes_ago = since("10m").unwrap();
        assert!(OffsetDateTime::now_utc() - ten_minutes_ago >= time::Duration::minutes(10));
        assert_eq!(since("1970-01-01T00:01:00Z").unwrap().unix_timestamp(), 60);
        assert!(since("yesterday").is_err() && since("").is_err());
    }

    #[test]
    fn old_lines_are_left_out_with_what_belongs_to_them() {
        let lines = [
            "2026-01-01T00:00:00Z old",
            "  its second line",
            "2026-01-02T00:00:00.5Z new",
            "  its second line",
            "2026-01-01T00:00:00Z clock set back",
        ];
        let mut filter = Since::new(Some(since("2026-01-02T00:00:00Z").unwrap()));
        assert_eq!(lines.map(|line| filter.passes(line)), [false, false, true, true, true]);
        assert!(stamp(r#"{"timestamp":"2026-01-02T00:00:00Z","level":"INFO"}"#).is_some());
    }

    #[test]
    fn a_line_is_shown_when_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("current");
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        let mut tail = Tail::open(&path).unwrap().unwrap();
        assert_eq!(tail.line().unwrap().as_deref(), Some("one"));
        assert_eq!(tail.line().unwrap().as_deref(), Some("two"));
        assert_eq!(tail.line().unwrap(), None);
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail.line().unwrap().as_deref(), Some("three"));
        assert!(!tail.is_rotated());
        std::fs::rename(&path, home.path().join("old.1")).unwrap();
        std::fs::write(&path, "four\n").unwrap();
        assert!(tail.is_rotated());
        let mut tail = Tail::open(&home.path().join("old.1")).unwrap().unwrap();
        tail.skip_to_last(2).unwrap();
        assert_eq!(tail.line().unwrap().as_deref(), Some("two"));
        assert!(Tail::open(&home.path().join("gone")).unwrap().is_none());
    }
}
