//! Pure: one allocation: its relays, permissions and channels with their lifetimes (RFC 8656 §3.2, §9, §12), written through to the routes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::auth::User;
use super::policy::Share;
use super::routes::{ClientAddr, RelayId, Routes, ToPeer};
use crate::stun::attr::Family;
use crate::stun::message::TransactionId;

/// Addresses one allocation may talk to at a time.
pub const MAX_PERMISSIONS: usize = 256;

/// Channels one allocation may hold at a time.
pub const MAX_CHANNELS: usize = 128;

/// Peers stand in local form. Dropping it gives the quota back.
pub struct Allocation {
    pub user: User,
    pub client: ClientAddr,
    /// The request that made it, and what it was answered: a copy of the request gets a copy of the answer (RFC 8489 §6.3.1).
    pub transaction: TransactionId,
    pub answer: Vec<u8>,
    /// One per family at most.
    relays: Vec<Relay>,
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, Channel>,
    _share: Share,
}

/// A relay socket with its own lifetime: a refresh may name one family only (RFC 8656 §8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    pub id: RelayId,
    pub local: SocketAddr,
    pub ends: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    peer: SocketAddr,
    ends: Instant,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// The number has another peer, or the peer another number.
    Conflict,
    Full,
}

impl Allocation {
    pub fn new(
        user: User,
        client: ClientAddr,
        transaction: TransactionId,
        answer: Vec<u8>,
        relays: Vec<Relay>,
        share: Share,
        routes: &mut Routes,
    ) -> Self {
        for relay in &relays {
            routes.set_relay(relay.id, client, relay.local, relay.ends);
        }
        Self { user, client, transaction, answer, relays, permissions: HashMap::new(), channels: HashMap::new(), _share: share }
    }

    pub fn has_family(&self, family: Family) -> bool {
        self.relay(family).is_some()
    }

    pub fn is_over(&self) -> bool {
        self.relays.is_empty()
    }

    /// When [`Allocation::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let relays = self.relays.iter().map(|relay| relay.ends);
        relays.chain(self.permissions.values().copied()).chain(self.channels.values().map(|channel| channel.ends)).min()
    }

    /// Moves the end of all relays, or of that family's.
    pub fn refresh(&mut self, family: Option<Family>, ends: Instant, routes: &mut Routes) {
        for relay in self.relays.iter_mut().filter(|relay| is_meant(relay, family)) {
            relay.ends = ends;
            routes.set_relay(relay.id, self.client, relay.local, ends);
        }
        for peer in self.permissions.keys() {
            self.publish(*peer, routes);
        }
    }

    /// Ends all relays, or that family's, with everything that hangs on them.
    pub fn end(&mut self, family: Option<Family>, routes: &mut Routes) -> Vec<Relay> {
        let (ended, living) = self.relays.drain(..).partition(|relay| is_meant(relay, family));
        self.relays = living;
        self.tear_down(&ended, routes);
        ended
    }

    /// Removes what is over; the relays that are must be closed.
    pub fn expire(&mut self, now: Instant, routes: &mut Routes) -> Vec<Relay> {
        let dead: Vec<u16> = self.channels.iter().filter(|(_, channel)| channel.ends <= now).map(|(number, _)| *number).collect();
        for number in dead {
            self.unbind(number, routes);
        }
        let dead: Vec<IpAddr> = self.permissions.iter().filter(|(_, ends)| **ends <= now).map(|(peer, _)| *peer).collect();
        for peer in dead {
            self.forbid(peer, routes);
        }
        let (ended, living): (Vec<Relay>, _) = self.relays.drain(..).partition(|relay| relay.ends <= now);
        self.relays = living;
        self.tear_down(&ended, routes);
        ended
    }

    /// Whether that many permissions fit, those counted that are there already.
    pub fn has_room_for(&self, peers: &[IpAddr]) -> bool {
        let fresh = peers.iter().filter(|peer| !self.permissions.contains_key(peer)).count();
        self.permissions.len() + fresh <= MAX_PERMISSIONS
    }

    /// Installs or prolongs a permission; the caller has asked for room.
    pub fn permit(&mut self, peer: IpAddr, ends: Instant, routes: &mut Routes) {
        self.permissions.insert(peer, ends);
        self.publish(peer, routes);
    }

    /// Whether this pair may be bound, or is. Asked before anything else about a ChannelBind, so that it comes first as in RFC 8656 §12.2.
    pub fn may_bind(&self, number: u16, peer: SocketAddr) -> Result<(), BindError> {
        match self.channels.get(&number) {
            Some(channel) if channel.peer == peer => return Ok(()),
            Some(_) => return Err(BindError::Conflict),
            None => {}
        }
        if self.channels.values().any(|channel| channel.peer == peer) {
            return Err(BindError::Conflict);
        }
        if self.channels.len() < MAX_CHANNELS { Ok(()) } else { Err(BindError::Full) }
    }

    /// Binds or prolongs a channel and the permission of its peer; the caller has asked whether it may.
    pub fn bind(&mut self, number: u16, peer: SocketAddr, channel_ends: Instant, permission_ends: Instant, routes: &mut Routes) {
        self.channels.insert(number, Channel { peer, ends: channel_ends });
        self.permit(peer.ip(), permission_ends, routes);
    }

    /// Writes the permission of this address and the channels that need it into the routes, each with the earliest end of all it depends on.
    fn publish(&self, peer: IpAddr, routes: &mut Routes) {
        let (Some(relay), Some(permission)) = (self.relay(Family::of(peer)), self.permissions.get(&peer)) else { return };
        let ends = relay.ends.min(*permission);
        routes.set_permission(relay.id, peer, ends);
        for (number, channel) in self.channels.iter().filter(|(_, channel)| channel.peer.ip() == peer) {
            routes.set_channel(self.client, *number, ToPeer { relay: relay.id, peer: channel.peer }, ends.min(channel.ends));
        }
    }

    fn tear_down(&mut self, ended: &[Relay], routes: &mut Routes) {
        for relay in ended {
            let family = family_of(relay);
            let channels: Vec<u16> =
                self.channels.iter().filter(|(_, channel)| Family::of(channel.peer.ip()) == family).map(|(number, _)| *number).collect();
            for number in channels {
                self.unbind(number, routes);
            }
            let peers: Vec<IpAddr> = self.permissions.keys().copied().filter(|peer| Family::of(*peer) == family).collect();
            for peer in peers {
                self.permissions.remove(&peer);
                routes.remove_permission(relay.id, peer);
            }
            routes.remove_relay(relay.id);
        }
    }

    fn unbind(&mut self, number: u16, routes: &mut Routes) {
        self.channels.remove(&number);
        routes.remove_channel(self.client, number);
    }

    fn forbid(&mut self, peer: IpAddr, routes: &mut Routes) {
        self.permissions.remove(&peer);
        if let Some(relay) = self.relay(Family::of(peer)) {
            routes.remove_permission(relay.id, peer);
        }
    }

    fn relay(&self, family: Family) -> Option<&Relay> {
        self.relays.iter().find(|relay| family_of(relay) == family)
    }
}

fn is_meant(relay: &Relay, family: Option<Family>) -> bool {
    family.is_none_or(|family| family_of(relay) == family)
}

fn family_of(relay: &Relay) -> Family {
    Family::of(relay.local.ip())
}
