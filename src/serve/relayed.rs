//! Pure: which addresses the relay tells its clients, and where it binds them on this machine.

use std::net::IpAddr;

use crate::config::HostName;
use crate::config::model::{Address, Config};
use crate::turn::RelayedAddress;

/// The name that must be looked up before [`choose`] can know.
pub(super) fn name_to_resolve(config: &Config) -> Option<&str> {
    match (&config.turn.public_address, &config.site.address) {
        (None, Address::Host(HostName::Dns(name))) => Some(name),
        _ => None,
    }
}

/// At most one per family, IPv4 first. What the config says, else the site's own address, else what its name `resolved` to, else the machine's.
/// A public address that is not on this machine (1:1 NAT) is bound to the machine's address of its family, and left out when there is none.
pub(super) fn choose(config: &Config, machine: &[IpAddr], resolved: &[IpAddr]) -> Vec<RelayedAddress> {
    let own = |v6: bool| own_address(&config.site.listen, machine, v6);
    let public: Vec<IpAddr> = match (config.turn.public_address, &config.site.address) {
        (Some(address), _) => vec![address],
        (None, Address::Host(HostName::Ip(address))) => vec![*address],
        (None, Address::Host(HostName::Dns(_))) => resolved.to_vec(),
        (None, Address::Lan) => Vec::new(),
    };
    let bound = |public: IpAddr| {
        let here = machine.contains(&public) || public.is_loopback();
        let local = if here { Some(public) } else { own(public.is_ipv6()) };
        local.map(|local| RelayedAddress { public, local })
    };
    let of_family = |v6: bool| public.iter().filter(|address| address.is_ipv6() == v6).find_map(|address| bound(*address));
    let told: Vec<_> = [false, true].into_iter().filter_map(of_family).collect();
    if !told.is_empty() {
        return told;
    }
    let own: Vec<_> = [false, true].into_iter().filter_map(own).map(|ip| RelayedAddress { public: ip, local: ip }).collect();
    if own.is_empty() { loopback(&config.site.listen) } else { own }
}

/// An address that is listened on by name wins over the machine's first: the others were left out on purpose.
fn own_address(listen: &[IpAddr], machine: &[IpAddr], v6: bool) -> Option<IpAddr> {
    let listen: Vec<_> = listen.iter().filter(|ip| ip.is_ipv6() == v6).collect();
    match listen.iter().find(|ip| !ip.is_unspecified()) {
        Some(named) if !listen.iter().any(|ip| ip.is_unspecified()) => Some(**named),
        _ => machine.iter().copied().find(|ip| ip.is_ipv6() == v6 && !listen.is_empty()),
    }
}

/// A machine without any network still relays to itself.
fn loopback(listen: &[IpAddr]) -> Vec<RelayedAddress> {
    let only_v6 = !listen.is_empty() && listen.iter().all(IpAddr::is_ipv6);
    let ip: IpAddr = if only_v6 { std::net::Ipv6Addr::LOCALHOST.into() } else { std::net::Ipv4Addr::LOCALHOST.into() };
    vec![RelayedAddress { public: ip, local: ip }]
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn on_a_lan_the_machines_own_first_addresses() {
        check("lan", None, &[], &["192.168.1.20", "10.0.0.1", "2001:db8::20"], expect!["192.168.1.20, 2001:db8::20"]);
        check("lan", None, &[], &["2001:db8::20"], expect!["2001:db8::20"]);
        check("lan", None, &[], &[], expect!["127.0.0.1"]);
    }

    #[test]
    fn a_public_address_elsewhere_is_bound_to_the_machines_own() {
        check("lan", Some("203.0.113.7"), &[], &["10.0.0.5", "fd00::5"], expect!["203.0.113.7 at 10.0.0.5"]);
        check("203.0.113.7", None, &[], &["10.0.0.5"], expect!["203.0.113.7 at 10.0.0.5"]);
        check("203.0.113.7", None, &[], &["10.0.0.5", "203.0.113.7"], expect!["203.0.113.7"]);
    }

    #[test]
    fn a_name_is_what_it_resolves_to_and_the_machine_until_it_does() {
        let machine = ["10.0.0.5", "2001:db8::5"];
        check("call.test", None, &["203.0.113.7", "2001:db8::5"], &machine, expect!["203.0.113.7 at 10.0.0.5, 2001:db8::5"]);
        check("call.test", None, &["203.0.113.7"], &machine, expect!["203.0.113.7 at 10.0.0.5"]);
        check("call.test", None, &[], &machine, expect!["10.0.0.5, 2001:db8::5"]);
        check("call.test", Some("203.0.113.9"), &["203.0.113.7"], &machine, expect!["203.0.113.9 at 10.0.0.5"]);
    }

    #[test]
    fn a_family_that_the_machine_lacks_cannot_be_told() {
        check("call.test", None, &["203.0.113.7", "2001:db8::7"], &["10.0.0.5"], expect!["203.0.113.7 at 10.0.0.5"]);
        check("2001:db8::7", None, &[], &["10.0.0.5"], expect!["10.0.0.5"]);
    }

    #[test]
    fn of_several_addresses_the_one_that_is_listened_on() {
        let mut config = config("lan", None);
        config.site.listen = vec!["10.0.0.1".parse().unwrap()];
        assert_eq!(shown(&choose(&config, &ips(&["192.168.1.20", "10.0.0.1", "2001:db8::20"]), &[])), "10.0.0.1");
        config.site.listen = vec!["127.0.0.1".parse().unwrap()];
        assert_eq!(shown(&choose(&config, &ips(&["192.168.1.20"]), &[])), "127.0.0.1");
        config.site.listen = vec!["::1".parse().unwrap()];
        assert_eq!(shown(&choose(&config, &ips(&["192.168.1.20"]), &[])), "::1");
    }

    #[test]
    fn only_a_name_without_a_public_address_is_looked_up() {
        assert_eq!(name_to_resolve(&config("call.test", None)), Some("call.test"));
        assert_eq!(name_to_resolve(&config("call.test", Some("203.0.113.7"))), None);
        assert_eq!(name_to_resolve(&config("203.0.113.7", None)), None);
        assert_eq!(name_to_resolve(&config("lan", None)), None);
    }

    fn check(address: &str, public: Option<&str>, resolved: &[&str], machine: &[&str], expected: Expect) {
        expected.assert_eq(&shown(&choose(&config(address, public), &ips(machine), &ips(resolved))));
    }

    fn config(address: &str, public: Option<&str>) -> Config {
        let mut config = Config::default();
        config.site.address = if address == "lan" { Address::Lan } else { Address::Host(address.parse().unwrap()) };
        config.turn.public_address = public.map(|address| address.parse().unwrap());
        config
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn shown(relayed: &[RelayedAddress]) -> String {
        let one = |r: &RelayedAddress| if r.public == r.local { r.public.to_string() } else { format!("{} at {}", r.public, r.local) };
        relayed.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
