//! `rtcctl status`: what the daemon says of itself.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use dialoguer::console::Term;

use super::cx::Cx;
use crate::config::Paths;
use crate::deploy::supervisor;
use crate::telemetry::status::{Status, ask};
use crate::ui::table::{Align, Table, terminal_width};
use crate::ui::{Exit, Failure, json_line};

/// The daemon answers from memory.
const ANSWER: Duration = Duration::from_secs(2);
const REDRAW: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct StatusArgs {
    /// Look again every second until Ctrl-C; with --json one object per line
    #[arg(short, long)]
    watch: bool,
}

pub(super) fn run(cx: &Cx, args: StatusArgs) -> Result<(), Failure> {
    let paths = cx.paths(&cx.config()?);
    if args.watch {
        return watch(cx, &paths);
    }
    let status = look(&paths)?;
    if cx.ui.is_json() {
        cx.ui.out_json("status", &status)?;
    } else {
        cx.ui.out(page(&status, now(), terminal_width()).join("\n"))?;
    }
    if status.ready { Ok(()) } else { Err(Failure::new(Exit::No, "not everything that should run does").hint("rtcctl logs").answered()) }
}

fn watch(cx: &Cx, paths: &Paths) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(Exit::Resource, format!("listen for Ctrl-C: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let screen = Term::stdout();
    let mut drawn = 0;
    runtime.block_on(async {
        let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(failed)?;
        loop {
            let status = look(paths)?;
            let lines = if cx.ui.is_json() { vec![json_line("status", &status)?] } else { page(&status, now(), terminal_width()) };
            if cx.ui.stdout_is_terminal() && !cx.ui.is_json() {
                let _ = screen.clear_last_lines(drawn);
                drawn = lines.len();
            } else if drawn > 0 && !cx.ui.is_json() && !cx.ui.out_stream("")? {
                return Ok(());
            } else {
                drawn = lines.len();
            }
            if !cx.ui.out_stream(lines.join("\n"))? {
                return Ok(());
            }
            tokio::select! {
                _ = interrupt.recv() => return Err(Failure::interrupted()),
                () = tokio::time::sleep(REDRAW) => {}
            }
        }
    })
}

fn look(paths: &Paths) -> Result<Status, Failure> {
    let answer = ask(&paths.admin_socket(), "status", ANSWER).map_err(|e| silent(paths, &e))?;
    serde_json::from_value(answer).map_err(|e| {
        Failure::new(Exit::Resource, format!("the service gives an answer that this rtcctl does not understand: {e}"))
            .hint("rtcctl up puts this version in its place")
    })
}

/// Why nobody answered.
fn silent(paths: &Paths, error: &std::io::Error) -> Failure {
    let socket = paths.admin_socket();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => match supervisor::running(paths) {
            Some(supervisor) => {
                let since = span(now().saturating_sub(supervisor.since));
                Failure::new(Exit::No, format!("the service is down; its supervisor (pid {}) has been trying for {since}", supervisor.pid))
                    .hint("rtcctl logs says why it does not stay up")
            }
            None => Failure::new(Exit::No, "nothing is running").hint("rtcctl up"),
        },
        ErrorKind::PermissionDenied => Failure::new(Exit::Resource, format!("open {}: it belongs to another user", socket.display()))
            .hint("ask as the user who ran rtcctl up, often: sudo rtcctl status"),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            Failure::new(Exit::No, format!("the service took our question but gave no answer for {} s", ANSWER.as_secs())).hint("rtcctl logs")
        }
        _ => Failure::new(Exit::Resource, format!("ask {}: {error}", socket.display())),
    }
}

/// The answer for people, line by line; `now` in seconds since the epoch, `width` in columns.
fn page(status: &Status, now: u64, width: usize) -> Vec<String> {
    let release = status.release.map_or_else(|| format!("version {}", status.version), |number| format!("release {number}"));
    let up = span(now.saturating_sub(status.started));
    let certificate = match status.certificate.not_after.checked_sub(now) {
        Some(left) => format!("{} left ({})", span(left), status.certificate.issuer),
        None => format!("expired {} ago ({})", span(now - status.certificate.not_after), status.certificate.issuer),
    };
    let traffic = format!(
        "{}, {}, {}, {} relayed",
        counted(status.rooms, "room"),
        counted(status.sockets, "socket"),
        counted(status.allocations, "allocation"),
        bytes(status.relayed_bytes)
    );
    let openers = if status.open_rooms == "hosts" { ", rooms opened by hosts" } else { "" };
    let ready = if status.ready { "" } else { ", not ready" };
    let column = status.link.chars().count().max("certificate".len()) + 2;
    let mut lines = vec![
        format!("{:<column$} {release}, up {up}{openers}{ready}", status.link),
        format!("{:<column$} {certificate}", "certificate"),
        format!("{:<column$} {traffic}", "now"),
        String::new(),
    ];
    let mut table =
        Table::new(&[("listener", Align::Left), ("proto", Align::Left), ("serves", Align::Left), ("pid", Align::Right), ("since", Align::Right)]);
    for listener in &status.listeners {
        let since = span(now.saturating_sub(listener.since));
        table.row([shown(&listener.address), listener.protocol.clone(), listener.serves.clone(), listener.pid.to_string(), since]);
    }
    lines.extend(table.lines(width));
    if !status.warnings.is_empty() {
        lines.push(String::new());
        lines.extend(status.warnings.iter().map(|warning| format!("  !!  {warning}")));
    }
    lines
}

