//! `rtcctl completions` and `rtcctl man`: generated from the same clap tree that parses the words.

use std::path::PathBuf;

use clap::{Args, ValueEnum as _};

use super::cx::Cx;
use crate::ui::{Exit, Failure};

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// Whose language; the script goes to stdout
    shell: clap_complete::Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// One file per command goes here; without it the main page goes to stdout
    dir: Option<PathBuf>,
}

pub(super) fn completions(cx: &Cx, args: CompletionsArgs) -> Result<(), Failure> {
    cx.ui.out_raw(&completion_script(args.shell))
}

/// Each shell's file name under `completions/`, and what belongs into it.
pub fn completion_files() -> Vec<(String, Vec<u8>)> {
    let name = |shell: &clap_complete::Shell| clap_complete::Generator::file_name(shell, "rtcctl");
    clap_complete::Shell::value_variants().iter().map(|shell| (name(shell), completion_script(*shell))).collect()
}

fn completion_script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "rtcctl", &mut script);
    script
}

pub(super) fn man(cx: &Cx, args: ManArgs) -> Result<(), Failure> {
    let Some(dir) = args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(super::command()).render(&mut page).map_err(|e| Failure::new(Exit::Resource, format!("write the man page: {e}")))?;
        return cx.ui.out_raw(&page);
    };
    std::fs::create_dir_all(&dir).map_err(|e| Failure::new(Exit::Resource, format!("make {}: {e}", dir.display())))?;
    clap_mangen::generate_to(super::command(), &dir)
        .map_err(|e| Failure::new(Exit::Resource, format!("write man pages into {}: {e}", dir.display())))?;
    cx.ui.say(format!("wrote the man pages into {}", dir.display()));
    Ok(())
}
