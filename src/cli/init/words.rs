//! Pure: what `init` says, made from what it saw.

use std::net::IpAddr;

use super::look::{Held, Leads};
use crate::config::model::RoomOpeners;
use crate::config::starter::Answers;

/// Addresses that one line shows.
const SHOWN: usize = 3;

/// `This machine: 192.168.1.20, no public address; 443/tcp held by nginx (pid 812, nginx.service)`
pub(super) fn machine(addresses: &[IpAddr], public: Option<IpAddr>, held: &[Held]) -> String {
    let own = match addresses {
        [] => "no network".to_owned(),
        addresses => list(addresses),
    };
    let public = match public {
        Some(address) => format!(", public address {address}"),
        None => ", no public address of its own".to_owned(),
    };
    format!("This machine: {own}{public}{}", held.iter().map(|held| format!("; {}", port(held))).collect::<String>())
}

fn port(held: &Held) -> String {
    let holder = held.holder.as_ref().map_or_else(|| "a program that hides".to_owned(), ToString::to_string);
    format!("{}/{} held by {holder}", held.port, held.protocol)
}

/// What will stop `up` if nothing is done.
pub(super) fn in_the_way(held: &[Held]) -> Vec<String> {
    let foreign = held.iter().filter(|held| !held.is_ours());
    foreign
        .map(|held| format!("{}: rtcctl up needs this port; stop the holder, or choose another port below {}", port(held), key(held.port)))
        .collect()
}

fn key(port: u16) -> &'static str {
    match port {
        443 => "[site] (https_port)",
        80 => "[site] (http_port)",
        _ => "[turn] (ports)",
    }
}

/// Where the address leads, in one line; the flag says that it needs attention.
pub(super) fn leads(address: &str, leads: &Leads, own: &[IpAddr], ports: &str) -> (bool, String) {
    match leads {
        Leads::Here(ip) if ip.is_loopback() => (true, format!("{address} is this machine for itself only ({ip}): no other device reaches it")),
        Leads::Here(ip) if address == ip.to_string() => (false, format!("{address} is this machine")),
        Leads::Here(ip) => (false, format!("{address} resolves to {ip}: this machine")),
        Leads::Nowhere => (true, format!("{address} does not resolve: give it an A or AAAA record before rtcctl up")),
        Leads::Unknown(why) => (true, format!("{address}: where it leads is unknown ({why})")),
        Leads::Elsewhere(found) => {
            let found = list(found);
            let own = list(own);
            let leads = if found == address {
                format!("{address} is not an address of this machine")
            } else {
                format!("{address} resolves to {found}, which is not this machine")
            };
            (true, format!("{leads} ({own}). Behind NAT that is right: let the router forward {ports} to here"))
        }
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let shown = addresses.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if addresses.len() > SHOWN { format!("{shown} and {} more", addresses.len() - SHOWN) } else { shown }
}

/// The command that writes the same bytes.
pub(super) fn same_by_flags(answers: &Answers, file: Option<&str>) -> String {
    let mut words = vec!["rtcctl init".to_owned()];
    words.extend(file.map(|file| format!("--config {}", shell(file))));
    words.push(format!("--address {}", shell(&answers.address)));
    words.push(format!("--open-rooms {}", openers(answers.open_rooms)));
    words.extend(answers.ca.as_ref().map(|ca| format!("--ca {}", shell(ca))));
    words.join(" ")
}

pub(super) fn openers(openers: RoomOpeners) -> &'static str {
    match openers {
        RoomOpeners::Anyone => "anyone",
        RoomOpeners::Hosts => "hosts",
    }
}

/// As a word of a POSIX shell.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::ports::{Holder, HolderProcess, Protocol};

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn held(port: u16, command: &str) -> Held {
        let process = HolderProcess { pid: 812, command: command.into(), exe: None, unit: None };
        Held { port, protocol: Protocol::Tcp, holder: Some(Holder { uid: 0, process: Some(process) }) }
    }

    #[test]
    fn what_was_seen_is_one_line() {
        assert_eq!(machine(&[], None, &[]), "This machine: no network, no public address of its own");
        let public = ips(&["203.0.113.7"]);
        assert_eq!(
            machine(&public, Some(public[0]), &[held(443, "nginx"), held(80, "nginx")]),
            "This machine: 203.0.113.7, public address 203.0.113.7; 443/tcp held by nginx (pid 812); 80/tcp held by nginx (pid 812)"
        );
    }

    #[test]
    fn a_port_of_our_own_daemon_is_in_nobodys_way() {
        assert_eq!(in_the_way(&[held(443, "rtcctl")]), [""; 0]);
        assert_eq!(
            in_the_way(&[held(3478, "turnserver")]),
            ["3478/tcp held by turnserver (pid 812): rtcctl up needs this port; stop the holder, or choose another port below [turn] (ports)"]
        );
    }

    #[test]
    fn where_an_address_leads() {
        let own = ips(&["10.0.0.5"]);
        let says = |address: &str, to: Leads| leads(address, &to, &own, "443");
        assert_eq!(says("a.test", Leads::Here(own[0])), (false, "a.test resolves to 10.0.0.5: this machine".into()));
        assert_eq!(says("10.0.0.5", Leads::Here(own[0])), (false, "10.0.0.5 is this machine".into()));
        assert_eq!(says("a.test", Leads::Nowhere), (true, "a.test does not resolve: give it an A or AAAA record before rtcctl up".into()));
        assert!(says("a.test", Leads::Here("127.0.0.1".parse().unwrap())).1.contains("for itself only"));
        assert_eq!(
            says("a.test", Leads::Elsewhere(ips(&["203.0.113.7"]))).1,
            "a.test resolves to 203.0.113.7, which is not this machine (10.0.0.5). Behind NAT that is right: let the router forward 443 to here"
        );
        assert!(says("203.0.113.7", Leads::Elsewhere(ips(&["203.0.113.7"]))).1.starts_with("203.0.113.7 is not an address of this machine"));
    }

    #[test]
    fn flags_are_words_of_a_shell() {
        let answers = Answers { address: "fd00::7".into(), open_rooms: RoomOpeners::Hosts, ca: Some("local".into()) };
        assert_eq!(same_by_flags(&answers, None), "rtcctl init --address fd00::7 --open-rooms hosts --ca local");
        assert_eq!(
            same_by_flags(&Answers { ca: None, ..answers }, Some("it's.toml")),
            r"rtcctl init --config 'it'\''s.toml' --address fd00::7 --open-rooms hosts"
        );
    }
}
