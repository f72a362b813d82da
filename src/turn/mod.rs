//! The relay: a TURN server (RFC 8656) as a pure value per shard, and the threads that drive it.
//!
//! Not for: minting credentials (`stun::credential`), accepting TLS on the shared port (`serve::front` does and hands the connection over).

pub mod allocation;
pub mod auth;
pub mod client;
pub mod policy;
pub mod ports;
mod reject;
pub mod routes;
pub mod server;
pub mod timers;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::Secret;

/// Everything the relay needs to know, from the config and from what was found out about the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: crate::config::model::Turn,
    /// Addresses to listen on (`site.listen`); v6 sockets are v6-only.
    pub listen: Vec<IpAddr>,
    /// What relayed addresses look like and where their sockets are bound; at most one per family.
    pub relayed: Vec<RelayedAddress>,
    /// Secrets that time-limited credentials may be made with, the newest first.
    pub secrets: Arc<ArcSwap<Vec<Secret>>>,
    /// TCP ports of our own besides `config.ports` (https, http, metrics): never reachable through the relay.
    pub own_ports: Vec<u16>,
}

/// One relayed address: told to clients as `public`, bound as `local` (they differ behind a 1:1 NAT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedAddress {
    pub public: IpAddr,
    pub local: IpAddr,
}

/// The running relay. Dropping it stops the threads.
pub struct Relay {}

/// A TLS connection that turned out to speak TURN; bytes already decrypted stay inside `tls`.
pub struct TlsClient {
    pub tcp: std::net::TcpStream,
    pub tls: rustls::ServerConnection,
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// Where `serve::front` drops TLS connections that speak TURN. Cheap to clone.
#[derive(Clone)]
pub struct Intake {}

impl Intake {
    /// Hands the connection to a shard; when the relay is full or stopping the connection is closed.
    pub fn accept(&self, _client: TlsClient) {
        unimplemented!()
    }
}

/// A socket that is open, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// `udp` or `tcp`.
    pub protocol: &'static str,
}

/// Sums over all shards; plain numbers, read by `serve` for metrics and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub allocations_now: u64,
    pub allocations_total: u64,
    pub relayed_packets: u64,
    pub relayed_bytes: u64,
    /// Dropped packets by reason; refused requests by STUN error code.
    pub drops: Vec<(&'static str, u64)>,
    pub errors: Vec<(u16, u64)>,
}

/// Why the relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("bind {address} {protocol}: {source}")]
    Bind { address: SocketAddr, protocol: &'static str, source: std::io::Error },
    #[error("start the relay: {0}")]
    Other(#[from] std::io::Error),
}

impl Relay {
    /// Binds every listener (a wildcard family that the kernel lacks is skipped) and starts one thread per shard.
    pub fn start(_settings: Settings) -> Result<Self, StartError> {
        unimplemented!()
    }

    pub fn listeners(&self) -> Vec<Listener> {
        unimplemented!()
    }

    pub fn intake(&self) -> Intake {
        unimplemented!()
    }

    /// New allocations get these from now on; old ones keep theirs.
    pub fn set_relayed(&self, _relayed: Vec<RelayedAddress>) {
        unimplemented!()
    }

    pub fn counters(&self) -> Counters {
        unimplemented!()
    }

    /// Refuses new allocations, waits until the old ones end or the deadline passes, then stops and joins every thread.
    pub fn stop(self, _drain: Duration) {
        unimplemented!()
    }
}
