//! What is looked at: our own installation, or a server of somebody else.

use std::net::IpAddr;

use reqwest::Url;

use crate::config::file::Source;
use crate::config::model::{Address, Config, Transport};
use crate::config::{HostName, Paths, Problem, SiteNames, report};
use crate::deploy::facts::Keeper;
use crate::host::Machine;
use crate::probe::{self, Server};

pub enum Subject {
    /// The config, or every problem in it as `file:line:column: message` with its hint.
    Own(Result<Box<Own>, Vec<Wrong>>),
    Foreign(Target),
}

/// A problem of the config, placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// `rtcctl.toml:6:1`
    pub place: Option<String>,
    pub problem: Problem,
}

/// Problems with their places in words.
pub fn wrong(problems: &[Problem], sources: &[Source]) -> Vec<Wrong> {
    let place = |problem: &Problem| problem.place.as_ref().map(|place| report::position(&sources[place.source], place));
    problems.iter().map(|problem| Wrong { place: place(problem), problem: problem.clone() }).collect()
}

/// Our own installation on this machine.
#[derive(Clone, Debug)]
pub struct Own {
    /// As it is applied here: ports that may not be bound have moved.
    pub config: Config,
    pub paths: Paths,
    pub machine: Machine,
    pub names: SiteNames,
    pub keeper: Keeper,
}

impl Own {
    /// `https://192.168.1.20:8443/`
    pub fn link(&self) -> String {
        let host = self.names.primary.in_url();
        match self.config.site.https_port {
            443 => format!("https://{host}/"),
            port => format!("https://{host}:{port}/"),
        }
    }

    /// The name that DNS must know; `None` on a LAN and for an address.
    pub fn dns_name(&self) -> Option<&str> {
        match &self.config.site.address {
            Address::Host(HostName::Dns(name)) => Some(name),
            _ => None,
        }
    }

    /// Where a local client reaches a port of ours whatever names and routes say.
    pub fn local_address(&self) -> IpAddr {
        let listen = &self.config.site.listen;
        let chosen = listen.iter().find(|ip| ip.is_ipv4()).or_else(|| listen.first());
        match chosen {
            Some(ip) if !ip.is_unspecified() => *ip,
            Some(ip) if ip.is_ipv6() => std::net::Ipv6Addr::LOCALHOST.into(),
            _ => std::net::Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// A server of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `https://call.example.org/`
    Page(Url),
    /// `turn:host[:port][?transport=udp|tcp]` or `turns:…`; without a transport both of `turn:` are looked at.
    Relay(Vec<Server>),
}

impl Target {
    /// The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(url) = Url::parse(text)
            && matches!(url.scheme(), "https" | "http")
            && url.has_host()
        {
            return Ok(Self::Page(url));
        }
        let server = probe::server(text).ok_or_else(|| format!("not a target: {text}: expected https://host/, turn:host:port or turns:host:port"))?;
        let both = server.transport == Transport::Udp && !text.contains('?');
        let tcp = both.then(|| Server { uri: format!("{text}?transport=tcp"), transport: Transport::Tcp, ..server.clone() });
        Ok(Self::Relay(std::iter::once(server).chain(tcp).collect()))
    }
}

/// Only in networks of its own: RFC 1918, RFC 6598, RFC 4193, loopback, link-local.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let relay = |text: &str| match Target::parse(text) {
            Ok(Target::Relay(servers)) => servers.iter().map(|s| format!("{:?} {}:{}", s.transport, s.host, s.port)).collect::<Vec<_>>().join(", "),
            other => panic!("{other:?}"),
        };
        assert_eq!(relay("turn:call.example.org"), "Udp call.example.org:3478, Tcp call.example.org:3478");
        assert_eq!(relay("turn:192.0.2.1:5000?transport=udp"), "Udp 192.0.2.1:5000");
        assert_eq!(relay("turns:[2001:db8::7]:443"), "Tls 2001:db8::7:443");
        assert!(matches!(Target::parse("https://call.example.org/r/x"), Ok(Target::Page(_))));
        for wrong in ["", "call.example.org", "turn://call.example.org", "ftp://x/", "stun:x:1"] {
            assert!(Target::parse(wrong).unwrap_err().starts_with("not a target: "), "{wrong}");
        }
    }

    #[test]
    fn which_addresses_stay_at_home() {
        let private = |text: &str| is_private(text.parse().unwrap());
        assert!(["10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"].into_iter().all(private));
        assert!(!["100.128.0.1", "203.0.113.7", "2001:db8::7", "172.32.0.1"].into_iter().any(private));
    }
}
