//! What this machine is called and which addresses it has.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Name and addresses, in the order in which people should be told of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub hostname: String,
    /// The address of the default route first, IPv4 before IPv6; no loopback, no link-local ones.
    pub addresses: Vec<IpAddr>,
}

impl Machine {
    /// Asks the kernel; nothing is sent.
    pub fn look() -> std::io::Result<Self> {
        let hostname = nix::unistd::gethostname()?.to_string_lossy().into_owned();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for interface in nix::ifaddrs::getifaddrs()? {
            let up = interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP);
            let Some(address) = interface.address.filter(|_| up) else { continue };
            let ip = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip())).or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())));
            addresses.extend(ip.filter(|ip| tellable(*ip) && !addresses.contains(ip)));
        }
        let preferred = [route_source("192.0.2.1:9"), route_source("[2001:db8::1]:9")];
        addresses.sort_by_key(|a| (a.is_ipv6(), !preferred.contains(&Some(*a)), *a));
        Ok(Self { hostname, addresses })
    }
}

fn tellable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local() && !a.is_unspecified(),
    }
}

/// The source address that the kernel would use towards `target`: a connected UDP socket sends nothing.
fn route_source(target: &str) -> Option<IpAddr> {
    let target: SocketAddr = target.parse().ok()?;
    let any: SocketAddr = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().ok()?;
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| tellable(*ip))
}
