//! One thread of the relay: its poll, its server, its routes, its sockets. Nothing here is shared, so nothing is locked.
//!
//! A turn of the loop: wait, read what is ready in batches, answer, flush, publish the counts. With nothing to do it sleeps without a timer.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token};

use super::RelayedAddress;
use super::listen::{Accepted, Acceptor, Ticket};
use super::live::LivePorts;
use super::outbox::{Outbox, Payload, Sockets, Target};
use super::relay::{self, Bucket, Kind, Next};
use super::routes::{ClientAddr, RelayId, Routes, ToClient, Transport};
use super::server::{Action, Now, OpenError, Server};
use super::stats::{Board, Dropped, Stats};
use super::stream::{Filled, Stream};
use crate::net::udp::{BATCH, HEADROOM, Inbox, Socket, TAILROOM};
use crate::stun::framing::MAX_FRAME;

pub(super) const WAKE: Token = Token(usize::MAX);
/// Tokens below are UDP sockets, from here on streams, and from `ACCEPTORS` on TCP listeners.
const STREAMS: usize = 1 << 40;
const ACCEPTORS: usize = 1 << 48;
/// Rounds of reading one socket before the others have their turn.
const ROUNDS: usize = 4;
/// Connections accepted before the sockets have their turn.
const ACCEPTS: usize = 64;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Read from a stream at once.
const STREAM_READ: usize = 16 << 10;

/// How long a connection is kept that has no allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until its first valid, authenticated request.
    pub(super) prove: Duration,
    /// Afterwards; it is looked at this often.
    pub(super) idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { prove: Duration::from_secs(30), idle: Duration::from_secs(60) }
    }
}

/// What other threads may ask of a shard.
pub(super) enum Command {
    Client(NewClient),
    Relayed(Vec<RelayedAddress>),
    OwnIps(Vec<IpAddr>),
    /// Take no new connections and no new allocations.
    Drain,
    /// End.
    Stop,
}

/// A connection on its way to its shard.
pub(super) struct NewClient {
    pub(super) tcp: mio::net::TcpStream,
    pub(super) tls: Option<Box<rustls::ServerConnection>>,
    pub(super) address: ClientAddr,
    pub(super) ticket: Ticket,
}

/// Where accepted connections are handed to: shared out over the shards.
pub(super) trait Dispatch: Send {
    fn accepted(&self, tcp: mio::net::TcpStream, client: SocketAddr);
}

pub(super) struct Shard {
    poll: Poll,
    inbox: Inbox,
    commands: Receiver<Command>,
    acceptors: Vec<Acceptor>,
    dispatch: Option<Box<dyn Dispatch>>,
    /// Tokens that were not read to the end.
    busy: Vec<usize>,
    draining: bool,
    stopped: bool,
    core: Core,
}

/// What a shard is made from.
pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) commands: Receiver<Command>,
    pub(super) server: Server,
    pub(super) udp: Vec<Socket>,
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) dispatch: Option<Box<dyn Dispatch>>,
    pub(super) board: Arc<Board>,
    /// The same for all shards.
    pub(super) live: Arc<LivePorts>,
    pub(super) patience: Patience,
    /// Bits per second, each way, per relay.
    pub(super) bandwidth: Option<u64>,
    pub(super) seed: u64,
}

