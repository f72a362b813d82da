//! The daemon: composition root of the engines; start order, reload, drain, shutdown.

mod accept;
mod alerts;
mod conn;
mod front;
mod http;
mod listen;
mod origin;
mod relayed;
mod seats;
mod traffic;

use crate::config::{Config, Paths};

/// Runs until SIGTERM or SIGINT. Returns an error when a listener cannot be had or a service ends by itself.
pub fn run(_config: Config, _paths: Paths) -> Result<(), crate::ui::Failure> {
    unimplemented!()
}
