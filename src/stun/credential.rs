//! Pure: time-limited credentials (draft-uberti-behave-turn-rest-00): `username = <unix expiry>:<id>`, `password = base64(HMAC-SHA1(secret, username))`.
//! Minted and verified in one place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a client is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub username: String,
    pub password: String,
}

/// `expiry` in seconds since the epoch; `id` tells users apart (quotas count by it) and must not contain a colon-free secret of anybody.
pub fn mint(secret: &[u8], id: &str, expiry: u64) -> Credential {
    let username = format!("{expiry}:{id}");
    let password = password(secret, &username);
    Credential { username, password }
}

/// The password that belongs to a user name under this secret.
pub fn password(secret: &[u8], username: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    STANDARD.encode(ring::hmac::sign(&key, username.as_bytes()))
}