impl Shard {
    pub(super) fn new(mut parts: Parts) -> io::Result<Self> {
        let mut table = Table::default();
        for mut socket in parts.udp {
            let place = table.sockets.len();
            parts.poll.registry().register(&mut socket, Token(place), Interest::READABLE)?;
            table.sockets.push(Some(Place { socket, relay: None }));
        }
        table.listeners = table.sockets.len();
        for (index, acceptor) in parts.acceptors.iter_mut().enumerate() {
            parts.poll.registry().register(&mut acceptor.io, Token(ACCEPTORS + index), Interest::READABLE)?;
        }
        let core = Core {
            registry: parts.poll.registry().try_clone()?,
            server: parts.server,
            routes: Routes::new(),
            table,
            relays: HashMap::new(),
            closing: Vec::new(),
            streams: Vec::new(),
            free_streams: Vec::new(),
            stream_of: HashMap::new(),
            checks: BTreeSet::new(),
            dirty: Vec::new(),
            outbox: Outbox::new(),
            frame: vec![0; HEADROOM + MAX_FRAME + TAILROOM],
            read: vec![0; STREAM_READ],
            stats: Stats::default(),
            board: parts.board,
            live: parts.live,
            patience: parts.patience,
            bandwidth: parts.bandwidth,
            indications: parts.seed,
        };
        Ok(Self {
            poll: parts.poll,
            inbox: Inbox::default(),
            commands: parts.commands,
            acceptors: parts.acceptors,
            dispatch: parts.dispatch,
            busy: Vec::with_capacity(EVENTS),
            draining: false,
            stopped: false,
            core,
        })
    }

    /// Works until told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut again = Vec::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            std::mem::swap(&mut self.busy, &mut again);
            for token in again.drain(..) {
                self.ready(token, true, false);
            }
            for event in &events {
                let writable = event.is_writable() || event.is_write_closed() || event.is_error();
                let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                self.ready(event.token().0, readable, writable);
            }
            self.expire();
            self.core.sweep();
            self.core.publish();
            if self.draining {
                self.core.board.set_draining();
            }
            if self.stopped {
                return Ok(());
            }
        }
    }

    /// `None`: nothing has a deadline, sleep until something comes.
    fn timeout(&self) -> Option<Duration> {
        if !self.busy.is_empty() {
            return Some(Duration::ZERO);
        }
        let resting = self.acceptors.iter().filter_map(Acceptor::resting_until).min();
        let check = self.core.checks.first().map(|(when, _)| *when);
        let next = [self.core.server.deadline(), check, resting].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn ready(&mut self, token: usize, readable: bool, writable: bool) {
        match token {
            token if token == WAKE.0 => self.obey(),
            token if token >= ACCEPTORS => self.accept(token - ACCEPTORS),
            token if token >= STREAMS => {
                if writable {
                    self.core.flush_stream(token - STREAMS);
                }
                if readable && self.core.read_stream(token - STREAMS) {
                    self.busy.push(token);
                }
            }
            place => {
                if readable && self.receive(place) {
                    self.busy.push(place);
                }
            }
        }
    }

    /// Reads a UDP socket; `true` when there may be more.
    fn receive(&mut self, place: usize) -> bool {
        for _ in 0..ROUNDS {
            let Some(open) = self.core.table.get(place) else { return false };
            let count = match open.socket.receive(&mut self.inbox) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier datagram, told once.
                Err(_) => continue,
            };
            let (relay, local, now) = (open.relay_id(), open.socket.local(), now());
            for index in 0..count {
                let received = self.inbox.received(index);
                let roomy = received.is_single();
                // Nobody can be answered at port 0, and trying costs the socket its segmentation offload.
                if received.from.port() == 0 {
                    self.core.stats.drop(Dropped::NotTurn);
                    continue;
                }
                for range in received.datagrams() {
                    let payload = Payload { range, roomy };
                    match relay {
                        Some(relay) => self.core.peer_datagram(now, relay, received.from, self.inbox.bytes_mut(), payload),
                        None => {
                            let server = SocketAddr::new(received.to.unwrap_or_else(|| local.ip()), local.port());
                            let from = ClientAddr { client: received.from, server, transport: Transport::Udp };
                            self.core.client_message(now, from, self.inbox.bytes_mut(), payload);
                        }
                    }
                }
            }
            self.core.flush(self.inbox.bytes());
            if count < BATCH {
                return false;
            }
        }
        true
    }

    fn accept(&mut self, index: usize) {
        let (Some(acceptor), Some(dispatch)) = (self.acceptors.get_mut(index), &self.dispatch) else { return };
        let now = Instant::now();
        for _ in 0..ACCEPTS {
            match acceptor.accept(now) {
                Accepted::Connection(tcp, client) => dispatch.accepted(tcp, client),
                Accepted::Dry | Accepted::Resting => return,
            }
        }
        self.busy.push(ACCEPTORS + index);
    }

    /// The queue of commands is bounded, and so is one turn of reading it: whoever adds more wakes us again.
    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Client(client) if !self.draining => {
                    if let Some(slot) = self.core.adopt(client)
                        && self.core.read_stream(slot)
                    {
                        self.busy.push(STREAMS + slot);
                    }
                }
                Command::Client(_) => self.core.stats.drop(Dropped::ConnectionRefused),
                Command::Relayed(relayed) => self.core.server.set_relayed(relayed),
                Command::OwnIps(own_ips) => self.core.server.set_own_ips(own_ips),
                Command::Drain => {
                    self.core.server.drain();
                    self.acceptors.clear();
                    self.draining = true;
                }
                Command::Stop => self.stopped = true,
            }
        }
    }

    fn expire(&mut self) {
        let now = now();
        if self.core.server.deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.core.server.expire(now, &mut self.core.routes);
            self.core.act(now);
        }
        self.core.check_streams(now);
        for index in 0..self.acceptors.len() {
            if self.acceptors[index].resting_until().is_some_and(|until| until <= now.mono) {
                self.accept(index);
            }
        }
        self.core.flush_streams();
    }
}

