//! Pure: the TURN server of one shard as a value: requests in, actions and route edits out (RFC 8656).
//!
//! Each method's checks stand in the order of the standard. A refused request leaves nothing behind; an unauthenticated one is answered from a MAC
//! and remembered nowhere.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::RelayedAddress;
use super::allocation::{Allocation, BindError, MAX_PERMISSIONS, Relay};
use super::auth::{Auth, Refusal, Signer, User};
use super::policy::{Full, OwnAddresses, Policy, Quotas, Share};
use super::ports::{Ports, Reservations, Taken, Token, Wish};
use super::reject::{
    ALLOCATION_MISMATCH, BAD_REQUEST, FAMILY_MISMATCH, FAMILY_NOT_SUPPORTED, FORBIDDEN, NO_CAPACITY, QUOTA_REACHED, Reject, TRANSPORT_NOT_SUPPORTED,
    UNKNOWN_ATTRIBUTE, WRONG_CREDENTIALS,
};
use super::routes::{ClientAddr, RelayId, Routes};
use super::timers::Timers;
use crate::config::{Secret, model};
use crate::stun::attr::{self, Family, XorAddress};
use crate::stun::channel;
use crate::stun::message::{ALLOCATE, BINDING, Builder, CHANNEL_BIND, CREATE_PERMISSION, Class, Message, REFRESH, TransactionId};

/// Longest lifetime a client can have (RFC 8656 §7.2 recommends an hour at most).
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// Ports tried for one relay before the client is told that there is none.
const MAX_TRIES: usize = 8;

const SOFTWARE_NAME: &[u8] = b"rtcctl";

/// Unknown attributes listed in one 420: an answer must not outgrow a datagram.
const MAX_UNKNOWN: usize = 64;

/// Both clocks: `mono` for lifetimes, `wall` for credentials and nonces.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Instant,
    pub wall: SystemTime,
}

/// What one shard's server is made from.
pub struct ServerSettings {
    /// This shard's number, below `shards`.
    pub shard: usize,
    pub shards: usize,
    pub config: model::Turn,
    /// At most one per family.
    pub relayed: Vec<RelayedAddress>,
    /// Further addresses of this machine: nothing is sent there unless `allow_peers` opens it.
    pub own_ips: Vec<IpAddr>,
    /// Every port something of ours listens on, UDP and TCP.
    pub own_ports: Vec<u16>,
    pub secrets: Arc<ArcSwap<Vec<Secret>>>,
    /// Random, the same for all shards of a process.
    pub nonce_key: [u8; 32],
    /// The same for all shards.
    pub quotas: Arc<Quotas>,
    /// The same for all shards.
    pub reservations: Arc<Reservations>,
    /// Random, different for each shard: relay ports are drawn from it.
    pub seed: u64,
}

/// What the driver has to do. Poll until `None` after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A STUN message, unframed (STUN lengths are multiples of four: a stream needs no padding either).
    Send { to: ClientAddr, bytes: Vec<u8> },
    /// Bind a UDP socket to exactly `local` and answer with [`Server::relay_opened`].
    OpenRelay { relay: RelayId, local: SocketAddr },
    /// Close the socket. Its routes are already gone.
    CloseRelay { relay: RelayId },
    /// End the TCP or TLS connection: its client let the allocation run out.
    CloseClient(ClientAddr),
}

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Somebody sits on that port (EADDRINUSE, EACCES): the next one may do.
    InUse,
    /// No socket can be had at all (EMFILE, ENOBUFS, EADDRNOTAVAIL): trying again is pointless now.
    Exhausted,
}

/// Plain counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub allocations_total: u64,
    /// Messages that got no answer, because they are malformed or ask for none.
    pub ignored: u64,
    /// Error answers by code; bounded by the codes there are.
    pub errors: Vec<(u16, u64)>,
}

pub struct Server {
    auth: Auth,
    policy: Policy,
    quotas: Arc<Quotas>,
    reservations: Arc<Reservations>,
    ports: Ports,
    /// What new allocations get.
    relayed: Vec<RelayedAddress>,
    lifetimes: Lifetimes,
    /// This and `pending` together are bounded by the quota.
    allocations: HashMap<ClientAddr, Allocation>,
    pending: HashMap<ClientAddr, Pending>,
    /// Sockets asked for and not answered yet, two per pending allocation at most.
    opening: HashMap<RelayId, Opening>,
    timers: Timers<ClientAddr>,
    /// Drained by the driver after every call, which adds a few at most per allocation it ends.
    actions: VecDeque<Action>,
    next_relay: u64,
    draining: bool,
    stats: Stats,
}

