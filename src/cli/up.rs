//! `rtcctl up`.

use clap::Args;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Args)]
pub(super) struct UpArgs {}

pub(super) fn run(_cx: &Cx, _args: UpArgs) -> Result<(), Failure> {
    unimplemented!()
}
