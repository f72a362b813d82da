//! May we listen there, and if not, who does: tried with the kernel, then looked up in /proc down to pid, command and systemd unit.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What the kernel says to a listener at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Free,
    /// EADDRINUSE; the holder if one could be seen.
    Held(Option<Holder>),
    /// EACCES: a low port without the privilege.
    Denied,
    /// The address is not on this machine.
    NotHere,
    /// The kernel lacks the address family.
    NoFamily,
    Other(String),
}

/// Who holds a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Owner of the socket; all that is known of a process of somebody else's when we are not root.
    pub uid: u32,
    pub process: Option<HolderProcess>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HolderProcess {
    pub pid: i32,
    /// Name of the program, as `ps` shows it.
    pub command: String,
    pub exe: Option<PathBuf>,
    /// `nginx.service`, when systemd started it.
    pub unit: Option<String>,
}

/// `nginx (pid 812, nginx.service)`
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(HolderProcess { pid, command, unit: Some(unit), .. }) => write!(f, "{command} (pid {pid}, {unit})"),
            Some(HolderProcess { pid, command, unit: None, .. }) => write!(f, "{command} (pid {pid})"),
            None => write!(f, "a program of user {} (root could see which)", user_name(self.uid)),
        }
    }
}

/// Binds and closes again. IPv6 sockets are v6-only, TCP ones may follow a connection in TIME_WAIT: as the daemon does it.
pub fn try_listen(address: SocketAddr, protocol: Protocol) -> Answer {
    match bind(address, protocol) {
        Ok(()) => Answer::Free,
        Err(e) => match e.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(nix::errno::Errno::EADDRINUSE) => Answer::Held(holder(address, protocol)),
            Some(nix::errno::Errno::EACCES) => Answer::Denied,
            Some(nix::errno::Errno::EADDRNOTAVAIL) => Answer::NotHere,
            Some(nix::errno::Errno::EAFNOSUPPORT) => Answer::NoFamily,
            _ => Answer::Other(e.to_string()),
        },
    }
}

