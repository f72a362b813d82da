//! Pure: the ICE servers that a client is given, and the signed keys that ask for them.
//! TURN goes out by `ice_server_url` only and `urls` is always an array: in any other form it breaks one of the shipped clients.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::names::Identity;
use super::{IceSettings, Origin};
use crate::stun::credential;

/// What a visitor without a room gets is good for this long.
const VISITOR_KEY_LIFE: Duration = Duration::from_secs(600);
const MAC_BYTES: usize = 16;

/// The body of `/v1alpha/iceconfig`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct IceConfig {
    #[serde(rename = "iceServers")]
    pub(super) servers: Vec<IceServer>,
    /// Seconds, as Google's service wrote them: `"3600.000s"`.
    #[serde(rename = "lifetimeDuration")]
    pub(super) lifetime: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct IceServer {
    pub(super) urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<String>,
}

/// Why a key opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKey {
    #[error("the key is missing: use ice_server_url of a /join or /params answer as it is")]
    Missing,
    #[error("the key was not made by this server")]
    Foreign,
    #[error("the key has expired: ask /params for a new ice_server_url")]
    Expired,
    #[error("the key was made for another address: ask /params for a new ice_server_url")]
    OtherAddress,
}

/// The key of a client with a seat: for as long as the credentials that it fetches would last.
pub(super) fn member_key(identity: &Identity, user: &str, now: u64, ttl: Duration) -> String {
    sign(identity, 'm', now.saturating_add(ttl.as_secs()), user)
}

/// The key of somebody who only asked for `/params`.
pub(super) fn visitor_key(identity: &Identity, address: IpAddr, now: u64) -> String {
    sign(identity, 'v', now + VISITOR_KEY_LIFE.as_secs(), &identity.visitor(address))
}

/// Was it made for somebody without a seat? Only of a key that [`check_key`] found genuine.
pub(super) fn is_visitors(key: &str) -> bool {
    key.starts_with("v.")
}

/// The user that a key was made for; `now` in seconds since the epoch.
pub(super) fn check_key(identity: &Identity, key: &str, now: u64, address: IpAddr) -> Result<String, BadKey> {
    if key.is_empty() {
        return Err(BadKey::Missing);
    }
    let (signed, mac) = key.rsplit_once('.').ok_or(BadKey::Foreign)?;
    let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| BadKey::Foreign)?;
    if !bool::from(mac_of(identity, signed).ct_eq(&mac)) {
        return Err(BadKey::Foreign);
    }
    let mut fields = signed.splitn(3, '.');
    let (Some(kind), Some(expiry), Some(user)) = (fields.next(), fields.next(), fields.next()) else { return Err(BadKey::Foreign) };
    if expiry.parse::<u64>().is_ok_and(|expiry| expiry <= now) {
        return Err(BadKey::Expired);
    }
    if kind == "v" && identity.visitor(address) != user {
        return Err(BadKey::OtherAddress);
    }
    Ok(user.to_owned())
}

/// `kind.expiry.user.mac`: nothing in it says which room or which client.
fn sign(identity: &Identity, kind: char, expiry: u64, user: &str) -> String {
    let signed = format!("{kind}.{expiry}.{user}");
    let mac = URL_SAFE_NO_PAD.encode(mac_of(identity, &signed));
    format!("{signed}.{mac}")
}

fn mac_of(identity: &Identity, signed: &str) -> [u8; MAC_BYTES] {
    let mut mac = [0; MAC_BYTES];
    mac.copy_from_slice(&identity.mac(&[b"ice", signed.as_bytes()]).as_ref()[..MAC_BYTES]);
    mac
}

