//! `rtcctl cert`.

use clap::Subcommand;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Subcommand)]
pub(super) enum CertCommand {
    /// Every certificate in the store
    List {},
}

impl CertCommand {
    pub(super) fn name(&self) -> &'static str {
        "cert.list"
    }
}

pub(super) fn run(_cx: &Cx, _command: CertCommand) -> Result<(), Failure> {
    unimplemented!()
}