fn bind(address: SocketAddr, protocol: Protocol) -> io::Result<()> {
    let kind = if protocol == Protocol::Tcp { Type::STREAM } else { Type::DGRAM };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if protocol == Protocol::Tcp {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if protocol == Protocol::Tcp { socket.listen(1) } else { Ok(()) }
}

/// Whose socket stands in the way of a listener at `address`; `None` when /proc shows none.
pub fn holder(address: SocketAddr, protocol: Protocol) -> Option<Holder> {
    let (inode, uid) = sockets(protocol).into_iter().find(|s| collide(s.local, address)).map(|s| (s.inode, s.uid))?;
    Some(Holder { uid, process: process_of(inode) })
}

struct HeldSocket {
    local: SocketAddr,
    inode: u64,
    uid: u32,
}

fn sockets(protocol: Protocol) -> Vec<HeldSocket> {
    if protocol == Protocol::Tcp {
        let tables = [procfs::net::tcp(), procfs::net::tcp6()];
        let listening = tables.into_iter().flatten().flatten().filter(|e| e.state == TcpState::Listen);
        listening.map(|e| HeldSocket { local: e.local_address, inode: e.inode, uid: e.uid }).collect()
    } else {
        let tables = [procfs::net::udp(), procfs::net::udp6()];
        tables.into_iter().flatten().flatten().map(|e| HeldSocket { local: e.local_address, inode: e.inode, uid: e.uid }).collect()
    }
}

/// An unspecified address meets every address of its family; `::` may be a dual-stack socket, which also holds the port for IPv4.
fn collide(held: SocketAddr, wanted: SocketAddr) -> bool {
    let dual = |ip: IpAddr| ip.is_unspecified() && ip.is_ipv6();
    let same_family = held.is_ipv4() == wanted.is_ipv4();
    let meet = held.ip() == wanted.ip() || held.ip().is_unspecified() || wanted.ip().is_unspecified();
    held.port() == wanted.port() && (same_family && meet || dual(held.ip()))
}

fn process_of(inode: u64) -> Option<HolderProcess> {
    let holds = |process: &Process| {
        let Ok(mut fds) = process.fd() else { return false };
        fds.any(|fd| fd.is_ok_and(|fd| matches!(fd.target, FDTarget::Socket(n) if n == inode)))
    };
    // A forked worker holds its parent's socket too; the parent, who is asked to stop, was there first.
    let process = procfs::process::all_processes().ok()?.flatten().filter(holds).min_by_key(|p| (started(p), p.pid))?;
    Some(HolderProcess {
        pid: process.pid,
        command: process.stat().map(|stat| stat.comm).unwrap_or_default(),
        exe: process.exe().ok(),
        unit: process.cgroups().ok().and_then(|groups| groups.0.iter().find_map(|group| unit_of(&group.pathname))),
    })
}

fn started(process: &Process) -> u64 {
    process.stat().map_or(u64::MAX, |stat| stat.starttime)
}

/// `/system.slice/nginx.service/worker` -> `nginx.service`; a user's session manager is not the unit that is meant.
fn unit_of(cgroup: &str) -> Option<String> {
    cgroup.rsplit('/').find(|part| part.ends_with(".service") && !part.starts_with("user@")).map(str::to_owned)
}

fn user_name(uid: u32) -> String {
    let known = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, UdpSocket};

    use super::{Answer, Holder, HolderProcess, Protocol, collide, try_listen, unit_of};

    fn holder_pid(answer: &Answer) -> Option<i32> {
        let Answer::Held(Some(Holder { process: Some(process), .. })) = answer else { return None };
        Some(process.pid)
    }

    #[test]
    fn names_the_holder_in_both_protocols_and_families() {
        let me = Some(std::process::id().cast_signed());
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert_eq!(holder_pid(&try_listen(tcp.local_addr().unwrap(), Protocol::Tcp)), me);
        assert_eq!(holder_pid(&try_listen(SocketAddr::from(([0, 0, 0, 0], port)), Protocol::Tcp)), me, "the wildcard meets it too");
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(holder_pid(&try_listen(udp.local_addr().unwrap(), Protocol::Udp)), me);
        let free = udp.local_addr().unwrap();
        drop(udp);
        assert_eq!(try_listen(free, Protocol::Udp), Answer::Free);
        assert_eq!(try_listen("192.0.2.1:0".parse().unwrap(), Protocol::Tcp), Answer::NotHere);
    }

    #[test]
    fn which_addresses_stand_in_each_others_way() {
        let meet = |a: &str, b: &str| collide(a.parse().unwrap(), b.parse().unwrap());
        assert!(meet("0.0.0.0:443", "192.0.2.7:443"));
        assert!(meet("[::]:443", "0.0.0.0:443"), "may be dual-stack");
        assert!(!meet("0.0.0.0:443", "[::]:443"));
        assert!(!meet("192.0.2.7:443", "192.0.2.8:443"));
        assert!(!meet("0.0.0.0:443", "0.0.0.0:80"));
    }

    #[test]
    fn unit_from_the_control_group() {
        assert_eq!(unit_of("/system.slice/nginx.service").as_deref(), Some("nginx.service"));
        assert_eq!(unit_of("/system.slice/a.service/sub").as_deref(), Some("a.service"));
        assert_eq!(unit_of("/user.slice/user-0.slice/user@0.service/app.slice/run.scope"), None);
        assert_eq!(unit_of("/"), None);
    }

    #[test]
    fn a_holder_reads_like_a_sentence() {
        let process = HolderProcess { pid: 812, command: "nginx".into(), exe: None, unit: Some("nginx.service".into()) };
        assert_eq!(Holder { uid: 0, process: Some(process) }.to_string(), "nginx (pid 812, nginx.service)");
        assert_eq!(Holder { uid: 0, process: None }.to_string(), "a program of user root (root could see which)");
    }
}
