//! Pure: a STUN message (RFC 8489 §5): a view over received bytes, parsed once, and a builder.
//!
//! ```text
//! type (2)   length (2)   magic cookie (4)
//! transaction id (12)
//! attributes: type (2) length (2) value, padded to four ...
//! ```

use std::net::SocketAddr;

use super::attr::{self, Malformed, XorAddress};
use super::integrity;

/// Bytes before the attributes.
pub const HEADER: usize = 20;
pub const COOKIE: u32 = 0x2112_A442;

pub const BINDING: u16 = 0x001;
pub const ALLOCATE: u16 = 0x003;
pub const REFRESH: u16 = 0x004;
pub const SEND: u16 = 0x006;
pub const DATA: u16 = 0x007;
pub const CREATE_PERMISSION: u16 = 0x008;
pub const CHANNEL_BIND: u16 = 0x009;

/// Identifies a request and its answer.
pub type TransactionId = [u8; 12];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Which of the two integrity attributes protects a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    Sha1,
    Sha256,
}

/// Why bytes are no STUN message; none of these deserves an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("not STUN")]
    NotStun,
    #[error("an attribute or the message is cut short")]
    Truncated,
    #[error("the fingerprint is wrong")]
    Fingerprint,
}

/// A message whose attributes all lie inside it. Only what stands before the integrity attribute (or the fingerprint) can be read: what stands behind
/// it is not protected and does not count (RFC 8489 §14.5).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    visible: usize,
    sha1: Option<usize>,
    sha256: Option<usize>,
    fingerprint: bool,
    class: Class,
    method: u16,
    transaction: TransactionId,
}

impl<'a> Message<'a> {
    /// Bytes behind the length that the header tells are left alone.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = bytes.first_chunk::<HEADER>().ok_or(ParseError::NotStun)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if kind & 0xC000 != 0 || header[4..8] != COOKIE.to_be_bytes() || !length.is_multiple_of(4) {
            return Err(ParseError::NotStun);
        }
        let bytes = bytes.get(..HEADER + length).ok_or(ParseError::Truncated)?;
        let (class, method) = split_kind(kind);
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..]);
        let mut message = Self { bytes, visible: bytes.len(), sha1: None, sha256: None, fingerprint: false, class, method, transaction };
        message.find_tail()?;
        Ok(message)
    }

    /// Walks all attributes once and notes where the protected part ends.
    fn find_tail(&mut self) -> Result<(), ParseError> {
        let mut walk = Attributes { bytes: self.bytes, at: HEADER };
        while walk.at < self.bytes.len() {
            let at = walk.at;
            let (kind, value) = walk.next().ok_or(ParseError::Truncated)?;
            let is_tail = match kind {
                _ if self.fingerprint => false,
                attr::MESSAGE_INTEGRITY if self.sha1.is_none() && self.sha256.is_none() => {
                    self.sha1 = Some(at);
                    true
                }
                attr::MESSAGE_INTEGRITY_SHA256 if self.sha256.is_none() => {
                    self.sha256 = Some(at);
                    true
                }
                attr::FINGERPRINT => {
                    if value != integrity::fingerprint(self.bytes, at) {
                        return Err(ParseError::Fingerprint);
                    }
                    self.fingerprint = true;
                    true
                }
                _ => false,
            };
            if is_tail {
                self.visible = self.visible.min(at);
            }
        }
        Ok(())
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn method(&self) -> u16 {
        self.method
    }

    pub fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// It had a (right) fingerprint, so the answer may have one.
    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    /// Which integrity attribute counts: the SHA-256 one when there are both (RFC 8489 §9.2.4).
    pub fn integrity(&self) -> Option<Integrity> {
        match (self.sha1, self.sha256) {
            (_, Some(_)) => Some(Integrity::Sha256),
            (Some(_), None) => Some(Integrity::Sha1),
            (None, None) => None,
        }
    }

    /// Whether the integrity attribute that counts was made with this key. Takes the same time for every wrong value.
    pub fn verify(&self, key: &[u8]) -> bool {
        match (self.sha1, self.sha256) {
            (_, Some(at)) => integrity::verify(Integrity::Sha256, self.bytes, at, key),
            (Some(at), None) => integrity::verify(Integrity::Sha1, self.bytes, at, key),
            (None, None) => false,
        }
    }

    /// Attributes that count, in order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { bytes: self.bytes.get(..self.visible).unwrap_or_default(), at: HEADER }
    }

    /// The first attribute of that type; later ones do not count (RFC 8489 §14).
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The first XOR-ed address of that type. `None`: there is none.
    pub fn address(&self, kind: u16) -> Option<Result<SocketAddr, Malformed>> {
        self.get(kind).map(|value| XorAddress::decode(value, &self.transaction))
    }

    /// Attributes that must be understood and are not among `known` (RFC 8489 §6.3.1).
    pub fn unknown<'b>(&'b self, known: &'b [u16]) -> impl Iterator<Item = u16> + use<'a, 'b> {
        self.attributes().map(|(kind, _)| kind).filter(move |kind| *kind <= attr::LAST_REQUIRED && !known.contains(kind))
    }
}

