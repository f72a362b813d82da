//! Why a command failed: an exit code of the public table, a sentence, what belongs to it, and a hint.

use std::fmt;

use serde::Serialize;

/// Exit codes (README, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum Exit {
    /// The answer is no.
    No = 1,
    /// Usage or config is wrong; nothing was touched.
    Usage = 2,
    /// A local resource is missing or refused (port, file, permission).
    Resource = 3,
    /// The remote host could not be reached or trusted.
    Remote = 4,
    /// The certificate authority refused.
    Authority = 5,
    /// Another operator holds the lock.
    Locked = 6,
    /// Failed, and everything was put back.
    PutBack = 7,
    /// Failed, and could not be put back.
    Stuck = 8,
    Interrupted = 130,
}

/// An error for a person. `message` is lower-case without a full stop; `hints` begin with a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    /// Further lines of the same thought, printed indented.
    pub details: Vec<String>,
    pub hints: Vec<String>,
    /// A report already laid out (config problems with source lines); printed as it is instead of message and details.
    pub report: Option<String>,
    /// Further keys of the error object that `--json` prints. In a box because few have any and every result carries the room.
    pub fields: Option<Box<serde_json::Map<String, serde_json::Value>>>,
    /// The answer stands on stdout already, and it is no: with `--json` no second object follows it.
    pub answered: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hints: Vec::new(), report: None, fields: None, answered: false }
    }

    /// Ctrl-C: nobody needs to be told why.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// A further key of the JSON error object.
    #[must_use]
    pub fn field(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.fields.get_or_insert_default().insert(key.to_owned(), value.into());
        self
    }

    /// What was printed on stdout is the whole answer for programs.
    #[must_use]
    pub fn answered(mut self) -> Self {
        self.answered = true;
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The world refused something that no caller told apart: a local resource.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::new(Exit::Resource, format!("{error:#}")),
        }
    }
}
