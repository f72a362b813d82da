//! `rtcctl supervise`.

use clap::Args;

use super::cx::Cx;
use crate::ui::Failure;

#[derive(Args)]
pub(super) struct SuperviseArgs {}

pub(super) fn run(_cx: &Cx, _args: SuperviseArgs) -> Result<(), Failure> {
    unimplemented!()
}
