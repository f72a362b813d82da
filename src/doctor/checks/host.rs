//! The machine under the service: who keeps it alive, its limits, disk and clock.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::deploy::facts::Keeper;
use crate::deploy::supervisor;
use crate::doctor::check::{Fault, Verdict};
use crate::doctor::checks::signal::last_words;
use crate::doctor::evidence::{Shared, off_thread};
use crate::doctor::subject::Own;
use crate::host::{Cmd, Host as _, Local};

/// A release is about 20 MB, and an update holds two.
const LEAST_FREE: u64 = 64 * 1024 * 1024;
const LEAST_INODES: u64 = 200;
/// Pages, WebSockets and TURN over TCP beside the allocations.
const CONNECTIONS: u64 = 1024;
const COMMAND: Duration = Duration::from_secs(3);
/// Restarts since it was started by hand, beyond which something is wrong.
const RESTARTS: u32 = 3;

pub(super) async fn disk(evidence: Shared) -> Verdict {
    let Some(own) = evidence.own() else { return Verdict::Skip("not ours".into()) };
    let state = own.paths.state.clone();
    let Some(at) = state.ancestors().find(|folder| folder.exists()).map(Path::to_path_buf) else { return Verdict::Pass };
    let Some(Ok(found)) = off_thread(move || statvfs(&at)).await else {
        return Fault::new(format!("the file system of {} tells nothing", state.display()))
            .run(format!("df {}", state.display()), "shows it")
            .unknown();
    };
    let shown = state.display();
    let fault = |cause| Fault::new(cause).breaks(&["renewal of the certificate", "the log", "the next rtcctl up"]);
    if found.flags().contains(FsFlags::ST_RDONLY) {
        return fault(format!("{shown} is on a file system that is read-only"))
            .run("dmesg | grep -i 'remounting filesystem read-only'", "says whether the disk had an error")
            .hint("mend or remount that file system, or move the state with --state")
            .fail();
    }
    let free = found.blocks_available() * found.fragment_size();
    let is_full = free < LEAST_FREE || found.files() > 0 && found.files_available() < LEAST_INODES;
    if !is_full {
        return Verdict::Pass;
    }
    let what = if free < LEAST_FREE { format!("{} MiB", free / 1024 / 1024) } else { format!("{} files", found.files_available()) };
    fault(format!("{shown} has room for {what} only"))
        .run(format!("du -xh {shown} | sort -h | tail"), "the largest folders of ours")
        .run("journalctl --vacuum-size=200M", "gives back what old system logs hold")
        .fail()
}

pub(super) async fn files(evidence: Shared) -> Verdict {
    let (Some(own), Ok(status)) = (evidence.own(), evidence.status().await) else { return Verdict::Waits("signal.health") };
    let Some(limit) = open_files(status.pid) else {
        return Fault::new(format!("the limits of pid {} cannot be read", status.pid))
            .run("sudo rtcctl doctor --check host.files", "looks as root")
            .unknown();
    };
    let needed = own.config.turn.max_allocations as u64 + CONNECTIONS;
    if limit >= needed {
        return Verdict::Pass;
    }
    let fault = Fault::new(format!("the service may open {limit} files, its limits ask for {needed}"))
        .proof("pid", status.pid.to_string())
        .proof("asks", format!("turn.max_allocations = {} and {CONNECTIONS} connections", own.config.turn.max_allocations))
        .breaks(&["calls, once the files are used up"]);
    let fault = match own.keeper {
        Keeper::Systemd => fault.run("rtcctl up", "writes the unit anew, with LimitNOFILE=65536"),
        Keeper::Supervisor => fault.run(
            "ulimit -Hn 65536 && ulimit -n 65536 && rtcctl down && rtcctl up",
            "as root, in one shell: raises the limit and starts the service with it",
        ),
    };
    fault
        .hint(format!("or set turn.max_allocations = {} in rtcctl.toml, then rtcctl up", limit.saturating_sub(CONNECTIONS).max(1).min(needed)))
        .fail()
}

