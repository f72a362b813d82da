//! The relay: a TURN server (RFC 8656) as a pure value per shard, and the threads that drive it.
//!
//! Not for: minting credentials (`stun::credential`), accepting TLS on the shared port (`serve::front` does and hands the connection over).

pub mod allocation;
pub mod auth;
pub mod client;
mod listen;
mod live;
mod outbox;
pub mod policy;
pub mod ports;
mod reject;
mod relay;
pub mod routes;
pub mod server;
mod shard;
mod stats;
mod stream;
pub mod timers;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::Secret;

use listen::Door;
use live::LivePorts;
use policy::Quotas;
use routes::{ClientAddr, Transport};
use server::{Server, ServerSettings};
use shard::{Command, Dispatch, NewClient, Parts, Patience, Shard};
use stats::Board;

/// Commands that wait for one shard, connections on their way to it included.
const COMMANDS: usize = 1024;
/// How often a relay that stops looks whether its last allocation has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Everything the relay needs to know, from the config and from what was found out about the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: crate::config::model::Turn,
    /// Addresses to listen on (`site.listen`); v6 sockets are v6-only.
    pub listen: Vec<IpAddr>,
    /// What relayed addresses look like and where their sockets are bound; at most one per family.
    pub relayed: Vec<RelayedAddress>,
    /// Secrets that time-limited credentials may be made with, the newest first.
    pub secrets: Arc<ArcSwap<Vec<Secret>>>,
    /// TCP ports of our own besides `config.ports` (https, http, metrics): never reachable through the relay.
    pub own_ports: Vec<u16>,
}

/// One relayed address: told to clients as `public`, bound as `local` (they differ behind a 1:1 NAT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedAddress {
    pub public: IpAddr,
    pub local: IpAddr,
}

/// A TLS connection that turned out to speak TURN; bytes already decrypted stay inside `tls`.
pub struct TlsClient {
    pub tcp: std::net::TcpStream,
    pub tls: rustls::ServerConnection,
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// A socket that is open, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// `udp` or `tcp`.
    pub protocol: &'static str,
}

/// Sums over all shards; plain numbers, read by `serve` for metrics and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub allocations_now: u64,
    pub allocations_total: u64,
    pub relayed_packets: u64,
    pub relayed_bytes: u64,
    /// Dropped packets by reason; refused requests by STUN error code.
    pub drops: Vec<(&'static str, u64)>,
    pub errors: Vec<(u16, u64)>,
}