/// Attribute types and values without padding. Ends early where an attribute runs past the end, which a parsed message has not.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.bytes.get(self.at..)?.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        self.at += 4 + length.next_multiple_of(4);
        Some((u16::from_be_bytes([head[0], head[1]]), value))
    }
}

/// Class bits stand at 4 and 8 of the type, the method around them (RFC 8489 §5).
fn split_kind(kind: u16) -> (Class, u16) {
    let class = match kind & 0x0110 {
        0x0000 => Class::Request,
        0x0010 => Class::Indication,
        0x0100 => Class::Success,
        _ => Class::Error,
    };
    (class, kind & 0x000F | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2)
}

fn join_kind(class: Class, method: u16) -> u16 {
    let class = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    class | method & 0x000F | (method & 0x0070) << 1 | (method & 0x0F80) << 2
}

/// Writes one message; the header's length is right after every step. Integrity covers what was added before it, the fingerprint everything.
#[derive(Clone, Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl Builder {
    pub fn new(class: Class, method: u16, transaction: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend(join_kind(class, method).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend(transaction);
        Self { bytes, transaction }
    }

    /// # Panics
    /// When the message would outgrow its 16-bit length.
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).expect("an attribute of ours is shorter than 64 KiB");
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = u16::try_from(self.bytes.len() - HEADER).expect("a message of ours is shorter than 64 KiB");
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self
    }

    pub fn address(self, kind: u16, address: SocketAddr) -> Self {
        let wire = XorAddress::encode(address, &self.transaction);
        self.attr(kind, wire.as_bytes())
    }

    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Of the reason the first 120 bytes are kept: longer ones are not allowed (RFC 8489 §14.8).
    pub fn error(self, code: u16, reason: &str) -> Self {
        let mut value = attr::encode_error(code, 0).to_vec();
        let end = (0..=reason.len().min(120)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        value.extend(&reason.as_bytes()[..end]);
        self.attr(attr::ERROR_CODE, &value)
    }

    pub fn sign(self, integrity: Integrity, key: &[u8]) -> Self {
        let at = self.bytes.len();
        match integrity {
            Integrity::Sha1 => {
                let tag = integrity::tag(integrity, &self.bytes, at, key);
                self.attr(attr::MESSAGE_INTEGRITY, tag.as_ref())
            }
            Integrity::Sha256 => {
                let tag = integrity::tag(integrity, &self.bytes, at, key);
                self.attr(attr::MESSAGE_INTEGRITY_SHA256, tag.as_ref())
            }
        }
    }

    pub fn fingerprint(self) -> Self {
        let value = integrity::fingerprint(&self.bytes, self.bytes.len());
        self.attr(attr::FINGERPRINT, &value)
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The bytes that stand before the payload of a Data indication: 36 for an IPv4 peer, 48 for an IPv6 peer (RFC 8656 §11.4); the payload then needs
/// `channel::padding(payload)` zero bytes behind it. `None`: the payload does not fit into one message.
pub fn data_indication(head: &mut [u8; 48], peer: SocketAddr, transaction: TransactionId, payload: u16) -> Option<usize> {
    let address = XorAddress::encode(peer, &transaction);
    let address = address.as_bytes();
    let total = HEADER + 4 + address.len() + 4;
    let length = total - HEADER + usize::from(payload).next_multiple_of(4);
    head[..2].copy_from_slice(&join_kind(Class::Indication, DATA).to_be_bytes());
    head[2..4].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    head[4..8].copy_from_slice(&COOKIE.to_be_bytes());
    head[8..20].copy_from_slice(&transaction);
    head[20..22].copy_from_slice(&attr::XOR_PEER_ADDRESS.to_be_bytes());
    head[22..24].copy_from_slice(&[0, address.len() as u8]);
    head[24..total - 4].copy_from_slice(address);
    head[total - 4..total - 2].copy_from_slice(&attr::DATA.to_be_bytes());
    head[total - 2..total].copy_from_slice(&payload.to_be_bytes());
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: TransactionId = *b"abcdefghijkl";

    #[test]
    fn builds_and_parses() {
        let bytes = Builder::new(Class::Error, CHANNEL_BIND, TRANSACTION)
            .error(438, "Stale")
            .attr(attr::REALM, b"r")
            .sign(Integrity::Sha1, b"key")
            .fingerprint()
            .finish();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method(), message.transaction()), (Class::Error, CHANNEL_BIND, TRANSACTION));
        assert_eq!(message.get(attr::ERROR_CODE).map(attr::decode_error), Some(Ok((438, "Stale"))));
        assert_eq!(message.get(attr::REALM), Some(&b"r"[..]));
        assert!(message.has_fingerprint());
        assert!(message.verify(b"key") && !message.verify(b"kez"));
    }

    #[test]
    fn every_kind_survives() {
        for kind in 0..0x4000 {
            let (class, method) = split_kind(kind);
            assert_eq!(join_kind(class, method), kind);
        }
        assert_eq!(split_kind(0x0113), (Class::Error, ALLOCATE));
    }

    #[test]
    fn what_stands_behind_the_integrity_is_not_seen() {
        let signed = Builder::new(Class::Request, REFRESH, TRANSACTION).u32(attr::LIFETIME, 600).sign(Integrity::Sha1, b"k");
        let bytes = signed.attr(attr::REALM, b"x").u32(attr::LIFETIME, 0).sign(Integrity::Sha1, b"other").finish();
        let message = Message::parse(&bytes).unwrap();
        assert!(message.verify(b"k"));
        assert_eq!(message.attributes().count(), 1);
        assert_eq!(message.get(attr::REALM), None);
    }

    #[test]
    fn sha256_counts_when_both_are_there() {
        let both = Builder::new(Class::Request, REFRESH, TRANSACTION).sign(Integrity::Sha1, b"one").sign(Integrity::Sha256, b"two").finish();
        let message = Message::parse(&both).unwrap();
        assert_eq!(message.integrity(), Some(Integrity::Sha256));
        assert!(message.verify(b"two") && !message.verify(b"one"));
        let reversed = Builder::new(Class::Request, REFRESH, TRANSACTION).sign(Integrity::Sha256, b"two").sign(Integrity::Sha1, b"one").finish();
        assert!(Message::parse(&reversed).unwrap().verify(b"two"));
    }

    #[test]
    fn integrity_of_another_length_never_verifies() {
        for length in [0, 4, 16, 19, 21, 24, 32] {
            let bytes = Builder::new(Class::Request, REFRESH, TRANSACTION).attr(attr::MESSAGE_INTEGRITY, &vec![0; length]).finish();
            assert!(!Message::parse(&bytes).unwrap().verify(b"k"), "{length}");
        }
    }

    #[test]
    fn malformed_messages_are_refused() {
        let good = Builder::new(Class::Request, BINDING, TRANSACTION).attr(attr::USERNAME, b"user").finish();
        for end in 0..good.len() {
            assert!(Message::parse(&good[..end]).is_err(), "{end}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Message::parse(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0, 0x80), ParseError::NotStun);
        assert_eq!(with(0, 0x40), ParseError::NotStun);
        assert_eq!(with(4, 0x20), ParseError::NotStun);
        assert_eq!(with(3, 7), ParseError::NotStun);
        assert_eq!(with(3, 12), ParseError::Truncated);
        assert_eq!(with(23, 5), ParseError::Truncated);
        assert_eq!(with(22, 0xFF), ParseError::Truncated);
    }

    #[test]
    fn wrong_fingerprint_is_refused() {
        let mut bytes = Builder::new(Class::Request, BINDING, TRANSACTION).fingerprint().finish();
        assert!(Message::parse(&bytes).is_ok());
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(Message::parse(&bytes).unwrap_err(), ParseError::Fingerprint);
    }

    #[test]
    fn unknown_attributes_are_all_listed() {
        let bytes = Builder::new(Class::Request, ALLOCATE, TRANSACTION)
            .attr(0x7001, b"")
            .attr(attr::USERNAME, b"u")
            .attr(0x8001, b"")
            .attr(0x0003, b"abcd")
            .finish();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.unknown(&[attr::USERNAME]).collect::<Vec<_>>(), [0x7001, 0x0003]);
    }

    #[test]
    fn data_indication_is_what_the_builder_would_write() {
        for peer in ["192.0.2.1:1", "[2001:db8::1]:65535"].map(|text| text.parse().unwrap()) {
            for payload in [&b""[..], b"a", b"abcd", b"hello"] {
                let expected =
                    Builder::new(Class::Indication, DATA, TRANSACTION).address(attr::XOR_PEER_ADDRESS, peer).attr(attr::DATA, payload).finish();
                let mut head = [0xAA; 48];
                let length = data_indication(&mut head, peer, TRANSACTION, payload.len() as u16).unwrap();
                let padding = vec![0; super::super::channel::padding(payload.len())];
                assert_eq!([&head[..length], payload, &padding].concat(), expected);
            }
        }
        assert_eq!(data_indication(&mut [0; 48], "192.0.2.1:1".parse().unwrap(), TRANSACTION, 65_520), None);
    }
}
