//! The one place that writes to stdout and stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::{Exit, Failure};
use super::progress::Step;
use super::question::Choice;
use super::wrap::wrapped;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct UiOptions {
    pub color: ColorChoice,
    pub quiet: bool,
    /// What is done within a step is said too.
    pub verbose: bool,
    pub json: bool,
    /// Every question is answered yes.
    pub yes: bool,
    /// No question is asked.
    pub no_input: bool,
}

/// How this run speaks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ui {
    options: UiOptions,
    color_err: bool,
    unicode: bool,
    live: bool,
}

impl Ui {
    /// Looks at the terminal and at `NO_COLOR`, `CLICOLOR_FORCE`, `TERM`, `LC_ALL`, `LC_CTYPE`, `LANG`.
    pub fn new(options: UiOptions) -> Self {
        let env = |key: &str| std::env::var(key).ok().filter(|v| !v.is_empty());
        let dumb = env("TERM").is_some_and(|t| t == "dumb");
        let terminal = io::stderr().is_terminal();
        let forced = env("CLICOLOR_FORCE").is_some_and(|v| v != "0");
        let color_err = match options.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if env("NO_COLOR").is_some() => false,
            ColorChoice::Auto => forced || (terminal && !dumb),
        };
        let locale = env("LC_ALL").or_else(|| env("LC_CTYPE")).or_else(|| env("LANG")).unwrap_or_default().to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { options, color_err, unicode, live: terminal && !dumb && !options.quiet && !options.json }
    }

    pub fn is_json(&self) -> bool {
        self.options.json
    }

    /// Colour on stderr.
    pub fn colour(&self) -> bool {
        self.color_err
    }

    /// The locale can show more than ASCII.
    pub fn unicode(&self) -> bool {
        self.unicode
    }

    /// stdout goes to a person.
    pub fn stdout_is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Data: one line (or several) to stdout. A reader that went away is success.
    pub fn out(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        finish(writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush()))
    }

    /// One line of an endless answer. `Ok(false)`: the reader went away, and there is nobody to go on for.
    pub fn out_stream(&self, line: impl AsRef<str>) -> Result<bool, Failure> {
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{}", line.as_ref()).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(e) => finish(Err(e)).map(|()| false),
            Ok(()) => Ok(true),
        }
    }

    /// Data as it is, without a newline of ours (files, scripts).
    pub fn out_raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        finish(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// One JSON object with `"schema": "rtcctl.<command>/1"` in front. `command` in dotted form (`cert.list`).
    pub fn out_json(&self, command: &str, body: &impl Serialize) -> Result<(), Failure> {
        self.out(json_line(command, body)?)
    }

    /// Talk: one line to stderr; silent with `--quiet` and `--json`.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.options.quiet && !self.options.json {
            let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
        }
    }

    /// What is being done within a step, indented below it; only with `--verbose`.
    pub fn detail(&self, line: impl AsRef<str>) {
        if self.options.verbose {
            self.say(format!("      {}", line.as_ref()));
        }
    }

    /// `  !!  …`: works, but odd. Shown with `--quiet` too.
    pub fn warn(&self, line: impl AsRef<str>) {
        if !self.options.json {
            let mark = self.paint("33", "!!");
            let lines = wrapped(line.as_ref(), self.width().saturating_sub(6));
            let _ = writeln!(io::stderr().lock(), "  {mark}  {}", lines.join("\n      "));
        }
    }

    /// Long work: a spinner on a terminal, one line when it ends elsewhere. `label` is one word.
    pub fn step(&self, label: &str) -> Step {
        Step::start(self.clone(), label, self.live)
    }

    /// There is somebody who could answer.
    pub fn can_ask(&self) -> bool {
        !self.options.yes && !self.options.no_input && !self.options.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// `--yes`: questions are answered by their defaults.
    pub fn assumes_yes(&self) -> bool {
        self.options.yes
    }

    /// A line of text that passes `check`, asked on stderr below the `lines` that say why. `--yes` takes the default; without a terminal the
    /// failure names `flag`.
    pub fn ask(
        &self,
        question: &str,
        lines: &[String],
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
        flag: &str,
    ) -> Result<String, Failure> {
        match self.can_ask() {
            _ if self.options.yes => Ok(default.to_owned()),
            true => super::question::ask(question, lines, default, check),
            false => Err(unanswered(question, flag)),
        }
    }

    /// One of several, as [`Ui::ask`]: the index of the choice.
    pub fn choose(&self, question: &str, lines: &[String], choices: &[Choice<'_>], default: usize, flag: &str) -> Result<usize, Failure> {
        match self.can_ask() {
            _ if self.options.yes => Ok(default),
            true => super::question::choose(question, lines, choices, default),
            false => Err(unanswered(question, flag)),
        }
    }

    /// Asks on stderr. Without a terminal the failure names `flag`, which answers it. Ctrl-C is [`Exit::Interrupted`].
    pub fn confirm(&self, question: &str, flag: &str) -> Result<bool, Failure> {
        if self.options.yes {
            return Ok(true);
        }
        if !self.can_ask() {
            return Err(Failure::new(Exit::Usage, format!("a question needs an answer: {question}")).hint(format!("answer yes with {flag}")));
        }
        super::question::confirm(question)
    }

    /// The last word of a command that failed; with `--json` an object on stdout.
    pub fn fail(&self, command: &str, failure: &Failure) {
        if self.options.json && failure.answered {
            return;
        }
        if self.options.json {
            let mut error = failure.fields.as_deref().cloned().unwrap_or_default();
            error.insert("exit".into(), (failure.exit as u8).into());
            error.insert("message".into(), failure.message.clone().into());
            error.insert("details".into(), failure.details.clone().into());
            error.insert("hints".into(), failure.hints.clone().into());
            let _ = self.out_json(command, &serde_json::json!({ "error": error }));
            return;
        }
        if failure.exit == Exit::Interrupted {
            let _ = writeln!(io::stderr().lock(), "{}", failure.message);
            return;
        }
        let mut text = match &failure.report {
            Some(report) => report.trim_end().to_owned(),
            None => format!("{} {}", self.paint("31", "error:"), failure.message),
        };
        if failure.report.is_none() {
            for line in &failure.details {
                text.push_str(&format!("\n  {line}"));
            }
        }
        for hint in &failure.hints {
            text.push_str(&format!("\n{} {hint}", self.paint("36", "hint:")));
        }
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// `text` in an SGR colour when colour is on.
    pub fn paint(&self, sgr: &str, text: &str) -> String {
        if self.color_err { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Columns of the terminal behind stderr; without one, lines may be as long as they are.
    pub(super) fn width(&self) -> usize {
        dialoguer::console::Term::stderr().size_checked().map_or(usize::MAX, |(_, columns)| columns.into())
    }

    /// Talk is not wanted, or JSON stands in its place.
    pub fn is_quiet(&self) -> bool {
        self.options.quiet || self.options.json
    }
}

/// The object of [`Ui::out_json`] as one line, for streams.
pub fn json_line(command: &str, body: &impl Serialize) -> Result<String, Failure> {
    let body = serde_json::to_value(body).map_err(|e| Failure::new(Exit::Resource, format!("write JSON: {e}")))?;
    let fields = if body.is_object() { body } else { serde_json::json!({ "items": body }) };
    let text = fields.to_string();
    let separator = if text == "{}" { "" } else { "," };
    Ok(format!("{{\"schema\":\"rtcctl.{command}/1\"{separator}{}", &text[1..]))
}

fn unanswered(question: &str, flag: &str) -> Failure {
    Failure::new(Exit::Usage, format!("a question needs an answer: {question}")).hint(format!("answer it with {flag}"))
}

fn finish(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(Exit::Resource, format!("write to stdout: {e}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::json_line;

    #[test]
    fn the_schema_comes_first() {
        assert_eq!(json_line("x", &serde_json::json!({ "a": 1, "z": 2 })).unwrap(), r#"{"schema":"rtcctl.x/1","a":1,"z":2}"#);
        assert_eq!(json_line("x", &serde_json::json!({})).unwrap(), r#"{"schema":"rtcctl.x/1"}"#);
        assert_eq!(json_line("x", &[1, 2]).unwrap(), r#"{"schema":"rtcctl.x/1","items":[1,2]}"#);
    }
}
