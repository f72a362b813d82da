//! Pure: a check as a row, what it may say, and a finding as people and programs get it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::evidence::Evidence;

/// Where a row has to stand to see something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vantage {
    /// On the machine that serves.
    Host,
    /// There, and from any other place just as well.
    Both,
}

/// When a row means something on our own machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// Once there is meant to be a certificate: that of the operator's own files before the first `up`, ours after it.
    Certified,
    /// While the service is meant to run.
    Running,
}

/// One row of the table.
#[derive(Debug)]
pub struct Check {
    /// A public word.
    pub id: &'static str,
    /// What holds when it passes.
    pub title: &'static str,
    pub vantage: Vantage,
    /// It also means something about somebody else's server.
    pub foreign: bool,
    pub when: When,
    /// Rows without which this one means nothing.
    pub needs: &'static [&'static str],
    pub look: fn(Arc<Evidence>) -> Looking,
}

pub type Looking = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail(Box<Fault>),
    /// Works, but somebody should know.
    Warn(Box<Fault>),
    /// Does not apply here, and why. Blocks nothing.
    Skip(String),
    /// What is seen is only the consequence of what this other row says.
    Waits(&'static str),
    /// It could not look.
    Unknown(Box<Fault>),
}

/// What is wrong, or could not be seen, and the ways on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub cause: String,
    pub proof: Vec<(&'static str, String)>,
    pub breaks: Vec<&'static str>,
    /// Cheapest first.
    pub ways: Vec<Way>,
}

/// One way to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// To be typed into a shell as it stands.
    pub command: Option<String>,
    /// What the command does; without one, what to do.
    pub text: String,
}

impl Fault {
    pub fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), ..Self::default() }
    }

    #[must_use]
    pub fn proof(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.proof.push((key, value.into()));
        self
    }

    #[must_use]
    pub fn breaks(mut self, what: &[&'static str]) -> Self {
        self.breaks.extend(what);
        self
    }

    /// A command, and what it does.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>, text: impl Into<String>) -> Self {
        self.ways.push(Way { command: Some(command.into()), text: text.into() });
        self
    }

    /// Something that no command of ours does.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.ways.push(Way { command: None, text: text.into() });
        self
    }

    pub fn fail(self) -> Verdict {
        Verdict::Fail(Box::new(self))
    }

    pub fn warn(self) -> Verdict {
        Verdict::Warn(Box::new(self))
    }

    pub fn unknown(self) -> Verdict {
        Verdict::Unknown(Box::new(self))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Pass,
    Fail,
    Warn,
    Skip,
    Unknown,
}

/// What came out of one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub id: &'static str,
    pub title: &'static str,
    pub status: Status,
    /// Of fail and warn.
    pub cause: Option<String>,
    #[serde(rename = "evidence", serialize_with = "object")]
    pub proof: Vec<(&'static str, String)>,
    pub affects: Vec<&'static str>,
    /// Of skip and unknown: another row's id, or a sentence.
    pub because: Option<String>,
    pub remedy: Option<Remedy>,
    /// The command that prints its page.
    pub page: String,
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// Rows that need this one wait.
    #[serde(skip)]
    pub blocks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    pub text: String,
    pub commands: Vec<String>,
    pub fixable: bool,
    pub undoable: bool,
    #[serde(skip)]
    pub ways: Vec<Way>,
}

impl Finding {
    pub fn new(check: &Check, verdict: Verdict, took: Duration) -> Self {
        let blocks = matches!(verdict, Verdict::Fail(_) | Verdict::Unknown(_) | Verdict::Waits(_));
        let mut finding = Self {
            id: check.id,
            title: check.title,
            status: Status::Pass,
            cause: None,
            proof: Vec::new(),
            affects: Vec::new(),
            because: None,
            remedy: None,
            page: format!("rtcctl explain {}", check.id),
            took,
            blocks,
        };
        match verdict {
            Verdict::Pass => {}
            Verdict::Skip(why) => (finding.status, finding.because) = (Status::Skip, Some(why)),
            Verdict::Waits(id) => (finding.status, finding.because) = (Status::Skip, Some(id.to_owned())),
            Verdict::Fail(fault) => finding.tell(Status::Fail, *fault),
            Verdict::Warn(fault) => finding.tell(Status::Warn, *fault),
            Verdict::Unknown(fault) => {
                finding.tell(Status::Unknown, *fault);
                finding.because = finding.cause.take();
            }
        }
        finding
    }

    fn tell(&mut self, status: Status, fault: Fault) {
        self.status = status;
        self.cause = Some(fault.cause);
        self.proof = fault.proof;
        self.affects = fault.breaks;
        self.remedy = Remedy::of(fault.ways);
    }
}

impl Remedy {
    fn of(ways: Vec<Way>) -> Option<Self> {
        let text = ways.iter().map(Way::to_string).collect::<Vec<_>>().join("; or ");
        let commands = ways.iter().filter_map(|way| way.command.clone()).collect();
        (!ways.is_empty()).then_some(Self { text, commands, fixable: false, undoable: false, ways })
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.command {
            Some(command) => write!(f, "{command} ({})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub failed: usize,
    pub warned: usize,
    pub passed: usize,
    pub unknown: usize,
    /// Skipped because of another row.
    pub waiting: usize,
    /// Does not apply.
    pub skipped: usize,
}

impl Summary {
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut summary = Self::default();
        for finding in findings {
            let count = match finding.status {
                Status::Pass => &mut summary.passed,
                Status::Fail => &mut summary.failed,
                Status::Warn => &mut summary.warned,
                Status::Unknown => &mut summary.unknown,
                Status::Skip if finding.blocks => &mut summary.waiting,
                Status::Skip => &mut summary.skipped,
            };
            *count += 1;
        }
        summary
    }
}

fn object<S: Serializer>(pairs: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (*key, value)))
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e4).round() / 10.0)
}
