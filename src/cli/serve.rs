//! `rtcctl serve`.

use clap::Args;

use super::cx::Cx;
use crate::telemetry::log;
use crate::ui::{Exit, Failure};

#[derive(Args)]
pub(super) struct ServeArgs {}

pub(super) fn run(cx: &Cx, _args: ServeArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let paths = cx.paths(&config);
    log::init(cx.global.verbose).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    crate::serve::run(config, paths)
}
