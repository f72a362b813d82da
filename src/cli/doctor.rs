//! `rtcctl doctor`: runs the checks and says what is wrong, why, and which command mends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::cx::Cx;
use super::explain::{self, family};
use crate::config::{self, LoadError, SiteNames};
use crate::deploy::facts::Keeper;
use crate::deploy::ports;
use crate::doctor::{self, CHECKS, Evidence, Finding, Own, Selection, Status, Subject, Summary, Target};
use crate::host::ports::{Answer, Protocol, try_listen};
use crate::host::{Local, Machine};
use crate::turn::client::Credentials;
use crate::ui::{Exit, Failure, Ui};

/// What still waits for an answer when all is said is not waited for.
const GOODBYE: Duration = Duration::from_millis(100);
/// A file with a password in it holds one line.
const LONGEST_PASSWORD: u64 = 4096;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// A server of somebody else: https://host/, turn:host:port or turns:host:port [default: this installation]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Run only this check and what it needs; may be repeated
    #[arg(long, value_name = "ID")]
    check: Vec<String>,
    /// Leave this check out; may be repeated
    #[arg(long, value_name = "ID")]
    skip: Vec<String>,
    /// Print every check and run none
    #[arg(long)]
    list: bool,
    /// Exit 1 also for warnings and for what could not be looked at
    #[arg(long)]
    strict: bool,
    /// User name for a TURN server given as TARGET
    #[arg(long, value_name = "USER", requires = "password_file")]
    user: Option<String>,
    /// File with that user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    /// Nothing fails.
    ok: bool,
    targets: Vec<Examined>,
    took_ms: u64,
}

#[derive(Serialize)]
struct Examined {
    /// `null`: this installation.
    target: Option<String>,
    /// Nothing runs here yet.
    preflight: bool,
    summary: Summary,
    findings: Vec<Finding>,
    next: Option<String>,
}

pub(super) fn run(cx: &Cx, args: &DoctorArgs) -> Result<(), Failure> {
    if args.list {
        return explain::list(cx);
    }
    let selection = Selection { only: ids(&args.check)?, without: ids(&args.skip)? };
    let credentials = credentials(args)?;
    let mut subjects = Vec::new();
    for text in &args.targets {
        let target = Target::parse(text).map_err(|why| Failure::new(Exit::Usage, why))?;
        subjects.push((Some(text.clone()), Subject::Foreign(target)));
    }
    if subjects.is_empty() {
        subjects.push((None, own(cx)?));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Exit::Resource, format!("start threads: {e}")))?;
    let started = Instant::now();
    let mut targets = Vec::new();
    for (target, subject) in subjects {
        let step = cx.ui.step("doctor");
        step.now(target.as_deref().unwrap_or("looking at this installation"));
        let work = examine(target, Arc::new(Evidence::new(subject, credentials.clone())), &selection);
        let examined = runtime.block_on(async {
            tokio::select! {
                examined = work => Ok(examined),
                _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            }
        });
        drop(step);
        targets.push(examined?);
    }
    runtime.shutdown_timeout(GOODBYE);
    answer(cx, targets, started.elapsed(), args.strict)
}

async fn examine(target: Option<String>, evidence: Arc<Evidence>, selection: &Selection) -> Examined {
    let findings = doctor::run(&CHECKS, selection, Arc::clone(&evidence)).await;
    let preflight = evidence.is_before_up().await;
    let summary = Summary::of(&findings);
    let next = next(&findings, preflight);
    Examined { target, preflight, summary, findings, next }
}

fn answer(cx: &Cx, targets: Vec<Examined>, took: Duration, strict: bool) -> Result<(), Failure> {
    let failed = targets.iter().map(|examined| examined.summary.failed).sum::<usize>();
    let doubtful = targets.iter().map(|examined| examined.summary.warned + examined.summary.unknown).sum::<usize>();
    let is_no = failed > 0 || strict && doubtful > 0;
    if cx.ui.is_json() {
        cx.ui.out_json("doctor", &Report { ok: failed == 0, targets, took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) })?;
    } else {
        for examined in &targets {
            cx.ui.out(page(&cx.ui, examined, took).join("\n"))?;
        }
    }
    match is_no {
        false => Ok(()),
        true if failed > 0 => Err(Failure::new(Exit::No, format!("{failed} of the checks failed")).answered()),
        true => Err(Failure::new(Exit::No, "--strict: not everything is well").answered()),
    }
}

fn ids(words: &[String]) -> Result<Vec<&'static str>, Failure> {
    words.iter().map(|word| doctor::find(word).map(|check| check.id).ok_or_else(|| explain::unknown(word))).collect()
}