fn now() -> Now {
    Now { mono: Instant::now(), wall: SystemTime::now() }
}

/// A UDP socket that is open, and whose relay it is; listeners have none.
struct Place {
    socket: Socket,
    relay: Option<Relay>,
}

struct Relay {
    id: RelayId,
    from_client: Option<Bucket>,
    to_client: Option<Bucket>,
}

impl Place {
    fn relay_id(&self) -> Option<RelayId> {
        self.relay.as_ref().map(|relay| relay.id)
    }
}

/// The UDP sockets: listeners first, then relays where there is room. Bounded by the server's limit of allocations.
#[derive(Default)]
struct Table {
    sockets: Vec<Option<Place>>,
    listeners: usize,
    free: Vec<usize>,
}

impl Table {
    fn get(&self, place: usize) -> Option<&Place> {
        self.sockets.get(place)?.as_ref()
    }

    fn relay_mut(&mut self, place: usize) -> Option<&mut Relay> {
        self.sockets.get_mut(place)?.as_mut()?.relay.as_mut()
    }

    fn vacant(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        })
    }

    /// The listener that a client of this five-tuple speaks to, and the source to answer from when it is a wildcard.
    fn listener(&self, server: SocketAddr) -> Option<(usize, Option<IpAddr>)> {
        let locals = || self.sockets[..self.listeners].iter().flatten().map(|place| place.socket.local()).enumerate();
        if let Some((place, _)) = locals().find(|(_, local)| *local == server) {
            return Some((place, None));
        }
        let wildcard =
            locals().find(|(_, local)| local.ip().is_unspecified() && local.port() == server.port() && local.is_ipv4() == server.is_ipv4());
        wildcard.map(|(place, _)| (place, Some(server.ip())))
    }
}

impl Sockets for Table {
    fn send(&self, socket: usize, to: SocketAddr, from: Option<IpAddr>, bytes: &[u8], segment: usize) -> usize {
        self.get(socket).map_or(1, |place| place.socket.send(to, from, bytes, segment))
    }
}

/// A shard without its receive buffer, so that both can be borrowed at once.
struct Core {
    registry: mio::Registry,
    server: Server,
    routes: Routes,
    table: Table,
    relays: HashMap<RelayId, usize>,
    /// Relay sockets whose last datagrams may still lie in the outbox.
    closing: Vec<usize>,
    /// Bounded by the door.
    streams: Vec<Option<Stream>>,
    free_streams: Vec<usize>,
    stream_of: HashMap<ClientAddr, usize>,
    checks: BTreeSet<(Instant, usize)>,
    dirty: Vec<usize>,
    outbox: Outbox,
    /// One message of a stream, with room around it.
    frame: Vec<u8>,
    read: Vec<u8>,
    stats: Stats,
    board: Arc<Board>,
    live: Arc<LivePorts>,
    patience: Patience,
    bandwidth: Option<u64>,
    /// Transaction ids of Data indications count up; nothing hangs on them.
    indications: u64,
}

