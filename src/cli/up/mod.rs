//! `rtcctl up`: plan, certificate, service, proof, link. What fails is taken back.

mod site;
pub(super) mod words;

use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::site::{Certificate, Site};
use super::call::{self, HostLink, LINK_LIFE};
use super::cx::Cx;
use crate::config::model::{Proxy, RoomOpeners};
use crate::deploy::apply::{StepFailed, Work};
use crate::deploy::history;
use crate::deploy::plan::{Plan, Step};
use crate::deploy::service::{Installed, Service};
use crate::deploy::state::State;
use crate::host::Local;
use crate::probe::{self, Broken, Proof};
use crate::signal::{hosts, invite};
use crate::telemetry::status::{self, ListenerStatus, Status};
use crate::ui::{Exit, Failure, Ui};

/// The whole proof; on a machine of its own it takes a tenth of a second.
const PROOF_DEADLINE: Duration = Duration::from_secs(15);

/// How long nginx may take to do what it was told, and how often it is looked at meanwhile.
const NGINX_RELOAD: Duration = Duration::from_secs(3);
const PROVE_AGAIN: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct UpArgs {
    /// Print what would be done, and touch nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not prove the result by a test call
    #[arg(long)]
    no_test_call: bool,
    /// Override a config key, as "site.https_port=8443"; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    link: &'a str,
    certificate: &'a Certificate,
    release: Option<u64>,
    pid: Option<u32>,
    listeners: Vec<ListenerStatus>,
    /// `null` with `--no-test-call`.
    proof: Option<Proof>,
    changed: bool,
    /// Where only hosts open rooms, the first of their links; later ones come from `call invite --as-host`.
    host_link: Option<&'a str>,
    /// Sentences that a person should hear.
    notes: Vec<String>,
}

pub(super) fn run(cx: &Cx, args: UpArgs) -> Result<(), Failure> {
    let site = Site::look(cx, &args.set)?;
    if args.dry_run {
        return dry_run(&cx.ui, &site);
    }
    site.ask_about_other_states(&cx.ui)?;
    site.offer_nginx(&cx.ui)?;
    let interrupt = Interrupt::listen()?;
    let state =
        State::open(&site.paths.state, site.mode(), &words::owner("rtcctl up"), cx.timeout()).map_err(|error| words::not_opened(&site, error))?;
    let planned = site.plan(&state.made).and_then(|plan| agreed(&cx.ui, plan));
    let plan = match planned {
        Ok(plan) => plan,
        Err(failure) => {
            state.abandon().map_err(anyhow::Error::from)?;
            return Err(failure);
        }
    };
    let up = Up { cx, site: &site, plan, interrupt: &interrupt };
    up.run(state, !args.no_test_call)
}

/// Nobody's work is overwritten without a word.
fn agreed(ui: &Ui, plan: Plan) -> Result<Plan, Failure> {
    for replaced in &plan.replaces {
        let (path, backup) = (replaced.path.display(), replaced.backup.display());
        ui.say(replaced.diff.trim_end());
        if !ui.confirm(&format!("{path} was changed by hand: write ours, and keep that version as {backup}"), "--yes")? {
            return Err(Failure::new(Exit::Usage, format!("nothing was changed: {path} stays as it is")));
        }
    }
    Ok(plan)
}

fn dry_run(ui: &Ui, site: &Site) -> Result<(), Failure> {
    let plan = site.plan(&[])?;
    if ui.is_json() {
        #[derive(Serialize)]
        struct DryRun<'a> {
            link: &'a str,
            changed: bool,
            #[serde(flatten)]
            plan: &'a Plan,
        }
        return ui.out_json("up.dry-run", &DryRun { link: &site.link, changed: !plan.is_empty(), plan: &plan });
    }
    words::notes(ui, site.notes.iter().chain(&plan.notes));
    if plan.is_empty() {
        return ui.out(format!("nothing to do: {} runs as wanted", site.config.name));
    }
    let certificate = format!("certificate for {}", words::names(&site.names.all));
    for replaced in &plan.replaces {
        ui.warn(format!("{} was changed by hand; that version would be kept as {}", replaced.path.display(), replaced.backup.display()));
        ui.say(replaced.diff.trim_end());
    }
    let lines =
        plan.ground.iter().map(ToString::to_string).chain([certificate]).chain(plan.change.iter().chain(&plan.after).map(ToString::to_string));
    ui.out(lines.collect::<Vec<_>>().join("\n"))?;
    ui.say(format!("nothing was touched; without --dry-run the link is {}", site.link));
    Ok(())
}

struct Up<'a> {
    cx: &'a Cx,
    site: &'a Site,
    plan: Plan,
    interrupt: &'a Interrupt,
}

/// Why an `up` did not come to its end.
enum Broke {
    Step(StepFailed),
    Certificate(anyhow::Error),
    Proof(Broken),
    Interrupted,
}

