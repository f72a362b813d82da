//! `Pair`: servers of some shards and the clients that talk to them, in virtual time.

#![allow(clippy::unwrap_used, reason = "a helper that meets the unexpected fails its test")]

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rtcctl::config::{PortRange, Prefix, Secret, model};
use rtcctl::stun::credential::mint;
use rtcctl::stun::integrity::md5_key;
use rtcctl::stun::message::{ALLOCATE, Builder, CHANNEL_BIND, CREATE_PERMISSION, Class, Integrity, Message, REFRESH, SEND, TransactionId};
use rtcctl::stun::{attr, channel, message};
use rtcctl::turn::RelayedAddress;
use rtcctl::turn::client::{Client, Credentials, Event};
use rtcctl::turn::policy::Quotas;
use rtcctl::turn::ports::Reservations;
use rtcctl::turn::routes::{ClientAddr, RelayId, Routes, Transport};
use rtcctl::turn::server::{Action, Now, OpenError, Server, ServerSettings};

pub(super) const SECRET: &[u8] = b"a secret of the relay";
pub(super) const REALM: &str = "example.org";
pub(super) const PEER: &str = "8.8.8.8:5000";
/// Seconds since the epoch when virtual time begins.
pub(super) const EPOCH: u64 = 1_800_000_000;

/// What a world is made of.
pub(super) struct World {
    pub(super) shards: usize,
    pub(super) relayed: Vec<RelayedAddress>,
    pub(super) ports: PortRange,
    pub(super) quotas: (usize, usize, usize),
    pub(super) allow: Vec<Prefix>,
    pub(super) deny: Vec<Prefix>,
}

impl Default for World {
    fn default() -> Self {
        let ports = PortRange { first: 61000, last: 61099 };
        Self { shards: 1, relayed: vec![v4()], ports, quotas: (1000, 1000, 1000), allow: vec![], deny: vec![] }
    }
}

/// Servers of some shards and the clients that talk to them, in virtual time.
pub(super) struct Pair {
    pub(super) now: Now,
    pub(super) shards: Vec<Shard>,
    pub(super) secrets: Arc<ArcSwap<Vec<Secret>>>,
    pub(super) quotas: Arc<Quotas>,
    /// `Some`: half of all packets between a client and its server are lost.
    pub(super) loss: Option<Dice>,
}

/// One server and the sockets a driver would hold.
pub(super) struct Shard {
    pub(super) server: Server,
    pub(super) routes: Routes,
    pub(super) open: HashMap<RelayId, SocketAddr>,
    pub(super) sent: VecDeque<(ClientAddr, Vec<u8>)>,
    pub(super) closed: Vec<ClientAddr>,
    /// How many sockets were asked for, and how many are still to be refused.
    pub(super) opens: usize,
    pub(super) refuse_opens: Option<(usize, OpenError)>,
}

pub(super) struct TestClient {
    pub(super) core: Client,
    pub(super) addr: ClientAddr,
    pub(super) shard: usize,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) relayed: Option<SocketAddr>,
}

impl TestClient {
    pub(super) fn credentials(&self) -> Credentials {
        Credentials { username: self.username.clone(), password: self.password.clone() }
    }
}

impl Pair {
    pub(super) fn new() -> Self {
        Self::with(World::default())
    }

    pub(super) fn with(world: World) -> Self {
        let secrets = Arc::new(ArcSwap::from_pointee(vec![Secret::new(SECRET)]));
        let (total, per_user, per_address) = world.quotas;
        let quotas = Arc::new(Quotas::new(total, per_user, per_address));
        let reservations = Arc::new(Reservations::default());
        let shard = |shard| {
            let settings = ServerSettings {
                shard,
                shards: world.shards,
                config: config(&world),
                relayed: world.relayed.clone(),
                own_ips: vec![],
                own_ports: vec![80, 443, 3478],
                secrets: Arc::clone(&secrets),
                nonce_key: [9; 32],
                quotas: Arc::clone(&quotas),
                reservations: Arc::clone(&reservations),
                seed: shard as u64 + 1,
            };
            Shard {
                server: Server::new(settings),
                routes: Routes::new(),
                open: HashMap::new(),
                sent: VecDeque::new(),
                closed: vec![],
                opens: 0,
                refuse_opens: None,
            }
        };
        let shards = (0..world.shards).map(shard).collect();
        let now = Now { mono: Instant::now(), wall: SystemTime::UNIX_EPOCH + seconds(EPOCH) };
        Self { now, shards, secrets, quotas, loss: None }
    }

    /// A client on its own port; ports are dealt to shards in turn.
    pub(super) fn client(&self, id: &str, port: u16) -> TestClient {
        let credential = mint(SECRET, id, EPOCH + 3600);
        let credentials = Credentials { username: credential.username.clone(), password: credential.password.clone() };
        TestClient {
            core: Client::new(credentials, Transport::Udp, u64::from(port) + 1),
            addr: addr(port),
            shard: usize::from(port) % self.shards.len(),
            username: credential.username,
            password: credential.password,
            relayed: None,
        }
    }

