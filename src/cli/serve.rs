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
    let wanted = log::Wanted { verbosity: cx.global.verbose, quiet: cx.global.quiet, colour: cx.ui.colour() };
    log::init(wanted).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    crate::serve::run(config, paths)
}
