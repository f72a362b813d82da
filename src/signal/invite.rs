//! Pure: the right to open rooms on a site where only hosts may, as signed words. A link grants it to the browser that opens it, a cookie keeps it.
//!
//! Each is base64url(4 bytes generation, 8 bytes expiry, 16 bytes of HMAC-SHA256 over kind and those). Nothing in it says whose it is.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::names::Identity;
use crate::config::Secret;

/// `__Host-`: set by this host, for this host, on https only; no other site in the same domain can plant it.
pub const COOKIE: &str = "__Host-rtcctl-host";
/// Browsers keep no cookie longer than 400 days (RFC 6265bis §5.5).
pub const COOKIE_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// How long a host link may wait to be opened.
pub const LONGEST_LINK: Duration = Duration::from_secs(7 * 86_400);
/// The operator's own test call is over long before.
const PASS_LIFE: Duration = Duration::from_secs(120);

const SIGNED_BYTES: usize = 12;
const MAC_BYTES: usize = 16;

/// Raised to end every right given so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// Why a link or cookie gives no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRight {
    /// Not of this server's key, of another kind, or changed.
    #[error("it was not made by this site")]
    Foreign,
    #[error("its time is over")]
    Expired,
    #[error("it was revoked")]
    Revoked,
}

/// A genuine cookie that is in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Host(Generation),
    /// Whoever holds the server's key.
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Link,
    Cookie,
    Pass,
}

/// Makes links and cookies and tells its own from forged ones. All times in seconds since the epoch.
pub struct Rights {
    identity: Identity,
}

impl Rights {
    /// `key` is the one that signs client ids.
    pub fn new(key: &Secret) -> Self {
        Self { identity: Identity::new(key) }
    }

    /// The token of a host link, good until `until`.
    pub fn link(&self, generation: Generation, until: u64) -> String {
        self.sign(Kind::Link, generation, until)
    }

    /// The value of [`COOKIE`] for the test call of somebody who has the key: for two minutes, whatever the generation.
    pub fn pass(&self, now: u64) -> String {
        self.sign(Kind::Pass, Generation(0), now + PASS_LIFE.as_secs())
    }

    /// The value of the cookie for a browser that opened a link.
    pub(super) fn redeem(&self, link: &str, current: Option<Generation>, now: u64) -> Result<String, NoRight> {
        let generation = self.verify(Kind::Link, link, now)?;
        check_generation(generation, current)?;
        Ok(self.sign(Kind::Cookie, generation, now + COOKIE_LIFE.as_secs()))
    }

    /// Whose right a cookie carries; a host's must then be of the current generation.
    pub(super) fn holder(&self, cookie: &str, now: u64) -> Result<Holder, NoRight> {
        match self.verify(Kind::Pass, cookie, now) {
            Ok(_) => Ok(Holder::Operator),
            Err(NoRight::Foreign) => self.verify(Kind::Cookie, cookie, now).map(Holder::Host),
            Err(over) => Err(over),
        }
    }

    fn verify(&self, kind: Kind, token: &str, now: u64) -> Result<Generation, NoRight> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| NoRight::Foreign)?;
        let (signed, mac) = bytes.split_first_chunk::<SIGNED_BYTES>().ok_or(NoRight::Foreign)?;
        if !bool::from(self.mac(kind, signed).ct_eq(mac)) {
            return Err(NoRight::Foreign);
        }
        let [g0, g1, g2, g3, until @ ..] = *signed;
        if u64::from_be_bytes(until) <= now {
            return Err(NoRight::Expired);
        }
        Ok(Generation(u32::from_be_bytes([g0, g1, g2, g3])))
    }

    fn sign(&self, kind: Kind, generation: Generation, until: u64) -> String {
        let mut bytes = [0; SIGNED_BYTES + MAC_BYTES];
        bytes[..4].copy_from_slice(&generation.0.to_be_bytes());
        bytes[4..SIGNED_BYTES].copy_from_slice(&until.to_be_bytes());
        let mac = self.mac(kind, &bytes[..SIGNED_BYTES]);
        bytes[SIGNED_BYTES..].copy_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn mac(&self, kind: Kind, signed: &[u8]) -> [u8; MAC_BYTES] {
        let kind: &[u8] = match kind {
            Kind::Link => b"host link",
            Kind::Cookie => b"host cookie",
            Kind::Pass => b"operator pass",
        };
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&self.identity.mac(&[kind, signed]).as_ref()[..MAC_BYTES]);
        mac
    }
}

/// `current` is `None` before the first link was made, when there is nothing to be genuine.
pub(super) fn check_generation(given: Generation, current: Option<Generation>) -> Result<(), NoRight> {
    if current == Some(given) { Ok(()) } else { Err(NoRight::Revoked) }
}

