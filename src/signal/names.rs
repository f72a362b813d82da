//! Pure: room names, and client ids that nobody can guess and that a restarted server still knows as its own.
//! An id is base64url(16 random bytes, 4 bytes of time, 16 bytes of HMAC-SHA256 over room and those bytes): holding it is the only proof of a seat.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::config::Secret;

/// First path segments that have another meaning, so that no room can have them as its name.
pub const RESERVED: [&str; 16] =
    ["r", "join", "leave", "message", "params", "v1alpha", "ws", "status", "ca", "healthz", "api", "assets", "js", "css", "images", ".well-known"];

const MAX_ROOM_NAME: usize = 128;
const RANDOM_BYTES: usize = 16;
/// Random bytes and the time of issue, seconds since the epoch (until 2106).
const SEAT_BYTES: usize = RANDOM_BYTES + 4;
const MAC_BYTES: usize = 16;

/// A room: 1 to 128 of `[A-Za-z0-9_-]`, not a reserved word.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// Why a text is not a room name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARoom {
    #[error("a room name has letters, digits, - and _ only")]
    Characters,
    #[error("a room name has 1 to 128 characters")]
    Length,
    #[error("this room name is reserved: {0}")]
    Reserved(&'static str),
}

impl RoomName {
    pub fn parse(text: &str) -> Result<Self, NotARoom> {
        if let Some(word) = RESERVED.iter().find(|word| **word == text) {
            return Err(NotARoom::Reserved(word));
        }
        if text.is_empty() || text.len() > MAX_ROOM_NAME {
            return Err(NotARoom::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(NotARoom::Characters);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Room names are user text that belongs to two people: not for logs.
impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomName(..)")
    }
}

/// A client id that was minted for one room by this server's key, or the echo of a loopback room. Made by [`Identity`] only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The second seat of a room opened with `debug=loopback`, under either of the names that shipped clients use.
    pub fn echo() -> Self {
        Self("LOOPBACK_CLIENT_ID".into())
    }

    pub fn is_echo(&self) -> bool {
        &*self.0 == "LOOPBACK_CLIENT_ID"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was issued, in seconds since the epoch; an echo never was.
    pub fn issued(&self) -> u64 {
        let bytes = URL_SAFE_NO_PAD.decode(&*self.0).unwrap_or_default();
        bytes.get(RANDOM_BYTES..SEAT_BYTES).and_then(|time| time.try_into().ok()).map_or(0, |time| u32::from_be_bytes(time).into())
    }
}

/// The id is the secret of a seat.
impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientId(..)")
    }
}

/// Mints client ids and tells its own from guessed ones.
pub struct Identity {
    key: hmac::Key,
}

impl Identity {
    pub fn new(key: &Secret) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()) }
    }

    /// `now` in seconds since the epoch.
    pub fn issue(&self, room: &RoomName, random: [u8; RANDOM_BYTES], now: u64) -> ClientId {
        let mut bytes = [0; SEAT_BYTES + MAC_BYTES];
        bytes[..RANDOM_BYTES].copy_from_slice(&random);
        bytes[RANDOM_BYTES..SEAT_BYTES].copy_from_slice(&u32::try_from(now).unwrap_or(u32::MAX).to_be_bytes());
        let mac = self.seat_mac(room, &bytes[..SEAT_BYTES]);
        bytes[SEAT_BYTES..].copy_from_slice(&mac);
        ClientId(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// `None` for an id of another room, another server's key, or a guess.
    pub fn recognise(&self, room: &RoomName, text: &str) -> Option<ClientId> {
        if matches!(text, "LOOPBACK_CLIENT_ID" | "loopback_client_id") {
            return Some(ClientId::echo());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (seat, mac) = bytes.split_at_checked(SEAT_BYTES)?;
        let genuine = self.seat_mac(room, seat).ct_eq(mac);
        bool::from(genuine).then(|| ClientId(text.into()))
    }

    /// What the relay, logs and quotas may know of a client: 96 bits in hex that lead back to nobody.
    pub fn user(&self, room: &RoomName, client: &ClientId) -> String {
        self.digest(&[b"user", room.as_str().as_bytes(), client.as_str().as_bytes()])
    }

    /// The same for a client that has no room yet, told apart by its address.
    pub fn visitor(&self, address: std::net::IpAddr) -> String {
        self.digest(&[b"visitor", address.to_canonical().to_string().as_bytes()])
    }

    fn digest(&self, parts: &[&[u8]]) -> String {
        self.mac(parts).as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn seat_mac(&self, room: &RoomName, seat: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&self.mac(&[b"seat", room.as_str().as_bytes(), seat]).as_ref()[..MAC_BYTES]);
        mac
    }

    /// Each part is preceded by its length, so that no two lists of parts give the same bytes.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new(&Secret::new([7; 32]))
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    #[test]
    fn names() {
        for good in ["a", "my-room_7", "R", "Join", "-", &"x".repeat(128)] {
            assert_eq!(RoomName::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", NotARoom::Length),
            (&*"x".repeat(129), NotARoom::Length),
            ("a b", NotARoom::Characters),
            ("<b>", NotARoom::Characters),
            ("zürich", NotARoom::Characters),
            ("a/b", NotARoom::Characters),
            ("..", NotARoom::Characters),
            ("ws", NotARoom::Reserved("ws")),
            (".well-known", NotARoom::Reserved(".well-known")),
        ] {
            assert_eq!(RoomName::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn an_id_is_known_in_its_room_only_and_by_its_key_only() {
        let id = identity().issue(&room("a"), [1; 16], 1_800_000_000);
        assert_eq!((id.as_str().len(), id.issued()), (48, 1_800_000_000));
        assert_eq!(ClientId::echo().issued(), 0);
        assert_eq!(identity().recognise(&room("a"), id.as_str()), Some(id.clone()), "a restarted server");
        assert_eq!(identity().recognise(&room("b"), id.as_str()), None);
        assert_eq!(Identity::new(&Secret::new([8; 32])).recognise(&room("a"), id.as_str()), None);
    }

    #[test]
    fn changed_cut_and_padded_ids_are_guesses() {
        let id = identity().issue(&room("a"), [1; 16], 1_800_000_000);
        let known = |text: &str| identity().recognise(&room("a"), text).is_some();
        for at in 0..id.as_str().len() {
            let mut bytes = id.as_str().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(!known(std::str::from_utf8(&bytes).unwrap()), "changed at {at}");
            assert!(!known(&id.as_str()[..at]), "cut at {at}");
        }
        assert!(!known(&format!("{}=", id.as_str())));
        assert!(!known(&format!("{}AAAA", id.as_str())));
        assert!(!known("12345678"));
    }

    #[test]
    fn users_differ_by_room_and_client_and_do_not_hold_the_id() {
        let (a, b) = (identity().issue(&room("a"), [1; 16], 1_800_000_000), identity().issue(&room("a"), [2; 16], 1_800_000_000));
        let user = identity().user(&room("a"), &a);
        assert_eq!(user.len(), 24);
        assert_ne!(user, identity().user(&room("a"), &b));
        assert_ne!(user, identity().user(&room("b"), &a));
        assert!(!a.as_str().contains(&user));
    }

    #[test]
    fn a_mapped_address_is_the_same_visitor() {
        assert_eq!(identity().visitor("192.0.2.1".parse().unwrap()), identity().visitor("::ffff:192.0.2.1".parse().unwrap()));
        assert_ne!(identity().visitor("192.0.2.1".parse().unwrap()), identity().visitor("192.0.2.2".parse().unwrap()));
    }
}
