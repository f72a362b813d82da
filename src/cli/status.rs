//! `rtcctl status`.

use clap::Args;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Args)]
pub(super) struct StatusArgs {}

pub(super) fn run(_cx: &Cx, _args: StatusArgs) -> Result<(), Failure> {
    unimplemented!()
}