#[derive(Clone, Copy, Debug)]
struct Lifetimes {
    allocation: Duration,
    permission: Duration,
    channel: Duration,
}

#[derive(Clone, Copy)]
struct Opening {
    client: ClientAddr,
    local: SocketAddr,
}

/// An authenticated Allocate that waits for its sockets.
struct Pending {
    user: User,
    signer: Signer,
    transaction: TransactionId,
    fingerprint: bool,
    lifetime: Duration,
    halves: Vec<Half>,
    share: Share,
}

/// One family of an allocation in the making.
struct Half {
    family: Family,
    /// `None`: this port and no other, because a token stands for it.
    wish: Option<Wish>,
    /// For the port above the one that is being opened.
    token: Option<Token>,
    tries: usize,
    state: HalfState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HalfState {
    Opening(RelayId),
    Open(RelayId, SocketAddr),
    Failed(Reject),
}

struct Request<'a> {
    now: Now,
    from: ClientAddr,
    message: Message<'a>,
}

impl Server {
    pub fn new(settings: ServerSettings) -> Self {
        let ServerSettings { shard, shards, config, relayed, own_ips, own_ports, secrets, nonce_key, quotas, reservations, seed } = settings;
        let ports = Ports::new(config.relay_ports, shard, shards, &own_ports, Arc::clone(&reservations), seed);
        let own = OwnAddresses { relayed: relayed.clone(), others: own_ips, relay_ports: config.relay_ports, own_ports };
        Self {
            auth: Auth::new(config.realm, &nonce_key, config.nonce_lifetime, secrets, config.credential_max),
            policy: Policy { own, allow: config.allow_peers, deny: config.deny_peers },
            quotas,
            reservations,
            ports,
            relayed,
            lifetimes: Lifetimes { allocation: config.allocation_lifetime, permission: config.permission_lifetime, channel: config.channel_lifetime },
            allocations: HashMap::new(),
            pending: HashMap::new(),
            opening: HashMap::new(),
            timers: Timers::new(),
            actions: VecDeque::new(),
            next_relay: 0,
            draining: false,
            stats: Stats::default(),
        }
    }

