//! Pure: the client side of TURN (RFC 8656), for the probe, the doctor and the server's own tests.
//!
//! Feed it what arrives (`handle`, one STUN message or ChannelData frame), send what `poll_transmit` gives, wake it at `deadline` with `handle_timeout`.
//! It speaks the dialect every server knows: MD5 key, SHA-1 integrity (RFC 5389).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::ports::Random;
use super::routes::Transport;
use crate::stun::attr::{self, Family};
use crate::stun::channel;
use crate::stun::integrity::md5_key;
use crate::stun::message::{
    ALLOCATE, BINDING, Builder, CHANNEL_BIND, CREATE_PERMISSION, Class, DATA, Integrity, Message, REFRESH, SEND, TransactionId,
};

/// First retransmission after this long, then twice as long each time (RFC 8489 §6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// Requests sent in all, and the last wait in multiples of [`RTO`].
const MAX_SENT: u32 = 7;
const LAST_WAIT: u32 = 16;

/// How long a stream is waited for (RFC 8489 §6.2.2).
const STREAM_TIMEOUT: Duration = Duration::from_millis(39_500);

/// Challenges answered per request: one 401 and two stale nonces.
const MAX_CHALLENGES: u32 = 3;

/// A long-term credential.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// What was asked for, to tell whose answer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Binding,
    Allocate,
    Refresh,
    Permission,
    Channel,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to `binding`: our address as the server sees it.
    Mapped(SocketAddr),
    Allocated {
        relayed: SocketAddr,
        mapped: SocketAddr,
        lifetime: Duration,
    },
    /// Zero: the allocation is gone.
    Refreshed {
        lifetime: Duration,
    },
    PermissionGranted {
        peers: Vec<IpAddr>,
    },
    ChannelBound {
        peer: SocketAddr,
        channel: u16,
    },
    Data {
        peer: SocketAddr,
        bytes: Vec<u8>,
    },
    /// An error answer that a retry cannot mend.
    Failed {
        asked: Asked,
        code: u16,
        reason: String,
    },
    /// A success that lacks what it must have.
    Malformed {
        asked: Asked,
    },
    /// No answer after all retransmissions.
    TimedOut {
        asked: Asked,
    },
}

