//! `rtcctl down`.

use clap::Args;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Args)]
pub(super) struct DownArgs {}

pub(super) fn run(_cx: &Cx, _args: DownArgs) -> Result<(), Failure> {
    unimplemented!()
}
