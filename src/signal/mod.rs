//! The rooms: AppRTC room server and Collider in one table and one process.
//!
//! Not for: pages (`web`), TLS and routing of everything else (`serve`), relaying media (`turn`).

mod lobby;
#[cfg(test)]
mod lobby_model;
pub mod names;
mod queue;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::Secret;

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
    /// Signs client ids, so that a restarted server knows its own.
    pub key: Secret,
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
pub struct Signal {}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub rooms: u64,
    pub clients: u64,
    pub sockets: u64,
    pub messages_total: u64,
    pub joins_total: u64,
}

impl Signal {
    pub fn new(_settings: Settings) -> Self {
        unimplemented!()
    }

    /// All AppRTC and Collider routes: /join /message /leave /params /v1alpha/iceconfig /ws /status POST|DELETE /{room}/{client}.
    pub fn routes(&self) -> axum::Router {
        unimplemented!()
    }

    /// Drives the lobby's deadlines until cancelled, then closes every socket (code 1001) and returns when they are gone or after 2 s.
    pub async fn run(&self, _stop: tokio_util::sync::CancellationToken) {
        unimplemented!()
    }

    pub fn counts(&self) -> Counts {
        unimplemented!()
    }
}
