//! `rtcctl config`.

use clap::Subcommand;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// The resolved config
    Show {},
}

impl ConfigCommand {
    pub(super) fn name(&self) -> &'static str {
        "config.show"
    }
}

pub(super) fn run(_cx: &Cx, _command: ConfigCommand) -> Result<(), Failure> {
    unimplemented!()
}