/// Why the relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("bind {address} {protocol}: {source}")]
    Bind { address: SocketAddr, protocol: &'static str, source: std::io::Error },
    #[error("start the relay: {0}")]
    Other(#[from] std::io::Error),
}

/// The running relay. Dropping it stops the threads.
pub struct Relay {
    gate: Arc<Gate>,
    listeners: Vec<Listener>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Binds every listener (a wildcard family that the kernel lacks is skipped) and starts one thread per shard.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Patience::default())
    }

    fn start_with(settings: Settings, patience: Patience) -> Result<Self, StartError> {
        let shards = settings.config.shards.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
        let bound = listen::bind(&settings.listen, &settings.config.ports, shards)?;
        let own_ports = own_ports(&settings, &bound.listeners);
        let own_ips = crate::net::addr::of_interfaces()?;
        let random = SystemRandom::new();
        let nonce_key: [u8; 32] = draw(&random)?;
        let config = &settings.config;
        let quotas = Arc::new(Quotas::new(config.max_allocations, config.max_per_user, config.max_per_address));
        let reservations = Arc::new(ports::Reservations::default());
        let live = Arc::new(LivePorts::default());
        let mut ends = Vec::with_capacity(shards);
        let mut handles = Vec::with_capacity(shards);
        for _ in 0..shards {
            let poll = mio::Poll::new()?;
            let waker = mio::Waker::new(poll.registry(), shard::WAKE)?;
            let (commands, receiver) = sync_channel(COMMANDS);
            handles.push(Handle { commands, waker, board: Arc::default() });
            ends.push((poll, receiver));
        }
        let gate = Arc::new(Gate { door: Door::new(), shards: handles, next: AtomicUsize::new(0) });
        // From here on, a failure drops the relay, which stops the threads that run.
        let mut relay = Self { gate: Arc::clone(&gate), listeners: bound.listeners, threads: Vec::with_capacity(shards) };
        let mut acceptors = bound.tcp;
        for (index, ((poll, commands), udp)) in ends.into_iter().zip(bound.udp).enumerate() {
            let server = Server::new(ServerSettings {
                shard: index,
                shards,
                config: settings.config.clone(),
                relayed: settings.relayed.clone(),
                own_ips: own_ips.clone(),
                own_ports: own_ports.clone(),
                secrets: Arc::clone(&settings.secrets),
                nonce_key,
                quotas: Arc::clone(&quotas),
                reservations: Arc::clone(&reservations),
                seed: u64::from_ne_bytes(draw(&random)?),
            });
            let parts = Parts {
                poll,
                commands,
                server,
                udp,
                // One shard accepts and shares out; accepting costs little and goes round fairly.
                acceptors: std::mem::take(&mut acceptors),
                dispatch: (index == 0).then(|| Box::new(Arc::clone(&gate)) as Box<dyn Dispatch>),
                board: Arc::clone(&gate.shards[index].board),
                live: Arc::clone(&live),
                patience,
                bandwidth: settings.config.max_bandwidth,
                seed: u64::from_ne_bytes(draw(&random)?),
            };
            relay.threads.push(spawn(index, Shard::new(parts)?)?);
        }
        Ok(relay)
    }

    pub fn listeners(&self) -> Vec<Listener> {
        self.listeners.clone()
    }

    pub fn intake(&self) -> Intake {
        Intake { gate: Arc::clone(&self.gate) }
    }

    /// New allocations get these from now on; old ones keep theirs.
    pub fn set_relayed(&self, relayed: Vec<RelayedAddress>) {
        self.gate.tell_all(|| Command::Relayed(relayed.clone()));
    }

    /// Addresses of this machine change (RFC 8981 renews them daily), and none of them may be reached through the relay.
    pub fn set_own_ips(&self, own_ips: Vec<IpAddr>) {
        self.gate.tell_all(|| Command::OwnIps(own_ips.clone()));
    }

    pub fn counters(&self) -> Counters {
        Board::sum(self.gate.shards.iter().map(|handle| &*handle.board))
    }

    /// False when a shard's thread has ended, which only a bug or a failing kernel can bring about.
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Refuses new allocations, waits until the old ones end or the deadline passes, then stops and joins every thread.
    pub fn stop(mut self, drain: Duration) {
        self.end(drain);
    }

    /// The threads end together: while one has an allocation all keep their sockets, because a smaller group of sockets would make the kernel
    /// spread the remaining clients anew.
    fn end(&mut self, drain: Duration) {
        if self.threads.is_empty() {
            return;
        }
        let deadline = Instant::now() + drain;
        self.gate.tell_all(|| Command::Drain);
        while Instant::now() < deadline && self.is_running() && !self.gate.shards.iter().all(|handle| handle.board.is_drained()) {
            std::thread::sleep(DRAIN_LOOK);
        }
        self.gate.tell_all(|| Command::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a relay thread panicked");
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Ports that must not be reachable through the relay: what we listen on here, and what the rest of the process does.
fn own_ports(settings: &Settings, listeners: &[Listener]) -> Vec<u16> {
    let bound = listeners.iter().map(|listener| listener.address.port());
    let mut ports: Vec<u16> = bound.chain(settings.config.tls_ports.iter().copied()).chain(settings.own_ports.iter().copied()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn draw<const N: usize>(random: &SystemRandom) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| std::io::Error::other("no random numbers from the kernel"))?;
    Ok(bytes)
}

fn spawn(index: usize, shard: Shard) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("turn-{index}")).spawn(move || {
        if let Err(error) = shard.run() {
            tracing::error!(shard = index, %error, "a relay thread ended");
        }
    })
}