    pub(super) fn allocated(&mut self, id: &str, port: u16) -> TestClient {
        let mut client = self.client(id, port);
        client.core.allocate(self.now.mono, None);
        let events = self.run(&mut client);
        let [Event::Allocated { relayed, .. }] = events[..] else { panic!("{events:?}") };
        client.relayed = Some(relayed);
        client
    }

    pub(super) fn permitted(&mut self, id: &str, port: u16, peers: &[&str]) -> TestClient {
        let mut client = self.allocated(id, port);
        let peers: Vec<IpAddr> = peers.iter().map(|peer| address(peer).ip()).collect();
        client.core.permit(self.now.mono, &peers);
        assert_eq!(self.run(&mut client), [Event::PermissionGranted { peers }]);
        client
    }

    /// Carries packets between the client and its server until both have nothing to say, moving time when they wait.
    pub(super) fn run(&mut self, client: &mut TestClient) -> Vec<Event> {
        loop {
            while let Some(bytes) = client.core.poll_transmit() {
                if !self.is_lost() {
                    self.shards[client.shard].handle(self.now, client.addr, &bytes);
                }
                self.perform(client.shard);
                while let Some((to, bytes)) = self.shards[client.shard].sent.pop_front() {
                    assert_eq!(to, client.addr);
                    if !self.is_lost() {
                        client.core.handle(self.now.mono, &bytes);
                    }
                }
            }
            let Some(due) = client.core.deadline() else { break };
            self.pass(due - self.now.mono);
            client.core.handle_timeout(due);
        }
        std::iter::from_fn(|| client.core.poll_event()).collect()
    }

    pub(super) fn is_lost(&mut self) -> bool {
        self.loss.as_mut().is_some_and(|dice| dice.below(2) == 0)
    }

