//! Pure: who is asking: the challenge, the stateless nonce, and the key (RFC 8489 §9.2.4, RFC 8656 §5).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use super::reject::{BAD_REQUEST, Reject, STALE_NONCE, UNAUTHORIZED};
use crate::config::Secret;
use crate::stun::attr;
use crate::stun::credential::{Claim, password_of};
use crate::stun::integrity::{md5_key, sha256_key};
use crate::stun::message::{Builder, Integrity, Message};

/// Nonce cookie and the 24 feature bits: only "password algorithms" is set (RFC 8489 §9.2, §18.1).
const COOKIE: &str = "obMatJos2gAAA";

/// The value of PASSWORD-ALGORITHMS, the better one first: SHA-256, then MD5, without parameters (RFC 8489 §18.5).
const ALGORITHMS: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

const MAC: usize = 12;

/// How far the wall clock may have been set back before nonces given out are taken for forged.
const CLOCK_STEP: u64 = 5;

/// Knows the realm and the secrets; remembers nobody.
pub struct Auth {
    realm: String,
    nonce_key: hmac::Key,
    nonce_lifetime: Duration,
    secrets: Arc<ArcSwap<Vec<Secret>>>,
    credential_max: Duration,
}

/// Why nobody was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401 and a challenge.
    Unauthorized,
    /// 400, without a challenge.
    Malformed,
    /// 438 and a new nonce.
    StaleNonce,
}

impl Refusal {
    pub(super) fn reject(self) -> Reject {
        match self {
            Self::Unauthorized => UNAUTHORIZED,
            Self::Malformed => BAD_REQUEST,
            Self::StaleNonce => STALE_NONCE,
        }
    }
}

/// Somebody who proved to own a credential. An allocation keeps it, so that it can be refreshed when the credential's time is over.
#[derive(Clone, Debug)]
pub struct User {
    pub username: Box<[u8]>,
    keys: Keys,
}

/// The keys, not the password (RFC 8656 §6).
#[derive(Clone, PartialEq, Eq)]
struct Keys {
    md5: [u8; 16],
    sha256: [u8; 32],
}

/// How answers to one request are signed.
#[derive(Clone, Copy)]
pub struct Signer {
    keys: [u8; 32],
    algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// No PASSWORD-ALGORITHM in the request: the answer is what RFC 5389 says, SHA-1 over the MD5 key.
    Legacy,
    Md5,
    Sha256,
}

impl Auth {
    pub fn new(realm: String, nonce_key: &[u8; 32], nonce_lifetime: Duration, secrets: Arc<ArcSwap<Vec<Secret>>>, credential_max: Duration) -> Self {
        Self { realm, nonce_key: hmac::Key::new(hmac::HMAC_SHA256, nonce_key), nonce_lifetime, secrets, credential_max }
    }

    /// In the order of RFC 8489 §9.2.4. `holder` is who owns the five-tuple's allocation: known without asking the secrets again.
    pub fn check(&self, now: SystemTime, client: SocketAddr, message: &Message<'_>, holder: Option<&User>) -> Result<(User, Signer), Refusal> {
        // No integrity: a challenge.
        if message.integrity().is_none() {
            return Err(Refusal::Unauthorized);
        }
        // Integrity, but something is missing that it needs. A hash of the user name cannot be looked up where names are not listed.
        let username = message.get(attr::USERNAME);
        let (Some(_), Some(nonce)) = (message.get(attr::REALM), message.get(attr::NONCE)) else { return Err(Refusal::Malformed) };
        if username.is_none() && message.get(attr::USERHASH).is_none() {
            return Err(Refusal::Malformed);
        }
        // Password algorithms: what we offered comes back unchanged, or somebody bids down.
        let algorithm = chosen(message, nonce)?;
        // Unknown user or wrong integrity: the same answer, after the same work.
        let user = self.recognise(now, message, username.unwrap_or_default(), algorithm, holder).ok_or(Refusal::Unauthorized)?;
        // The nonce.
        if !self.is_fresh(now, client, nonce) {
            return Err(Refusal::StaleNonce);
        }
        let signer = user.signer(algorithm);
        Ok((user, signer))
    }

    fn recognise(&self, now: SystemTime, message: &Message<'_>, username: &[u8], algorithm: Algorithm, holder: Option<&User>) -> Option<User> {
        if let Some(holder) = holder.filter(|holder| *holder.username == *username) {
            return message.verify(holder.signer(algorithm).key()).then(|| holder.clone());
        }
        let secrets = self.secrets.load();
        let mut found = None;
        for secret in secrets.iter() {
            let password = password_of(secret.expose(), username);
            let keys = Keys {
                md5: md5_key(username, self.realm.as_bytes(), password.as_bytes()),
                sha256: sha256_key(username, self.realm.as_bytes(), password.as_bytes()),
            };
            let user = User { username: username.into(), keys };
            if message.verify(user.signer(algorithm).key()) {
                found = Some(user);
            }
        }
        let claim = Claim::parse(username)?;
        found.filter(|_| claim.is_current(seconds(now), self.credential_max.as_secs()))
    }

    /// What a refused client needs to come back: realm, a nonce of its own, and what it may hash with.
    pub fn challenge(&self, now: SystemTime, client: SocketAddr, answer: Builder) -> Builder {
        answer
            .attr(attr::REALM, self.realm.as_bytes())
            .attr(attr::NONCE, self.nonce(now, client).as_bytes())
            .attr(attr::PASSWORD_ALGORITHMS, ALGORITHMS)
    }

