//! Packets through the relay: two allocations over one transport, permissions both ways, and an echo from one relayed address to the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

use super::room::IceList;
use super::servers::RelayAddress;
use super::wire::{self, Stream, Trust, hop};
use super::{Broken, RelayProof, Step, words};
use crate::config::model::Transport;
use crate::stun::attr::Family;
use crate::stun::framing::Framer;
use crate::turn::client::{Asked, Client, Credentials, Event};
use crate::turn::routes;

const PACKETS: usize = 5;
/// A packet that has not come back by then is sent once more, and then given up: UDP may lose one.
const PACKET_DEADLINE: Duration = Duration::from_millis(1000);
const TRIES: usize = 2;
/// The allocation ends by itself when the relay does not hear that it may.
const GOODBYE_DEADLINE: Duration = Duration::from_millis(200);
/// The largest datagram.
const BUFFER: usize = 65_536;

/// `lists` and `seeds` of the two clients.
pub(super) async fn prove(
    trust: &Trust,
    transport: Transport,
    lists: [&IceList; 2],
    seeds: [u64; 2],
    deadline: Instant,
) -> Result<RelayProof, Broken> {
    let step = Step::Relay(transport);
    let find = |list: &IceList| {
        let missing = || Broken::new(step, &list.url, format!("no server for {} in the list", super::name(transport)));
        list.servers.relay(transport).ok_or_else(missing)
    };
    exchange(trust, transport, [find(lists[0])?, find(lists[1])?], seeds, deadline).await
}

/// Between two clients with these credentials.
pub(super) async fn exchange(
    trust: &Trust,
    transport: Transport,
    [one, two]: [(RelayAddress, Credentials); 2],
    seeds: [u64; 2],
    deadline: Instant,
) -> Result<RelayProof, Broken> {
    let step = Step::Relay(transport);
    let uri = one.0.uri.clone();
    hop(step, &uri, deadline, async {
        let (mut one, mut two) =
            tokio::try_join!(Leg::open(trust, transport, &one.0, one.1, seeds[0]), Leg::open(trust, transport, &two.0, two.1, seeds[1]))?;
        let echo = echo(&mut one, &mut two).await;
        tokio::join!(one.goodbye(), two.goodbye());
        let (rtt, relayed) = echo?;
        Ok(RelayProof { transport, rtt, relayed })
    })
    .await
}

/// Our own address as the server sees it (RFC 8489 Binding).
pub(super) async fn binding(trust: &Trust, transport: Transport, server: &RelayAddress, seed: u64, deadline: Instant) -> Result<SocketAddr, Broken> {
    let nobody = Credentials { username: String::new(), password: String::new() };
    hop(Step::Relay(transport), &server.uri, deadline, async { Leg::open(trust, transport, server, nobody, seed).await?.binding().await }).await
}

/// The address that the server gives to somebody with these credentials; it is given back at once.
pub(super) async fn allocation(
    trust: &Trust,
    transport: Transport,
    server: (RelayAddress, Credentials),
    seed: u64,
    deadline: Instant,
) -> Result<SocketAddr, Broken> {
    hop(Step::Relay(transport), &server.0.uri, deadline, async {
        let mut leg = Leg::open(trust, transport, &server.0, server.1, seed).await?;
        let relayed = leg.allocate().await?;
        leg.goodbye().await;
        Ok(relayed)
    })
    .await
}

async fn echo(one: &mut Leg, two: &mut Leg) -> Result<(Duration, SocketAddr), String> {
    let (at_one, at_two) = tokio::try_join!(one.allocate(), two.allocate())?;
    tokio::try_join!(one.open_to(at_two), two.open_to(at_one))?;
    let mut times = Vec::with_capacity(PACKETS);
    for number in 0..PACKETS {
        times.push(there_and_back((&mut *one, at_one), (&mut *two, at_two), number).await?);
    }
    times.sort_unstable();
    Ok((times[PACKETS / 2], at_one))
}

async fn there_and_back(one: (&mut Leg, SocketAddr), two: (&mut Leg, SocketAddr), number: usize) -> Result<Duration, String> {
    for attempt in 0..TRIES {
        let payload = format!("packet {number} attempt {attempt}").into_bytes();
        let sent = Instant::now();
        let round = async {
            one.0.send(two.1, &payload).await?;
            two.0.receive(&payload).await?;
            two.0.send(one.1, &payload).await?;
            one.0.receive(&payload).await
        };
        match timeout(PACKET_DEADLINE, round).await {
            Ok(done) => return done.map(|()| sent.elapsed()),
            Err(_) if attempt + 1 < TRIES => {}
            Err(_) => break,
        }
    }
    Err(format!("allocated {} and {}, but packets from one to the other do not come back", one.1, two.1))
}

/// One client of the relay and its connection.
struct Leg {
    client: Client,
    wire: Wire,
}

enum Wire {
    Datagrams(UdpSocket, Vec<u8>),
    Stream(Box<dyn Stream>, Framer, Vec<u8>),
}