/// Every value of a cookie of this name: a browser may send `Cookie` once, HTTP/2 splits it (RFC 9113 §8.2.3).
pub(super) fn cookies<'a>(headers: &'a http::HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

/// The `Set-Cookie` line: its only power is opening rooms, so no other site may make a browser send it, and no script reads it.
pub(super) fn set_cookie(value: &str) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Strict", COOKIE_LIFE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const FIRST: Generation = Generation(1);

    fn rights() -> Rights {
        Rights::new(&Secret::new([7; 32]))
    }

    #[test]
    fn a_link_becomes_a_cookie_that_is_a_hosts() {
        let link = rights().link(FIRST, NOW + 60);
        let cookie = rights().redeem(&link, Some(FIRST), NOW).unwrap();
        assert_eq!(rights().holder(&cookie, NOW), Ok(Holder::Host(FIRST)), "a restarted server knows it");
        assert_eq!(rights().redeem(&link, Some(FIRST), NOW + 59), rights().redeem(&link, Some(FIRST), NOW + 59), "once in every browser");
    }

    #[test]
    fn time_ends_everything() {
        let link = rights().link(FIRST, NOW + 60);
        assert_eq!(rights().redeem(&link, Some(FIRST), NOW + 60), Err(NoRight::Expired));
        let cookie = rights().redeem(&link, Some(FIRST), NOW).unwrap();
        let end = NOW + COOKIE_LIFE.as_secs();
        assert_eq!((rights().holder(&cookie, end - 1), rights().holder(&cookie, end)), (Ok(Holder::Host(FIRST)), Err(NoRight::Expired)));
        let pass = rights().pass(NOW);
        assert_eq!(rights().holder(&pass, NOW + 119), Ok(Holder::Operator));
        assert_eq!(rights().holder(&pass, NOW + 120), Err(NoRight::Expired));
    }

    #[test]
    fn a_new_generation_ends_links_and_cookies() {
        let link = rights().link(FIRST, NOW + 60);
        assert_eq!(rights().redeem(&link, Some(Generation(2)), NOW), Err(NoRight::Revoked));
        assert_eq!(rights().redeem(&link, None, NOW), Err(NoRight::Revoked), "the file that counts is gone: nobody is trusted");
        assert_eq!(check_generation(FIRST, Some(Generation(2))), Err(NoRight::Revoked));
        assert_eq!(check_generation(FIRST, Some(FIRST)), Ok(()));
    }

    #[test]
    fn one_kind_is_no_other_and_another_site_is_no_host() {
        let (link, pass) = (rights().link(FIRST, NOW + 60), rights().pass(NOW));
        let cookie = rights().redeem(&link, Some(FIRST), NOW).unwrap();
        assert_eq!(rights().holder(&link, NOW), Err(NoRight::Foreign));
        for other in [&cookie, &pass] {
            assert_eq!(rights().redeem(other, Some(FIRST), NOW), Err(NoRight::Foreign));
        }
        let elsewhere = Rights::new(&Secret::new([8; 32]));
        assert_eq!(elsewhere.redeem(&link, Some(FIRST), NOW), Err(NoRight::Foreign));
        assert_eq!(elsewhere.holder(&cookie, NOW), Err(NoRight::Foreign));
        assert_eq!(elsewhere.holder(&pass, NOW), Err(NoRight::Foreign));
    }

    #[test]
    fn whatever_is_changed_is_forged() {
        let cookie = rights().redeem(&rights().link(FIRST, NOW + 60), Some(FIRST), NOW).unwrap();
        for at in 0..cookie.len() {
            let mut bytes = cookie.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(rights().holder(std::str::from_utf8(&bytes).unwrap(), NOW), Err(NoRight::Foreign), "changed at {at}");
            assert_eq!(rights().holder(&cookie[..at], NOW), Err(NoRight::Foreign), "cut at {at}");
        }
        for nonsense in [format!("{cookie}="), format!("{cookie}AAAA"), "ü".into(), "x".repeat(5000)] {
            assert_eq!(rights().holder(&nonsense, NOW), Err(NoRight::Foreign), "{nonsense}");
        }
    }

    #[test]
    fn cookies_are_found_wherever_they_stand() {
        let found = |lines: &[&str]| {
            let lines = lines.iter().map(|line| (http::header::COOKIE, line.parse().unwrap()));
            cookies(&lines.collect(), "a").map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(found(&["a=1"]), ["1"]);
        assert_eq!(found(&["b=2; a=1;c=3; xa=4"]), ["1"]);
        assert_eq!(found(&["b=2", "a=1; a=5"]), ["1", "5"]);
        assert_eq!(found(&["a", "", ";=;", "A=1"]), [""; 0]);
    }

    #[test]
    fn the_cookie_is_for_this_site_alone() {
        assert_eq!(set_cookie("v"), "__Host-rtcctl-host=v; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Strict");
    }
}
