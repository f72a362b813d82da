//! `rtcctl call`: links that let people in. So far the host link, which lets a browser open rooms on a site where only hosts may.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cx::Cx;
use super::up::words::seconds;
use crate::config::{Paths, Secret, values};
use crate::host::files;
use crate::signal::hosts;
use crate::signal::invite::{Generation, LONGEST_LINK, Rights};
use crate::telemetry::status::{self, Status};
use crate::ui::{Exit, Failure, Ui, qr};

/// Long enough to walk to another device, too short to be found in an old mail.
pub(super) const LINK_LIFE: Duration = Duration::from_secs(2 * 3600);
/// The daemon answers from memory.
const ANSWER: Duration = Duration::from_secs(2);
/// Random bytes of the key, if it has to be made.
const KEY_BYTES: usize = 32;

#[derive(Subcommand)]
pub(super) enum CallCommand {
    /// A host link and its QR code: the browser that opens it may open rooms
    Invite(InviteArgs),
}

#[derive(Args)]
pub(super) struct InviteArgs {
    /// The right to open rooms, where only hosts have it
    #[arg(long, required = true)]
    as_host: bool,
    /// End every right given so far, and every host link
    #[arg(long)]
    revoke: bool,
    /// How long the link may be opened, as "30m"; at most 7d [default: 2h]
    #[arg(long, value_name = "DURATION", value_parser = super::parse_duration, conflicts_with = "revoke")]
    ttl: Option<Duration>,
}

impl CallCommand {
    pub(super) fn name(&self) -> &'static str {
        "call.invite"
    }
}

pub(super) fn run(cx: &Cx, command: CallCommand) -> Result<(), Failure> {
    let CallCommand::Invite(args) = command;
    let paths = cx.paths(&cx.config()?);
    if args.revoke { revoke(&cx.ui, &paths) } else { invite(&cx.ui, &paths, args.ttl.unwrap_or(LINK_LIFE)) }
}

/// A host link as people and scripts see it.
#[derive(Serialize)]
pub(super) struct HostLink {
    pub(super) link: String,
    /// RFC 3339, UTC.
    expires: String,
    generation: Generation,
}

impl HostLink {
    /// `site` ends in a slash. The token stands behind `#`, which no browser sends to a server: it ends in no log.
    pub(super) fn make(paths: &Paths, site: &str, ttl: Duration) -> Result<Self, Failure> {
        let rights = rights(paths)?;
        let generation = hosts::begin(&paths.generation()).map_err(refused)?;
        let until = SystemTime::now() + ttl;
        let link = format!("{site}#host={}", rights.link(generation, seconds(until)));
        let expires = OffsetDateTime::from(until).replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Ok(Self { link, expires: expires.format(&Rfc3339).unwrap_or_default(), generation })
    }
}

/// What signs host links, once `up` has made its key.
pub(super) fn rights(paths: &Paths) -> Result<Rights, Failure> {
    let path = paths.signal_key();
    if matches!(path.try_exists(), Ok(false)) {
        return Err(Failure::new(Exit::No, format!("nothing was set up in {}", paths.state.display()))
            .hint("rtcctl up")
            .hint("or call as the user who ran rtcctl up, often: sudo rtcctl call invite --as-host"));
    }
    files::secret_file(&path, KEY_BYTES).map(|key| Rights::new(&Secret::new(key))).map_err(refused)
}

fn invite(ui: &Ui, paths: &Paths, ttl: Duration) -> Result<(), Failure> {
    if ttl > LONGEST_LINK {
        return Err(Failure::new(Exit::Usage, format!("--ttl: longer than {}: {}", values::show_duration(LONGEST_LINK), values::show_duration(ttl)))
            .hint("a host link is opened once, soon; the browser keeps the right for a year"));
    }
    let status = running(paths)?;
    if status.open_rooms != "hosts" {
        return Err(Failure::new(Exit::Usage, "anyone may open rooms on this site: nobody needs a host link")
            .hint("to keep it to hosts: open_rooms = \"hosts\" below [signal], then rtcctl up"));
    }
    let made = HostLink::make(paths, &status.link, ttl)?;
    if ui.is_json() {
        return ui.out_json("call.invite", &made);
    }
    ui.out(&made.link)?;
    if ui.stdout_is_terminal() {
        ui.out(qr::qr(&made.link, ui.unicode()))?;
    }
    ui.say(format!("The browser that opens it may open rooms for a year. The link is good for {}.", values::show_duration(ttl)));
    ui.say("End every such right: rtcctl call invite --as-host --revoke");
    Ok(())
}

fn revoke(ui: &Ui, paths: &Paths) -> Result<(), Failure> {
    rights(paths)?;
    if !ui.confirm("End the right of every browser to open rooms here, and every host link?", "--yes")? {
        return Err(Failure::new(Exit::No, "nothing was revoked"));
    }
    let generation = hosts::revoke(&paths.generation()).map_err(refused)?;
    if ui.is_json() {
        return ui.out_json("call.invite", &serde_json::json!({ "revoked": true, "generation": generation }));
    }
    ui.say("Revoked. Calls that run go on; new rooms need a new host link: rtcctl call invite --as-host");
    Ok(())
}

/// Where the link leads is what the daemon says, not what a config would mean.
fn running(paths: &Paths) -> Result<Status, Failure> {
    let answer = status::ask(&paths.admin_socket(), "status", ANSWER).map_err(|error| {
        let failure = Failure::new(Exit::No, "nothing runs here that a host link could lead to").hint("rtcctl up");
        if error.kind() == std::io::ErrorKind::NotFound { failure } else { failure.detail(format!("{}: {error}", paths.admin_socket().display())) }
    })?;
    serde_json::from_value(answer).map_err(|error| {
        Failure::new(Exit::Resource, format!("the service gives an answer that this rtcctl does not understand: {error}"))
            .hint("rtcctl up puts this version in its place")
    })
}

fn refused(error: files::FileError) -> Failure {
    Failure::new(Exit::Resource, error.to_string())
}
