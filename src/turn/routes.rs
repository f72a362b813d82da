//! Pure: the tables a packet is looked up in, and the only place where a forwarding decision is written down.
//!
//! Peers stand here in *local* form (see `policy::OwnAddresses`): the address a datagram is really sent to and really comes from.
//! Every entry carries the instant it ends, already the earliest of channel, permission and allocation; a look-up is one or two hash probes and
//! allocates nothing. Each change is one call, so that a copy of the tables can follow it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// How the client speaks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// A stream keeps order and loses nothing; its messages are padded and not retransmitted.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

/// The five-tuple a client is known by (RFC 8656 §2, "5-tuple").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddr {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub transport: Transport,
}

/// One relay socket of this shard. Counted up, so a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u64);

/// Where a client's payload goes: out of this relay socket to this address (local form).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToPeer {
    pub relay: RelayId,
    pub peer: SocketAddr,
}

/// Where a peer's payload goes: to this client, as ChannelData when a channel is bound, else as a Data indication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToClient {
    pub client: ClientAddr,
    pub channel: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Relay {
    client: ClientAddr,
    local: SocketAddr,
    ends: Instant,
}

/// The relays of one client, one per family at most.
#[derive(Clone, Copy, Debug, Default)]
struct Relays {
    v4: Option<RelayId>,
    v6: Option<RelayId>,
}

/// Bounded by the server's caps: allocations in total, permissions and channels per allocation.
#[derive(Debug, Default)]
pub struct Routes {
    relays: HashMap<RelayId, Relay>,
    clients: HashMap<ClientAddr, Relays>,
    locals: HashMap<SocketAddr, RelayId>,
    permissions: HashMap<(RelayId, IpAddr), Instant>,
    channels: HashMap<(ClientAddr, u16), (ToPeer, Instant)>,
    bound_peers: HashMap<(RelayId, SocketAddr), (ToClient, Instant)>,
}

impl Routes {
    pub fn new() -> Self {
        Self::default()
    }

    /// ChannelData from a client.
    pub fn channel(&self, now: Instant, from: &ClientAddr, channel: u16) -> Option<ToPeer> {
        let (to, ends) = self.channels.get(&(*from, channel))?;
        (now < *ends).then_some(*to)
    }

    /// A Send indication from a client; `peer` in local form. `None` without a live permission or a relay of that family.
    pub fn send(&self, now: Instant, from: &ClientAddr, peer: SocketAddr) -> Option<ToPeer> {
        let relay = self.clients.get(from)?.of_family(peer)?;
        let ends = self.permissions.get(&(relay, peer.ip()))?;
        (now < *ends).then_some(ToPeer { relay, peer })
    }

    /// A datagram that arrived at a relay socket from `peer`. `None` without a live permission.
    pub fn from_peer(&self, now: Instant, relay: RelayId, peer: SocketAddr) -> Option<ToClient> {
        if let Some((to, ends)) = self.bound_peers.get(&(relay, peer))
            && now < *ends
        {
            return Some(*to);
        }
        let ends = self.permissions.get(&(relay, peer.ip()))?;
        let client = self.relays.get(&relay)?.client;
        (now < *ends).then_some(ToClient { client, channel: None })
    }

    /// The live relay that is bound to this local address, if it is on this shard: the short cut between two clients of ours.
    pub fn relay_at(&self, now: Instant, local: SocketAddr) -> Option<RelayId> {
        let relay = *self.locals.get(&local)?;
        (now < self.relays.get(&relay)?.ends).then_some(relay)
    }

    /// What a relay socket is bound to: the source of what it sends.
    pub fn local_of(&self, relay: RelayId) -> Option<SocketAddr> {
        Some(self.relays.get(&relay)?.local)
    }

    /// The client a relay belongs to.
    pub fn client_of(&self, relay: RelayId) -> Option<ClientAddr> {
        Some(self.relays.get(&relay)?.client)
    }

    /// Adds a relay, or moves the end of one that is there.
    pub fn set_relay(&mut self, relay: RelayId, client: ClientAddr, local: SocketAddr, ends: Instant) {
        self.relays.insert(relay, Relay { client, local, ends });
        self.locals.insert(local, relay);
        *self.clients.entry(client).or_default().slot(local) = Some(relay);
    }

    /// Removes a relay; its permissions and channels must have been removed one by one before.
    pub fn remove_relay(&mut self, relay: RelayId) {
        let Some(Relay { client, local, .. }) = self.relays.remove(&relay) else { return };
        if self.locals.get(&local) == Some(&relay) {
            self.locals.remove(&local);
        }
        if let Some(relays) = self.clients.get_mut(&client) {
            let slot = relays.slot(local);
            if *slot == Some(relay) {
                *slot = None;
            }
            if relays.v4.is_none() && relays.v6.is_none() {
                self.clients.remove(&client);
            }
        }
    }

    /// Adds a permission for an address (local form), or moves its end.
    pub fn set_permission(&mut self, relay: RelayId, peer: IpAddr, ends: Instant) {
        self.permissions.insert((relay, peer), ends);
    }

