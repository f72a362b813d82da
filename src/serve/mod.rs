//! The daemon: composition root of the engines; start order, reload, drain, shutdown.
//!
//! Not for: keeping itself alive (systemd or `deploy::supervisor` do), deciding what a call or a relayed packet may do (the engines do).

mod accept;
mod admin;
mod alerts;
mod book;
mod certificate;
mod claim;
mod conn;
mod daemon;
mod front;
mod http;
mod keeper;
mod listen;
mod open;
mod origin;
mod proxy;
mod relayed;
mod scrape;
mod seats;
mod traffic;

use std::time::Duration;

use crate::config::{Config, Paths};
use crate::ui::{Exit, Failure};

/// HTTP, rooms and handshakes; the relay has threads of its own.
const WORKERS: usize = 2;
/// Looking at files, names and signing.
const BLOCKING: usize = 4;
const STACK: usize = 1024 * 1024;

/// Runs until SIGTERM, SIGINT or the admin verb `stop`. Returns an error when a listener cannot be had, when a service ends by itself, and after SIGINT
/// (exit 130, as after Ctrl-C everywhere).
pub fn run(config: Config, paths: Paths) -> Result<(), Failure> {
    crate::net::descriptors::raise();
    let opened = open::open(&config, &paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_stack_size(STACK)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Resource, format!("start threads: {error}")))?;
    let ended = runtime.block_on(daemon::run(config, paths, opened));
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}
