//! `rtcctl init`: looks around, asks what it cannot find out, writes `rtcctl.toml`. Every answer is a flag, and flags give the same bytes.

mod look;
mod words;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::look::Seen;
use super::cx::Cx;
use crate::config::model::{Address, Config, RoomOpeners};
use crate::config::starter::{self, Answers};
use crate::host::files;
use crate::ui::{Choice, Exit, Failure};

/// Nothing in it is secret, and the daemon may be another user.
const MODE: u32 = 0o644;

#[derive(Args)]
pub(super) struct InitArgs {
    /// What people type into their browser: a name, an IP address, or "lan"
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Who may open rooms; whoever has a room's link may join it
    #[arg(long, value_name = "WHO")]
    open_rooms: Option<Openers>,
    /// Who vouches for the site: auto, or local for this machine's own authority
    #[arg(long, value_name = "CA")]
    ca: Option<String>,
    /// Replace a file that is there; the old one is kept beside it
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Openers {
    Anyone,
    Hosts,
}

#[derive(Serialize)]
struct Written<'a> {
    file: &'a Path,
    address: &'a str,
    open_rooms: &'a str,
    ca: Option<&'a str>,
    /// Where the file that stood there is kept.
    kept: Option<PathBuf>,
    changed: bool,
    /// The command that writes the same bytes.
    flags: String,
    notes: Vec<String>,
}

pub(super) fn run(cx: &Cx, args: InitArgs) -> Result<(), Failure> {
    let seen = Seen::look().map_err(|error| Failure::new(Exit::Resource, format!("look at this machine's addresses: {error}")))?;
    let wizard = Wizard { cx, seen, args };
    wizard.check_flags()?;
    wizard.name_what_is_missing()?;
    cx.ui.say(words::machine(&wizard.seen.addresses, wizard.seen.public_address(), &wizard.seen.held));
    let may_replace = wizard.may_replace()?;
    let (answers, mut notes) = wizard.ask()?;
    let problems = answers.problems();
    if !problems.is_empty() {
        let told = problems.iter().fold(Failure::new(Exit::Usage, problems[0].message.clone()), |failure, problem| match &problem.hint {
            Some(hint) => failure.hint(hint.clone()),
            None => failure,
        });
        return Err(told.hint("nothing was written"));
    }
    notes.extend(words::in_the_way(&wizard.seen.held));
    wizard.write(&answers, may_replace, notes)
}

struct Wizard<'a> {
    cx: &'a Cx,
    seen: Seen,
    args: InitArgs,
}

