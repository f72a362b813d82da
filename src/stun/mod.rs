//! The wire format of STUN and TURN: RFC 8489 and RFC 8656, both directions, and the credentials that ride on it.
//!
//! Not for: deciding anything about a request; that is `turn`.

pub mod attr;
pub mod channel;
pub mod credential;
pub mod framing;
pub mod integrity;
pub mod message;