fn open_files(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

pub(super) async fn service(evidence: Shared) -> Verdict {
    let Some(own) = evidence.own() else { return Verdict::Skip("not ours".into()) };
    let answers = evidence.status().await.is_ok();
    match own.keeper {
        Keeper::Systemd => unit(own, answers).await,
        Keeper::Supervisor => supervised(own, answers).await,
    }
}

async fn unit(own: &Own, answers: bool) -> Verdict {
    let name = format!("{}.service", own.config.name);
    let cmd = Cmd::new(["systemctl", "show", "--property=LoadState,ActiveState,SubState,UnitFileState,NRestarts,Result", &name]).within(COMMAND);
    let shown = match off_thread(move || Local.run(&cmd)).await {
        Some(Ok(output)) => output.stdout,
        Some(Err(error)) => return Fault::new(error.to_string()).run(format!("systemctl status {name}"), "asks systemd").unknown(),
        None => return Verdict::Waits("signal.health"),
    };
    let is = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned();
    if is("LoadState") == "not-found" {
        return Verdict::Skip("it runs without a unit".into());
    }
    let (active, restarts) = (is("ActiveState"), is("NRestarts").parse::<u32>().unwrap_or(0));
    let state = format!("{active} ({}), result {}, {restarts} restarts", is("SubState"), is("Result"));
    let cause = if active == "failed" || (!answers && is("SubState") == "auto-restart") {
        format!("{name} ends as soon as it starts")
    } else if restarts > RESTARTS {
        format!("{name} was restarted {restarts} times")
    } else if is("UnitFileState") != "enabled" {
        return Fault::new(format!("{name} is not enabled: it will not start at boot"))
            .breaks(&["everything, after the next reboot"])
            .run(format!("systemctl enable {name}"), "starts it at boot")
            .fail();
    } else if active == "inactive" {
        format!("{name} is stopped")
    } else {
        return Verdict::Pass;
    };
    told(own, Fault::new(cause).proof("systemd", state)).await.run("rtcctl up", "puts a whole release in its place and proves it").fail()
}

async fn supervised(own: &Own, answers: bool) -> Verdict {
    let paths = own.paths.clone();
    let Some((keeper, installed)) = off_thread(move || (supervisor::running(&paths), paths.current().symlink_metadata().is_ok())).await else {
        return Verdict::Skip("interrupted".into());
    };
    match keeper {
        _ if !installed => Verdict::Skip("it runs without a supervisor".into()),
        None if answers => Fault::new("the supervisor is gone: nobody starts the service again")
            .breaks(&["everything, once the service ends"])
            .run("rtcctl down && rtcctl up", "starts both; calls reconnect")
            .fail(),
        None => told(own, Fault::new("neither the service nor its supervisor runs")).await.run("rtcctl up", "starts both").fail(),
        Some(_) if answers => Verdict::Pass,
        Some(keeper) => {
            let fault = Fault::new("the service ends as soon as it starts").proof("supervisor", format!("pid {}", keeper.pid));
            told(own, fault).await.run("rtcctl up", "puts a whole release in its place and proves it").fail()
        }
    }
}

async fn told(own: &Own, mut fault: Fault) -> Fault {
    for line in last_words(own.clone()).await {
        fault = fault.proof("log", line);
    }
    fault.breaks(&["everything"]).run("rtcctl logs", "all that it said")
}

/// Without asking anybody in the network: the system knows whether its clock is being kept, and files of ours cannot be from the future.
pub(super) async fn clock(evidence: Shared) -> Verdict {
    let newest = evidence.own().map(|own| [own.paths.history(), own.paths.current(), own.paths.ca().join("ca.pem"), own.paths.turn_secret()]);
    let ahead = newest.iter().flatten().filter_map(ahead).max();
    if let Some((seconds, path)) = ahead.filter(|(seconds, _)| *seconds > 30) {
        return Fault::new(format!(
            "this machine's clock is at least {seconds} s slow: it wrote {} at a later time than it shows now",
            path.display()
        ))
        .breaks(&["certificates: they seem not to be valid yet", "TURN credentials, which carry a time"])
        .run("timedatectl set-ntp true", "lets the system keep its clock")
        .fail();
    }
    let asked = off_thread(|| Local.run(&Cmd::new(["timedatectl", "show", "--property=NTPSynchronized", "--value"]).within(COMMAND))).await;
    match asked {
        Some(Ok(output)) if output.stdout.trim() == "yes" => Verdict::Pass,
        Some(Ok(_)) => Fault::new("nobody keeps this machine's clock").run("timedatectl set-ntp true", "lets the system keep its clock").unknown(),
        _ => Fault::new("nobody can be asked whether this machine's clock is right (no systemd)")
            .run("date -u", "compare it with another clock")
            .unknown(),
    }
}

/// Seconds by which a file is from the future.
fn ahead(path: &PathBuf) -> Option<(u64, PathBuf)> {
    let written = std::fs::symlink_metadata(path).ok()?.mtime();
    let now = crate::doctor::evidence::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some((u64::try_from(written).ok()?.checked_sub(now)?, path.clone()))
}