/// The end of a long path is enough, and leaves room for the columns behind it; `--json` has all of it.
fn shown(address: &str) -> String {
    match address.rsplitn(4, '/').collect::<Vec<_>>()[..] {
        [file, folder, parent, rest] if rest.contains('/') => format!(".../{parent}/{folder}/{file}"),
        _ => address.to_owned(),
    }
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// In the two largest units that matter: `6 d 15 h`, `4 min`, `12 s`.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::status::{CertificateStatus, ListenerStatus};

    #[test]
    fn a_page_for_people() {
        expect_test::expect![[r#"
            https://192.168.1.20/   release 4, up 1 d 3 h
            certificate             11 d 13 h left (local CA)
            now                     1 room, 2 sockets, 5 allocations, 123.5 MB relayed

            listener       proto   serves                    pid   since
            0.0.0.0:443    tcp     page, rooms, turn/tls   20114   1 min
            0.0.0.0:3478   udp     turn                    20114   1 min"#]]
        .assert_eq(&page(&status(), 1_000_000, 80).join("\n"));
    }

    #[test]
    fn what_is_wrong_is_said_and_narrow_screens_lose_columns() {
        let mut status = status();
        status.ready = false;
        status.release = None;
        status.open_rooms = "hosts".into();
        status.certificate.not_after = 999_000;
        status.warnings = vec!["metrics: 127.0.0.1:9641 is held by somebody else".into()];
        expect_test::expect![[r#"
            https://192.168.1.20/   version 0.1.0, up 1 d 3 h, rooms opened by hosts, not ready
            certificate             expired 16 min ago (local CA)
            now                     1 room, 2 sockets, 5 allocations, 123.5 MB relayed

            listener       proto
            0.0.0.0:443    tcp
            0.0.0.0:3478   udp

              !!  metrics: 127.0.0.1:9641 is held by somebody else"#]]
        .assert_eq(&page(&status, 1_000_000, 40).join("\n"));
    }

    #[test]
    fn long_paths_are_cut_in_front() {
        assert_eq!(shown("/run/rtcctl/admin.sock"), "/run/rtcctl/admin.sock");
        assert_eq!(shown("/home/anna/.local/state/rtcctl/run/admin.sock"), ".../rtcctl/run/admin.sock");
        assert_eq!(shown("[::]:443"), "[::]:443");
    }

    #[test]
    fn spans_and_sizes_are_what_a_person_would_say() {
        let spans = [0, 59, 60, 3599, 3600, 3660, 86_400, 90_000, 1_040_000].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "59 min", "1 h", "1 h 1 min", "1 d", "1 d 1 h", "12 d"]);
        assert_eq!([0, 999, 1000, 2_450_000].map(bytes), ["0 B", "999 B", "1.0 kB", "2.5 MB"]);
    }

    fn status() -> Status {
        let listener = |address: &str, protocol: &str, serves: &str| ListenerStatus {
            address: address.into(),
            protocol: protocol.into(),
            serves: serves.into(),
            pid: 20114,
            since: 999_900,
        };
        Status {
            link: "https://192.168.1.20/".into(),
            pid: 20114,
            version: "0.1.0".into(),
            release: Some(4),
            started: 900_000,
            ready: true,
            listeners: vec![listener("0.0.0.0:443", "tcp", "page, rooms, turn/tls"), listener("0.0.0.0:3478", "udp", "turn")],
            certificate: CertificateStatus { names: vec!["192.168.1.20".into()], issuer: "local CA".into(), not_after: 2_000_000 },
            open_rooms: "anyone".into(),
            rooms: 1,
            sockets: 2,
            allocations: 5,
            relayed_bytes: 123_456_789,
            warnings: Vec::new(),
        }
    }
}
