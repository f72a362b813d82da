//! Pure: a STUN message (RFC 8489 §5): a view over received bytes, and a builder.

pub const HEADER: usize = 20;
pub const COOKIE: u32 = 0x2112_A442;

/// Identifies a request and its answer.
pub type TransactionId = [u8; 12];

/// The bytes that stand before the payload of a Data indication: 36 for an IPv4 peer, 48 for an IPv6 peer (RFC 8656 §11.4).
/// The payload then needs `padding(payload)` zero bytes behind it.
pub fn data_indication(_head: &mut [u8; 48], _peer: std::net::SocketAddr, _transaction: TransactionId, _payload: u16) -> usize {
    unimplemented!()
}