impl Core {
    /// One datagram or one frame of a client.
    fn client_message(&mut self, now: Now, from: ClientAddr, buffer: &mut [u8], message: Payload) {
        let bytes = &buffer[message.range.clone()];
        let kind = relay::kind(bytes);
        match kind {
            Kind::Unknown => self.stats.drop(Dropped::NotTurn),
            Kind::Stun => {
                self.server.handle(now, from, bytes, &mut self.routes);
                self.act(now);
            }
            Kind::ChannelData | Kind::Send => match self.outward(now, &from, kind, bytes) {
                Ok((next, payload)) => {
                    let begin = message.range.start;
                    // The header that was there is room now; behind the payload only what the message itself had.
                    let payload = Payload { range: begin + payload.start..begin + payload.end, roomy: message.roomy };
                    self.forward(now, next, buffer, payload);
                }
                Err(why) => self.stats.drop(why),
            },
        }
    }

    fn outward(&mut self, now: Now, from: &ClientAddr, kind: Kind, bytes: &[u8]) -> Result<(Next, std::ops::Range<usize>), Dropped> {
        let policy = self.server.policy();
        let (to, payload) = relay::from_client(&self.routes, policy, now.mono, from, kind, bytes)?;
        let next = relay::outward(&self.routes, policy, &self.live, now.mono, to)?;
        if self.bandwidth.is_some() && !self.within_bandwidth(now, to.relay, payload.len(), |relay| &mut relay.from_client) {
            return Err(Dropped::Bandwidth);
        }
        Ok((next, payload))
    }

    fn forward(&mut self, now: Now, next: Next, buffer: &mut [u8], payload: Payload) {
        match next {
            Next::Client { relay, to, source } => self.deliver(now, relay, to, source, buffer, payload),
            Next::Peer(to) => {
                let Some(socket) = self.relays.get(&to.relay).copied() else { return };
                self.stats.relayed(payload.range.len());
                self.outbox.push(&self.table, Target { socket, to: to.peer, from: None }, &[], buffer, payload, 0);
            }
        }
    }

    fn peer_datagram(&mut self, now: Now, relay: RelayId, from: SocketAddr, buffer: &mut [u8], payload: Payload) {
        match self.routes.from_peer(now.mono, relay, from) {
            Some(to) => self.deliver(now, relay, to, from, buffer, payload),
            None => self.stats.drop(Dropped::PeerNotPermitted),
        }
    }

    /// `source` in local form; the client is told the public form.
    fn deliver(&mut self, now: Now, relay: RelayId, to: ToClient, source: SocketAddr, buffer: &mut [u8], payload: Payload) {
        let size = payload.range.len();
        if self.bandwidth.is_some() && !self.within_bandwidth(now, relay, size, |relay| &mut relay.to_client) {
            return self.stats.drop(Dropped::Bandwidth);
        }
        let shown = self.server.policy().own.to_public(source);
        let Some(header) = relay::header(&to, shown, size, self.next_indication()) else {
            return self.stats.drop(Dropped::TooLarge);
        };
        if !to.client.transport.is_stream() {
            let Some((socket, from)) = self.table.listener(to.client.server) else { return self.stats.drop(Dropped::NotSent) };
            self.stats.relayed(size);
            let target = Target { socket, to: to.client.client, from };
            return self.outbox.push(&self.table, target, header.bytes(), buffer, payload, header.pad);
        }
        let slot = self.stream_of.get(&to.client).copied();
        let Some((slot, stream)) = slot.and_then(|slot| Some((slot, self.streams.get_mut(slot)?.as_mut()?))) else {
            return self.stats.drop(Dropped::NotSent);
        };
        if !stream.queue_data(header.bytes(), &buffer[payload.range], header.pad) {
            return self.stats.drop(Dropped::SlowClient);
        }
        self.stats.relayed(size);
        mark(&mut self.dirty, stream, slot);
    }

