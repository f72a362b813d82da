//! What `init` finds out before it asks: addresses, who holds the ports, where a name leads. Nothing is sent but a question to the system's resolver.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::Duration;

use crate::config::HostName;
use crate::config::model::Address;
use crate::config::starter;
use crate::host::Machine;
use crate::host::ports::{Answer, Holder, Protocol, try_listen};

/// A resolver that is slower has no answer for us.
const RESOLVE: Duration = Duration::from_secs(2);
/// What `up` listens on by default.
const PORTS: [(u16, Protocol); 4] = [(443, Protocol::Tcp), (80, Protocol::Tcp), (3478, Protocol::Tcp), (3478, Protocol::Udp)];

pub(super) struct Seen {
    /// The one of the default route first.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) held: Vec<Held>,
}

/// A port that is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) holder: Option<Holder>,
}

impl Held {
    /// Our own daemon makes way for itself.
    pub(super) fn is_ours(&self) -> bool {
        self.holder.as_ref().and_then(|holder| holder.process.as_ref()).is_some_and(|process| process.command == "rtcctl")
    }
}

/// Where an address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    Here(IpAddr),
    /// To these, none of which an interface of this machine has.
    Elsewhere(Vec<IpAddr>),
    Nowhere,
    /// The resolver was slow or failed: nobody knows.
    Unknown(String),
}

impl Seen {
    pub(super) fn look() -> std::io::Result<Self> {
        let machine = Machine::look()?;
        Ok(Self { held: held(&PORTS), addresses: machine.addresses })
    }

    /// The one that the whole internet can reach, if an interface has it.
    pub(super) fn public_address(&self) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| starter::is_public(&Address::Host(HostName::Ip(*address))))
    }

    pub(super) fn where_it_leads(&self, name: &HostName) -> Leads {
        match name {
            HostName::Ip(address) => self.compare(vec![*address]),
            HostName::Dns(name) => match resolve(name) {
                Ok(found) if found.is_empty() => Leads::Nowhere,
                Ok(found) => self.compare(found),
                Err(unknown) => unknown,
            },
        }
    }

    fn compare(&self, found: Vec<IpAddr>) -> Leads {
        match found.iter().find(|address| address.is_loopback() || self.addresses.contains(address)) {
            Some(here) => Leads::Here(*here),
            None => Leads::Elsewhere(found),
        }
    }
}

fn held(ports: &[(u16, Protocol)]) -> Vec<Held> {
    let tried = ports.iter().map(|(port, protocol)| (*port, *protocol, try_listen((Ipv4Addr::UNSPECIFIED, *port).into(), *protocol)));
    let held = tried.filter_map(|(port, protocol, answer)| match answer {
        Answer::Held(holder) => Some(Held { port, protocol, holder }),
        _ => None,
    });
    held.collect()
}

/// The system's resolver has no deadline of its own; a thread that waits for it longer than we do ends with the program.
fn resolve(name: &str) -> Result<Vec<IpAddr>, Leads> {
    let (say, answer) = mpsc::channel();
    let asked = name.to_owned();
    std::thread::spawn(move || {
        let found = (asked.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect::<Vec<_>>());
        // Whoever asked may have gone on.
        let _ = say.send(found);
    });
    match answer.recv_timeout(RESOLVE) {
        Ok(Ok(mut found)) => {
            found.dedup();
            Ok(found)
        }
        // EAI_NONAME and EAI_NODATA: the resolver is sure. The kind is not public; the words are glibc's and musl's.
        Ok(Err(error)) if is_sure(&error.to_string()) => Err(Leads::Nowhere),
        Ok(Err(error)) => Err(Leads::Unknown(error.to_string().trim_start_matches("failed to lookup address information: ").to_owned())),
        Err(_) => Err(Leads::Unknown(format!("the resolver gave no answer for {} s", RESOLVE.as_secs()))),
    }
}

fn is_sure(words: &str) -> bool {
    ["Name or service not known", "No address associated", "Name does not resolve", "Name has no usable address"]
        .iter()
        .any(|sure| words.contains(sure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(addresses: &[&str]) -> Seen {
        Seen { addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(), held: Vec::new() }
    }

    #[test]
    fn an_address_is_compared_with_the_interfaces() {
        let seen = seen(&["10.0.0.5", "203.0.113.7"]);
        let leads = |text: &str| seen.where_it_leads(&text.parse().unwrap());
        assert_eq!(leads("203.0.113.7"), Leads::Here("203.0.113.7".parse().unwrap()));
        assert_eq!(leads("198.51.100.1"), Leads::Elsewhere(vec!["198.51.100.1".parse().unwrap()]));
        assert_eq!(leads("localhost"), Leads::Here(leads_to_loopback()));
        assert_eq!(seen.public_address(), Some("203.0.113.7".parse().unwrap()));
    }

    fn leads_to_loopback() -> IpAddr {
        ("localhost", 0).to_socket_addrs().unwrap().next().unwrap().ip()
    }

    #[test]
    fn a_name_without_an_address_leads_nowhere_or_nobody_knows() {
        assert!(matches!(seen(&[]).where_it_leads(&"no-such-host.invalid".parse().unwrap()), Leads::Nowhere | Leads::Unknown(_)));
    }

    #[test]
    fn ports_that_are_held_are_named_with_their_holder() {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = held(&[(port, Protocol::Tcp), (0, Protocol::Udp)]);
        let [held] = &found[..] else { panic!("one is held: {found:?}") };
        assert_eq!((held.port, held.protocol), (port, Protocol::Tcp));
        let process = held.holder.as_ref().and_then(|holder| holder.process.as_ref()).unwrap();
        assert_eq!(process.pid, std::process::id().cast_signed());
        assert!(!held.is_ours());
    }

    #[test]
    fn a_private_network_has_no_public_address() {
        assert_eq!(seen(&["10.0.0.5", "192.168.1.20", "fd00::1", "100.64.0.9"]).public_address(), None);
    }
}