/// Remembers what it asked and the channels it bound; both are bounded by what its owner asks for.
pub struct Client {
    credentials: Credentials,
    transport: Transport,
    random: Random,
    challenge: Option<Challenge>,
    transactions: Vec<Transaction>,
    channels: HashMap<SocketAddr, Channel>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// What the server wants to be addressed with.
struct Challenge {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: [u8; 16],
}

struct Transaction {
    id: TransactionId,
    ask: Ask,
    bytes: Vec<u8>,
    is_signed: bool,
    sent: u32,
    challenges: u32,
    due: Instant,
}

#[derive(Clone, Debug)]
enum Ask {
    Binding,
    Allocate { family: Option<Family> },
    Refresh { lifetime: Duration },
    Permission { peers: Vec<IpAddr> },
    Channel { peer: SocketAddr, number: u16 },
}

#[derive(Clone, Copy)]
struct Channel {
    number: u16,
    is_bound: bool,
}

impl Client {
    /// `seed` makes transaction ids: random in earnest, fixed in tests.
    pub fn new(credentials: Credentials, transport: Transport, seed: u64) -> Self {
        Self {
            credentials,
            transport,
            random: Random::new(seed),
            challenge: None,
            transactions: Vec::new(),
            channels: HashMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub fn binding(&mut self, now: Instant) {
        self.ask(now, Ask::Binding, 0);
    }

    /// Begins with the unauthenticated request; the 401 (and later any 438) is answered by itself.
    pub fn allocate(&mut self, now: Instant, family: Option<Family>) {
        self.ask(now, Ask::Allocate { family }, 0);
    }

    /// Zero gives the allocation back.
    pub fn refresh(&mut self, now: Instant, lifetime: Duration) {
        self.ask(now, Ask::Refresh { lifetime }, 0);
    }

    pub fn permit(&mut self, now: Instant, peers: &[IpAddr]) {
        self.ask(now, Ask::Permission { peers: peers.to_vec() }, 0);
    }

    /// Binds the next free channel number, or refreshes the one this peer has.
    pub fn bind_channel(&mut self, now: Instant, peer: SocketAddr) {
        let next = channel::NUMBERS.start() + self.channels.len() as u16 % channel::NUMBERS.len() as u16;
        let number = self.channels.entry(peer).or_insert(Channel { number: next, is_bound: false }).number;
        self.ask(now, Ask::Channel { peer, number }, 0);
    }

    /// The wire form of a payload: ChannelData when a channel is bound to the peer, else a Send indication. Padded on a stream.
    ///
    /// # Panics
    /// When the payload is longer than 65 000 bytes, more than any datagram carries.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= 65_000, "a payload fits into a datagram");
        match self.channels.get(&peer) {
            Some(Channel { number, is_bound: true }) => {
                let mut bytes = channel::header(*number, payload.len() as u16).to_vec();
                bytes.extend(payload);
                if self.transport.is_stream() {
                    bytes.resize(bytes.len() + channel::padding(payload.len()), 0);
                }
                bytes
            }
            _ => {
                let id = self.random.bytes();
                Builder::new(Class::Indication, SEND, id).address(attr::XOR_PEER_ADDRESS, peer).attr(attr::DATA, payload).finish()
            }
        }
    }

    /// One datagram, or one frame of a stream (`stun::framing`).
    pub fn handle(&mut self, now: Instant, bytes: &[u8]) {
        if let Some((number, payload)) = channel::parse(bytes) {
            return self.handle_channel(number, payload);
        }
        let Ok(message) = Message::parse(bytes) else { return };
        match message.class() {
            Class::Request => {}
            Class::Indication => self.handle_indication(&message),
            Class::Success | Class::Error => self.handle_answer(now, &message),
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// `None`: nothing is outstanding.
    pub fn deadline(&self) -> Option<Instant> {
        self.transactions.iter().map(|transaction| transaction.due).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let is_stream = self.transport.is_stream();
        let (transmits, events) = (&mut self.transmits, &mut self.events);
        self.transactions.retain_mut(|transaction| {
            if now < transaction.due {
                return true;
            }
            if is_stream || transaction.sent == MAX_SENT {
                events.push_back(Event::TimedOut { asked: transaction.ask.asked() });
                return false;
            }
            transmits.push_back(transaction.bytes.clone());
            transaction.sent += 1;
            transaction.due = now + if transaction.sent == MAX_SENT { RTO * LAST_WAIT } else { RTO * (1 << (transaction.sent - 1)) };
            true
        });
    }

    fn ask(&mut self, now: Instant, ask: Ask, challenges: u32) {
        let id = self.random.bytes();
        let challenge = self.challenge.as_ref().filter(|_| ask.asked() != Asked::Binding);
        let mut request = ask.request(id);
        if let Some(Challenge { realm, nonce, key }) = challenge {
            let username = self.credentials.username.as_bytes();
            request = request.attr(attr::USERNAME, username).attr(attr::REALM, realm).attr(attr::NONCE, nonce).sign(Integrity::Sha1, key);
        }
        let (is_signed, bytes) = (challenge.is_some(), request.finish());
        self.transmits.push_back(bytes.clone());
        let due = now + if self.transport.is_stream() { STREAM_TIMEOUT } else { RTO };
        self.transactions.push(Transaction { id, ask, bytes, is_signed, sent: 1, challenges, due });
    }

    fn handle_channel(&mut self, number: u16, payload: &[u8]) {
        let found = self.channels.iter().find(|(_, channel)| channel.number == number);
        if let Some((peer, _)) = found {
            self.events.push_back(Event::Data { peer: *peer, bytes: payload.to_vec() });
        }
    }

    fn handle_indication(&mut self, message: &Message<'_>) {
        if message.method() == DATA
            && let (Some(Ok(peer)), Some(payload)) = (message.address(attr::XOR_PEER_ADDRESS), message.get(attr::DATA))
        {
            self.events.push_back(Event::Data { peer, bytes: payload.to_vec() });
        }
    }

    fn handle_answer(&mut self, now: Instant, message: &Message<'_>) {
        let Some(index) = self.transactions.iter().position(|transaction| transaction.id == message.transaction()) else { return };
        let transaction = &self.transactions[index];
        if transaction.ask.method() != message.method() || !self.is_genuine(transaction, message) {
            return;
        }
        let transaction = self.transactions.swap_remove(index);
        if message.class() == Class::Success {
            return self.succeed(transaction.ask, message);
        }
        let asked = transaction.ask.asked();
        let Some(Ok((code, reason))) = message.get(attr::ERROR_CODE).map(attr::decode_error) else {
            return self.events.push_back(Event::Malformed { asked });
        };
        let may_retry = transaction.challenges < MAX_CHALLENGES && (code == 438 || code == 401 && !transaction.is_signed);
        if may_retry && asked != Asked::Binding && self.take_challenge(message) {
            return self.ask(now, transaction.ask, transaction.challenges + 1);
        }
        self.events.push_back(Event::Failed { asked, code, reason: reason.to_owned() });
    }

    /// A success must be signed when the request was. Errors come unsigned from servers that did not recognise us, and from some that did.
    fn is_genuine(&self, transaction: &Transaction, message: &Message<'_>) -> bool {
        let Some(challenge) = self.challenge.as_ref().filter(|_| transaction.is_signed) else { return true };
        match message.integrity() {
            Some(_) => message.verify(&challenge.key),
            None => message.class() == Class::Error,
        }
    }

    fn take_challenge(&mut self, message: &Message<'_>) -> bool {
        let (Some(realm), Some(nonce)) = (message.get(attr::REALM), message.get(attr::NONCE)) else { return false };
        let key = md5_key(self.credentials.username.as_bytes(), realm, self.credentials.password.as_bytes());
        self.challenge = Some(Challenge { realm: realm.to_vec(), nonce: nonce.to_vec(), key });
        true
    }

    fn succeed(&mut self, ask: Ask, message: &Message<'_>) {
        let asked = ask.asked();
        let lifetime = message.get(attr::LIFETIME).and_then(|value| attr::decode_u32(value).ok());
        let lifetime = lifetime.map(|seconds| Duration::from_secs(seconds.into()));
        let address = |kind| message.address(kind).and_then(Result::ok);
        let event = match ask {
            Ask::Binding => address(attr::XOR_MAPPED_ADDRESS).map(Event::Mapped),
            Ask::Allocate { .. } => match (address(attr::XOR_RELAYED_ADDRESS), address(attr::XOR_MAPPED_ADDRESS), lifetime) {
                (Some(relayed), Some(mapped), Some(lifetime)) => Some(Event::Allocated { relayed, mapped, lifetime }),
                _ => None,
            },
            Ask::Refresh { .. } => lifetime.map(|lifetime| Event::Refreshed { lifetime }),
            Ask::Permission { peers } => Some(Event::PermissionGranted { peers }),
            Ask::Channel { peer, number } => {
                self.channels.insert(peer, Channel { number, is_bound: true });
                Some(Event::ChannelBound { peer, channel: number })
            }
        };
        if matches!(event, Some(Event::Refreshed { lifetime: Duration::ZERO })) {
            self.channels.clear();
        }
        self.events.push_back(event.unwrap_or(Event::Malformed { asked }));
    }
}

impl Ask {
    fn asked(&self) -> Asked {
        match self {
            Self::Binding => Asked::Binding,
            Self::Allocate { .. } => Asked::Allocate,
            Self::Refresh { .. } => Asked::Refresh,
            Self::Permission { .. } => Asked::Permission,
            Self::Channel { .. } => Asked::Channel,
        }
    }

    fn method(&self) -> u16 {
        match self {
            Self::Binding => BINDING,
            Self::Allocate { .. } => ALLOCATE,
            Self::Refresh { .. } => REFRESH,
            Self::Permission { .. } => CREATE_PERMISSION,
            Self::Channel { .. } => CHANNEL_BIND,
        }
    }

    fn request(&self, id: TransactionId) -> Builder {
        let request = Builder::new(Class::Request, self.method(), id);
        match self {
            Self::Binding => request,
            Self::Allocate { family } => {
                let request = request.attr(attr::REQUESTED_TRANSPORT, &[attr::UDP, 0, 0, 0]);
                match family {
                    Some(family) => request.attr(attr::REQUESTED_ADDRESS_FAMILY, &family.encode()),
                    None => request,
                }
            }
            Self::Refresh { lifetime } => request.u32(attr::LIFETIME, u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)),
            Self::Permission { peers } => {
                peers.iter().fold(request, |request, peer| request.address(attr::XOR_PEER_ADDRESS, SocketAddr::new(*peer, 0)))
            }
            Self::Channel { peer, number } => {
                let [high, low] = number.to_be_bytes();
                request.attr(attr::CHANNEL_NUMBER, &[high, low, 0, 0]).address(attr::XOR_PEER_ADDRESS, *peer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_sent_again_on_the_standard_s_schedule() {
        let start = Instant::now();
        let mut client = client(Transport::Udp);
        client.binding(start);
        let first = client.poll_transmit().unwrap();
        let mut times = Vec::new();
        while let Some(due) = client.deadline() {
            client.handle_timeout(due);
            times.push((due - start).as_millis());
            if let Some(copy) = client.poll_transmit() {
                assert_eq!(copy, first);
            }
        }
        assert_eq!(times, [500, 1500, 3500, 7500, 15500, 31500, 39500]);
        assert_eq!(client.poll_event(), Some(Event::TimedOut { asked: Asked::Binding }));
    }

    #[test]
    fn streams_are_waited_for_but_not_repeated() {
        let start = Instant::now();
        let mut client = client(Transport::Tcp);
        client.allocate(start, None);
        assert!(client.poll_transmit().is_some());
        assert_eq!(client.deadline(), Some(start + STREAM_TIMEOUT));
        client.handle_timeout(start + STREAM_TIMEOUT);
        assert_eq!((client.poll_transmit(), client.poll_event()), (None, Some(Event::TimedOut { asked: Asked::Allocate })));
    }

    #[test]
    fn answers_of_strangers_do_not_count() {
        let now = Instant::now();
        let mut client = client(Transport::Udp);
        client.allocate(now, None);
        let id = Message::parse(&client.poll_transmit().unwrap()).unwrap().transaction();
        let challenge = |id, method| Builder::new(Class::Error, method, id).error(401, "").attr(attr::REALM, b"r").attr(attr::NONCE, b"n").finish();
        client.handle(now, &challenge([0; 12], ALLOCATE));
        client.handle(now, &challenge(id, REFRESH));
        assert_eq!(client.poll_transmit(), None);
        client.handle(now, &challenge(id, ALLOCATE));
        let signed = client.poll_transmit().unwrap();
        let id = Message::parse(&signed).unwrap().transaction();
        let success = Builder::new(Class::Success, ALLOCATE, id)
            .address(attr::XOR_RELAYED_ADDRESS, "192.0.2.1:1".parse().unwrap())
            .address(attr::XOR_MAPPED_ADDRESS, "192.0.2.2:2".parse().unwrap())
            .u32(attr::LIFETIME, 600);
        client.handle(now, &success.clone().finish());
        client.handle(now, &success.clone().sign(Integrity::Sha1, b"another key").finish());
        assert_eq!(client.poll_event(), None);
        client.handle(now, &success.sign(Integrity::Sha1, &md5_key(b"u", b"r", b"p")).finish());
        assert!(matches!(client.poll_event(), Some(Event::Allocated { .. })));
    }

    #[test]
    fn a_server_that_never_accepts_is_given_up() {
        let now = Instant::now();
        let mut client = client(Transport::Udp);
        client.refresh(now, Duration::ZERO);
        let mut sent = 0;
        while let Some(request) = client.poll_transmit() {
            sent += 1;
            let id = Message::parse(&request).unwrap().transaction();
            let stale = Builder::new(Class::Error, REFRESH, id).error(438, "Stale").attr(attr::REALM, b"r").attr(attr::NONCE, b"n");
            client.handle(now, &stale.finish());
        }
        assert_eq!(sent, 1 + MAX_CHALLENGES);
        assert_eq!(client.poll_event(), Some(Event::Failed { asked: Asked::Refresh, code: 438, reason: "Stale".into() }));
    }

    fn client(transport: Transport) -> Client {
        Client::new(Credentials { username: "u".into(), password: "p".into() }, transport, 1)
    }
}
