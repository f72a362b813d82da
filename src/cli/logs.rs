//! `rtcctl logs`.

use clap::Args;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Args)]
pub(super) struct LogsArgs {}

pub(super) fn run(_cx: &Cx, _args: LogsArgs) -> Result<(), Failure> {
    unimplemented!()
}
