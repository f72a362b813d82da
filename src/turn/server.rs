//! Pure: the TURN server of one shard as a value: requests in, actions and route edits out (RFC 8656).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;

use super::RelayedAddress;
use super::policy::{Policy, Quotas};
use super::routes::{ClientAddr, RelayId, Routes};
use crate::config::{Secret, model};

/// Both clocks: `mono` for lifetimes, `wall` for credentials and nonces.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Instant,
    pub wall: SystemTime,
}

/// What one shard's server is made from.
pub struct ServerSettings {
    /// This shard's number, below `shards`.
    pub shard: usize,
    pub shards: usize,
    pub config: model::Turn,
    /// At most one per family.
    pub relayed: Vec<RelayedAddress>,
    /// Every port something of ours listens on, UDP and TCP.
    pub own_ports: Vec<u16>,
    pub secrets: Arc<ArcSwap<Vec<Secret>>>,
    /// Random, the same for all shards of a process.
    pub nonce_key: [u8; 32],
    /// The same for all shards.
    pub quotas: Arc<Quotas>,
    /// Random, different for each shard: relay ports are drawn from it.
    pub seed: u64,
}

/// What the driver has to do. Poll until `None` after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A STUN message, unframed and unpadded (STUN lengths are multiples of four).
    Send { to: ClientAddr, bytes: Vec<u8> },
    /// Bind a UDP socket to exactly `local` and answer with [`Server::relay_opened`].
    OpenRelay { relay: RelayId, local: SocketAddr },
    /// Close the socket. Its routes are already gone.
    CloseRelay { relay: RelayId },
    /// End the TCP or TLS connection.
    CloseClient(ClientAddr),
}

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Somebody sits on that port (EADDRINUSE, EACCES): the next one may do.
    InUse,
    /// No socket can be had at all (EMFILE, ENOBUFS, EADDRNOTAVAIL): trying again is pointless now.
    Exhausted,
}

pub struct Server {
    policy: Policy,
}

impl Server {
    pub fn new(_settings: ServerSettings) -> Self {
        unimplemented!()
    }

    /// A STUN message (top bits 00) from a client. Send indications belong to the data path and are ignored here.
    pub fn handle(&mut self, _now: Now, _from: ClientAddr, _message: &[u8], _routes: &mut Routes) {
        unimplemented!()
    }

    /// The answer to [`Action::OpenRelay`].
    pub fn relay_opened(&mut self, _now: Now, _relay: RelayId, _result: Result<(), OpenError>, _routes: &mut Routes) {
        unimplemented!()
    }

    /// A TCP or TLS connection ended: its allocation goes with it.
    pub fn client_closed(&mut self, _now: Now, _from: ClientAddr, _routes: &mut Routes) {
        unimplemented!()
    }

    pub fn poll(&mut self) -> Option<Action> {
        unimplemented!()
    }

    /// When [`Server::expire`] wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!()
    }

    pub fn expire(&mut self, _now: Now, _routes: &mut Routes) {
        unimplemented!()
    }

    /// New allocations get these from now on; old ones keep theirs.
    pub fn set_relayed(&mut self, _relayed: Vec<RelayedAddress>) {
        unimplemented!()
    }

    /// From now on new allocations are refused (508); old ones live and may be refreshed.
    pub fn drain(&mut self) {
        unimplemented!()
    }

    /// Live allocations of this shard.
    pub fn allocations(&self) -> usize {
        unimplemented!()
    }

    /// Whether this client has a live allocation (a stream without one is idle).
    pub fn has_allocation(&self, _from: &ClientAddr) -> bool {
        unimplemented!()
    }

    /// What this server counted, for metrics.
    pub fn stats(&self) -> &Stats {
        unimplemented!()
    }

    /// Peers and own addresses, for the check and the translation at send time.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Plain counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub allocations_total: u64,
    /// Messages that got no answer, because they are malformed or ask for none.
    pub ignored: u64,
    /// Error answers by code; bounded by the codes there are.
    pub errors: Vec<(u16, u64)>,
}
