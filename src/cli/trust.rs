//! `rtcctl cert trust` and `cert untrust`: says exactly what will be changed on this machine, asks, does it, looks whether it worked.

use std::path::Path;

use serde::Serialize;

use super::cert::{existing_ca, grouped, hex};
use super::cx::Cx;
use crate::cert::LocalCa;
use crate::cert::trust::{self, Added, Place, Record, Scope, Survey};
use crate::ui::{Exit, Failure};

#[derive(Serialize)]
struct Done<'a> {
    place: &'a Place,
    /// `done`, `already` or `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    places: Vec<Done<'a>>,
    notes: Vec<String>,
}

pub(super) fn trust(cx: &Cx) -> Result<(), Failure> {
    let config = cx.config()?;
    let ca = existing_ca(cx, &config)?;
    let state = cx.paths(&config).state;
    let scope = Scope::of_caller(&|key| std::env::var(key).ok());
    let survey = trust::survey(&scope, &ca);
    let stale: Vec<Record> = trust::records(&state)?.into_iter().filter(|record| record.ca != hex(&ca.sha256).to_lowercase()).collect();
    let notes = notes(&survey, &state);
    let (already, places): (Vec<&Place>, Vec<&Place>) = survey.places.iter().partition(|place| trust::trusts(place, &ca).unwrap_or(false));
    if !places.is_empty() || !stale.is_empty() {
        say_changes(cx, &ca, &places, &stale);
        if !cx.ui.confirm("trust this CA on this machine?", "--yes")? {
            return Err(Failure::new(Exit::No, "nothing was changed"));
        }
    }
    // A CA that was replaced vouches for nothing of ours any more.
    for record in &stale {
        trust::remove(&state, record)?;
    }
    let mut done: Vec<Done<'_>> = already.into_iter().map(|place| Done { place, outcome: "already", why: None }).collect();
    done.extend(places.into_iter().map(|place| match trust::add(&state, &ca, place) {
        Ok(Added::Done) => Done { place, outcome: "done", why: None },
        Ok(Added::Already) => Done { place, outcome: "already", why: None },
        Err(error) => Done { place, outcome: "failed", why: Some(format!("{error:#}")) },
    }));
    finish(cx, "cert.trust", "trusted", &Answer { sha256: Some(hex(&ca.sha256)), places: done, notes })
}

pub(super) fn untrust(cx: &Cx) -> Result<(), Failure> {
    let config = cx.config()?;
    let state = cx.paths(&config).state;
    let records = trust::records(&state)?;
    if records.is_empty() {
        cx.ui.say("nothing to undo: cert trust changed nothing on this machine");
    } else {
        cx.ui.say("this takes the local CA out of:");
        for record in &records {
            cx.ui.say(format!("  {}", described(&record.place)));
        }
        if !cx.ui.confirm("take it out?", "--yes")? {
            return Err(Failure::new(Exit::No, "nothing was changed"));
        }
    }
    let undo = |record: &Record| match trust::remove(&state, record) {
        Ok(()) => ("done", None),
        Err(error) => ("failed", Some(format!("{error:#}"))),
    };
    let outcomes: Vec<_> = records.iter().map(undo).collect();
    let done = records.iter().zip(outcomes).map(|(record, (outcome, why))| Done { place: &record.place, outcome, why }).collect();
    finish(cx, "cert.untrust", "taken out", &Answer { sha256: None, places: done, notes: Vec::new() })
}

fn say_changes(cx: &Cx, ca: &LocalCa, places: &[&Place], stale: &[Record]) {
    cx.ui.say("the local CA of this site:");
    for line in grouped(&hex(&ca.sha256)) {
        cx.ui.say(format!("  {line}"));
    }
    for (title, places) in
        [("will be put into:", places.to_vec()), ("a former one will be taken out of:", stale.iter().map(|record| &record.place).collect())]
    {
        if !places.is_empty() {
            cx.ui.say(title);
        }
        for place in places {
            cx.ui.say(format!("  {}", described(place)));
        }
    }
}

fn described(place: &Place) -> String {
    match place {
        Place::System { file, command, .. } => format!("{:<9} {}, then {}", "system", file.display(), command.join(" ")),
        Place::Nss { browser, folder, .. } => format!("{browser:<9} {}", folder.display()),
    }
}

/// What this run cannot do, each with the way on.
fn notes(survey: &Survey, state: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    if survey.system_needs_root {
        notes.push(format!("the system store (curl, git, other programs) belongs to root: sudo rtcctl cert trust --state {}", state.display()));
    }
    if survey.certutil_missing {
        notes.push(
            "browsers keep their own stores, and certutil is missing to write them: apt install libnss3-tools (Fedora: nss-tools, Arch: nss)".into(),
        );
    }
    notes
}

fn finish(cx: &Cx, command: &str, participle: &str, answer: &Answer<'_>) -> Result<(), Failure> {
    for done in &answer.places {
        let step = cx.ui.step("trust");
        match (&done.why, done.outcome) {
            (Some(why), _) => step.fail(format!("{}\n{why}", described(done.place))),
            (None, "already") => step.skip(format!("{}: {participle} already", done.place)),
            (None, _) => step.ok(format!("{}: {participle}", done.place)),
        }
    }
    if command == "cert.trust" && answer.places.is_empty() {
        let failure = Failure::new(Exit::Resource, "no store could be changed");
        return Err(answer.notes.iter().fold(failure, |failure, note| failure.hint(note.clone())));
    }
    for note in &answer.notes {
        cx.ui.warn(note);
    }
    let failed = answer.places.iter().filter(|done| done.why.is_some()).count();
    if failed > 0 {
        let mut failure = Failure::new(Exit::Resource, format!("{failed} of {} stores could not be changed", answer.places.len()));
        failure = failure.field("places", serde_json::to_value(&answer.places).unwrap_or_default());
        return Err(failure.hint("close the browser and try again; rtcctl cert untrust takes back what was done"));
    }
    if cx.ui.is_json() {
        return cx.ui.out_json(command, answer);
    }
    if command == "cert.trust" {
        cx.ui.say("restart a browser that is open; undo: rtcctl cert untrust");
    }
    Ok(())
}
