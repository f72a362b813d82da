//! `rtcctl serve`.

use clap::Args;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Args)]
pub(super) struct ServeArgs {}

pub(super) fn run(_cx: &Cx, _args: ServeArgs) -> Result<(), Failure> {
    unimplemented!()
}
