//! Steps as they happen: on a terminal one line that is rewritten, elsewhere one line when a step ends and one every 10 s while it runs.

use std::io::Write as _;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::voice::Ui;

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
            let style = ProgressStyle::with_template("   {spinner}  {prefix} {msg} {elapsed}").expect("a literal template");
            let ticks = if ui.unicode() { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " };
            bar.set_style(style.tick_chars(ticks));
            bar.set_prefix(format!("{label:<13}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let reminder = (!live && !ui.is_quiet()).then(|| remind(label.to_owned()));
        Self { ui, label: label.to_owned(), bar, reminder }
    }

    /// What is being done right now; shown only on a terminal.
    pub fn now(&self, doing: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(doing.to_owned());
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
        let mut lines = result.lines();
        let first = lines.next().unwrap_or_default();
        let mut text = format!("{} {:<13} {first}", self.ui.paint(sgr, mark), self.label);
        for line in lines {
            text.push_str(&format!("\n{:18} {line}", ""));
        }
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