fn credentials(args: &DoctorArgs) -> Result<Option<Credentials>, Failure> {
    use std::io::Read as _;
    let (Some(user), Some(path)) = (&args.user, &args.password_file) else { return Ok(None) };
    let failed = |e: std::io::Error| Failure::new(Exit::Resource, format!("read {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(failed)?.take(LONGEST_PASSWORD).read_to_string(&mut text).map_err(failed)?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok(Some(Credentials { username: user.clone(), password }))
}

/// This installation as it would be, or is, applied.
fn own(cx: &Cx) -> Result<Subject, Failure> {
    let loaded = match cx.try_load(&[])? {
        Ok(loaded) => loaded,
        Err(LoadError::Wrong { problems, written }) => return Ok(Subject::Own(Err(doctor::wrong(&problems, &written.sources)))),
        Err(error @ LoadError::Read { .. }) => return Err(cx.load_failure(error)),
    };
    let machine = Machine::look().map_err(|e| Failure::new(Exit::Resource, format!("look at this machine's addresses: {e}")))?;
    let problems = config::check_machine(&loaded.config, &machine.addresses);
    if !problems.is_empty() {
        return Ok(Subject::Own(Err(doctor::wrong(&problems, &loaded.written.sources))));
    }
    let mut config = loaded.config;
    let paths = cx.paths(&config);
    ports::settle(&mut config, &|address| try_listen(address, Protocol::Tcp) == Answer::Denied);
    let names = SiteNames::of(&config, &machine.hostname, &machine.addresses);
    let keeper = Keeper::of(&Local, nix::unistd::geteuid().is_root()).map_err(anyhow::Error::from)?;
    Ok(Subject::Own(Ok(Box::new(Own { config, paths, machine, names, keeper }))))
}

/// One next step, with its reason where it does not speak for itself.
fn next(findings: &[Finding], preflight: bool) -> Option<String> {
    let first = findings.iter().find(|finding| finding.status == Status::Fail);
    match first {
        Some(finding) => {
            let command = finding.remedy.as_ref().and_then(|remedy| remedy.commands.first());
            Some(command.cloned().unwrap_or_else(|| finding.page.clone()))
        }
        None if preflight => Some("rtcctl up".to_owned()),
        None => None,
    }
}

fn page(ui: &Ui, examined: &Examined, took: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(target) = &examined.target {
        lines.push(target.clone());
    }
    let paint = |sgr: &str, mark: &str| if ui.stdout_is_terminal() { ui.paint(sgr, mark) } else { mark.to_owned() };
    let passed = passed(&examined.findings);
    if !passed.is_empty() {
        lines.push(format!("{}  {passed}", paint("32", "  ok")));
    }
    for finding in &examined.findings {
        let mark = match finding.status {
            Status::Fail => paint("31", "FAIL"),
            Status::Warn => paint("33", "  !!"),
            Status::Unknown => paint("33", "  ??"),
            Status::Pass | Status::Skip => continue,
        };
        lines.extend(told(&mark, finding));
    }
    lines.extend(skipped(&examined.findings).into_iter().map(|line| format!("{}  {line}", paint("2", "  --"))));
    lines.push(String::new());
    lines.push(total(&examined.summary, took));
    match (&examined.next, examined.preflight, examined.summary.failed) {
        (Some(next), true, 0) => lines.push(format!("nothing is running yet; next: {next}")),
        (Some(next), ..) => lines.push(format!("next: {next}")),
        (None, ..) => {}
    }
    lines
}

/// `config 3   dns 2   port 4`
fn passed(findings: &[Finding]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.status == Status::Pass) {
        match counts.iter_mut().find(|(name, _)| *name == family(finding.id)) {
            Some((_, count)) => *count += 1,
            None => counts.push((family(finding.id), 1)),
        }
    }
    counts.sort_unstable();
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join("   ")
}

fn told(mark: &str, finding: &Finding) -> Vec<String> {
    let cause = finding.cause.as_deref().or(finding.because.as_deref()).unwrap_or_default();
    let unknown = if finding.status == Status::Unknown { "unknown: " } else { "" };
    let mut lines = vec![format!("{mark}  {:<12} {unknown}{cause}", finding.id)];
    let labelled = |label: &str, texts: Vec<String>| -> Vec<String> {
        texts.into_iter().enumerate().map(|(n, text)| format!("      {:<12} {text}", if n == 0 { label } else { "" })).collect()
    };
    lines.extend(labelled("proof", finding.proof.iter().map(|(key, value)| format!("{key}: {value}")).collect()));
    if !finding.affects.is_empty() {
        lines.extend(labelled("breaks", vec![finding.affects.join("; ")]));
    }
    if let Some(remedy) = &finding.remedy {
        let way = |way: &doctor::Way| match &way.command {
            Some(command) => format!("{command}   ({})", way.text),
            None => way.text.clone(),
        };
        lines.extend(labelled("mend", remedy.ways.iter().map(way).collect()));
    }
    lines
}

/// Those with one reason on one line.
fn skipped(findings: &[Finding]) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.status == Status::Skip) {
        let because = finding.because.clone().unwrap_or_default();
        let why = if finding.blocks { format!("wait for {because}") } else { because };
        match groups.iter_mut().find(|(known, _)| *known == why) {
            Some((_, ids)) => ids.push(finding.id),
            None => groups.push((why, vec![finding.id])),
        }
    }
    groups.into_iter().map(|(why, ids)| format!("{}   {why}", short(&ids))).collect()
}

/// Three at most by name; whole families are said as one.
fn short(ids: &[&str]) -> String {
    if ids.len() <= 4 {
        return ids.join(", ");
    }
    let mut families: Vec<(&str, Vec<&str>)> = Vec::new();
    for id in ids {
        match families.iter_mut().find(|(name, _)| *name == family(id)) {
            Some((_, members)) => members.push(id),
            None => families.push((family(id), vec![id])),
        }
    }
    let one = |(name, members): &(&str, Vec<&str>)| if members.len() == 1 { members[0].to_owned() } else { format!("{name} {}", members.len()) };
    families.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn total(summary: &Summary, took: Duration) -> String {
    let counts = [
        (summary.failed, "failed"),
        (summary.warned, "warned"),
        (summary.passed, "passed"),
        (summary.unknown, "unknown"),
        (summary.waiting, "waiting"),
    ];
    let told = counts.iter().filter(|(count, word)| *count > 0 || *word == "failed").map(|(count, word)| format!("{count} {word}"));
    let told = told.collect::<Vec<_>>().join(", ");
    let seconds = took.as_secs_f64();
    let took = if seconds < 1.0 { format!("{} ms", took.as_millis()) } else { format!("{seconds:.1} s") };
    format!("{told:<66} {took:>12}")
}