    pub fn remove_permission(&mut self, relay: RelayId, peer: IpAddr) {
        self.permissions.remove(&(relay, peer));
    }

    /// Adds a channel in both directions, or moves its end; `to.peer` in local form.
    pub fn set_channel(&mut self, client: ClientAddr, channel: u16, to: ToPeer, ends: Instant) {
        self.channels.insert((client, channel), (to, ends));
        self.bound_peers.insert((to.relay, to.peer), (ToClient { client, channel: Some(channel) }, ends));
    }

    pub fn remove_channel(&mut self, client: ClientAddr, channel: u16) {
        if let Some((to, _)) = self.channels.remove(&(client, channel)) {
            self.bound_peers.remove(&(to.relay, to.peer));
        }
    }

    /// Entries in all tables: none may be left when the last allocation is gone.
    pub fn entries(&self) -> usize {
        self.relays.len() + self.clients.len() + self.locals.len() + self.permissions.len() + self.channels.len() + self.bound_peers.len()
    }
}

impl Relays {
    fn of_family(self, peer: SocketAddr) -> Option<RelayId> {
        if peer.is_ipv4() { self.v4 } else { self.v6 }
    }

    fn slot(&mut self, local: SocketAddr) -> &mut Option<RelayId> {
        if local.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RELAY: RelayId = RelayId(7);

    #[test]
    fn permission_counts_by_address_and_ends_in_time() {
        let (mut routes, client, now) = world();
        let end = now + Duration::from_secs(300);
        let peer = address("192.0.2.9:5000");
        assert_eq!(routes.send(now, &client, peer), None);
        routes.set_permission(RELAY, peer.ip(), end);
        assert_eq!(routes.send(now, &client, peer), Some(ToPeer { relay: RELAY, peer }));
        let other_port = address("192.0.2.9:1");
        assert_eq!(routes.from_peer(now, RELAY, other_port), Some(ToClient { client, channel: None }));
        assert_eq!(routes.from_peer(now, RELAY, address("192.0.2.10:5000")), None);
        assert_eq!(routes.from_peer(now, RelayId(8), peer), None);
        assert_eq!(routes.send(end, &client, peer), None);
        assert_eq!(routes.from_peer(end, RELAY, peer), None);
    }

    #[test]
    fn channel_falls_back_to_the_permission() {
        let (mut routes, client, now) = world();
        let peer = address("192.0.2.9:5000");
        let channel_ends = now + Duration::from_secs(10);
        routes.set_channel(client, 0x4000, ToPeer { relay: RELAY, peer }, channel_ends);
        routes.set_permission(RELAY, peer.ip(), now + Duration::from_secs(20));
        assert_eq!(routes.channel(now, &client, 0x4000), Some(ToPeer { relay: RELAY, peer }));
        assert_eq!(routes.channel(now, &client, 0x4001), None);
        assert_eq!(routes.from_peer(now, RELAY, peer), Some(ToClient { client, channel: Some(0x4000) }));
        assert_eq!(routes.from_peer(now, RELAY, address("192.0.2.9:5001")), Some(ToClient { client, channel: None }));
        assert_eq!(routes.channel(channel_ends, &client, 0x4000), None);
        assert_eq!(routes.from_peer(channel_ends, RELAY, peer), Some(ToClient { client, channel: None }));
    }

    #[test]
    fn family_of_the_peer_chooses_the_relay() {
        let (mut routes, client, now) = world();
        let peer = address("[2001:db8::1]:9");
        routes.set_permission(RELAY, peer.ip(), now + Duration::from_secs(300));
        assert_eq!(routes.send(now, &client, peer), None, "a v4 relay sends to no v6 peer");
        let v6 = RelayId(8);
        routes.set_relay(v6, client, address("[2001:db8::2]:61001"), now + Duration::from_secs(600));
        routes.set_permission(v6, peer.ip(), now + Duration::from_secs(300));
        assert_eq!(routes.send(now, &client, peer), Some(ToPeer { relay: v6, peer }));
    }

    #[test]
    fn removed_entries_leave_nothing() {
        let (mut routes, client, now) = world();
        let peer = address("192.0.2.9:5000");
        let end = now + Duration::from_secs(10);
        routes.set_permission(RELAY, peer.ip(), end);
        routes.set_channel(client, 0x4000, ToPeer { relay: RELAY, peer }, end);
        assert_eq!(routes.relay_at(now, address("10.0.0.1:61000")), Some(RELAY));
        assert_eq!(routes.relay_at(now + Duration::from_secs(600), address("10.0.0.1:61000")), None);
        routes.remove_channel(client, 0x4000);
        routes.remove_permission(RELAY, peer.ip());
        routes.remove_relay(RELAY);
        assert_eq!(routes.entries(), 0);
    }

    fn world() -> (Routes, ClientAddr, Instant) {
        let now = Instant::now();
        let client = ClientAddr { client: address("198.51.100.1:4000"), server: address("10.0.0.1:3478"), transport: Transport::Udp };
        let mut routes = Routes::new();
        routes.set_relay(RELAY, client, address("10.0.0.1:61000"), now + Duration::from_secs(600));
        (routes, client, now)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
}