    fn within_bandwidth(&mut self, now: Now, relay: RelayId, bytes: usize, side: fn(&mut Relay) -> &mut Option<Bucket>) -> bool {
        let place = self.relays.get(&relay).copied();
        let Some(relay) = place.and_then(|place| self.table.relay_mut(place)) else { return true };
        side(relay).as_mut().is_none_or(|bucket| bucket.take(now.mono, bytes))
    }

    fn next_indication(&mut self) -> [u8; 12] {
        self.indications = self.indications.wrapping_add(1);
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.indications.to_be_bytes());
        id
    }

    /// Performs what the server decided.
    fn act(&mut self, now: Now) {
        while let Some(action) = self.server.poll() {
            match action {
                Action::Send { to, bytes } => self.answer(to, &bytes),
                Action::OpenRelay { relay, local } => {
                    let opened = self.open(now, relay, local);
                    self.server.relay_opened(now, relay, opened, &mut self.routes);
                }
                Action::CloseRelay { relay } => self.close(relay),
                Action::CloseClient(client) => {
                    if let Some(slot) = self.stream_of.get(&client).copied() {
                        self.close_stream(slot);
                    }
                }
            }
        }
    }

    fn answer(&mut self, to: ClientAddr, message: &[u8]) {
        if !to.transport.is_stream() {
            let Some((socket, from)) = self.table.listener(to.server) else { return };
            let lost = self.table.send(socket, to.client, from, message, 0);
            return self.stats.drop_many(Dropped::NotSent, lost);
        }
        let Some(slot) = self.stream_of.get(&to).copied() else { return };
        let Some(stream) = self.streams[slot].as_mut() else { return };
        stream.proven |= relay::proves(message);
        if stream.queue_answer(message) {
            mark(&mut self.dirty, stream, slot);
        } else {
            // It asks and does not read: without its answers the connection is of no use to anybody.
            self.stats.drop(Dropped::SlowClient);
            self.close_stream(slot);
        }
    }

    fn open(&mut self, now: Now, id: RelayId, local: SocketAddr) -> Result<(), OpenError> {
        let mut socket = Socket::bind(local).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => OpenError::InUse,
            _ => OpenError::Exhausted,
        })?;
        let place = self.table.vacant();
        if self.registry.register(&mut socket, Token(place), Interest::READABLE).is_err() {
            self.table.free.push(place);
            return Err(OpenError::Exhausted);
        }
        self.live.insert(local);
        let bucket = self.bandwidth.map(|rate| Bucket::new(now.mono, rate));
        self.table.sockets[place] = Some(Place { socket, relay: Some(Relay { id, from_client: bucket, to_client: bucket }) });
        self.relays.insert(id, place);
        Ok(())
    }

    fn close(&mut self, relay: RelayId) {
        let Some(place) = self.relays.remove(&relay) else { return };
        if let Some(open) = self.table.get(place) {
            self.live.remove(open.socket.local());
        }
        self.closing.push(place);
    }

    /// Sends what is gathered from `buffer`, then writes to streams.
    fn flush(&mut self, buffer: &[u8]) {
        self.outbox.flush(&self.table, buffer);
        let lost = self.outbox.take_lost();
        self.stats.drop_many(Dropped::NotSent, lost);
        self.flush_streams();
    }

    fn flush_streams(&mut self) {
        while let Some(slot) = self.dirty.pop() {
            self.flush_stream(slot);
        }
    }

    fn flush_stream(&mut self, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot).and_then(Option::as_mut) else { return };
        stream.dirty = false;
        if stream.flush().is_err() {
            self.close_stream(slot);
        }
    }

    /// Takes a connection in; `None` when the kernel cannot watch it.
    fn adopt(&mut self, client: NewClient) -> Option<usize> {
        // The same five-tuple again: the former connection ended without our noticing.
        if let Some(former) = self.stream_of.get(&client.address).copied() {
            self.close_stream(former);
        }
        let slot = self.free_streams.pop().unwrap_or_else(|| {
            self.streams.push(None);
            self.streams.len() - 1
        });
        let mut tcp = client.tcp;
        if self.registry.register(&mut tcp, Token(STREAMS + slot), Interest::READABLE | Interest::WRITABLE).is_err() {
            self.free_streams.push(slot);
            self.stats.drop(Dropped::ConnectionRefused);
            return None;
        }
        let check = Instant::now() + self.patience.prove;
        self.checks.insert((check, slot));
        self.stream_of.insert(client.address, slot);
        let mut stream = Stream::new(tcp, client.tls, client.address, check, client.ticket);
        mark(&mut self.dirty, &mut stream, slot);
        self.streams[slot] = Some(stream);
        Some(slot)
    }

    /// Reads a connection; `true` when there may be more.
    fn read_stream(&mut self, slot: usize) -> bool {
        for _ in 0..ROUNDS {
            let Some(stream) = self.streams.get_mut(slot).and_then(Option::as_mut) else { return false };
            let from = stream.address;
            let filled = stream.fill(&mut self.read);
            // TLS may have something of its own to say.
            mark(&mut self.dirty, stream, slot);
            match filled {
                Filled::Some => {}
                Filled::Dry => return false,
                Filled::End => {
                    self.close_stream(slot);
                    return false;
                }
            }
            if !self.take_frames(slot, from) {
                return false;
            }
        }
        true
    }

    /// Handles every whole frame; `false` when the connection ended.
    fn take_frames(&mut self, slot: usize, from: ClientAddr) -> bool {
        let now = now();
        let mut frame = std::mem::take(&mut self.frame);
        let alive = loop {
            let Some(stream) = self.streams.get_mut(slot).and_then(Option::as_mut) else { break false };
            let length = match stream.next_frame() {
                Ok(Some(bytes)) => {
                    frame[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }
                Ok(None) => break true,
                Err(_) => {
                    self.stats.drop(Dropped::ConnectionNotTurn);
                    self.close_stream(slot);
                    break false;
                }
            };
            self.client_message(now, from, &mut frame, Payload { range: HEADROOM..HEADROOM + length, roomy: false });
        };
        self.flush(&frame);
        self.frame = frame;
        alive
    }

    /// The connection is over, and with it its allocation (RFC 8656 §8).
    fn close_stream(&mut self, slot: usize) {
        let Some(mut stream) = self.streams.get_mut(slot).and_then(Option::take) else { return };
        self.free_streams.push(slot);
        self.checks.remove(&(stream.check, slot));
        self.stream_of.remove(&stream.address);
        let _ = self.registry.deregister(&mut stream.io);
        let address = stream.address;
        stream.close();
        let now = now();
        self.server.client_closed(now, address, &mut self.routes);
        self.act(now);
    }

    /// Connections that have no allocation to show for themselves are closed.
    fn check_streams(&mut self, now: Now) {
        while let Some((when, slot)) = self.checks.first().copied().filter(|(when, _)| *when <= now.mono) {
            self.checks.remove(&(when, slot));
            let Some(stream) = self.streams[slot].as_mut() else { continue };
            let earned = self.server.has_allocation(&stream.address) || std::mem::take(&mut stream.proven);
            if !earned {
                self.stats.drop(Dropped::ConnectionIdle);
                self.close_stream(slot);
                continue;
            }
            stream.check = now.mono + self.patience.idle;
            self.checks.insert((stream.check, slot));
        }
    }

    /// Closes the sockets of relays that ended. Nothing of theirs is in the outbox between batches.
    fn sweep(&mut self) {
        for place in self.closing.drain(..) {
            self.table.sockets[place] = None;
            self.table.free.push(place);
        }
    }

    fn publish(&self) {
        self.board.publish(&self.stats, self.server.allocations(), self.server.stats());
    }
}

fn mark(dirty: &mut Vec<usize>, stream: &mut Stream, slot: usize) {
    if !stream.dirty {
        stream.dirty = true;
        dirty.push(slot);
    }
}