    /// Lets time go by, with every deadline on the way.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        for index in 0..self.shards.len() {
            let mut now = self.now;
            while let Some(deadline) = self.shards[index].server.deadline().filter(|deadline| *deadline <= end) {
                now.wall += deadline.saturating_duration_since(now.mono);
                now.mono = now.mono.max(deadline);
                let Shard { server, routes, .. } = &mut self.shards[index];
                server.expire(now, routes);
                self.perform(index);
            }
        }
        self.now = Now { mono: end, wall: self.now.wall + time };
    }

    pub(super) fn perform(&mut self, shard: usize) {
        self.shards[shard].perform(self.now);
    }

    pub(super) fn handle(&mut self, from: ClientAddr, bytes: &[u8]) -> Vec<Answer> {
        self.handle_on(0, from, bytes)
    }

    pub(super) fn handle_on(&mut self, shard: usize, from: ClientAddr, bytes: &[u8]) -> Vec<Answer> {
        self.shards[shard].handle(self.now, from, bytes);
        self.perform(shard);
        self.shards[shard].sent.drain(..).map(|(_, bytes)| Answer(bytes)).collect()
    }

    pub(super) fn taken(&mut self) -> Vec<Answer> {
        self.shards[0].sent.drain(..).map(|(_, bytes)| Answer(bytes)).collect()
    }

    /// One request from the first client's address, one answer.
    pub(super) fn ask(&mut self, request: Builder) -> Answer {
        let mut answers = self.handle(addr(0), &request.finish());
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    pub(super) fn answer(&mut self, request: Builder, code: u16) -> Answer {
        let answer = self.ask(request);
        assert_eq!(answer.code(), code);
        answer
    }

    pub(super) fn nonce(&mut self) -> String {
        self.nonce_for(addr(0).client)
    }

    pub(super) fn nonce_for(&mut self, client: SocketAddr) -> String {
        let from = ClientAddr { client, ..addr(0) };
        self.handle(from, &allocate([0xEE; 12]).finish())[0].text(attr::NONCE)
    }

    /// A request signed by this client with a fresh nonce.
    pub(super) fn as_user(&mut self, user: &TestClient, request: Builder) -> Answer {
        let nonce = self.nonce_for(user.addr.client);
        let bytes = request.signed_by(&user.username, &user.password, &nonce).finish();
        let mut answers = self.handle_on(user.shard, user.addr, &bytes);
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    pub(super) fn release(&mut self, user: &TestClient) {
        let code = self.as_user(user, refresh(id(0xFF), 0)).code();
        assert!(code == 200 || code == 437, "{code}");
    }

    pub(super) fn server(&self) -> &Server {
        &self.shards[0].server
    }

    /// No allocation, no socket, no route.
    pub(super) fn is_untouched(&self) -> bool {
        self.shards.iter().all(|shard| shard.server.allocations() == 0 && shard.open.is_empty() && shard.routes.entries() == 0)
    }

    pub(super) fn relay_of(&self, client: &TestClient) -> (RelayId, SocketAddr) {
        let shard = &self.shards[client.shard];
        let (relay, local) = shard.open.iter().find(|(relay, _)| shard.routes.client_of(**relay) == Some(client.addr)).unwrap();
        (*relay, *local)
    }

    /// Whether a Send indication would leave.
    pub(super) fn can_send(&self, client: &TestClient, peer: &str) -> bool {
        let wire = Builder::new(Class::Indication, SEND, id(1)).address(attr::XOR_PEER_ADDRESS, address(peer)).attr(attr::DATA, b"x").finish();
        self.shards[client.shard].relay_to(self.now, &client.addr, &wire).is_some()
    }

    /// A datagram of a peer arrives at the client's relay.
    pub(super) fn arrive(&self, client: &mut TestClient, peer: &str, payload: &[u8]) -> Option<Event> {
        let (relay, _) = self.relay_of(client);
        let wire = self.shards[client.shard].relay_from(self.now, relay, address(peer), payload)?;
        client.core.handle(self.now.mono, &wire);
        client.core.poll_event()
    }

    /// What `from` sends leaves its relay and crosses the kernel's loopback to the relay of `to`, which both use by their local addresses.
    pub(super) fn carry(&self, from: &TestClient, wire: &[u8], to: &mut TestClient) -> Option<Event> {
        let shard = &self.shards[from.shard];
        let (relay, target, payload) = shard.relay_to(self.now, &from.addr, wire)?;
        let source = shard.routes.local_of(relay).unwrap();
        let receiver = &self.shards[to.shard];
        let (arrived, _) = receiver.open.iter().find(|(_, local)| **local == target)?;
        assert_eq!(shard.routes.relay_at(self.now.mono, target).is_some(), from.shard == to.shard, "the short cut sees its own shard");
        let wire = receiver.relay_from(self.now, *arrived, source, &payload)?;
        to.core.handle(self.now.mono, &wire);
        to.core.poll_event()
    }
}

impl Shard {
    pub(super) fn handle(&mut self, now: Now, from: ClientAddr, bytes: &[u8]) {
        self.server.handle(now, from, bytes, &mut self.routes);
    }

    pub(super) fn close_client(&mut self, now: Now, from: ClientAddr) {
        self.server.client_closed(now, from, &mut self.routes);
    }

    /// What the driver does with actions.
    pub(super) fn perform(&mut self, now: Now) {
        while let Some(action) = self.server.poll() {
            match action {
                Action::Send { to, bytes } => self.sent.push_back((to, bytes)),
                Action::OpenRelay { relay, local } => {
                    self.opens += 1;
                    let result = match &mut self.refuse_opens {
                        Some((left, error)) if *left > 0 => {
                            *left -= 1;
                            Err(*error)
                        }
                        _ => {
                            assert!(self.open.values().all(|open| *open != local), "{local} is open");
                            self.open.insert(relay, local);
                            Ok(())
                        }
                    };
                    self.server.relay_opened(now, relay, result, &mut self.routes);
                }
                Action::CloseRelay { relay } => assert!(self.open.remove(&relay).is_some(), "{relay:?} is not open"),
                Action::CloseClient(client) => self.closed.push(client),
            }
        }
    }

    /// The data path in small, from client to peer: what leaves, and where from.
    pub(super) fn relay_to(&self, now: Now, from: &ClientAddr, wire: &[u8]) -> Option<(RelayId, SocketAddr, Vec<u8>)> {
        let (to, payload) = match channel::parse(wire) {
            Some((number, payload)) => (self.routes.channel(now.mono, from, number)?, payload),
            None => {
                let message = Message::parse(wire).unwrap();
                let peer = self.server.policy().own.to_local(message.address(attr::XOR_PEER_ADDRESS)?.unwrap());
                (self.routes.send(now.mono, from, peer)?, message.get(attr::DATA)?)
            }
        };
        self.server.policy().may_send(to.peer).then(|| (to.relay, to.peer, payload.to_vec()))
    }

    /// And back: what the client is sent.
    pub(super) fn relay_from(&self, now: Now, relay: RelayId, peer: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let to = self.routes.from_peer(now.mono, relay, peer)?;
        Some(match to.channel {
            Some(number) => [&channel::header(number, payload.len() as u16)[..], payload].concat(),
            None => {
                let mut head = [0; 48];
                let told = self.server.policy().own.to_public(peer);
                let length = message::data_indication(&mut head, told, [5; 12], payload.len() as u16)?;
                [&head[..length], payload, &vec![0; channel::padding(payload.len())]].concat()
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    pub(super) fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    pub(super) fn get(&self, kind: u16) -> Option<&[u8]> {
        self.message().get(kind)
    }

    /// 200 for a success; an error must carry a code.
    pub(super) fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 200,
            Class::Error => attr::decode_error(self.get(attr::ERROR_CODE).unwrap()).unwrap().0,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn text(&self, kind: u16) -> String {
        String::from_utf8(self.get(kind).unwrap().to_vec()).unwrap()
    }

    pub(super) fn lifetime(&self) -> u32 {
        attr::decode_u32(self.get(attr::LIFETIME).unwrap()).unwrap()
    }

    pub(super) fn kinds(&self) -> Vec<u16> {
        self.message().attributes().map(|(kind, _)| kind).collect()
    }

    pub(super) fn addresses(&self, kind: u16) -> Vec<SocketAddr> {
        let message = self.message();
        let values = message.attributes().filter(|(found, _)| *found == kind);
        values.map(|(_, value)| attr::XorAddress::decode(value, &message.transaction()).unwrap()).collect()
    }
}

/// The long-term mechanism of RFC 5389, as every browser speaks it.
pub(super) trait Sign {
    fn signed_by(self, username: &str, password: &str, nonce: &str) -> Self;
}

impl Sign for Builder {
    fn signed_by(self, username: &str, password: &str, nonce: &str) -> Self {
        let key = md5_key(username.as_bytes(), REALM.as_bytes(), password.as_bytes());
        self.attr(attr::USERNAME, username.as_bytes())
            .attr(attr::REALM, REALM.as_bytes())
            .attr(attr::NONCE, nonce.as_bytes())
            .sign(Integrity::Sha1, &key)
    }
}

/// Numbers that are the same in every run (xorshift64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    pub(super) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][self.below(5)],
                2 => bytes.truncate(at.max(20)),
                3 => bytes.splice(at..at, [0, 0, 0, 0]).for_each(drop),
                4 if at + 4 < bytes.len() => bytes.drain(at..at + 4).for_each(drop),
                _ => {
                    let length = (bytes.len() - bytes.len().min(20)) as u16;
                    if bytes.len() >= 4 {
                        bytes[2..4].copy_from_slice(&length.to_be_bytes());
                    }
                }
            }
            bytes.resize(bytes.len().max(20), 0);
        }
    }
}

pub(super) fn config(world: &World) -> model::Turn {
    model::Turn {
        ports: vec![3478],
        tls_ports: vec![],
        relay_ports: world.ports,
        public_address: None,
        realm: REALM.into(),
        secret_file: None,
        credential_ttl: seconds(3600),
        credential_max: seconds(48 * 3600),
        allow_peers: world.allow.clone(),
        deny_peers: world.deny.clone(),
        shards: Some(world.shards),
        max_allocations: world.quotas.0,
        max_per_user: world.quotas.1,
        max_per_address: world.quotas.2,
        max_bandwidth: None,
        allocation_lifetime: seconds(600),
        permission_lifetime: seconds(300),
        channel_lifetime: seconds(600),
        nonce_lifetime: seconds(600),
    }
}

pub(super) fn allocate(transaction: TransactionId) -> Builder {
    Builder::new(Class::Request, ALLOCATE, transaction).attr(attr::REQUESTED_TRANSPORT, &[attr::UDP, 0, 0, 0])
}

pub(super) fn refresh(transaction: TransactionId, lifetime: u32) -> Builder {
    Builder::new(Class::Request, REFRESH, transaction).u32(attr::LIFETIME, lifetime)
}

pub(super) fn permission(transaction: TransactionId, peers: &[&str]) -> Builder {
    let request = Builder::new(Class::Request, CREATE_PERMISSION, transaction);
    peers.iter().fold(request, |request, peer| request.address(attr::XOR_PEER_ADDRESS, address(peer)))
}

pub(super) fn bind(transaction: TransactionId, number: u16, peer: &str) -> Builder {
    let [high, low] = number.to_be_bytes();
    Builder::new(Class::Request, CHANNEL_BIND, transaction)
        .attr(attr::CHANNEL_NUMBER, &[high, low, 0xAA, 0xAA])
        .address(attr::XOR_PEER_ADDRESS, address(peer))
}

pub(super) fn v4() -> RelayedAddress {
    RelayedAddress { public: ip("93.184.216.34"), local: ip("172.30.0.5") }
}

pub(super) fn v6() -> RelayedAddress {
    RelayedAddress { public: ip("2a00:1450::34"), local: ip("2a00:1450::34") }
}

pub(super) fn addr(port: u16) -> ClientAddr {
    ClientAddr { client: SocketAddr::new(ip("5.5.5.5"), 40_000 + port), server: address("172.30.0.5:3478"), transport: Transport::Udp }
}

pub(super) fn id(first: u8) -> TransactionId {
    let mut id = [0x11; 12];
    id[0] = first;
    id
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