/// `only` is the `tt=` filter: `udp`, `tcp` or `tls`; anything else filters nothing. `now` in seconds since the epoch.
pub(super) fn config(settings: &IceSettings, origin: &Origin, user: &str, now: u64, only: &str) -> IceConfig {
    let host = &origin.host;
    let stun = settings.ports.iter().map(|port| format!("stun:{host}:{port}")).collect::<Vec<_>>();
    let mut turn = Vec::new();
    let all = !matches!(only, "udp" | "tcp" | "tls");
    for transport in ["udp", "tcp"].into_iter().filter(|transport| all || only == *transport) {
        turn.extend(settings.ports.iter().map(|port| format!("turn:{host}:{port}?transport={transport}")));
    }
    if all || only == "tls" {
        turn.extend(settings.tls_ports.iter().map(|port| format!("turns:{host}:{port}?transport=tcp")));
    }
    let mut servers = Vec::new();
    if !stun.is_empty() {
        servers.push(IceServer { urls: stun, username: None, credential: None });
    }
    if let Some(secret) = settings.secrets.load().first()
        && !turn.is_empty()
    {
        let credential = credential::mint(secret.expose(), user, now.saturating_add(settings.ttl.as_secs()));
        servers.push(IceServer { urls: turn, username: Some(credential.username), credential: Some(credential.password) });
    }
    IceConfig { servers, lifetime: format!("{}.000s", settings.ttl.as_secs()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::config::Secret;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn every_transport_with_urls_as_arrays() {
        let given = config(&settings(), &origin("192.168.1.20"), "abc", NOW, "");
        let json = serde_json::to_value(&given).unwrap();
        assert_eq!(json["iceServers"][0], serde_json::json!({ "urls": ["stun:192.168.1.20:3478"] }));
        let turn = &json["iceServers"][1];
        let urls = ["turn:192.168.1.20:3478?transport=udp", "turn:192.168.1.20:3478?transport=tcp", "turns:192.168.1.20:443?transport=tcp"];
        assert_eq!(turn["urls"], serde_json::json!(urls));
        assert_eq!(turn["username"], "1700003600:abc");
        assert_eq!(turn["credential"], credential::password(b"new", "1700003600:abc"), "the newest secret");
        assert_eq!(json["lifetimeDuration"], "3600.000s");
    }

    #[test]
    fn the_filter_and_brackets() {
        let turn = |only: &str| config(&settings(), &origin("[2001:db8::7]"), "abc", NOW, only).servers[1].urls.clone();
        assert_eq!(turn("udp"), ["turn:[2001:db8::7]:3478?transport=udp"]);
        assert_eq!(turn("tcp"), ["turn:[2001:db8::7]:3478?transport=tcp"]);
        assert_eq!(turn("tls"), ["turns:[2001:db8::7]:443?transport=tcp"]);
        assert_eq!(turn("sctp").len(), 3);
    }

    #[test]
    fn without_a_secret_there_is_no_relay_to_give() {
        let settings = IceSettings { secrets: Arc::new(ArcSwap::from_pointee(Vec::new())), ..settings() };
        let given = config(&settings, &origin("h"), "abc", NOW, "");
        assert_eq!(given.servers.len(), 1);
        assert_eq!(given.servers[0].username, None);
    }

    #[test]
    fn keys_open_for_their_owner_and_their_time() {
        let identity = Identity::new(&Secret::new([3; 32]));
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let member = member_key(&identity, "abc", NOW, Duration::from_secs(60));
        assert_eq!(check_key(&identity, &member, NOW + 59, there), Ok("abc".into()));
        assert_eq!(check_key(&identity, &member, NOW + 60, there), Err(BadKey::Expired));
        let visitor = visitor_key(&identity, here, NOW);
        assert_eq!(check_key(&identity, &visitor, NOW + 599, here), Ok(identity.visitor(here)));
        assert_eq!(check_key(&identity, &visitor, NOW, there), Err(BadKey::OtherAddress));
        assert_eq!(check_key(&identity, &visitor, NOW + 600, here), Err(BadKey::Expired));
        let stranger = Identity::new(&Secret::new([4; 32]));
        assert_eq!(check_key(&stranger, &member, NOW, here), Err(BadKey::Foreign));
        assert_eq!(check_key(&identity, "", NOW, here), Err(BadKey::Missing));
        for forged in [&member.replace("abc", "abd"), &member.replacen("m.1", "m.2", 1), &member.replacen('m', "v", 1), "m", "m.1.x", "...."] {
            assert_eq!(check_key(&identity, forged, NOW, here), Err(BadKey::Foreign), "{forged}");
        }
    }

    fn settings() -> IceSettings {
        IceSettings {
            ports: vec![3478],
            tls_ports: vec![443],
            secrets: Arc::new(ArcSwap::from_pointee(vec![Secret::new(*b"new"), Secret::new(*b"old")])),
            ttl: Duration::from_secs(3600),
        }
    }

    fn origin(host: &str) -> Origin {
        Origin { secure: true, host: host.into(), authority: host.into() }
    }
}
