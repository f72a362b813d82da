//! `rtcctl supervise`: hidden; `up` starts it where there is no systemd.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::cx::Cx;
use crate::deploy::supervisor::{self, Pace, Service};
use crate::ui::{Exit, Failure};

#[derive(Args)]
pub(super) struct SuperviseArgs {
    /// What to keep alive [default: rtcctl of the current release]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

pub(super) fn run(cx: &Cx, args: SuperviseArgs) -> Result<(), Failure> {
    supervisor::detach();
    let paths = cx.paths(&cx.config()?);
    let config = cx.global.config.clone().unwrap_or_else(|| paths.current().join("rtcctl.toml"));
    let arguments = vec!["serve".into(), "--config".into(), config.into(), "--state".into(), paths.state.clone().into()];
    let service = Service { program: args.program.unwrap_or_else(|| paths.current().join("rtcctl")), arguments };
    let stop = CancellationToken::new();
    let listener = Listener::start(stop.clone())?;
    let ended = supervisor::run(&paths, &service, Pace::default(), &stop);
    stop.cancel();
    listener.join();
    Ok(ended?)
}

/// Turns SIGTERM and SIGINT into a word for the supervisor, on a thread of its own that sleeps until one comes.
struct Listener(std::thread::JoinHandle<()>);

impl Listener {
    fn start(stop: CancellationToken) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::new(Exit::Resource, format!("listen for signals: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (mut term, mut int) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?)
        };
        let wait = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                () = stop.cancelled() => {}
            }
            stop.cancel();
        };
        Ok(Self(std::thread::spawn(move || runtime.block_on(wait))))
    }

    fn join(self) {
        let _ = self.0.join();
    }
}
