//! Random interleavings of everything clients do, in virtual time, against a model of who must hear what: nothing lost, doubled,
//! reordered or told to the wrong one, and no seat held or taken away against the rules.

use std::time::{Duration, Instant};

use super::lobby::{Effect, Joined, Lobby, SocketId};
use super::names::{ClientId, Identity, RoomName};
use crate::config::Secret;

const ROOMS: [&str; 3] = ["one", "two", "three"];
const GRACE: Duration = Duration::from_secs(10);
const REGISTER: Duration = Duration::from_secs(10);
const DEPARTED: Duration = Duration::from_secs(60);
const BYE: &str = r#"{"type":"bye"}"#;

#[test]
fn random_interleavings_keep_every_promise() {
    let mut heard = 0;
    for seed in 1..=300 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        heard += world.heard;
        world.settle();
    }
    assert!(heard > 5_000, "the interleavings are about something: {heard} messages heard");
}

/// One client, and what the model says of it.
struct Client {
    room: usize,
    id: ClientId,
    socket: Option<SocketId>,
    /// Sent a goodbye at this time.
    left: Option<Instant>,
    sent: u32,
    seated: bool,
    /// Without a socket, and last heard of.
    idle_since: Instant,
    partner: Partner,
    /// Must be heard, in this order, at the next read.
    expected: Vec<String>,
    /// Sent while nobody sat opposite.
    stored: Vec<String>,
    /// Whom the last words on the socket are for.
    left_with: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Partner {
    Nobody,
    Forgotten,
    Is(usize),
}

struct World {
    lobby: Lobby,
    now: Instant,
    identity: Identity,
    random: u64,
    sockets: u64,
    clients: Vec<Client>,
    heard: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            lobby: Lobby::new(GRACE, ROOMS.len()),
            now: Instant::now(),
            identity: Identity::new(&Secret::new([1; 32])),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            sockets: 0,
            clients: Vec::new(),
            heard: 0,
        }
    }

    fn step(&mut self) {
        let action = self.below(100);
        if action < 12 || self.clients.is_empty() {
            self.join();
        } else {
            let who = self.somebody();
            match action {
                12..30 => self.register(who),
                30..50 => self.send(who),
                50..68 => self.post(who),
                68..80 => self.read(who),
                80..86 => self.drop_socket(who),
                86..89 => self.bye(who),
                89..92 => self.part(who, Lobby::leave),
                92..95 => self.part(who, Lobby::delete),
                _ => self.pass(),
            }
        }
        self.lobby.check();
        self.obey();
        for client in &self.clients {
            assert_eq!(client.seated, self.lobby.is_seated(&room(client.room), &client.id));
        }
    }

    /// Mostly somebody with a seat, else one of the young: the seats of old clients are long taken.
    fn somebody(&mut self) -> usize {
        let seated: Vec<usize> = (0..ROOMS.len()).flat_map(|at| self.seated_in(at)).collect();
        if self.below(3) > 0 && !seated.is_empty() {
            let at = self.below(seated.len());
            return seated[at];
        }
        let recent = self.clients.len().min(6);
        self.clients.len() - 1 - self.below(recent)
    }

    fn join(&mut self) {
        let at = self.below(ROOMS.len());
        let mut random = [0; 16];
        random[..8].copy_from_slice(&(self.clients.len() as u64).to_be_bytes());
        let id = self.identity.issue(&room(at), random, 0);
        let joined = self.lobby.join(self.now, &room(at), id.clone(), false);
        let Joined::Seated { initiator, messages } = joined else {
            assert_eq!((joined, self.seated_in(at).len()), (Joined::Full, 2));
            return;
        };
        self.clients.push(Client {
            room: at,
            id,
            socket: None,
            left: None,
            sent: 0,
            seated: false,
            idle_since: self.now,
            partner: Partner::Nobody,
            expected: Vec::new(),
            stored: Vec::new(),
            left_with: None,
        });
        let who = self.clients.len() - 1;
        self.enters(who, false);
        assert_eq!(initiator, self.opposite(who).is_none());
        assert_eq!(messages, std::mem::take(&mut self.clients[who].expected), "what waited, all of it, in order");
    }

    fn register(&mut self, who: usize) {
        self.sockets += 1;
        let socket = SocketId(self.sockets);
        let registered = self.lobby.register(self.now, socket, &room(self.clients[who].room), &self.clients[who].id).is_ok();
        assert!(registered || !self.clients[who].seated, "a seat can always be registered");
        if registered {
            self.enters(who, true);
            self.clients[who].socket = Some(socket);
        }
    }

    fn post(&mut self, who: usize) {
        let text = self.compose(who);
        let posted = self.lobby.post(self.now, &room(self.clients[who].room), &self.clients[who].id, text.clone()).is_ok();
        assert!(posted || !self.clients[who].seated);
        if posted {
            self.enters(who, true);
            self.clients[who].idle_since = self.now;
            self.spoken(who, text);
        }
    }

    fn send(&mut self, who: usize) {
        let Some(socket) = self.clients[who].socket else { return };
        let text = self.compose(who);
        self.lobby.send(self.now, socket, text.clone()).unwrap();
        self.spoken(who, text);
    }

    fn bye(&mut self, who: usize) {
        let Some(socket) = self.clients[who].socket else { return };
        self.lobby.send(self.now, socket, BYE.into()).unwrap();
        let listener = self.listener(who);
        if let Some(other) = listener {
            self.clients[other].expected.push(BYE.into());
            self.clients[other].partner = Partner::Nobody;
            self.clients[other].stored.clear();
        }
        self.clients[who].left_with = None;
        self.leaves(who);
    }

    fn part(&mut self, who: usize, how: fn(&mut Lobby, Instant, &RoomName, &ClientId)) {
        how(&mut self.lobby, self.now, &room(self.clients[who].room), &self.clients[who].id);
        if self.clients[who].seated && self.clients[who].socket.is_some() {
            self.clients[who].left_with = self.opposite(who);
        }
        self.leaves(who);
    }

    fn read(&mut self, who: usize) {
        let Some(socket) = self.clients[who].socket else { return };
        let heard: Vec<String> = std::iter::from_fn(|| self.lobby.next(socket)).collect();
        self.heard += heard.len();
        assert_eq!(heard, std::mem::take(&mut self.clients[who].expected));
    }

    fn drop_socket(&mut self, who: usize) {
        if let Some(socket) = self.clients[who].socket.take() {
            self.lobby.socket_closed(self.now, socket);
            self.clients[who].idle_since = self.now;
            self.clients[who].left_with = None;
        }
    }

    fn pass(&mut self) {
        let millis = 200 + self.below(3000) as u64;
        self.now += Duration::from_millis(millis);
        self.lobby.tick(self.now);
        assert!(self.lobby.deadline().is_none_or(|at| at > self.now));
        for who in 0..self.clients.len() {
            let client = &self.clients[who];
            let idle = self.now - client.idle_since;
            if client.seated && !self.lobby.is_seated(&room(client.room), &client.id) {
                assert!(client.socket.is_none() && idle >= GRACE, "a seat was lost too early: {idle:?}");
                self.stands_up(who);
            } else if client.seated && client.socket.is_none() {
                assert!(idle < REGISTER + GRACE, "a seat was held too long: {idle:?}");
            }
        }
    }

    /// Does what the owner of the sockets does.
    fn obey(&mut self) {
        for effect in self.lobby.take_effects() {
            if let Effect::Close(socket, _) = effect {
                assert!(self.clients.iter().all(|client| client.socket != Some(socket)), "only sockets that were taken over");
                self.lobby.socket_closed(self.now, socket);
                self.lobby.check();
            }
        }
    }

    /// Everybody goes: nothing may stay behind.
    fn settle(&mut self) {
        for who in 0..self.clients.len() {
            self.drop_socket(who);
        }
        self.now += DEPARTED;
        self.lobby.tick(self.now);
        self.lobby.check();
        assert_eq!((self.lobby.rooms(), self.lobby.clients(), self.lobby.sockets(), self.lobby.deadline()), (0, 0, 0, None));
    }

    /// The model's side of taking a seat, if it was not taken already.
    fn enters(&mut self, who: usize, returning: bool) {
        if self.clients[who].seated {
            return;
        }
        assert!(self.clients[who].left.is_none_or(|at| self.now - at >= DEPARTED), "a client that left was let back in");
        self.clients[who].left = None;
        for other in self.seated_in(self.clients[who].room) {
            if !self.lobby.is_seated(&room(self.clients[other].room), &self.clients[other].id) {
                assert!(self.clients[other].socket.is_none(), "only a ghost may lose its seat");
                self.stands_up(other);
            }
        }
        self.clients[who].seated = true;
        self.clients[who].idle_since = self.now;
        self.clients[who].partner = if returning { Partner::Forgotten } else { Partner::Nobody };
        let Some(other) = self.opposite(who) else { return };
        let stored = std::mem::take(&mut self.clients[other].stored);
        match self.clients[other].partner {
            Partner::Is(before) if before != who => self.clients[other].expected.push(BYE.into()),
            Partner::Forgotten if !returning => self.clients[other].expected.push(BYE.into()),
            _ => self.clients[who].expected.extend(stored),
        }
        self.clients[other].partner = Partner::Is(who);
        self.clients[who].partner = Partner::Is(other);
    }

    fn spoken(&mut self, who: usize, text: String) {
        match self.listener(who) {
            Some(other) => self.clients[other].expected.push(text),
            None if self.clients[who].seated => self.clients[who].stored.push(text),
            None => {}
        }
    }

    /// Who must hear what this client says now.
    fn listener(&self, who: usize) -> Option<usize> {
        if self.clients[who].seated {
            return self.opposite(who);
        }
        let other = self.clients[who].left_with?;
        (self.clients[other].seated && self.clients[other].partner == Partner::Is(who)).then_some(other)
    }

    fn leaves(&mut self, who: usize) {
        if self.clients[who].left.is_none() {
            self.clients[who].left = Some(self.now);
        }
        self.stands_up(who);
    }

    fn stands_up(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.seated = false;
        client.expected.clear();
        client.stored.clear();
    }

    fn seated_in(&self, at: usize) -> Vec<usize> {
        (0..self.clients.len()).filter(|who| self.clients[*who].seated && self.clients[*who].room == at).collect()
    }

    fn opposite(&self, who: usize) -> Option<usize> {
        self.seated_in(self.clients[who].room).into_iter().find(|other| *other != who)
    }

    /// A text that is never said twice.
    fn compose(&mut self, who: usize) -> String {
        self.clients[who].sent += 1;
        format!("{who}:{}", self.clients[who].sent)
    }

    /// xorshift64
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }
}

fn room(at: usize) -> RoomName {
    RoomName::parse(ROOMS[at]).unwrap()
}
