//! Questions on the terminal, and a terminal that is left as it was when the answer is Ctrl-C.

use dialoguer::console::Term;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::failure::{Exit, Failure};

/// Yes or no; Enter and Escape are no.
pub(super) fn confirm(question: &str) -> Result<bool, Failure> {
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    // The prompt turns Ctrl-C into SIGINT, which would end us while the cursor is hidden: it stays blocked until the prompt has returned.
    let before = interrupt.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let answer = dialoguer::Confirm::new().with_prompt(question).default(false).interact_opt();
    match answer {
        Err(dialoguer::Error::IO(e)) if e.kind() == std::io::ErrorKind::Interrupted => {
            // The signal is still pending, so the mask stays: the caller ends us in order.
            let _ = Term::stderr().show_cursor();
            let _ = Term::stderr().write_line("");
            Err(Failure::interrupted())
        }
        other => {
            if let Ok(before) = before {
                let _ = before.thread_set_mask();
            }
            other.map(|answer| answer.unwrap_or(false)).map_err(|e| Failure::new(Exit::Resource, format!("ask on the terminal: {e}")))
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
