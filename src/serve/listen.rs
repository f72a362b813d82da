//! Opens the TCP listeners, one per address, and says in words why one cannot be had.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::net::tcp;
use crate::net::udp::family_missing;
use crate::ui::{Exit, Failure};

/// The sockets of one port.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    /// The port they really have.
    pub(super) port: u16,
    /// One sentence each: a family that was skipped, a port that moved.
    pub(super) notes: Vec<String>,
}

/// A listener that could not be had.
#[derive(Debug)]
pub(super) struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

/// Binds `port` on every address (0: the kernel's choice, the same for all); when the right to bind it is missing and `stand_in` is given, that one.
pub(super) fn open(listen: &[IpAddr], port: u16, stand_in: Option<u16>) -> Result<Listeners, Failure> {
    match (bind_all(listen, port), stand_in) {
        (Err(error), Some(other)) if error.cause.kind() == io::ErrorKind::PermissionDenied => {
            let mut moved = bind_all(listen, other).map_err(Failure::from)?;
            moved.notes.push(format!(
                "no right to bind port {port}, so {other} stands in: run it as root, or allow it with sysctl net.ipv4.ip_unprivileged_port_start={port}"
            ));
            Ok(moved)
        }
        (result, _) => result.map_err(Failure::from),
    }
}

fn bind_all(listen: &[IpAddr], port: u16) -> Result<Listeners, BindError> {
    let mut all = Listeners { sockets: Vec::new(), port, notes: Vec::new() };
    let mut skipped = None;
    for ip in listen {
        let address = SocketAddr::new(*ip, all.port);
        match tcp::listen(address) {
            Ok(socket) => {
                if let Ok(real) = socket.local_addr() {
                    all.port = real.port();
                }
                all.sockets.push(socket);
            }
            Err(cause) if ip.is_unspecified() && family_missing(&cause) => {
                let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
                all.notes.push(format!("the kernel has no {family}: {ip} is skipped"));
                skipped = Some(BindError { address, cause });
            }
            Err(cause) => return Err(BindError { address, cause }),
        }
    }
    match skipped {
        Some(error) if all.sockets.is_empty() => Err(error),
        _ => Ok(all),
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        bind_failure(error.address, "tcp", &error.cause)
    }
}

/// The sentence and the ways on; also for the relay's sockets.
pub(super) fn bind_failure(address: SocketAddr, protocol: &str, cause: &io::Error) -> Failure {
    let (ip, port) = (address.ip(), address.port());
    let tool = if protocol == "udp" { "ss -lunp" } else { "ss -ltnp" };
    match cause.kind() {
        io::ErrorKind::AddrInUse => Failure::new(Exit::Resource, format!("{address} {protocol} is held by another program"))
            .hint(format!("see which one: {tool} 'sport = :{port}'"))
            .hint("stop it, or choose another port in rtcctl.toml"),
        io::ErrorKind::PermissionDenied => Failure::new(Exit::Resource, format!("no right to bind {address} {protocol}"))
            .hint(format!("run it as root, or allow it: sysctl net.ipv4.ip_unprivileged_port_start={port}")),
        io::ErrorKind::AddrNotAvailable => {
            Failure::new(Exit::Resource, format!("not an address of this machine: {ip}")).hint("see the addresses: ip -brief address")
        }
        _ => Failure::new(Exit::Resource, format!("bind {address} {protocol}: {cause}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_share_one_port_of_the_kernels_choice() {
        let listeners = open(&["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()], 0, None).unwrap();
        assert_ne!(listeners.port, 0);
        for socket in &listeners.sockets {
            assert_eq!(socket.local_addr().unwrap().port(), listeners.port);
        }
        assert_eq!(listeners.sockets.len(), 2);
    }

    #[test]
    fn a_held_port_names_address_and_protocol_and_is_never_dodged() {
        let holder = open(&["127.0.0.1".parse().unwrap()], 0, None).unwrap();
        let failure = open(&["127.0.0.1".parse().unwrap()], holder.port, Some(0)).unwrap_err();
        assert_eq!(failure.exit, Exit::Resource);
        assert_eq!(failure.message, format!("127.0.0.1:{} tcp is held by another program", holder.port));
        assert!(failure.hints[0].contains("ss -ltnp"), "{:?}", failure.hints);
    }

    #[test]
    fn an_address_of_another_machine_is_said() {
        let failure = open(&["192.0.2.1".parse().unwrap()], 0, None).unwrap_err();
        assert_eq!(failure.message, "not an address of this machine: 192.0.2.1");
    }

    #[test]
    fn only_a_missing_right_is_answered_with_the_stand_in() {
        let denied = bind_failure("0.0.0.0:443".parse().unwrap(), "tcp", &io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(denied.message, "no right to bind 0.0.0.0:443 tcp");
        assert!(family_missing(&io::Error::from_raw_os_error(nix::errno::Errno::EAFNOSUPPORT as i32)));
        assert!(!family_missing(&io::Error::from(io::ErrorKind::AddrInUse)));
    }
}
