//! Steps as they happen: on a terminal one line that is rewritten, elsewhere one line when a step ends and one every 10 s while it runs.

use std::fmt;
use std::io::Write as _;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::voice::Ui;
use super::wrap::wrapped;

/// Columns before the result of a step: mark and label.
const INDENT: usize = 19;

/// One step under way. Ends with [`Step::ok`], [`Step::skip`], [`Step::warn`] or [`Step::fail`]; dropped without one it just goes away.
pub struct Step {
    ui: Ui,
    label: String,
    bar: Option<ProgressBar>,
    /// Says every 10 s that the step still runs, where no spinner can.
    reminder: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Step {
    pub(super) fn start(ui: Ui, label: &str, live: bool) -> Self {
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("   {spinner}  {prefix} {msg} {waited}").expect("a literal template").with_key("waited", waited);
            let ticks = if ui.unicode() { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " };
            bar.set_style(style.tick_chars(ticks));
            bar.set_prefix(format!("{label:<13}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let reminder = (!live && !ui.is_quiet()).then(|| remind(label.to_owned()));
        Self { ui, label: label.to_owned(), bar, reminder }
    }

    /// What is being done right now: on a terminal behind the spinner; with `--verbose` on a line of its own, which stays.
    pub fn now(&self, doing: &str) {
        match &self.bar {
            Some(bar) => {
                bar.suspend(|| self.ui.detail(doing));
                bar.set_message(doing.to_owned());
            }
            None => self.ui.detail(doing),
        }
    }

    pub fn ok(self, result: impl AsRef<str>) {
        self.end(" ok ", "32", result.as_ref());
    }

    pub fn skip(self, why: impl AsRef<str>) {
        self.end(" -- ", "2", why.as_ref());
    }

    pub fn warn(self, what: impl AsRef<str>) {
        self.end(" !! ", "33", what.as_ref());
    }

    pub fn fail(self, what: impl AsRef<str>) {
        self.end("FAIL", "31", what.as_ref());
    }

    fn end(mut self, mark: &str, sgr: &str, result: &str) {
        self.quieten();
        let lines: Vec<&str> = result.lines().flat_map(|line| wrapped(line, self.ui.width().saturating_sub(INDENT))).collect();
        let text = format!("{} {:<13} {}", self.ui.paint(sgr, mark), self.label, lines.join(&format!("\n{:INDENT$}", "")));
        self.ui.say(text.trim_end());
    }

    fn quieten(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some((stop, thread)) = self.reminder.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.quieten();
    }
}

/// How long it takes, once that is worth a word.
fn waited(state: &ProgressState, out: &mut dyn fmt::Write) {
    let seconds = state.elapsed().as_secs();
    if seconds > 0 {
        // A formatter of memory: it cannot fail.
        let _ = write!(out, "{seconds} s");
    }
}

fn remind(label: String) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel::<()>();
    let began = Instant::now();
    let thread = std::thread::spawn(move || {
        while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_secs(10)) {
            let _ = writeln!(std::io::stderr().lock(), "  ..  {label:<13} still running after {} s", began.elapsed().as_secs());
        }
    });
    (stop, thread)
}
