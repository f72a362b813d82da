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

/// `expiry` in seconds since the epoch; `id` tells users apart (quotas count by it), so it must not be a secret of anybody: it travels in the clear.
pub fn mint(secret: &[u8], id: &str, expiry: u64) -> Credential {
    let username = format!("{expiry}:{id}");
    let password = password(secret, &username);
    Credential { username, password }
}

/// The password that belongs to a user name under this secret.
pub fn password(secret: &[u8], username: &str) -> String {
    password_of(secret, username.as_bytes())
}

/// The same for a user name that came over the wire and may be any bytes.
pub fn password_of(secret: &[u8], username: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    STANDARD.encode(ring::hmac::sign(&key, username))
}

/// What a user name says, before anybody has proved to own it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Seconds since the epoch.
    pub expiry: u64,
    /// Whom quotas are counted for; empty when the name is the expiry alone.
    pub id: &'a [u8],
}

impl<'a> Claim<'a> {
    /// Only digits before the colon, a positive number that fits into 64 bits; no sign, space or other base. The colon and the id may be missing.
    pub fn parse(username: &'a [u8]) -> Option<Self> {
        let colon = username.iter().position(|byte| *byte == b':').unwrap_or(username.len());
        let (digits, rest) = username.split_at(colon);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let expiry = digits.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
        (expiry > 0).then_some(Self { expiry, id: rest.get(1..).unwrap_or_default() })
    }

    /// Neither over nor further away than `longest` seconds: a credential for a hundred years was not made by us.
    pub fn is_current(&self, now: u64, longest: u64) -> bool {
        self.expiry > now && self.expiry <= now.saturating_add(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mints_what_others_mint() {
        // Computed with: printf %s 1700000000:alice | openssl dgst -sha1 -hmac secret -binary | base64
        let credential = mint(b"secret", "alice", 1_700_000_000);
        assert_eq!(credential.username, "1700000000:alice");
        assert_eq!(credential.password, "d8soP47RbdIKLDUOpnJPVQyq5Ts=");
    }

    #[test]
    fn reads_names() {
        let claim = |text: &'static str| Claim::parse(text.as_bytes()).map(|claim| (claim.expiry, claim.id));
        assert_eq!(claim("1700000000:alice"), Some((1_700_000_000, &b"alice"[..])));
        assert_eq!(claim("1700000000:a:b"), Some((1_700_000_000, &b"a:b"[..])));
        assert_eq!(claim("1700000000"), Some((1_700_000_000, &b""[..])));
        assert_eq!(claim("18446744073709551615:x"), Some((u64::MAX, &b"x"[..])));
        for wrong in [
            "",
            ":",
            ":alice",
            "0:alice",
            "00:a",
            "-1:a",
            "+1:a",
            " 1:a",
            "1 :a",
            "0x10:a",
            "1e9:a",
            "1.0:a",
            "18446744073709551616:a",
            "alice",
            "\u{661}:a",
        ] {
            assert_eq!(claim(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn bounds_of_the_time() {
        let at = |expiry| Claim { expiry, id: b"" }.is_current(1000, 60);
        assert_eq!([999, 1000, 1001, 1060, 1061, u64::MAX].map(at), [false, false, true, true, false, false]);
        assert!(Claim { expiry: u64::MAX, id: b"" }.is_current(u64::MAX - 1, u64::MAX));
    }
}
