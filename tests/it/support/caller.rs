//! A TURN client over real sockets for tests: the pure client of the product, driven by blocking calls with deadlines.
#![allow(dead_code, reason = "several test binaries share this file and none uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rtcctl::config::model::Turn;
use rtcctl::config::{PortRange, Prefix, Secret};
use rtcctl::stun::attr::Family;
use rtcctl::stun::credential;
use rtcctl::stun::framing::Framer;
use rtcctl::turn::client::{Asked, Client, Credentials, Event};
use rtcctl::turn::routes::Transport;
use rtcctl::turn::{RelayedAddress, Settings};

pub(crate) const SECRET: &[u8] = b"a secret of tests";
/// Everything on one machine ends long before.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A relay on loopback, IPv4 and IPv6, on ports of the kernel's choice, that may reach loopback peers.
pub(crate) fn settings(shards: usize) -> Settings {
    let loopback = |text: &str| text.parse::<IpAddr>().unwrap();
    let config = Turn {
        ports: vec![0],
        tls_ports: Vec::new(),
        // Wide, and a port that is taken is passed over: two runs side by side do not meet.
        relay_ports: PortRange { first: 10_000, last: 59_999 },
        public_address: None,
        realm: "test".into(),
        secret_file: None,
        credential_ttl: Duration::from_secs(3600),
        credential_max: Duration::from_secs(86_400),
        allow_peers: vec![Prefix { address: loopback("127.0.0.0"), length: 8 }, Prefix { address: loopback("::1"), length: 128 }],
        deny_peers: Vec::new(),
        shards: Some(shards),
        max_allocations: 1000,
        max_per_user: 1000,
        max_per_address: 1000,
        max_bandwidth: None,
        allocation_lifetime: Duration::from_secs(600),
        permission_lifetime: Duration::from_secs(300),
        channel_lifetime: Duration::from_secs(600),
        nonce_lifetime: Duration::from_secs(600),
    };
    let same = |text: &str| RelayedAddress { public: loopback(text), local: loopback(text) };
    Settings {
        config,
        listen: vec![loopback("127.0.0.1"), loopback("::1")],
        relayed: vec![same("127.0.0.1"), same("::1")],
        secrets: Arc::new(ArcSwap::from_pointee(vec![Secret::new(SECRET)])),
        own_ports: Vec::new(),
    }
}

pub(crate) fn credentials(secret: &[u8]) -> Credentials {
    let expiry = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 600;
    let minted = credential::mint(secret, "tester", expiry);
    Credentials { username: minted.username, password: minted.password }
}

pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

enum Wire {
    Udp(UdpSocket),
    Stream(Box<dyn Stream>, Framer),
}

pub(crate) struct Caller {
    pub(crate) client: Client,
    wire: Wire,
    events: VecDeque<Event>,
}

/// Short enough to look at the client's own deadlines in between.
const TICK: Duration = Duration::from_millis(20);

impl Caller {
    pub(crate) fn udp(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        Self::new(Transport::Udp, Wire::Udp(socket), SECRET)
    }

    pub(crate) fn udp_with_secret(server: SocketAddr, secret: &[u8]) -> Self {
        let mut caller = Self::udp(server);
        caller.client = Client::new(credentials(secret), Transport::Udp, seed());
        caller
    }

