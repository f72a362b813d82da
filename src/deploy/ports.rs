//! Which ports the service needs, what stands in the way, and which stand in for those that we may not bind.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::config::Config;
use crate::config::model::Proxy;
use crate::host::ports::{Answer, Protocol};
use crate::ui::{Exit, Failure};

/// What https and http move to where 443 and 80 may not be bound.
const HIGH_HTTPS: u16 = 8443;
const HIGH_HTTP: u16 = 8080;
/// The port that IANA keeps for STUN and TURN.
const TURN: u16 = 3478;
/// The same over TLS.
const TURNS: u16 = 5349;
/// Where a proxy finds us unless it is told otherwise.
const BACKEND: u16 = 8480;

/// One listener of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    pub address: SocketAddr,
    pub protocol: Protocol,
    /// The config key that moves it.
    pub key: &'static str,
}

/// `443/tcp`
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address.port(), self.protocol)
    }
}

/// A listener with what the kernel says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortFact {
    pub wanted: Wanted,
    pub answer: Answer,
}

/// Every listener that the service cannot do without, on every address of `site.listen`.
pub fn wanted(config: &Config) -> Vec<Wanted> {
    let mut ports = if config.site.proxy == Proxy::None { of_page(config) } else { Vec::new() };
    for port in &config.turn.ports {
        ports.extend([(*port, Protocol::Udp, "turn.ports"), (*port, Protocol::Tcp, "turn.ports")]);
    }
    ports.extend(config.turn.tls_ports.iter().map(|port| (*port, Protocol::Tcp, "turn.tls_ports")));
    let mut wanted = everywhere(config, &ports);
    if config.site.proxy != Proxy::None {
        wanted.push(Wanted { address: config.site.backend, protocol: Protocol::Tcp, key: "site.backend" });
    }
    wanted
}

/// Those that a proxy listens on for us.
pub fn of_proxy(config: &Config) -> Vec<Wanted> {
    if config.site.proxy == Proxy::None { Vec::new() } else { everywhere(config, &of_page(config)) }
}

/// Addresses of the page, whoever listens there.
pub fn everything_of_page(config: &Config) -> Vec<SocketAddr> {
    everywhere(config, &of_page(config)).into_iter().map(|wanted| wanted.address).collect()
}

