//! Pure: the config as meant: nothing optional that is needed, every word parsed. `spec` of the keys: `templates/rtcctl.toml`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::values::{HostName, PortRange, Prefix};

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Names the unit, the directories and the release on a host.
    pub name: String,
    pub site: Site,
    pub cert: Cert,
    pub turn: Turn,
    pub ice: Vec<Ice>,
    pub signal: Signal,
    pub metrics: Metrics,
    pub test_call: TestCall,
    pub hosts: Vec<HostEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    pub address: Address,
    pub aliases: Vec<HostName>,
    pub listen: Vec<IpAddr>,
    pub https_port: u16,
    /// `None`: off.
    pub http_port: Option<u16>,
    /// The ports were not written by the user, so that 8443 and 8080 may stand in for 443 and 80 without the privilege to bind them.
    pub ports_may_move: bool,
    pub proxy: Proxy,
    pub backend: SocketAddr,
    pub title: String,
}

/// Where people find the site.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// This machine's own names and addresses, whatever they are now.
    Lan,
    Host(HostName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    None,
    Nginx,
    Other,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cert {
    pub authority: Authority,
}

/// Who vouches for the site. ACME authorities come with their engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Authority {
    Local,
    /// PEM files of the operator's own.
    Files {
        chain: PathBuf,
        key: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub ports: Vec<u16>,
    pub tls_ports: Vec<u16>,
    pub relay_ports: PortRange,
    /// `None`: auto.
    pub public_address: Option<IpAddr>,
    pub realm: String,
    /// `None`: `<state>/turn.secret`, made on first use.
    pub secret_file: Option<PathBuf>,
    pub credential_ttl: Duration,
    pub credential_max: Duration,
    pub allow_peers: Vec<Prefix>,
    pub deny_peers: Vec<Prefix>,
    /// `None`: one per core.
    pub shards: Option<usize>,
    pub max_allocations: usize,
    pub max_per_user: usize,
    pub max_per_address: usize,
    /// Bits per second per allocation, each way; `None`: off.
    pub max_bandwidth: Option<u64>,
    pub allocation_lifetime: Duration,
    pub permission_lifetime: Duration,
    pub channel_lifetime: Duration,
    pub nonce_lifetime: Duration,
}

/// A further STUN/TURN server to hand to clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Ice {
    pub urls: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    pub open_rooms: RoomOpeners,
    pub room_grace: Duration,
    pub max_rooms: usize,
    /// Bytes.
    pub max_message: usize,
}

/// Who may open rooms. Whoever has a link may join a room that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomOpeners {
    Anyone,
    /// Browsers that opened a host link.
    Hosts,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TestCall {
    pub transports: Vec<Transport>,
    /// Share of packets, 0.0 to 1.0.
    pub max_loss: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HostEntry {
    pub ssh: String,
}
