//! Pure: which peers may be reached, and how many allocations a user, an address and everybody together may hold.

use std::net::{IpAddr, SocketAddr};

use super::RelayedAddress;
use crate::config::{PortRange, Prefix};

/// Our own addresses, as seen from the relay.
///
/// Inside the relay a peer stands in *local* form; clients see the *public* form. They differ behind a 1:1 NAT.
#[derive(Clone, Debug)]
pub struct OwnAddresses {
    /// The newest first; former ones stay because old allocations still use them (at most [`MAX_RELAYED`]).
    pub relayed: Vec<RelayedAddress>,
    pub relay_ports: PortRange,
    /// Ports something of ours listens on, UDP or TCP: never reachable, never chosen for a relay.
    pub own_ports: Vec<u16>,
}

pub const MAX_RELAYED: usize = 8;

impl OwnAddresses {
    pub fn is_own_ip(&self, _ip: IpAddr) -> bool {
        unimplemented!()
    }

    /// What a client names, as the address a datagram is sent to.
    pub fn to_local(&self, _peer: SocketAddr) -> SocketAddr {
        unimplemented!()
    }

    /// Where a datagram came from, as the address a client is told.
    pub fn to_public(&self, _source: SocketAddr) -> SocketAddr {
        unimplemented!()
    }
}

/// The one judge of peers.
#[derive(Clone, Debug)]
pub struct Policy {
    pub own: OwnAddresses,
    pub allow: Vec<Prefix>,
    pub deny: Vec<Prefix>,
}

impl Policy {
    /// May a permission or channel for this address be installed (either form)?
    pub fn may_permit(&self, _peer: IpAddr) -> bool {
        unimplemented!()
    }

    /// May a datagram leave a relay for this address (either form)? Asked again for every packet.
    pub fn may_send(&self, _peer: SocketAddr) -> bool {
        unimplemented!()
    }
}
/// Counts of allocations, shared by all shards.
#[derive(Debug)]
pub struct Quotas {}
impl Quotas {
    pub fn new(_total: usize, _per_user: usize, _per_address: usize) -> Self {
        unimplemented!()
    }
}
