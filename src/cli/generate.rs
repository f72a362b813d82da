//! `rtcctl completions` and `rtcctl man`: generated from the same clap tree that parses the words.

use std::path::PathBuf;

use clap::Args;

use super::cx::Cx;
use crate::ui::{Exit, Failure};

#[derive(Args)]
pub(super) struct CompletionsArgs {
    shell: clap_complete::Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// One file per command goes here; without it the main page goes to stdout
    dir: Option<PathBuf>,
}

pub(super) fn completions(cx: &Cx, args: CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "rtcctl", &mut script);
    cx.ui.out_raw(&script)
}

pub(super) fn man(cx: &Cx, args: ManArgs) -> Result<(), Failure> {
    let write_error = |e: std::io::Error| Failure::new(Exit::Resource, format!("write man pages: {e}"));
    let Some(dir) = args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(super::command()).render(&mut page).map_err(write_error)?;
        return cx.ui.out_raw(&page);
    };
    std::fs::create_dir_all(&dir).map_err(|e| Failure::new(Exit::Resource, format!("make {}: {e}", dir.display())))?;
    clap_mangen::generate_to(super::command(), &dir).map_err(write_error)
}