    /// A STUN message (top bits 00) from a client. Send indications belong to the data path and are ignored here.
    pub fn handle(&mut self, now: Now, from: ClientAddr, message: &[u8], routes: &mut Routes) {
        if self.deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.expire_client(now.mono, from, routes);
        }
        let Ok(message) = Message::parse(message) else {
            self.stats.ignored += 1;
            return;
        };
        let request = Request { now, from, message };
        match (message.class(), message.method()) {
            (Class::Request, BINDING) => self.binding(&request),
            (Class::Request, ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND) => self.authenticated(&request, routes),
            _ => self.stats.ignored += 1,
        }
    }

    /// The answer to [`Action::OpenRelay`].
    pub fn relay_opened(&mut self, now: Now, relay: RelayId, result: Result<(), OpenError>, routes: &mut Routes) {
        let Some(Opening { client, local }) = self.opening.remove(&relay) else { return };
        match result {
            Ok(()) => {}
            Err(OpenError::InUse) => self.ports.fail(now.mono, local),
            Err(OpenError::Exhausted) => self.ports.release(local),
        }
        let Some(mut pending) = self.pending.remove(&client) else { return self.abandon(relay, local, result) };
        let Some(half) = pending.halves.iter_mut().find(|half| half.state == HalfState::Opening(relay)) else {
            self.pending.insert(client, pending);
            return self.abandon(relay, local, result);
        };
        half.tries += 1;
        if result.is_ok() {
            half.state = HalfState::Open(relay, local);
        } else {
            if let Some(token) = half.token.take() {
                self.reservations.cancel(&token);
            }
            let retry = half.wish.filter(|_| result == Err(OpenError::InUse) && half.tries < MAX_TRIES);
            (half.state, half.token) = match retry {
                Some(wish) => self.draw(now.mono, client, local.ip(), wish),
                None => (HalfState::Failed(NO_CAPACITY), None),
            };
        }
        self.settle(now.mono, client, pending, routes);
    }

    /// A TCP or TLS connection ended: its allocation goes with it.
    pub fn client_closed(&mut self, _now: Now, from: ClientAddr, routes: &mut Routes) {
        if let Some(mut allocation) = self.allocations.remove(&from) {
            let ended = allocation.end(None, routes);
            self.close(&ended);
        }
        if let Some(pending) = self.pending.remove(&from) {
            self.close_halves(&pending.halves);
        }
        self.timers.cancel(from);
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Server::expire`] wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn expire(&mut self, now: Now, routes: &mut Routes) {
        while let Some(client) = self.timers.pop_due(now.mono) {
            self.expire_client(now.mono, client, routes);
        }
    }

    /// New allocations get these from now on; old ones keep theirs.
    pub fn set_relayed(&mut self, relayed: Vec<RelayedAddress>) {
        self.relayed.clone_from(&relayed);
        self.policy.own.renew(relayed);
    }

    /// Addresses of this machine as they are now; packets to a new one are judged by it at once.
    pub fn set_own_ips(&mut self, own_ips: Vec<IpAddr>) {
        self.policy.own.others = own_ips;
    }

    /// From now on new allocations are refused (508); old ones live and may be refreshed.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Live allocations of this shard.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Whether this client has a live allocation (a stream without one is idle).
    pub fn has_allocation(&self, from: &ClientAddr) -> bool {
        self.allocations.contains_key(from)
    }

    /// What this server counted, for metrics.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Peers and own addresses, for the check and the translation at send time.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// RFC 8489 §6.3.1: no authentication, and nothing in the answer that would make it worth reflecting.
    fn binding(&mut self, request: &Request<'_>) {
        let unknown = unknown(&request.message);
        if unknown.is_empty() {
            let answer = request.success().address(attr::XOR_MAPPED_ADDRESS, request.from.client);
            self.send(request, answer.attr(attr::SOFTWARE, SOFTWARE_NAME), None);
        } else {
            self.reject(request, UNKNOWN_ATTRIBUTE, None);
        }
    }

    fn authenticated(&mut self, request: &Request<'_>, routes: &mut Routes) {
        let holder = match (self.allocations.get(&request.from), self.pending.get(&request.from)) {
            (Some(allocation), _) => Some(&allocation.user),
            (None, pending) => pending.map(|pending| &pending.user),
        };
        let (user, signer) = match self.auth.check(request.now.wall, request.from.client, &request.message, holder) {
            Ok(known) => known,
            Err(refusal) => return self.challenge(request, refusal),
        };
        match self.perform(request, user, signer, routes) {
            Ok(Some(answer)) => self.send(request, answer.attr(attr::SOFTWARE, SOFTWARE_NAME), Some(signer)),
            Ok(None) => {}
            Err(reject) => self.reject(request, reject, Some(signer)),
        }
        if let Some(deadline) = self.allocations.get(&request.from).and_then(Allocation::deadline) {
            self.timers.set(request.from, deadline);
        }
    }

    /// `Ok(None)`: the answer was sent, or comes when the sockets are there.
    fn perform(&mut self, request: &Request<'_>, user: User, signer: Signer, routes: &mut Routes) -> Result<Option<Builder>, Reject> {
        // RFC 8489 §6.3.1: after authentication, before the method.
        if !unknown(&request.message).is_empty() {
            return Err(UNKNOWN_ATTRIBUTE);
        }
        match request.message.method() {
            ALLOCATE => self.allocate(request, user, signer, routes).map(|()| None),
            REFRESH => self.refresh(request, &user, routes).map(Some),
            CREATE_PERMISSION => self.create_permission(request, &user, routes).map(Some),
            _ => self.channel_bind(request, &user, routes).map(Some),
        }
    }

    /// RFC 8656 §7.2.
    fn allocate(&mut self, request: &Request<'_>, user: User, signer: Signer, routes: &mut Routes) -> Result<(), Reject> {
        let message = &request.message;
        // 2. The five-tuple is taken, unless this is a copy of the request that took it.
        if let Some(allocation) = self.allocations.get(&request.from) {
            if allocation.transaction != message.transaction() || allocation.user.username != user.username {
                return Err(ALLOCATION_MISMATCH);
            }
            let bytes = allocation.answer.clone();
            self.actions.push_back(Action::Send { to: request.from, bytes });
            return Ok(());
        }
        if let Some(pending) = self.pending.get(&request.from) {
            return if pending.transaction == message.transaction() { Ok(()) } else { Err(ALLOCATION_MISMATCH) };
        }
        // 3. REQUESTED-TRANSPORT.
        match message.get(attr::REQUESTED_TRANSPORT) {
            Some([attr::UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(TRANSPORT_NOT_SUPPORTED),
            _ => return Err(BAD_REQUEST),
        }
        // 4. DONT-FRAGMENT was refused as unknown.
        // 5. RESERVATION-TOKEN stands alone: the port it means has its family and needs no other.
        let token = reservation(message)?;
        // 6., 7., 9. Families.
        let families = if token.is_some() { &[] } else { self.families(message)? };
        // 8. EVEN-PORT.
        let wish = even_port(message)?;
        let lifetime = self.lifetime(message)?;
        // 10. Quotas, and 11. draining.
        if self.draining {
            return Err(NO_CAPACITY);
        }
        let share = self.quotas.take(user.id(), request.from.client.ip()).map_err(|full| match full {
            Full::Total => NO_CAPACITY,
            Full::User | Full::Address => QUOTA_REACHED,
        })?;
        let halves = match token {
            Some(token) => vec![self.begin_reserved(request, &token)?],
            None => families.iter().map(|family| self.begin(request, *family, wish)).collect(),
        };
        let (transaction, fingerprint) = (message.transaction(), message.has_fingerprint());
        let pending = Pending { user, signer, transaction, fingerprint, lifetime, halves, share };
        self.settle(request.now.mono, request.from, pending, routes);
        Ok(())
    }

    /// Which relayed addresses are asked for, the first one being required. Without an attribute: IPv4.
    fn families(&self, message: &Message<'_>) -> Result<&'static [Family], Reject> {
        match (message.get(attr::REQUESTED_ADDRESS_FAMILY), message.get(attr::ADDITIONAL_ADDRESS_FAMILY)) {
            (Some(_), Some(_)) => Err(BAD_REQUEST),
            (None, Some(additional)) => match Family::decode(additional) {
                Ok(Some(Family::V6)) if self.relayed_of(Family::V4).is_some() || self.relayed_of(Family::V6).is_some() => {
                    Ok(&[Family::V4, Family::V6])
                }
                Ok(Some(Family::V6)) => Err(FAMILY_NOT_SUPPORTED),
                _ => Err(BAD_REQUEST),
            },
            (requested, None) => {
                let family = match requested.map(Family::decode) {
                    None => Family::V4,
                    Some(Ok(Some(family))) => family,
                    Some(Ok(None)) => return Err(FAMILY_NOT_SUPPORTED),
                    Some(Err(_)) => return Err(BAD_REQUEST),
                };
                self.relayed_of(family).ok_or(FAMILY_NOT_SUPPORTED)?;
                Ok(if family == Family::V4 { &[Family::V4] } else { &[Family::V6] })
            }
        }
    }

    /// What is asked for, at most the maximum; below the default, or not asked: the default (RFC 8656 §7.2).
    fn lifetime(&self, message: &Message<'_>) -> Result<Duration, Reject> {
        let asked = message.get(attr::LIFETIME).map(attr::decode_u32).transpose().map_err(|_| BAD_REQUEST)?;
        Ok(self.granted(Duration::from_secs(asked.unwrap_or(0).into())))
    }

    fn granted(&self, asked: Duration) -> Duration {
        asked.min(MAX_LIFETIME).max(self.lifetimes.allocation)
    }

    fn begin(&mut self, request: &Request<'_>, family: Family, wish: Wish) -> Half {
        let (state, token) = match self.relayed_of(family) {
            None => (HalfState::Failed(FAMILY_NOT_SUPPORTED), None),
            Some(address) => self.draw(request.now.mono, request.from, address.local, wish),
        };
        Half { family, wish: Some(wish), token, tries: 0, state }
    }

    fn begin_reserved(&mut self, request: &Request<'_>, token: &Token) -> Result<Half, Reject> {
        let local = self.reservations.claim(request.now.mono, token).ok_or(NO_CAPACITY)?;
        let state = self.open(request.from, local);
        Ok(Half { family: Family::of(local.ip()), wish: None, token: None, tries: 0, state })
    }

    /// A socket on a port drawn by lot.
    fn draw(&mut self, now: Instant, client: ClientAddr, address: IpAddr, wish: Wish) -> (HalfState, Option<Token>) {
        match self.ports.take(now, address, wish) {
            Some(Taken { address, token }) => (self.open(client, address), token),
            None => (HalfState::Failed(NO_CAPACITY), None),
        }
    }

    fn open(&mut self, client: ClientAddr, local: SocketAddr) -> HalfState {
        let relay = RelayId(self.next_relay);
        self.next_relay += 1;
        self.opening.insert(relay, Opening { client, local });
        self.actions.push_back(Action::OpenRelay { relay, local });
        HalfState::Opening(relay)
    }

    /// Waits on while a socket is outstanding, else answers the Allocate.
    fn settle(&mut self, now: Instant, client: ClientAddr, pending: Pending, routes: &mut Routes) {
        if pending.halves.iter().any(|half| matches!(half.state, HalfState::Opening(_))) {
            self.pending.insert(client, pending);
            return;
        }
        let ends = now + pending.lifetime;
        let relays: Vec<Relay> = pending
            .halves
            .iter()
            .filter_map(|half| match half.state {
                HalfState::Open(id, local) => Some(Relay { id, local, ends }),
                _ => None,
            })
            .collect();
        let answer = if relays.is_empty() { self.refusal_of(&pending) } else { self.success_of(client, &pending) };
        let answer = pending.signer.sign(answer.attr(attr::SOFTWARE, SOFTWARE_NAME));
        let bytes = if pending.fingerprint { answer.fingerprint().finish() } else { answer.finish() };
        self.actions.push_back(Action::Send { to: client, bytes: bytes.clone() });
        if relays.is_empty() {
            return;
        }
        let allocation = Allocation::new(pending.user, client, pending.transaction, bytes, relays, pending.share, routes);
        self.allocations.insert(client, allocation);
        self.timers.set(client, ends);
        self.stats.allocations_total += 1;
    }

    /// RFC 8656 §7.2, the success response; a family that could not be had is told in ADDRESS-ERROR-CODE.
    fn success_of(&self, client: ClientAddr, pending: &Pending) -> Builder {
        let mut answer = Builder::new(Class::Success, ALLOCATE, pending.transaction);
        for half in &pending.halves {
            answer = match half.state {
                HalfState::Open(_, local) => {
                    let answer = answer.address(attr::XOR_RELAYED_ADDRESS, self.policy.own.to_public(local));
                    half.token.iter().fold(answer, |answer, token| answer.attr(attr::RESERVATION_TOKEN, token))
                }
                HalfState::Failed(reject) => {
                    let mut value = attr::encode_error(reject.code(), half.family.number()).to_vec();
                    value.extend(reject.reason().as_bytes());
                    answer.attr(attr::ADDRESS_ERROR_CODE, &value)
                }
                HalfState::Opening(_) => answer,
            };
        }
        answer.u32(attr::LIFETIME, whole_seconds(pending.lifetime)).address(attr::XOR_MAPPED_ADDRESS, client.client)
    }

    fn refusal_of(&mut self, pending: &Pending) -> Builder {
        let failed = pending.halves.iter().rev().find_map(|half| match half.state {
            HalfState::Failed(reject) => Some(reject),
            _ => None,
        });
        let reject = failed.unwrap_or(NO_CAPACITY);
        self.count(reject.code());
        Builder::new(Class::Error, ALLOCATE, pending.transaction).error(reject.code(), reject.reason())
    }

    /// RFC 8656 §8.2.
    fn refresh(&mut self, request: &Request<'_>, user: &User, routes: &mut Routes) -> Result<Builder, Reject> {
        let message = &request.message;
        let asked = message.get(attr::LIFETIME).map(attr::decode_u32);
        let family = message.get(attr::REQUESTED_ADDRESS_FAMILY).map(Family::decode);
        let lifetime = self.lifetime(message);
        let allocation = self.allocation_of(request, user)?;
        let family = match family {
            None => None,
            Some(Ok(Some(family))) if allocation.has_family(family) => Some(family),
            Some(Ok(_)) => return Err(FAMILY_MISMATCH),
            Some(Err(_)) => return Err(BAD_REQUEST),
        };
        if asked == Some(Ok(0)) {
            let ended = allocation.end(family, routes);
            let is_over = allocation.is_over();
            self.close(&ended);
            if is_over {
                self.allocations.remove(&request.from);
                self.timers.cancel(request.from);
            }
            return Ok(request.success().u32(attr::LIFETIME, 0));
        }
        let lifetime = lifetime?;
        allocation.refresh(family, request.now.mono + lifetime, routes);
        Ok(request.success().u32(attr::LIFETIME, whole_seconds(lifetime)))
    }

    /// RFC 8656 §10.2: all addresses of a request or none.
    fn create_permission(&mut self, request: &Request<'_>, user: &User, routes: &mut Routes) -> Result<Builder, Reject> {
        self.allocation_of(request, user)?;
        let mut peers: Vec<IpAddr> = Vec::new();
        for (_, value) in request.message.attributes().filter(|(kind, _)| *kind == attr::XOR_PEER_ADDRESS) {
            let peer = XorAddress::decode(value, &request.message.transaction()).map_err(|_| BAD_REQUEST)?.ip();
            // One more than fits is enough to be refused below.
            if peers.len() <= MAX_PERMISSIONS && !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        if peers.is_empty() {
            return Err(BAD_REQUEST);
        }
        let allocation = self.allocations.get(&request.from).ok_or(ALLOCATION_MISMATCH)?;
        if !peers.iter().all(|peer| allocation.has_family(Family::of(*peer))) {
            return Err(FAMILY_MISMATCH);
        }
        if !peers.iter().all(|peer| self.policy.may_permit(*peer)) {
            return Err(FORBIDDEN);
        }
        let mut peers: Vec<IpAddr> = peers.into_iter().map(|peer| self.policy.own.local_ip(peer)).collect();
        peers.sort_unstable();
        peers.dedup();
        let ends = request.now.mono + self.lifetimes.permission;
        let allocation = self.allocation_of(request, user)?;
        if !allocation.has_room_for(&peers) {
            return Err(NO_CAPACITY);
        }
        for peer in peers {
            allocation.permit(peer, ends, routes);
        }
        Ok(request.success())
    }

    /// RFC 8656 §12.2.
    fn channel_bind(&mut self, request: &Request<'_>, user: &User, routes: &mut Routes) -> Result<Builder, Reject> {
        let allocation = self.allocation_of(request, user)?;
        let number = request.message.get(attr::CHANNEL_NUMBER).map(attr::decode_channel);
        let peer = request.message.address(attr::XOR_PEER_ADDRESS);
        let (Some(Ok(number)), Some(Ok(named))) = (number, peer) else { return Err(BAD_REQUEST) };
        if !channel::NUMBERS.contains(&number) {
            return Err(BAD_REQUEST);
        }
        let has_family = allocation.has_family(Family::of(named.ip()));
        let peer = self.policy.own.to_local(named);
        let is_allowed = self.policy.may_permit(named.ip());
        let (channel_ends, permission_ends) = (request.now.mono + self.lifetimes.channel, request.now.mono + self.lifetimes.permission);
        let allocation = self.allocation_of(request, user)?;
        let room = allocation.may_bind(number, peer);
        if room == Err(BindError::Conflict) {
            return Err(BAD_REQUEST);
        }
        if !has_family {
            return Err(FAMILY_MISMATCH);
        }
        if !is_allowed {
            return Err(FORBIDDEN);
        }
        if room.is_err() || !allocation.has_room_for(&[peer.ip()]) {
            return Err(NO_CAPACITY);
        }
        allocation.bind(number, peer, channel_ends, permission_ends, routes);
        Ok(request.success())
    }

    /// The allocation of the five-tuple, if this user made it (RFC 8656 §5).
    fn allocation_of(&mut self, request: &Request<'_>, user: &User) -> Result<&mut Allocation, Reject> {
        let allocation = self.allocations.get_mut(&request.from).ok_or(ALLOCATION_MISMATCH)?;
        if allocation.user.username == user.username { Ok(allocation) } else { Err(WRONG_CREDENTIALS) }
    }

    fn expire_client(&mut self, now: Instant, client: ClientAddr, routes: &mut Routes) {
        let Some(allocation) = self.allocations.get_mut(&client) else { return };
        if allocation.deadline().is_some_and(|deadline| deadline <= now) {
            let ended = allocation.expire(now, routes);
            let is_over = allocation.is_over();
            self.close(&ended);
            if is_over {
                self.allocations.remove(&client);
                self.timers.cancel(client);
                if client.transport.is_stream() {
                    self.actions.push_back(Action::CloseClient(client));
                }
                return;
            }
        }
        if let Some(deadline) = self.allocations.get(&client).and_then(Allocation::deadline) {
            self.timers.set(client, deadline);
        }
    }

    fn close(&mut self, relays: &[Relay]) {
        for relay in relays {
            self.ports.release(relay.local);
            self.actions.push_back(Action::CloseRelay { relay: relay.id });
        }
    }

    /// Sockets that are open already; those still outstanding are closed when they are answered.
    fn close_halves(&mut self, halves: &[Half]) {
        for half in halves {
            if let HalfState::Open(relay, local) = half.state {
                self.ports.release(local);
                self.actions.push_back(Action::CloseRelay { relay });
            }
        }
    }

    /// A socket was answered that nobody waits for any more.
    fn abandon(&mut self, relay: RelayId, local: SocketAddr, result: Result<(), OpenError>) {
        if result.is_ok() {
            self.ports.release(local);
            self.actions.push_back(Action::CloseRelay { relay });
        }
    }

    fn relayed_of(&self, family: Family) -> Option<RelayedAddress> {
        self.relayed.iter().copied().find(|address| Family::of(address.local) == family)
    }

    /// Neither signed nor adorned: what an unknown sender gets stays small.
    fn challenge(&mut self, request: &Request<'_>, refusal: Refusal) {
        let reject = refusal.reject();
        self.count(reject.code());
        let answer = request.error(reject);
        let answer = match refusal {
            Refusal::Malformed => answer,
            Refusal::Unauthorized | Refusal::StaleNonce => self.auth.challenge(request.now.wall, request.from.client, answer),
        };
        self.send(request, answer, None);
    }

    fn reject(&mut self, request: &Request<'_>, reject: Reject, signer: Option<Signer>) {
        self.count(reject.code());
        let mut answer = request.error(reject);
        if reject == UNKNOWN_ATTRIBUTE {
            let list: Vec<u8> = unknown(&request.message).into_iter().flat_map(u16::to_be_bytes).collect();
            answer = answer.attr(attr::UNKNOWN_ATTRIBUTES, &list);
        }
        self.send(request, answer, signer);
    }

    fn send(&mut self, request: &Request<'_>, answer: Builder, signer: Option<Signer>) {
        let answer = match signer {
            Some(signer) => signer.sign(answer),
            None => answer,
        };
        let answer = if request.message.has_fingerprint() { answer.fingerprint() } else { answer };
        self.actions.push_back(Action::Send { to: request.from, bytes: answer.finish() });
    }

    fn count(&mut self, code: u16) {
        match self.stats.errors.iter_mut().find(|(counted, _)| *counted == code) {
            Some((_, count)) => *count += 1,
            None => self.stats.errors.push((code, 1)),
        }
    }
}

impl Request<'_> {
    fn success(&self) -> Builder {
        Builder::new(Class::Success, self.message.method(), self.message.transaction())
    }

    fn error(&self, reject: Reject) -> Builder {
        Builder::new(Class::Error, self.message.method(), self.message.transaction()).error(reject.code(), reject.reason())
    }
}

/// RFC 8656 §7.2, fifth check.
fn reservation(message: &Message<'_>) -> Result<Option<Token>, Reject> {
    let Some(token) = message.get(attr::RESERVATION_TOKEN) else { return Ok(None) };
    let others = [attr::EVEN_PORT, attr::REQUESTED_ADDRESS_FAMILY, attr::ADDITIONAL_ADDRESS_FAMILY];
    if others.iter().any(|kind| message.get(*kind).is_some()) {
        return Err(BAD_REQUEST);
    }
    Token::try_from(token).map(Some).map_err(|_| BAD_REQUEST)
}

/// RFC 8656 §7.2, eighth check: one byte, of which only the first bit means something.
fn even_port(message: &Message<'_>) -> Result<Wish, Reject> {
    match message.get(attr::EVEN_PORT) {
        None => Ok(Wish::Any),
        Some([bits]) if bits & 0x80 == 0 => Ok(Wish::Even),
        Some([_]) if message.get(attr::ADDITIONAL_ADDRESS_FAMILY).is_none() => Ok(Wish::EvenAndNext),
        Some(_) => Err(BAD_REQUEST),
    }
}

/// Each attribute once that has to be understood and is not, the first [`MAX_UNKNOWN`] of them.
fn unknown(message: &Message<'_>) -> Vec<u16> {
    let mut unknown = Vec::new();
    for kind in message.unknown(&attr::UNDERSTOOD) {
        if unknown.len() < MAX_UNKNOWN && !unknown.contains(&kind) {
            unknown.push(kind);
        }
    }
    unknown
}

/// Lifetimes are told in whole seconds; a shorter one is told as one.
fn whole_seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(1)
}
