//! Pure: the client side of TURN (RFC 8656), for the probe, the doctor and the server's own tests.
//!
//! Feed it what arrives (`handle`, one STUN message or ChannelData frame), send what `poll_transmit` gives, wake it at `deadline` with `handle_timeout`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::routes::Transport;
use crate::stun::attr::Family;

/// A long-term credential.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// What was asked for, to tell whose answer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Binding,
    Allocate,
    Refresh,
    Permission,
    Channel,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to `binding`: our address as the server sees it.
    Mapped(SocketAddr),
    Allocated {
        relayed: SocketAddr,
        mapped: SocketAddr,
        lifetime: Duration,
    },
    /// Zero: the allocation is gone.
    Refreshed {
        lifetime: Duration,
    },
    PermissionGranted {
        peers: Vec<IpAddr>,
    },
    ChannelBound {
        peer: SocketAddr,
        channel: u16,
    },
    Data {
        peer: SocketAddr,
        bytes: Vec<u8>,
    },
    /// An error answer that a retry cannot mend.
    Failed {
        asked: Asked,
        code: u16,
        reason: String,
    },
    /// No answer after all retransmissions.
    TimedOut {
        asked: Asked,
    },
}

pub struct Client {}

impl Client {
    /// `seed` makes transaction ids: random in earnest, fixed in tests.
    pub fn new(_credentials: Credentials, _transport: Transport, _seed: u64) -> Self {
        unimplemented!()
    }

    pub fn binding(&mut self, _now: Instant) {
        unimplemented!()
    }

    /// Begins with the unauthenticated request; the 401 (and later any 438) is answered by itself.
    pub fn allocate(&mut self, _now: Instant, _family: Option<Family>) {
        unimplemented!()
    }

    /// Zero gives the allocation back.
    pub fn refresh(&mut self, _now: Instant, _lifetime: Duration) {
        unimplemented!()
    }

    pub fn permit(&mut self, _now: Instant, _peers: &[IpAddr]) {
        unimplemented!()
    }

    /// Binds the next free channel number, or refreshes the one this peer has.
    pub fn bind_channel(&mut self, _now: Instant, _peer: SocketAddr) {
        unimplemented!()
    }

    /// The wire form of a payload: ChannelData when a channel is bound to the peer, else a Send indication. Padded on a stream.
    pub fn send(&mut self, _peer: SocketAddr, _payload: &[u8]) -> Vec<u8> {
        unimplemented!()
    }

    /// One datagram, or one frame of a stream (`stun::framing`).
    pub fn handle(&mut self, _now: Instant, _bytes: &[u8]) {
        unimplemented!()
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        unimplemented!()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!()
    }

    pub fn handle_timeout(&mut self, _now: Instant) {
        unimplemented!()
    }
}