    /// Cookie, then in base64 the second it was made and a MAC over that and the client: nothing has to be remembered.
    fn nonce(&self, now: SystemTime, client: SocketAddr) -> String {
        let made = seconds(now).to_be_bytes();
        let mut bytes = [0; 8 + MAC];
        bytes[..8].copy_from_slice(&made);
        bytes[8..].copy_from_slice(&self.mac(made, client));
        format!("{COOKIE}{}", STANDARD_NO_PAD.encode(bytes))
    }

    fn is_fresh(&self, now: SystemTime, client: SocketAddr, nonce: &[u8]) -> bool {
        let decoded = nonce.strip_prefix(COOKIE.as_bytes()).and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        let Some((made, mac)) = decoded.as_deref().and_then(|bytes| bytes.split_first_chunk::<8>()) else { return false };
        let now = seconds(now);
        let second = u64::from_be_bytes(*made);
        bool::from(self.mac(*made, client).ct_eq(mac))
            && second <= now.saturating_add(CLOCK_STEP)
            && now.saturating_sub(second) < self.nonce_lifetime.as_secs().max(1)
    }

    fn mac(&self, made: [u8; 8], client: SocketAddr) -> [u8; MAC] {
        let mut context = hmac::Context::with_key(&self.nonce_key);
        context.update(&made);
        match client.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&client.port().to_be_bytes());
        let mut mac = [0; MAC];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC]);
        mac
    }
}

/// Which key and hash the client chose (RFC 8489 §9.2.4, third check).
fn chosen(message: &Message<'_>, nonce: &[u8]) -> Result<Algorithm, Refusal> {
    let offered = nonce.starts_with(COOKIE.as_bytes());
    match (message.get(attr::PASSWORD_ALGORITHMS), message.get(attr::PASSWORD_ALGORITHM)) {
        _ if !offered => Ok(Algorithm::Legacy),
        (None, None) => Ok(Algorithm::Legacy),
        (Some(ALGORITHMS), Some([0, 2, 0, 0])) => Ok(Algorithm::Sha256),
        (Some(ALGORITHMS), Some([0, 1, 0, 0])) => Ok(Algorithm::Md5),
        _ => Err(Refusal::Malformed),
    }
}

impl User {
    /// Whom quotas are counted for: a later expiry of the same id is the same user.
    pub fn id(&self) -> &[u8] {
        Claim::parse(&self.username).map_or(&[], |claim| claim.id)
    }

    fn signer(&self, algorithm: Algorithm) -> Signer {
        let mut keys = [0; 32];
        match algorithm {
            Algorithm::Legacy | Algorithm::Md5 => keys[..16].copy_from_slice(&self.keys.md5),
            Algorithm::Sha256 => keys = self.keys.sha256,
        }
        Signer { keys, algorithm }
    }
}

impl Signer {
    fn key(&self) -> &[u8] {
        match self.algorithm {
            Algorithm::Legacy | Algorithm::Md5 => &self.keys[..16],
            Algorithm::Sha256 => &self.keys,
        }
    }

    /// SHA-256 for those who chose an algorithm, SHA-1 for the rest.
    pub fn sign(&self, answer: Builder) -> Builder {
        let integrity = if self.algorithm == Algorithm::Legacy { Integrity::Sha1 } else { Integrity::Sha256 };
        answer.sign(integrity, self.key())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_says_what_it_must() {
        let bits = base64::engine::general_purpose::STANDARD.decode(&COOKIE[9..]).unwrap();
        assert_eq!((&COOKIE[..9], &bits[..]), ("obMatJos2", &[0x80, 0, 0][..]));
    }

    #[test]
    fn a_nonce_is_for_one_client_and_some_time() {
        let (auth, now) = auth();
        let client: SocketAddr = "8.8.8.8:1".parse().unwrap();
        let nonce = auth.nonce(now, client);
        assert!(nonce.len() < 128);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(auth.is_fresh(now, client, nonce.as_bytes()));
        assert!(auth.is_fresh(later(599), client, nonce.as_bytes()));
        assert!(!auth.is_fresh(later(600), client, nonce.as_bytes()));
        assert!(!auth.is_fresh(now - Duration::from_secs(CLOCK_STEP + 1), client, nonce.as_bytes()));
        for other in ["8.8.8.8:2", "8.8.8.9:1", "[::1]:1"] {
            assert!(!auth.is_fresh(now, other.parse().unwrap(), nonce.as_bytes()), "{other}");
            assert_ne!(auth.nonce(now, other.parse().unwrap()), nonce);
        }
    }

    #[test]
    fn a_forged_nonce_is_stale() {
        let (auth, now) = auth();
        let client: SocketAddr = "8.8.8.8:1".parse().unwrap();
        let nonce = auth.nonce(now, client).into_bytes();
        for at in 0..nonce.len() {
            let mut forged = nonce.clone();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert!(!auth.is_fresh(now, client, &forged), "{at}");
            assert!(!auth.is_fresh(now, client, &nonce[..at]), "{at}");
        }
        assert!(!auth.is_fresh(now, client, &[0xFF; 60]));
        let stranger = Auth { nonce_key: hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]), ..auth };
        assert!(!stranger.is_fresh(now, client, &nonce));
    }

    fn auth() -> (Auth, SystemTime) {
        let secrets = Arc::new(ArcSwap::from_pointee(vec![Secret::new(*b"secret")]));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        (Auth::new("realm".into(), &[1; 32], Duration::from_secs(600), secrets, Duration::from_secs(3600)), now)
    }
}
