//! Pure: the ICE server list as a client reads it, and URIs of STUN and TURN (RFC 7064, RFC 7065).

use serde::Deserialize;

use crate::config::model::Transport;
use crate::turn::client::Credentials;

/// The body of `ice_server_url`, as strict as the strictest client: `urls` is an array.
#[derive(Debug, Deserialize)]
pub(super) struct IceServers {
    #[serde(rename = "iceServers")]
    pub(super) servers: Vec<IceServer>,
}

#[derive(Clone, Deserialize)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub credential: String,
}

/// The credential is a secret.
impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).field("username", &self.username).finish_non_exhaustive()
    }
}

/// Where a relay is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelayAddress {
    pub(super) uri: String,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl IceServers {
    /// The first URI for this transport, with its credentials.
    pub(super) fn relay(&self, transport: Transport) -> Option<(RelayAddress, Credentials)> {
        self.servers.iter().find_map(|server| {
            let address = server.urls.iter().find_map(|uri| parse(uri).filter(|(of, _)| *of == transport))?.1;
            let credentials = Credentials { username: server.username.clone(), password: server.credential.clone() };
            Some((address, credentials))
        })
    }
}

/// `turn:host[:port][?transport=udp|tcp]` and `turns:`; anything else is not a relay that is known here.
pub(super) fn parse(uri: &str) -> Option<(Transport, RelayAddress)> {
    let (scheme, rest) = uri.split_once(':')?;
    let (authority, transport) = match rest.split_once("?transport=") {
        Some((authority, transport)) => (authority, Some(transport)),
        None => (rest, None),
    };
    let (transport, default_port) = match (scheme, transport) {
        ("turn", None | Some("udp")) => (Transport::Udp, 3478),
        ("turn", Some("tcp")) => (Transport::Tcp, 3478),
        ("turns", None | Some("tcp")) => (Transport::Tls, 5349),
        _ => return None,
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']')?;
            (host, port.strip_prefix(':').or(if port.is_empty() { Some("") } else { None })?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = if port.is_empty() { default_port } else { port.parse().ok()? };
    if host.is_empty() || host.contains(['/', '?', '@']) {
        return None;
    }
    Some((transport, RelayAddress { uri: uri.to_owned(), host: host.to_owned(), port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        for (uri, transport, host, port) in [
            ("turn:192.168.1.20:3478?transport=udp", Transport::Udp, "192.168.1.20", 3478),
            ("turn:call.example.org", Transport::Udp, "call.example.org", 3478),
            ("turn:[2001:db8::7]:1?transport=tcp", Transport::Tcp, "2001:db8::7", 1),
            ("turns:[2001:db8::7]?transport=tcp", Transport::Tls, "2001:db8::7", 5349),
            ("turns:h:443", Transport::Tls, "h", 443),
        ] {
            let expected = RelayAddress { uri: uri.into(), host: host.into(), port };
            assert_eq!(parse(uri), Some((transport, expected)), "{uri}");
        }
        for none in
            ["", "stun:h:3478", "turn:", "turn:h:x", "turn:h:99999", "turn:[::1", "turn:[::1]x", "turns:h?transport=udp", "turn:u@h", "turn://h"]
        {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn each_transport_finds_its_own() {
        let list =
            r#"{"iceServers":[{"urls":["stun:h:1"]},{"urls":["turn:h:1?transport=udp","turns:h:2?transport=tcp"],"username":"u","credential":"c"}]}"#;
        let list: IceServers = serde_json::from_str(list).unwrap();
        let (address, credentials) = list.relay(Transport::Tls).unwrap();
        assert_eq!((address.port, &*credentials.username, &*credentials.password), (2, "u", "c"));
        assert_eq!(list.relay(Transport::Udp).unwrap().0.port, 1);
        assert!(list.relay(Transport::Tcp).is_none());
        assert!(serde_json::from_str::<IceServers>(r#"{"iceServers":[{"urls":"turn:h:1"}]}"#).is_err(), "a bare string breaks Android");
    }
}
