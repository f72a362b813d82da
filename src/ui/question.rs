//! Questions on the terminal, and a terminal that is left as it was when the answer is Ctrl-C.

use dialoguer::console::Term;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::failure::{Exit, Failure};

/// One answer of several.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    pub name: &'a str,
    pub why: &'a str,
}

/// Yes or no; Enter and Escape are no.
pub(super) fn confirm(question: &str) -> Result<bool, Failure> {
    guarded(|| dialoguer::Confirm::new().with_prompt(question).default(false).interact_opt()).map(|answer| answer.unwrap_or(false))
}

/// A line of text; Enter is the default. What does not pass is said, and asked again.
pub(super) fn ask(question: &str, lines: &[String], default: &str, check: &dyn Fn(&str) -> Result<(), String>) -> Result<String, Failure> {
    let passes = |text: &String| check(text);
    guarded(|| {
        head(question, lines);
        dialoguer::Input::new().with_prompt(">").default(default.to_owned()).validate_with(passes).interact_text()
    })
}

/// One of several, by arrow keys and Enter; Escape is the default.
pub(super) fn choose(question: &str, lines: &[String], choices: &[Choice<'_>], default: usize) -> Result<usize, Failure> {
    let width = choices.iter().map(|choice| choice.name.chars().count()).max().unwrap_or_default();
    let items = choices.iter().map(|choice| format!("{:<width$}   {}", choice.name, choice.why));
    let answer = guarded(|| {
        head(question, lines);
        dialoguer::Select::new().items(items).default(default).report(false).interact_opt()
    });
    let chosen = answer?.unwrap_or(default);
    write(&format!("> {}", choices[chosen].name));
    Ok(chosen)
}

fn head(question: &str, lines: &[String]) {
    write(&format!("\n? {question}"));
    for line in lines {
        write(&format!("  {line}"));
    }
}

fn write(line: &str) {
    // A terminal that is gone fails the question itself.
    let _ = Term::stderr().write_line(line);
}

/// Runs a prompt so that Ctrl-C leaves the cursor visible and comes back as [`Exit::Interrupted`].
fn guarded<T>(prompt: impl FnOnce() -> dialoguer::Result<T>) -> Result<T, Failure> {
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    // The prompt turns Ctrl-C into SIGINT, which would end us while the cursor is hidden: it stays blocked until the prompt has returned.
    let before = interrupt.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let keys = PlainKeys::hold();
    let answer = prompt();
    drop(keys);
    match answer {
        Err(dialoguer::Error::IO(e)) if e.kind() == std::io::ErrorKind::Interrupted => {
            // The signal is still pending, so the mask stays: the caller ends us in order.
            let _ = Term::stderr().show_cursor();
            write("");
            Err(Failure::interrupted())
        }
        answer => {
            if let Ok(before) = before {
                let _ = before.thread_set_mask();
            }
            answer.map_err(|e| Failure::new(Exit::Resource, format!("ask on the terminal: {e}")))
        }
    }
}

/// The terminal hands Ctrl-C over as a key like any other. The prompt asks for that only while it reads one: pressed before or between, it would
/// be a signal that is blocked, and lost.
struct PlainKeys(Option<Termios>);

impl PlainKeys {
    fn hold() -> Self {
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut plain) = before.clone() {
            plain.local_flags.remove(LocalFlags::ISIG);
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &plain);
        }
        Self(before)
    }
}

impl Drop for PlainKeys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expectrl::{Eof, Expect as _, Session};

    use super::super::{Ui, UiOptions};

    #[test]
    fn no_terminal_no_question_but_the_flag() {
        let ui = Ui::new(UiOptions { no_input: true, ..UiOptions::default() });
        let failure = ui.confirm("Remove everything?", "--yes").unwrap_err();
        assert_eq!((failure.exit as u8, failure.message.as_str()), (2, "a question needs an answer: Remove everything?"));
        assert_eq!(failure.hints, ["answer yes with --yes"]);
        let ui = Ui::new(UiOptions { yes: true, no_input: true, ..UiOptions::default() });
        assert!(ui.confirm("Remove everything?", "--yes").unwrap());
    }

    #[test]
    fn ctrl_c_shows_the_cursor_again() {
        assert!(answer("\x03").contains("\x1b[?25h") && answer("\x03").contains("answer: Err(130)"), "{:?}", answer("\x03"));
    }

    #[test]
    fn one_key_answers() {
        assert!(answer("y").contains("answer: Ok(true)"));
        assert!(answer("n").contains("answer: Ok(false)"));
    }

    /// Runs [`asks`] in a process of its own behind a terminal and presses a key.
    fn answer(key: &str) -> String {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "ui::question::tests::asks", "--nocapture"]).env("ASK", "1").env("TERM", "xterm");
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(Duration::from_secs(20)));
        session.expect("Remove everything?").unwrap();
        session.send(key).unwrap();
        let rest = session.expect(Eof).unwrap();
        String::from_utf8_lossy(rest.as_bytes()).into_owned()
    }

    /// The other side of [`answer`]; without it there is nothing to ask.
    #[test]
    fn asks() {
        if std::env::var_os("ASK").is_some() {
            let answer = super::confirm("Remove everything?").map_err(|failure| failure.exit as u8);
            super::Term::stderr().write_line(&format!("answer: {answer:?}")).unwrap();
        }
    }
}
