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