type Port = (u16, Protocol, &'static str);

fn of_page(config: &Config) -> Vec<Port> {
    let http = config.site.http_port.map(|port| (port, Protocol::Tcp, "site.http_port"));
    std::iter::once((config.site.https_port, Protocol::Tcp, "site.https_port")).chain(http).collect()
}

fn everywhere(config: &Config, ports: &[Port]) -> Vec<Wanted> {
    let at =
        |ip: &IpAddr| ports.iter().map(|(port, protocol, key)| Wanted { address: (*ip, *port).into(), protocol: *protocol, key }).collect::<Vec<_>>();
    config.site.listen.iter().flat_map(at).collect()
}

/// True when a port below 1024 is among them.
pub fn low(config: &Config) -> bool {
    wanted(config).iter().any(|w| w.address.port() < 1024)
}

/// Moves https and http to high ports when the low ones are denied and the user did not write them. Returns the sentence to be said.
pub fn settle(config: &mut Config, denied: &dyn Fn(SocketAddr) -> bool) -> Option<String> {
    if !config.site.ports_may_move {
        return None;
    }
    let is_denied = |port: u16| config.site.listen.iter().any(|ip| denied((*ip, port).into()));
    let https = is_denied(config.site.https_port);
    let http = config.site.http_port.is_some_and(is_denied);
    if https {
        config.site.https_port = HIGH_HTTPS;
    }
    if http {
        config.site.http_port = Some(HIGH_HTTP);
    }
    (https || http).then(|| {
        format!(
            "no right to bind 443 and 80: https {}{}; to have them: sudo rtcctl up, or sudo sysctl net.ipv4.ip_unprivileged_port_start=80",
            config.site.https_port,
            config.site.http_port.map(|port| format!(", http {port}")).unwrap_or_default()
        )
    })
}

/// Everything in the way as one failure. A wildcard family that the kernel lacks is no obstacle. `others` are all facts; ours are not among them.
pub fn obstacles(facts: &[PortFact]) -> Option<Failure> {
    let mut lines: Vec<String> = Vec::new();
    let mut hints: Vec<String> = Vec::new();
    for fact in facts {
        let Some(line) = obstacle(fact) else { continue };
        if lines.contains(&line) {
            continue;
        }
        lines.push(line);
        for hint in ways_on(fact) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
    }
    let mut lines = lines.into_iter();
    let failure = Failure::new(Exit::Resource, lines.next()?);
    let failure = lines.fold(failure, Failure::detail);
    Some(hints.into_iter().fold(failure, Failure::hint))
}

fn obstacle(PortFact { wanted, answer }: &PortFact) -> Option<String> {
    match answer {
        Answer::Free => None,
        Answer::NoFamily | Answer::NotHere if wanted.address.ip().is_unspecified() => None,
        Answer::Held(Some(holder)) => Some(format!("{wanted} is held by {holder}")),
        Answer::Held(None) => Some(format!("{wanted} is held by a program that cannot be seen from here")),
        Answer::Denied => Some(format!("no right to bind {wanted}")),
        Answer::NotHere | Answer::NoFamily => Some(format!("site.listen: not an address of this machine: {}", wanted.address.ip())),
        Answer::Other(why) => Some(format!("cannot listen on {} {}: {why}", wanted.address, wanted.protocol)),
    }
}

/// Cheapest first.
fn ways_on(PortFact { wanted, answer }: &PortFact) -> Vec<String> {
    let free = match wanted.key {
        "site.https_port" => format!("take another port: rtcctl up --set site.https_port={HIGH_HTTPS}"),
        "site.http_port" => format!("take another port: rtcctl up --set site.http_port={HIGH_HTTP}"),
        "turn.tls_ports" => {
            format!("take another port: rtcctl up --set 'turn.tls_ports=[{}]'", wanted.address.port().checked_add(1).unwrap_or(TURNS))
        }
        "site.backend" => {
            let next = SocketAddr::new(wanted.address.ip(), wanted.address.port().checked_add(1).unwrap_or(BACKEND));
            format!("take another port: rtcctl up --set 'site.backend={next}'")
        }
        _ => {
            // Beside a low port lies another that needs the same right.
            let other = if wanted.address.port() < 1024 { TURN } else { wanted.address.port().checked_add(1).unwrap_or(TURN) };
            format!("take another port: rtcctl up --set 'turn.ports=[{other}]'")
        }
    };
    match answer {
        Answer::Held(holder) => {
            let process = holder.as_ref().and_then(|h| h.process.as_ref());
            let stop = process.map(|p| match &p.unit {
                Some(unit) => format!("stop it: systemctl stop {unit}"),
                None => format!("stop it: kill {}", p.pid),
            });
            let is_page = matches!(wanted.key, "site.https_port" | "site.http_port");
            let share =
                process.filter(|p| is_page && p.command == "nginx").map(|_| "or let nginx lead here: rtcctl up --set site.proxy=nginx".to_owned());
            std::iter::once(free).chain(stop).chain(share).collect()
        }
        Answer::Denied => vec![free, "run as root: sudo rtcctl up".into()],
        _ => vec!["listen on \"0.0.0.0\" and \"::\" (site.listen)".into()],
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{PortFact, Wanted, low, obstacles, of_proxy, settle, wanted};
    use crate::config::Config;
    use crate::config::model::Proxy;
    use crate::host::ports::{Answer, Holder, HolderProcess, Protocol};

    #[test]
    fn every_listener_on_every_address() {
        let shown: Vec<String> = wanted(&Config::default()).iter().map(|w| format!("{} {}", w.address, w.protocol)).collect();
        let v4 = ["0.0.0.0:443 tcp", "0.0.0.0:80 tcp", "0.0.0.0:3478 udp", "0.0.0.0:3478 tcp"];
        let v6 = ["[::]:443 tcp", "[::]:80 tcp", "[::]:3478 udp", "[::]:3478 tcp"];
        assert_eq!(shown, [v4, v6].concat());
    }

    #[test]
    fn behind_a_proxy_the_page_has_one_listener_on_loopback() {
        let mut config = Config::default();
        (config.site.proxy, config.turn.tls_ports, config.site.listen) = (Proxy::Nginx, vec![5349], vec![[0, 0, 0, 0].into()]);
        let shown = |all: Vec<Wanted>| all.iter().map(|w| format!("{} {}", w.address, w.protocol)).collect::<Vec<_>>();
        assert_eq!(shown(wanted(&config)), ["0.0.0.0:3478 udp", "0.0.0.0:3478 tcp", "0.0.0.0:5349 tcp", "127.0.0.1:8480 tcp"]);
        assert_eq!(shown(of_proxy(&config)), ["0.0.0.0:443 tcp", "0.0.0.0:80 tcp"]);
        assert!(!low(&config));
    }

    #[test]
    fn denied_ports_move_unless_they_were_written() {
        let low = |address: SocketAddr| address.port() < 1024;
        let mut config = Config::default();
        assert!(settle(&mut config, &|_| false).is_none());
        assert!(settle(&mut config, &low).unwrap().starts_with("no right to bind 443 and 80: https 8443, http 8080; to have them"));
        assert_eq!((config.site.https_port, config.site.http_port), (8443, Some(8080)));
        let mut written = Config::default();
        written.site.ports_may_move = false;
        assert!(settle(&mut written, &low).is_none());
        assert_eq!(written.site.https_port, 443);
    }

    #[test]
    fn a_held_port_names_its_holder_once_and_the_ways_on() {
        let process = HolderProcess { pid: 812, command: "nginx".into(), exe: None, unit: Some("nginx.service".into()) };
        let held = |address: &str, key| PortFact {
            wanted: Wanted { address: address.parse().unwrap(), protocol: Protocol::Tcp, key },
            answer: Answer::Held(Some(Holder { uid: 0, process: Some(process.clone()) })),
        };
        let facts = [held("0.0.0.0:443", "site.https_port"), held("[::]:443", "site.https_port"), held("0.0.0.0:80", "site.http_port")];
        let failure = obstacles(&facts).unwrap();
        assert_eq!(failure.message, "443/tcp is held by nginx (pid 812, nginx.service)");
        assert_eq!(failure.details, ["80/tcp is held by nginx (pid 812, nginx.service)"]);
        let hints = [
            "take another port: rtcctl up --set site.https_port=8443",
            "stop it: systemctl stop nginx.service",
            "or let nginx lead here: rtcctl up --set site.proxy=nginx",
            "take another port: rtcctl up --set site.http_port=8080",
        ];
        assert_eq!(failure.hints, hints);
    }

    #[test]
    fn another_port_for_the_relay_is_one_that_can_be_had() {
        let hint = |address: &str| {
            let wanted = Wanted { address: address.parse().unwrap(), protocol: Protocol::Udp, key: "turn.ports" };
            obstacles(&[PortFact { wanted, answer: Answer::Denied }]).unwrap().hints[0].clone()
        };
        assert_eq!(hint("0.0.0.0:53"), "take another port: rtcctl up --set 'turn.ports=[3478]'");
        assert_eq!(hint("0.0.0.0:1023"), hint("0.0.0.0:65535"));
        assert!(hint("0.0.0.0:3478").ends_with("[3479]'"));
    }

    #[test]
    fn a_missing_family_is_no_obstacle_but_a_missing_address_is() {
        let fact = |address: &str| PortFact {
            wanted: Wanted { address: address.parse().unwrap(), protocol: Protocol::Udp, key: "turn.ports" },
            answer: Answer::NotHere,
        };
        assert_eq!(obstacles(&[fact("[::]:3478")]), None);
        assert_eq!(obstacles(&[fact("192.0.2.9:3478")]).unwrap().message, "site.listen: not an address of this machine: 192.0.2.9");
    }
}