impl Wizard<'_> {
    /// Before anything is asked.
    fn check_flags(&self) -> Result<(), Failure> {
        let Some(address) = &self.args.address else { return Ok(()) };
        starter::address(address).map(drop).map_err(|wrong| {
            Failure::new(Exit::Usage, format!("--address: {}", wrong.trim_start_matches("site.address: ")))
                .hint("write a domain name, an IP address, or lan")
        })
    }

    /// Without a terminal every missing answer at once.
    fn name_what_is_missing(&self) -> Result<(), Failure> {
        if self.cx.ui.can_ask() || self.cx.ui.assumes_yes() {
            return Ok(());
        }
        let (address, openers) = (self.default_address(), self.args.open_rooms);
        let missing = [("--address", self.args.address.is_none()), ("--open-rooms", openers.is_none())];
        let missing: Vec<_> = missing.into_iter().filter(|(_, missing)| *missing).map(|(flag, _)| flag).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let meant = starter::address(self.args.address.as_deref().unwrap_or(&address)).unwrap_or(Address::Lan);
        let defaults =
            format!("--address {} --open-rooms {}", self.args.address.as_ref().unwrap_or(&address), words::openers(self.default_openers(&meant)));
        let what = if missing.len() == 1 { "an answer is missing" } else { "answers are missing" };
        Err(Failure::new(Exit::Usage, format!("{what}, and there is no terminal to ask on: {}", missing.join(", ")))
            .hint(format!("give them, or take the defaults with --yes: {defaults}")))
    }

    /// Asked first, so that nobody answers in vain.
    fn may_replace(&self) -> Result<bool, Failure> {
        let file = self.file();
        if self.args.force || file.symlink_metadata().is_err() {
            return Ok(self.args.force);
        }
        if self.cx.ui.can_ask()
            && self.cx.ui.confirm(&format!("{} exists. Write it anew? The old one is kept beside it.", file.display()), "--force")?
        {
            return Ok(true);
        }
        if self.cx.ui.can_ask() {
            return Err(Failure::new(Exit::No, "nothing was written"));
        }
        // The same answers again are no overwriting; that is known once they are there.
        Ok(false)
    }

    fn ask(&self) -> Result<(Answers, Vec<String>), Failure> {
        let address = self.address()?;
        let meant = starter::address(&address).map_err(|wrong| Failure::new(Exit::Usage, wrong))?;
        let mut notes = Vec::new();
        if let Address::Host(name) = &meant {
            let (warns, line) = words::leads(&address, &self.seen.where_it_leads(name), &self.seen.addresses, &ports());
            if warns {
                notes.push(line.clone());
            }
            if !warns || self.cx.ui.can_ask() {
                self.cx.ui.say(format!("  {line}"));
            }
        }
        let open_rooms = self.open_rooms(&meant)?;
        if open_rooms == RoomOpeners::Anyone && self.is_exposed(&meant) {
            notes.push("anyone on the internet may open rooms here and use the relay, on your line".to_owned());
        }
        let ca = self.args.ca.clone().or_else(|| starter::is_public(&meant).then(|| "local".to_owned()));
        if self.args.ca.is_none() && ca.is_some() {
            notes.push(
                "certificates of a public authority are not built yet: this machine's own authority vouches, and each device has to trust it once"
                    .to_owned(),
            );
        }
        Ok((Answers { address, open_rooms, ca }, notes))
    }

    fn address(&self) -> Result<String, Failure> {
        if let Some(address) = &self.args.address {
            return Ok(address.trim().to_owned());
        }
        let default = self.default_address();
        let means = if default == "lan" { "lan: this machine has no public address of its own" } else { "the public address of this machine" };
        let lines = [
            r#"A domain name, an IP address, or "lan" for this network only: it stands in every link and in the certificate."#.to_owned(),
            format!("Enter takes {means}."),
        ];
        let check = |text: &str| starter::address(text).map(drop);
        self.cx.ui.ask("What will people type into their browser?", &lines, &default, &check, "--address").map(|text| text.trim().to_owned())
    }

    fn default_address(&self) -> String {
        self.seen.public_address().map_or_else(|| "lan".to_owned(), |address| address.to_string())
    }

    fn open_rooms(&self, address: &Address) -> Result<RoomOpeners, Failure> {
        match self.args.open_rooms {
            Some(Openers::Anyone) => return Ok(RoomOpeners::Anyone),
            Some(Openers::Hosts) => return Ok(RoomOpeners::Hosts),
            None => {}
        }
        let choices = [
            Choice { name: "people I invite", why: "an open relay on your line is somebody else's free relay" },
            Choice { name: "anyone", why: "whoever reaches the page; right where only your own network does" },
        ];
        let default = usize::from(self.default_openers(address) == RoomOpeners::Anyone);
        let lines = ["Whoever has the link of a room may join it; this is about making new ones.".to_owned()];
        let chosen = self.cx.ui.choose("Who may open rooms?", &lines, &choices, default, "--open-rooms")?;
        Ok(if chosen == 0 { RoomOpeners::Hosts } else { RoomOpeners::Anyone })
    }

    fn default_openers(&self, address: &Address) -> RoomOpeners {
        if self.is_exposed(address) { RoomOpeners::Hosts } else { RoomOpeners::Anyone }
    }

    /// A name for "this network" is no wall when the machine stands on the internet.
    fn is_exposed(&self, address: &Address) -> bool {
        starter::is_public(address) || (*address == Address::Lan && self.seen.public_address().is_some())
    }

    fn file(&self) -> PathBuf {
        self.cx.global.config.clone().unwrap_or_else(|| PathBuf::from("rtcctl.toml"))
    }

    fn write(&self, answers: &Answers, may_replace: bool, notes: Vec<String>) -> Result<(), Failure> {
        let (ui, file, text) = (&self.cx.ui, self.file(), answers.to_toml());
        let refused = |error: files::FileError| Failure::new(Exit::Resource, error.to_string());
        let there = file.symlink_metadata().is_ok();
        let changed = !there || std::fs::read(&file).ok().as_deref() != Some(text.as_bytes());
        let mut kept = None;
        if changed {
            if there && !may_replace && !ui.assumes_yes() {
                return Err(Failure::new(Exit::Usage, format!("{} exists, with other content; nothing was written", file.display()))
                    .hint("replace it with --force; the old one is kept beside it"));
            }
            if there {
                kept = Some(files::set_aside(&file).map_err(refused)?);
            }
            files::write_atomic(&file, text.as_bytes(), MODE).map_err(refused)?;
        }
        let flags = words::same_by_flags(answers, self.cx.global.config.as_ref().map(|file| file.to_string_lossy()).as_deref());
        if ui.is_json() {
            let (address, open_rooms) = (answers.address.as_str(), words::openers(answers.open_rooms));
            return ui.out_json("init", &Written { file: &file, address, open_rooms, ca: answers.ca.as_deref(), kept, changed, flags, notes });
        }
        for note in &notes {
            ui.warn(note);
        }
        if let Some(kept) = kept {
            ui.say(format!("kept the old one as {}", kept.display()));
        }
        ui.say(if changed { format!("wrote {}", file.display()) } else { format!("{} says so already", file.display()) });
        ui.say(format!("  same by flags: {flags}"));
        ui.say("next: rtcctl up");
        Ok(())
    }
}

/// What a router in front has to let through, of a config that says nothing else.
fn ports() -> String {
    let config = Config::default();
    let turn = config.turn.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let http = config.site.http_port.map(|port| format!("{port} and ")).unwrap_or_default();
    format!("{http}{}/tcp, {turn}/tcp and udp, {}/udp", config.site.https_port, config.turn.relay_ports)
}
