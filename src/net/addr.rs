//! The addresses of this machine's interfaces.

use std::io;
use std::net::IpAddr;

/// Every IPv4 and IPv6 address an interface has now, each once, in order. Errors when the kernel does not tell.
pub fn of_interfaces() -> io::Result<Vec<IpAddr>> {
    let ip = |storage: nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let mut addresses: Vec<IpAddr> = nix::ifaddrs::getifaddrs()?.filter_map(|interface| interface.address.and_then(ip)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_once() {
        let addresses = of_interfaces().unwrap();
        assert_eq!(addresses.iter().filter(|address| **address == IpAddr::from([127, 0, 0, 1])).count(), 1, "{addresses:?}");
    }
}