impl Up<'_> {
    fn run(self, state: State, test_call: bool) -> Result<(), Failure> {
        let (site, ui) = (self.site, &self.cx.ui);
        ui.step("plan").ok(words::plan(site, &self.plan));
        let mut notes: Vec<String> = site.notes.iter().chain(&self.plan.notes).cloned().collect();
        let entries = history::read(&Local, &site.paths.history()).unwrap_or_default();
        notes.extend(words::moved(entries.iter().rev().find_map(|entry| entry.link.as_deref()), &site.link));
        words::notes(ui, &notes);

        let service = Installed::new(&Local, site.keeper, &site.config.name, &site.paths, words::seconds(SystemTime::now()));
        let interrupted = || self.interrupt.happened();
        let mut work = Work::new(&Local, &service, self.cx.timeout(), &interrupted);
        let (certificate, proof) = match self.bring_up(&mut work, &service, test_call) {
            Ok(done) => done,
            Err(broke) => return Err(self.take_back(work, &service, state, broke)),
        };
        notes.extend(certificate.notes.iter().cloned());
        let status = work.status().cloned().or_else(|| crate::deploy::facts::running(&site.paths));
        if let Err(failed) = work.apply(&self.plan.after, &mut |_| {}) {
            ui.warn(failed.to_string());
        }
        let changed = !self.plan.is_empty() || certificate.issued;
        if changed {
            self.remember("done", status.as_ref().and_then(|s| s.release));
        }
        let invited = self.first_host();
        drop(state);
        self.answer(&certificate, proof, status, changed, invited, notes)
    }

    /// Said once: whoever lost it asks for another one.
    fn first_host(&self) -> Option<HostLink> {
        let paths = &self.site.paths;
        if self.site.config.signal.open_rooms == RoomOpeners::Anyone || !matches!(hosts::generation(&paths.generation()), Ok(None)) {
            return None;
        }
        let made = HostLink::make(paths, &self.site.link, LINK_LIFE);
        made.inspect_err(|failure| self.cx.ui.warn(format!("no host link: {failure}"))).ok()
    }

    fn bring_up(&self, work: &mut Work<'_>, service: &dyn Service, test_call: bool) -> Result<(Certificate, Option<Proof>), Broke> {
        let (site, ui) = (self.site, &self.cx.ui);
        work.apply(&self.plan.ground, &mut |doing| ui.detail(doing.to_string())).map_err(Broke::Step)?;

        let step = ui.step("certificate");
        let mut certificate = site.certificate().map_err(Broke::Certificate)?;
        step.ok(words::certificate(&certificate));
        words::notes(ui, &certificate.notes);

        let step = ui.step("service");
        work.apply(&self.plan.change, &mut |doing| step.now(&doing.to_string())).map_err(Broke::Step)?;
        if certificate.issued && work.status().is_none() {
            // It runs on from before; it would find the new certificate within a minute by itself.
            let _ = status::ask(&site.paths.admin_socket(), "reload-certificate", Duration::from_secs(5));
        }
        step.ok(words::service(site, work.status().map(|s| s.pid).or_else(|| service.pid()), self.plan.change.is_empty()));
        if !test_call {
            ui.step("proof").skip("--no-test-call");
            return Ok((certificate, None));
        }
        let step = ui.step("proof");
        match self.prove_in_time(&certificate) {
            Ok(proof) => {
                step.ok(words::proof(&proof));
                Ok((certificate, Some(proof)))
            }
            // A proxy that we may not touch leads here when its operator lets it; until then nothing here is wrong.
            Err(Broke::Proof(broken)) if site.config.site.proxy == Proxy::Other && !matches!(broken.step, probe::Step::Relay(_)) => {
                let sentence = format!("your proxy does not lead here yet: {}: {}", broken.url, broken.cause);
                step.warn(&sentence);
                certificate.notes.push(sentence);
                Ok((certificate, None))
            }
            Err(broke) => Err(broke),
        }
    }

    /// nginx says that it will take a site before it has done so.
    fn prove_in_time(&self, certificate: &Certificate) -> Result<Proof, Broke> {
        let reloads = self.plan.change.iter().any(|step| matches!(step, Step::Site { .. }));
        let patience = Instant::now() + if reloads { NGINX_RELOAD } else { Duration::ZERO };
        loop {
            match self.prove(certificate) {
                Err(Broke::Proof(_)) if Instant::now() < patience => std::thread::sleep(PROVE_AGAIN),
                proven => return proven,
            }
        }
    }

    fn prove(&self, certificate: &Certificate) -> Result<Proof, Broke> {
        let transports = self.site.config.test_call.transports.clone();
        let no_pass = |failure: Failure| Broken { step: probe::Step::Room, url: self.site.link.clone(), cause: failure.message };
        let cookie = self.pass().map_err(|failure| Broke::Proof(no_pass(failure)))?;
        let target = probe::Target { link: self.site.link.clone(), roots: certificate.roots.clone(), transports, deadline: PROOF_DEADLINE, cookie };
        self.interrupt.runtime.block_on(async {
            tokio::select! {
                proof = probe::prove(&target) => proof.map_err(Broke::Proof),
                () = self.interrupt.token.cancelled() => Err(Broke::Interrupted),
            }
        })
    }

    /// What lets the proof open its room where only hosts may.
    fn pass(&self) -> Result<Option<String>, Failure> {
        if self.site.config.signal.open_rooms == RoomOpeners::Anyone {
            return Ok(None);
        }
        let pass = call::rights(&self.site.paths)?.pass(words::seconds(SystemTime::now()));
        Ok(Some(format!("{}={pass}", invite::COOKIE)))
    }

    /// Says what failed, undoes everything, says how that went.
    fn take_back(&self, mut work: Work<'_>, service: &dyn Service, state: State, broke: Broke) -> Failure {
        let ui = &self.cx.ui;
        let told = words::Told::of(&broke);
        let step = ui.step(told.label);
        if words::is_interrupt(&broke) {
            step.skip(&told.line)
        } else {
            step.fail(&told.line)
        }
        // Before the undo: it may take the log away.
        let last_words = if told.about_service { service.last_words() } else { Vec::new() };
        if self.plan.is_empty() && !matches!(broke, Broke::Step(_)) {
            drop(state);
            return words::nothing_to_undo(&broke, told, last_words);
        }
        let step = ui.step("undo");
        step.now("putting everything back");
        let remains = work.undo();
        if remains.is_empty() {
            step.ok(words::put_back(&self.plan));
        } else {
            step.fail(remains.join("\n"));
        }
        if state.made.is_empty() || !remains.is_empty() {
            self.remember(if remains.is_empty() { "put back" } else { "stuck" }, None);
            drop(state);
        } else if let Err(error) = state.abandon() {
            ui.warn(error.to_string());
        }
        words::not_kept(&broke, told, last_words, &remains)
    }

    /// A history that cannot be written is no reason to fail: the deed is done.
    fn remember(&self, outcome: &str, release: Option<u64>) {
        let entry = history::Entry {
            at: words::seconds(SystemTime::now()),
            user: words::user(),
            verb: "up".into(),
            outcome: outcome.into(),
            release,
            link: (outcome == "done").then(|| self.site.link.clone()),
        };
        if let Err(error) = history::append(&Local, &self.site.paths.history(), &entry) {
            self.cx.ui.warn(error.to_string());
        }
    }

    fn answer(
        &self,
        certificate: &Certificate,
        proof: Option<Proof>,
        status: Option<Status>,
        changed: bool,
        invited: Option<HostLink>,
        notes: Vec<String>,
    ) -> Result<(), Failure> {
        let (site, ui) = (self.site, &self.cx.ui);
        if ui.is_json() {
            let (release, pid) = (status.as_ref().and_then(|s| s.release), status.as_ref().map(|s| s.pid));
            let host_link = invited.as_ref().map(|made| made.link.as_str());
            let listeners = status.map(|s| s.listeners).unwrap_or_default();
            return ui.out_json("up", &Answer { link: &site.link, certificate, release, pid, listeners, proof, changed, host_link, notes });
        }
        ui.out(&site.link)?;
        if ui.stdout_is_terminal() && !ui.is_quiet() {
            ui.out(crate::ui::qr::qr(&site.link, ui.unicode()))?;
        }
        let install =
            std::env::current_exe().ok().and_then(|program| words::install(&program, &std::env::var_os("PATH").unwrap_or_default(), site.is_root));
        let host = invited.iter().flat_map(words::first_host);
        for line in host.chain(words::next(&site.config, &site.names.primary, &site.link)).chain(install) {
            ui.say(line);
        }
        if site.config.site.proxy == Proxy::Other && proof.is_none() {
            ui.say(format!("Tell your proxy to lead to {}, then prove it with rtcctl up:", site.config.site.backend));
            for snippet in site.snippets() {
                ui.say(format!("\n{}", snippet.trim_end()));
            }
        }
        Ok(())
    }
}

/// Ctrl-C and SIGTERM as something that can be asked for and waited for. The runtime that listens also carries the proof.
struct Interrupt {
    runtime: tokio::runtime::Runtime,
    token: CancellationToken,
}

impl Interrupt {
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |e: std::io::Error| Failure::new(Exit::Resource, format!("listen for signals: {e}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
        let token = CancellationToken::new();
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
        };
        let stop = token.clone();
        // Owned by the runtime, which ends with this command.
        runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
        });
        Ok(Self { runtime, token })
    }

    fn happened(&self) -> bool {
        self.token.is_cancelled()
    }
}