    pub(crate) fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(TICK)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::stream(Transport::Tcp, stream)
    }

    /// The stream must have a read timeout.
    pub(crate) fn stream(transport: Transport, stream: impl Stream + 'static) -> Self {
        Self::new(transport, Wire::Stream(Box::new(stream), Framer::new()), SECRET)
    }

    fn new(transport: Transport, wire: Wire, secret: &[u8]) -> Self {
        Self { client: Client::new(credentials(secret), transport, seed()), wire, events: VecDeque::new() }
    }

    pub(crate) fn udp_socket(&self) -> &UdpSocket {
        match &self.wire {
            Wire::Udp(socket) => socket,
            Wire::Stream(..) => panic!("not over udp"),
        }
    }

    /// Bytes as they are, past the client.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Wire::Stream(stream, _) => stream.write_all(bytes).unwrap(),
        }
    }

    /// Writes what the client wants to say, without waiting for answers.
    pub(crate) fn transmit(&mut self) {
        while let Some(bytes) = self.client.poll_transmit() {
            self.write(&bytes);
        }
    }

    /// One step: write, read for at most a tick, look at the clock. `false` when a stream has ended.
    pub(crate) fn step(&mut self) -> bool {
        self.transmit();
        let mut buffer = [0; 70_000];
        let read = match &mut self.wire {
            Wire::Udp(socket) => socket.recv(&mut buffer),
            Wire::Stream(stream, _) => stream.read(&mut buffer),
        };
        let now = Instant::now();
        match (&mut self.wire, read) {
            (Wire::Udp(_), Ok(count)) => self.client.handle(now, &buffer[..count]),
            (Wire::Stream(..), Ok(0)) => return false,
            (Wire::Stream(_, framer), Ok(count)) => {
                framer.push(&buffer[..count]);
                while let Some(frame) = framer.next_frame().expect("the relay sends whole messages only") {
                    self.client.handle(now, frame);
                }
            }
            (_, Err(error)) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            (Wire::Udp(_), Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            (_, Err(_)) => return false,
        }
        if self.client.deadline().is_some_and(|deadline| deadline <= now) {
            self.client.handle_timeout(now);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push_back(event);
        }
        true
    }

    /// Waits for the first event that `pick` takes; others stay.
    pub(crate) fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((index, found)) = self.events.iter().enumerate().find_map(|(index, event)| Some((index, pick(event)?))) {
                self.events.remove(index);
                return found;
            }
            assert!(Instant::now() < deadline, "waited for {what}; seen: {:?}", self.events);
            assert!(self.step(), "the connection ended while waiting for {what}; seen: {:?}", self.events);
        }
    }

    /// `Err`: the code of the refusal.
    pub(crate) fn try_allocate(&mut self, family: Option<Family>) -> Result<SocketAddr, u16> {
        self.client.allocate(Instant::now(), family);
        self.wait("an allocation", |event| match event {
            Event::Allocated { relayed, .. } => Some(Ok(*relayed)),
            Event::Failed { asked: Asked::Allocate, code, .. } => Some(Err(*code)),
            Event::TimedOut { .. } => panic!("no answer to Allocate"),
            _ => None,
        })
    }

    /// An IPv4 allocation, which is what a client gets that asks for none in particular.
    pub(crate) fn allocate(&mut self) -> SocketAddr {
        self.try_allocate(None).unwrap()
    }

    pub(crate) fn permit(&mut self, peer: IpAddr) {
        self.client.permit(Instant::now(), &[peer]);
        self.wait("a permission", |event| match event {
            Event::PermissionGranted { .. } => Some(()),
            Event::Failed { code, .. } => panic!("permission for {peer}: {code}"),
            _ => None,
        });
    }

    pub(crate) fn bind(&mut self, peer: SocketAddr) -> u16 {
        self.client.bind_channel(Instant::now(), peer);
        self.wait("a channel", |event| match event {
            Event::ChannelBound { channel, .. } => Some(*channel),
            Event::Failed { code, .. } => panic!("channel to {peer}: {code}"),
            _ => None,
        })
    }

    pub(crate) fn mapped(&mut self) -> SocketAddr {
        self.client.binding(Instant::now());
        self.wait("a binding answer", |event| match event {
            Event::Mapped(address) => Some(*address),
            _ => None,
        })
    }

    pub(crate) fn refresh(&mut self, lifetime: Duration) {
        self.client.refresh(Instant::now(), lifetime);
        self.wait("a refresh", |event| match event {
            Event::Refreshed { .. } => Some(()),
            Event::Failed { code, .. } => panic!("refresh: {code}"),
            _ => None,
        });
    }

    pub(crate) fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let bytes = self.client.send(peer, payload);
        self.write(&bytes);
    }

    pub(crate) fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        self.wait("data", |event| match event {
            Event::Data { peer, bytes } => Some((*peer, bytes.clone())),
            _ => None,
        })
    }

    /// Data that has come so far, without waiting for more.
    pub(crate) fn drain_data(&mut self) -> Vec<Vec<u8>> {
        let (data, rest) = self.events.drain(..).partition(|event| matches!(event, Event::Data { .. }));
        self.events = rest;
        let data: VecDeque<Event> = data;
        data.into_iter().filter_map(|event| if let Event::Data { bytes, .. } = event { Some(bytes) } else { None }).collect()
    }
}

/// Tells apart the transactions of clients in one process.
fn seed() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 32 | u64::from(std::process::id())
}

/// A peer that is nothing but a UDP socket.
pub(crate) fn peer(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}