/// One shard as other threads see it.
struct Handle {
    commands: SyncSender<Command>,
    waker: mio::Waker,
    board: Arc<Board>,
}

/// What the threads of a relay are reached by.
struct Gate {
    door: Arc<Door>,
    shards: Vec<Handle>,
    next: AtomicUsize,
}

impl Gate {
    /// Waits for room in a shard's queue, which it empties at every turn. A shard that has ended needs no command.
    fn tell_all(&self, command: impl Fn() -> Command) {
        for handle in &self.shards {
            if handle.commands.send(command()).is_ok()
                && let Err(error) = handle.waker.wake()
            {
                tracing::error!(%error, "wake a relay thread");
            }
        }
    }

    /// Hands a connection to the next shard. It is closed when the relay is full, has ended, or the socket is broken already.
    fn admit(&self, tcp: mio::net::TcpStream, tls: Option<Box<rustls::ServerConnection>>, address: ClientAddr) {
        let handle = &self.shards[self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len()];
        let taken = self.door.enter(address.client.ip()).is_some_and(|ticket| {
            let _ = tcp.set_nodelay(true);
            handle.commands.try_send(Command::Client(NewClient { tcp, tls, address, ticket })).is_ok() && handle.waker.wake().is_ok()
        });
        if !taken {
            handle.board.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Dispatch for Arc<Gate> {
    fn accepted(&self, tcp: mio::net::TcpStream, client: SocketAddr) {
        // Without a local address it is closed already.
        if let Ok(server) = tcp.local_addr() {
            self.admit(tcp, None, ClientAddr { client, server, transport: Transport::Tcp });
        }
    }
}

/// Where `serve::front` drops TLS connections that speak TURN. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    gate: Arc<Gate>,
}

impl Intake {
    /// Hands the connection to a shard; when the relay is full or stopping the connection is closed.
    pub fn accept(&self, client: TlsClient) {
        if client.tcp.set_nonblocking(true).is_err() {
            return;
        }
        let address = ClientAddr { client: canonical(client.client), server: canonical(client.server), transport: Transport::Tls };
        self.gate.admit(mio::net::TcpStream::from_std(client.tcp), Some(Box::new(client.tls)), address);
    }
}

/// A dual-stack listener tells IPv4 clients in mapped form.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortRange;
    use std::io::{Read, Write};

    fn settings() -> Settings {
        let config = crate::config::model::Turn {
            ports: vec![0],
            tls_ports: vec![5349],
            relay_ports: PortRange { first: 10_000, last: 59_999 },
            credential_ttl: Duration::from_secs(60),
            shards: Some(1),
            ..crate::config::Config::default().turn
        };
        let loopback = std::net::Ipv4Addr::LOCALHOST.into();
        Settings {
            config,
            listen: vec![loopback],
            relayed: vec![RelayedAddress { public: loopback, local: loopback }],
            secrets: Arc::new(ArcSwap::from_pointee(vec![Secret::new(*b"x")])),
            own_ports: vec![443, 5349],
        }
    }

    #[test]
    fn own_ports_are_all_that_the_process_listens_on() {
        let listener = |port| Listener { address: ([127, 0, 0, 1], port).into(), protocol: "udp" };
        assert_eq!(own_ports(&settings(), &[listener(3478), listener(443)]), [443, 3478, 5349]);
    }

    #[test]
    fn a_connection_that_proves_nothing_is_closed_though_it_speaks_stun() {
        let patience = Patience { prove: Duration::from_millis(300), idle: Duration::from_secs(60) };
        let relay = Relay::start_with(settings(), patience).unwrap();
        let mut stream = std::net::TcpStream::connect(relay.listeners()[1].address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let began = Instant::now();
        stream.write_all(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[..2], [1, 1], "the binding was answered");
        assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
        let deadline = Instant::now() + Duration::from_secs(10);
        while !relay.counters().drops.contains(&("connection_idle", 1)) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
