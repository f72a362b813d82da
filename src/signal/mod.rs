//! The rooms: AppRTC room server and Collider in one table and one process.
//!
//! Not for: pages (`web`), TLS and routing of everything else (`serve`), relaying media (`turn`).

mod frame;
mod guests;
pub mod hosts;
mod http;
mod ice;
pub mod invite;
mod lobby;
#[cfg(test)]
mod lobby_cases;
#[cfg(test)]
mod lobby_model;
pub mod names;
mod params;
mod queue;
mod rate;
mod state;
mod ws;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use self::state::State;
use crate::config::Secret;
use crate::config::model::RoomOpeners;

/// How long [`Signal::run`] waits for sockets to close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Where a request came in, as the browser sees it: links are built from it. Put into the request's extensions by `serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub secure: bool,
    /// Host without port, as in a URL (IPv6 in brackets).
    pub host: String,
    /// Host with the port unless it is the scheme's default.
    pub authority: String,
}

/// The client's own address, put into the request's extensions by `serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(pub IpAddr);

/// What signaling needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: crate::config::model::Signal,
    pub ice: IceSettings,
    /// Signs client ids and host links, so that a restarted server knows its own.
    pub key: Secret,
    /// Counts the generations of host links ([`hosts`]); read when a host opens a room.
    pub generation_file: PathBuf,
}

/// From which the ICE server list of a client is made; hosts in the URIs are the origin's host.
#[derive(Clone, Debug)]
pub struct IceSettings {
    pub ports: Vec<u16>,
    pub tls_ports: Vec<u16>,
    pub secrets: Arc<ArcSwap<Vec<Secret>>>,
    pub ttl: Duration,
}

/// The signaling service. Cheap to clone.
#[derive(Clone)]
pub struct Signal {
    state: Arc<State>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub rooms: u64,
    pub clients: u64,
    /// Open WebSockets, registered or not.
    pub sockets: u64,
    pub messages_total: u64,
    pub joins_total: u64,
}

impl Signal {
    pub fn new(settings: Settings) -> Self {
        Self { state: Arc::new(State::new(settings)) }
    }

    /// All AppRTC and Collider routes: /join /message /leave /params /v1alpha/iceconfig /ws /status POST|DELETE /{room}/{client},
    /// and /api/host, by which a page learns whether its browser may open rooms and gets the right to.
    /// Their requests must carry [`Origin`] and should carry [`ClientIp`].
    pub fn routes(&self) -> axum::Router {
        http::routes(Arc::clone(&self.state))
    }

    /// Drives the lobby's deadlines until cancelled, then closes every socket (code 1001) and returns when they are gone or after 2 s.
    pub async fn run(&self, stop: CancellationToken) {
        let state = &self.state;
        loop {
            let deadline = state.deadline();
            let wait = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                // An earlier deadline came up.
                () = state.sooner.notified() => {}
                () = wait => state.with_lobby(lobby::Lobby::tick),
            }
        }
        state.stop.cancel();
        state.tasks.close();
        if tokio::time::timeout(CLOSE_DEADLINE, state.tasks.wait()).await.is_err() {
            tracing::debug!(sockets = state.tasks.len(), "sockets did not close in time");
        }
    }

    /// Who may open rooms here.
    pub fn open_rooms(&self) -> RoomOpeners {
        self.state.settings.config.open_rooms
    }

    pub fn counts(&self) -> Counts {
        self.state.counts()
    }
}