impl Leg {
    async fn open(trust: &Trust, transport: Transport, address: &RelayAddress, credentials: Credentials, seed: u64) -> Result<Self, String> {
        let (host, port) = (&*address.host, address.port);
        let stream = |stream| Wire::Stream(stream, Framer::new(), vec![0; 4096]);
        let (wire, spoken) = match transport {
            Transport::Udp => (Wire::Datagrams(udp(host, port).await?, vec![0; BUFFER]), routes::Transport::Udp),
            Transport::Tcp => (stream(Box::new(wire::tcp(host, port).await?)), routes::Transport::Tcp),
            Transport::Tls => (stream(wire::tls(&trust.turn, host, port).await?), routes::Transport::Tls),
        };
        Ok(Self { client: Client::new(credentials, spoken, seed), wire })
    }

    async fn binding(&mut self) -> Result<SocketAddr, String> {
        self.client.binding(now());
        loop {
            match self.event().await? {
                Event::Mapped(address) => return Ok(address),
                other => refused(other)?,
            }
        }
    }

    /// IPv4, or IPv6 where the relay has nothing else.
    async fn allocate(&mut self) -> Result<SocketAddr, String> {
        self.client.allocate(now(), None);
        loop {
            match self.event().await? {
                Event::Allocated { relayed, .. } => return Ok(relayed),
                Event::Failed { asked: Asked::Allocate, code: 440, .. } => self.client.allocate(now(), Some(Family::V6)),
                other => refused(other)?,
            }
        }
    }

    /// As browsers do: a channel, which brings its permission.
    async fn open_to(&mut self, peer: SocketAddr) -> Result<(), String> {
        self.client.permit(now(), &[peer.ip()]);
        self.client.bind_channel(now(), peer);
        let (mut permitted, mut bound) = (false, false);
        while !(permitted && bound) {
            match self.event().await? {
                Event::PermissionGranted { .. } => permitted = true,
                Event::ChannelBound { .. } => bound = true,
                other => refused(other)?,
            }
        }
        Ok(())
    }

    async fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Result<(), String> {
        let bytes = self.client.send(peer, payload);
        self.wire.write(&bytes).await
    }

    /// Packets of an earlier attempt may still arrive, and are passed over.
    async fn receive(&mut self, payload: &[u8]) -> Result<(), String> {
        loop {
            match self.event().await? {
                Event::Data { bytes, .. } if bytes == payload => return Ok(()),
                other => refused(other)?,
            }
        }
    }

    async fn goodbye(&mut self) {
        self.client.refresh(now(), Duration::ZERO);
        let gone = async { while !matches!(self.event().await, Ok(Event::Refreshed { .. } | Event::Failed { .. }) | Err(_)) {} };
        // Its lifetime ends an allocation whose goodbye was lost.
        let _ = timeout(GOODBYE_DEADLINE, gone).await;
    }

    /// Drives the client until it has something to say; bounded by the deadline of the hop.
    async fn event(&mut self) -> Result<Event, String> {
        loop {
            if let Some(event) = self.client.poll_event() {
                return Ok(event);
            }
            while let Some(bytes) = self.client.poll_transmit() {
                self.wire.write(&bytes).await?;
            }
            let arrived = match self.client.deadline() {
                Some(at) => timeout_at(at.into(), self.wire.read(&mut self.client)).await,
                None => Ok(self.wire.read(&mut self.client).await),
            };
            match arrived {
                Ok(read) => read?,
                Err(_) => self.client.handle_timeout(now()),
            }
        }
    }
}

impl Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::Datagrams(socket, _) => socket.send(bytes).await.map(|_| ()),
            Self::Stream(stream, ..) => {
                async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                .await
            }
        }
        .map_err(|error| words::of(&error))
    }

    async fn read(&mut self, client: &mut Client) -> Result<(), String> {
        match self {
            Self::Datagrams(socket, buffer) => {
                let length = socket.recv(buffer).await.map_err(|error| words::of(&error))?;
                client.handle(now(), &buffer[..length]);
            }
            Self::Stream(stream, framer, buffer) => {
                let length = stream.read(buffer).await.map_err(|error| words::of(&error))?;
                if length == 0 {
                    return Err("the relay closed the connection".to_owned());
                }
                framer.push(&buffer[..length]);
                while let Some(frame) = framer.next_frame().map_err(|_| "what answers there does not speak TURN".to_owned())? {
                    client.handle(now(), frame);
                }
            }
        }
        Ok(())
    }
}

/// Connected, so that a port where nothing listens is told apart from silence.
async fn udp(host: &str, port: u16) -> Result<UdpSocket, String> {
    let say = |error: std::io::Error| words::of(&error);
    let server = tokio::net::lookup_host((host, port)).await.map_err(say)?.next().ok_or_else(|| format!("no address for {host}"))?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(say)?;
    socket.connect(server).await.map_err(say)?;
    Ok(socket)
}

/// Ends on refusals; whatever else the client tells is of no interest here.
fn refused(event: Event) -> Result<(), String> {
    match event {
        Event::Failed { asked, code, reason } => Err(format!("{asked:?} was refused: {code} {reason}").trim_end().to_owned()),
        Event::TimedOut { asked } => Err(format!("no answer to {asked:?}")),
        Event::Malformed { asked } => Err(format!("a broken answer to {asked:?}")),
        _ => Ok(()),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
