//! Pure: who sits in which room, on which socket, and what waits for whom. One table for what the reference splits between room server and
//! Collider, so that the two cannot disagree. Callers hand in `now` and carry out the [`Effect`]s; nothing here blocks or fails for outside reasons.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::names::{ClientId, RoomName};
use super::queue::{Full, Queue, Total};

/// A seat is held this long for a client that joined but has not registered yet; after that `room_grace` begins.
pub(super) const REGISTER_DEADLINE: Duration = Duration::from_secs(10);
/// A socket whose client left may still deliver what it had sent for this long.
pub(super) const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// The same after DELETE, when every shipped client has already sent its last frame.
pub(super) const DELETE_PATIENCE: Duration = Duration::from_millis(300);
/// Ids that left are refused for this long, so that a request overtaken by its own goodbye brings nobody back.
const DEPARTED_FOR: Duration = Duration::from_secs(60);
/// How many of them are remembered; the oldest goes first.
const MAX_DEPARTED: usize = 8192;

const SEATS: usize = 2;
pub(super) const BYE: &str = r#"{"type":"bye"}"#;

/// Tells sockets apart; never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SocketId(pub(super) u64);

/// What the owner of the sockets has to do after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Messages wait: call [`Lobby::next`] until it has none.
    Wake(SocketId),
    /// Read on for so long, then close.
    Drain(SocketId, Duration),
    Close(SocketId, Ending),
}

/// Why a socket is closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its client came back on another socket.
    TakenOver,
    /// It does not read what it is sent.
    Stalled,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The messages that waited for the newcomer, in order; never given out again.
    Seated {
        initiator: bool,
        messages: Vec<String>,
    },
    Full,
    TooManyRooms,
}

/// Why a client was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownRoom,
    UnknownClient,
    RoomFull,
    TooManyRooms,
    /// This socket has registered before.
    AlreadyRegistered,
    NotRegistered,
    QueueFull,
}

#[derive(Debug)]
struct Seat {
    id: ClientId,
    presence: Presence,
    believes: Belief,
    /// For this member.
    inbox: Queue,
    /// From this member while nobody sat opposite.
    outbox: Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Joined, not registered yet.
    Awaited {
        until: Instant,
    },
    Live(SocketId),
    /// Its socket is gone, or never came: a newcomer may take the seat.
    Grace {
        until: Instant,
    },
    /// The loopback seat without a socket: lives and dies with the other one.
    Echo,
}

impl Presence {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Awaited { until } | Self::Grace { until } => Some(until),
            Self::Live(_) | Self::Echo => None,
        }
    }
}

/// Whom a client takes to be in a call with, which may be somebody who is gone without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Belief {
    /// With nobody: what it sends is for whoever comes next.
    Alone,
    /// It came back to a server that had forgotten it.
    Unknown,
    With(ClientId),
}

/// A registered socket.
#[derive(Debug)]
struct Bound {
    room: RoomName,
    client: ClientId,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Seated,
    /// Its client left; last words go to the member it had sat with.
    Leaving {
        to: Option<ClientId>,
    },
}

/// How somebody takes a seat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Newcomer,
    /// With an id that we signed, for a seat that we no longer know.
    Returning,
}

pub(super) struct Lobby {
    room_grace: Duration,
    max_rooms: usize,
    /// At most `max_rooms`; at most two seats each, in the order of joining.
    rooms: HashMap<RoomName, Vec<Seat>>,
    /// At most as many as sockets are accepted.
    sockets: HashMap<SocketId, Bound>,
    /// The sockets among them whose client left.
    leaving: HashMap<ClientId, SocketId>,
    deadlines: BTreeSet<(Instant, RoomName, ClientId)>,
    departed: Departed,
    queued: Total,
    clients: usize,
    effects: Vec<Effect>,
}

impl Lobby {
    pub(super) fn new(room_grace: Duration, max_rooms: usize) -> Self {
        Self {
            room_grace,
            max_rooms,
            rooms: HashMap::new(),
            sockets: HashMap::new(),
            leaving: HashMap::new(),
            deadlines: BTreeSet::new(),
            departed: Departed::default(),
            queued: Total::default(),
            clients: 0,
            effects: Vec::new(),
        }
    }

    /// `POST /join`. `echo` (debug=loopback) fills the second seat of a room that was empty.
    pub(super) fn join(&mut self, now: Instant, room: &RoomName, client: ClientId, echo: bool) -> Joined {
        let initiator = match self.make_room(room) {
            Ok(()) => self.rooms.get(room).is_none_or(Vec::is_empty),
            Err(Refusal::TooManyRooms) => return Joined::TooManyRooms,
            Err(_) => return Joined::Full,
        };
        let awaited = Presence::Awaited { until: now + REGISTER_DEADLINE };
        let messages = self.sit_down(room, client, awaited, Entry::Newcomer);
        if echo && initiator {
            self.sit_down(room, ClientId::echo(), Presence::Echo, Entry::Newcomer);
        }
        Joined::Seated { initiator, messages }
    }

    /// First frame of a socket. The same client on an older socket loses that one: a phone that changed networks comes back while the old
    /// connection still looks alive.
    pub(super) fn register(&mut self, now: Instant, socket: SocketId, room: &RoomName, client: &ClientId) -> Result<(), Refusal> {
        if self.sockets.contains_key(&socket) {
            return Err(Refusal::AlreadyRegistered);
        }
        if self.seat(room, client).is_none() {
            self.check_return(now, room, client)?;
            self.make_room(room)?;
            self.come_back(now, room, client);
        }
        let seat = seat_mut(&mut self.rooms, room, client).expect("the seat was there or has just been taken");
        let before = seat.presence;
        let waiting = !seat.inbox.is_empty();
        self.set_presence(room, client, Presence::Live(socket));
        if let Presence::Live(old) = before {
            self.sockets.remove(&old);
            self.effects.push(Effect::Close(old, Ending::TakenOver));
        }
        self.sockets.insert(socket, Bound { room: room.clone(), client: client.clone(), role: Role::Seated });
        if waiting {
            self.effects.push(Effect::Wake(socket));
        }
        Ok(())
    }

    /// A `send` frame.
    pub(super) fn send(&mut self, now: Instant, socket: SocketId, message: String) -> Result<(), Refusal> {
        let bound = self.sockets.get(&socket).ok_or(Refusal::NotRegistered)?;
        let (room, client) = (bound.room.clone(), bound.client.clone());
        match &bound.role {
            Role::Seated => self.relay(now, &room, &client, message),
            Role::Leaving { to: Some(member) } => {
                let member = member.clone();
                self.last_words(socket, &room, &client, &member, message)
            }
            Role::Leaving { to: None } => Ok(()),
        }
    }

    /// `POST /message/{room}/{client}` and Collider's `POST /{room}/{client}`.
    pub(super) fn post(&mut self, now: Instant, room: &RoomName, client: &ClientId, message: String) -> Result<(), Refusal> {
        if self.seat(room, client).is_none() {
            self.check_return(now, room, client)?;
            if self.rooms.get(room).is_some_and(|seats| seats.len() >= SEATS) {
                return Err(Refusal::UnknownClient);
            }
            self.make_room(room)?;
            self.come_back(now, room, client);
        }
        self.relay(now, room, client, message)
    }

    /// `POST /leave/{room}/{client}`: the seat is free at once; the goodbye that follows on the socket still arrives.
    pub(super) fn leave(&mut self, now: Instant, room: &RoomName, client: &ClientId) {
        self.depart(now, room, client, LEAVE_PATIENCE);
    }

    /// `DELETE /{room}/{client}`: as leaving, and the socket is closed once what was already under way has been read.
    pub(super) fn delete(&mut self, now: Instant, room: &RoomName, client: &ClientId) {
        self.depart(now, room, client, DELETE_PATIENCE);
    }

    /// The socket is gone, whoever closed it.
    pub(super) fn socket_closed(&mut self, now: Instant, socket: SocketId) {
        let Some(bound) = self.sockets.remove(&socket) else { return };
        match bound.role {
            Role::Seated if bound.client.is_echo() => self.set_presence(&bound.room, &bound.client, Presence::Echo),
            Role::Seated => self.set_presence(&bound.room, &bound.client, Presence::Grace { until: now + self.room_grace }),
            Role::Leaving { .. } => {
                self.leaving.remove(&bound.client);
            }
        }
    }

    /// The next message for the client behind this socket.
    pub(super) fn next(&mut self, socket: SocketId) -> Option<String> {
        let bound = self.sockets.get(&socket)?;
        let Role::Seated = bound.role else { return None };
        let seat = seat_mut(&mut self.rooms, &bound.room, &bound.client)?;
        seat.inbox.pop(&mut self.queued)
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, ..)| *at)
    }

    pub(super) fn tick(&mut self, now: Instant) {
        while let Some((at, room, client)) = self.deadlines.first().cloned()
            && at <= now
        {
            match self.seat(&room, &client).map(|seat| seat.presence) {
                Some(Presence::Awaited { .. }) => self.set_presence(&room, &client, Presence::Grace { until: at + self.room_grace }),
                _ => self.stand_up(&room, &client),
            }
        }
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn has_room(&self, room: &RoomName) -> bool {
        self.rooms.contains_key(room)
    }

    pub(super) fn rooms(&self) -> usize {
        self.rooms.len()
    }

    pub(super) fn clients(&self) -> usize {
        self.clients
    }

    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn seat(&self, room: &RoomName, client: &ClientId) -> Option<&Seat> {
        self.rooms.get(room)?.iter().find(|seat| seat.id == *client)
    }

    /// May a client that has no seat come back? Not as an echo, and not after it said goodbye.
    fn check_return(&mut self, now: Instant, room: &RoomName, client: &ClientId) -> Result<(), Refusal> {
        match self.rooms.contains_key(room) {
            _ if !client.is_echo() && !self.departed.contains(now, client) => Ok(()),
            true => Err(Refusal::UnknownClient),
            false => Err(Refusal::UnknownRoom),
        }
    }

    /// Leaves a free seat behind `Ok`: in a full room the one that has waited longest for its socket is given up.
    fn make_room(&mut self, room: &RoomName) -> Result<(), Refusal> {
        let Some(seats) = self.rooms.get(room) else {
            return if self.rooms.len() < self.max_rooms { Ok(()) } else { Err(Refusal::TooManyRooms) };
        };
        if seats.len() < SEATS {
            return Ok(());
        }
        let lost = seats.iter().filter_map(|seat| match seat.presence {
            Presence::Grace { until } => Some((until, seat.id.clone())),
            _ => None,
        });
        let (_, ghost) = lost.min().ok_or(Refusal::RoomFull)?;
        self.stand_up(room, &ghost);
        Ok(())
    }

    /// A client whose seat was forgotten (restart, or asleep beyond the grace time) sits down again. Its socket, if it has one, is set next.
    fn come_back(&mut self, now: Instant, room: &RoomName, client: &ClientId) {
        let grace = Presence::Grace { until: now + self.room_grace };
        let waiting = self.sit_down(room, client.clone(), grace, Entry::Returning);
        let seat = seat_mut(&mut self.rooms, room, client).expect("it has just sat down");
        for message in waiting {
            seat.inbox.push(&mut self.queued, message).expect("they have just left a queue of the same size");
        }
    }

    /// Seats a client and returns what waited for it. The member opposite learns that it must offer anew, by a `bye`, only when it believes
    /// itself in a call with somebody whose seat is now taken: its media may flow until then.
    fn sit_down(&mut self, room: &RoomName, client: ClientId, presence: Presence, entry: Entry) -> Vec<String> {
        if let Some(until) = presence.deadline() {
            self.deadlines.insert((until, room.clone(), client.clone()));
        }
        self.clients += 1;
        let seats = self.rooms.entry(room.clone()).or_default();
        assert!(seats.len() < SEATS, "a seat is free: make_room was called");
        let alone = if entry == Entry::Returning { Belief::Unknown } else { Belief::Alone };
        let mut seat = Seat { id: client.clone(), presence, believes: alone, inbox: Queue::default(), outbox: Queue::default() };
        let mut waiting = Vec::new();
        let mut replaced = None;
        if let Some(other) = seats.first_mut() {
            waiting = other.outbox.take(&mut self.queued);
            let resumes = match &other.believes {
                Belief::Alone => true,
                Belief::Unknown => entry == Entry::Returning,
                Belief::With(before) => *before == client,
            };
            if !resumes {
                waiting.clear();
                replaced = Some(other.id.clone());
            }
            other.believes = Belief::With(client);
            seat.believes = Belief::With(other.id.clone());
        }
        seats.push(seat);
        if let Some(other) = replaced {
            // A full queue closes the socket that does not read it; there is nobody to tell.
            let _ = self.deliver(room, &other, BYE.to_owned());
        }
        waiting
    }

    /// Removes a seat and what waited on both sides of it, and the room with its last person.
    fn stand_up(&mut self, room: &RoomName, client: &ClientId) {
        let Some(seats) = self.rooms.get_mut(room) else { return };
        let Some(at) = seats.iter().position(|seat| seat.id == *client) else { return };
        let mut seat = seats.remove(at);
        self.clients -= 1;
        seat.inbox.take(&mut self.queued);
        seat.outbox.take(&mut self.queued);
        if let Some(until) = seat.presence.deadline() {
            self.deadlines.remove(&(until, room.clone(), client.clone()));
        }
        let other = seats.first().map(|other| other.id.clone());
        if let Presence::Live(socket) = seat.presence
            && let Some(bound) = self.sockets.get_mut(&socket)
        {
            bound.role = Role::Leaving { to: other.clone() };
            self.leaving.insert(client.clone(), socket);
        }
        match other {
            Some(echo) if echo.is_echo() => self.stand_up(room, &echo),
            Some(_) => {}
            None => {
                self.rooms.remove(room);
            }
        }
    }

    fn depart(&mut self, now: Instant, room: &RoomName, client: &ClientId, patience: Duration) {
        // The echo's name is public: anybody could send it away.
        if client.is_echo() {
            return;
        }
        self.stand_up(room, client);
        self.departed.insert(now, client);
        if let Some(socket) = self.leaving.get(client) {
            self.effects.push(Effect::Drain(*socket, patience));
        }
    }

    /// A message of a seated client: to the member opposite, else kept for it.
    fn relay(&mut self, now: Instant, room: &RoomName, client: &ClientId, message: String) -> Result<(), Refusal> {
        let goodbye = is_bye(&message) && !client.is_echo();
        let other = self.rooms.get(room).and_then(|seats| seats.iter().find(|seat| seat.id != *client)).map(|seat| seat.id.clone());
        let taken = match &other {
            Some(other) => self.deliver(room, other, message),
            // A goodbye kept for the next one would hang up on a stranger.
            None if goodbye => Ok(()),
            None => {
                let seat = seat_mut(&mut self.rooms, room, client).ok_or(Refusal::UnknownClient)?;
                seat.outbox.push(&mut self.queued, message).map_err(|Full| Refusal::QueueFull)
            }
        };
        if goodbye {
            // Clients that leave by a request in another thread say goodbye first; what the peer answers is for the next one already.
            if taken.is_ok()
                && let Some(other) = other.and_then(|other| seat_mut(&mut self.rooms, room, &other))
            {
                other.believes = Belief::Alone;
            }
            self.depart(now, room, client, LEAVE_PATIENCE);
            if let Some(socket) = self.leaving.get(client)
                && let Some(bound) = self.sockets.get_mut(socket)
            {
                bound.role = Role::Leaving { to: None };
            }
        } else if let Some(Presence::Grace { .. }) = self.seat(room, client).map(|seat| seat.presence) {
            self.set_presence(room, client, Presence::Grace { until: now + self.room_grace });
        }
        taken
    }

    /// A message of a client that left, to the member it had sat with, unless that one has been told or has another partner by now.
    fn last_words(&mut self, socket: SocketId, room: &RoomName, client: &ClientId, member: &ClientId, message: String) -> Result<(), Refusal> {
        let partner = Belief::With(client.clone());
        if self.seat(room, member).is_none_or(|seat| seat.believes != partner) {
            return Ok(());
        }
        let goodbye = is_bye(&message);
        self.deliver(room, member, message)?;
        if goodbye {
            if let Some(seat) = seat_mut(&mut self.rooms, room, member) {
                seat.believes = Belief::Alone;
                seat.outbox.take(&mut self.queued);
            }
            if let Some(bound) = self.sockets.get_mut(&socket) {
                bound.role = Role::Leaving { to: None };
            }
        }
        Ok(())
    }

    fn deliver(&mut self, room: &RoomName, to: &ClientId, message: String) -> Result<(), Refusal> {
        let seat = seat_mut(&mut self.rooms, room, to).ok_or(Refusal::UnknownClient)?;
        let taken = seat.inbox.push(&mut self.queued, message);
        if let Presence::Live(socket) = seat.presence {
            self.effects.push(if taken.is_ok() { Effect::Wake(socket) } else { Effect::Close(socket, Ending::Stalled) });
        }
        taken.map_err(|Full| Refusal::QueueFull)
    }

    fn set_presence(&mut self, room: &RoomName, client: &ClientId, presence: Presence) {
        let Some(seat) = seat_mut(&mut self.rooms, room, client) else { return };
        if let Some(until) = seat.presence.deadline() {
            self.deadlines.remove(&(until, room.clone(), client.clone()));
        }
        if let Some(until) = presence.deadline() {
            self.deadlines.insert((until, room.clone(), client.clone()));
        }
        seat.presence = presence;
    }
}

fn seat_mut<'a>(rooms: &'a mut HashMap<RoomName, Vec<Seat>>, room: &RoomName, client: &ClientId) -> Option<&'a mut Seat> {
    rooms.get_mut(room)?.iter_mut().find(|seat| seat.id == *client)
}

/// Messages are opaque but for this one, which says that its sender is done.
pub(super) fn is_bye(message: &str) -> bool {
    message.len() <= 256
        && serde_json::from_str::<serde_json::Value>(message).is_ok_and(|message| message.get("type").is_some_and(|kind| kind == "bye"))
}

/// Ids that said goodbye, oldest first.
#[derive(Debug, Default)]
struct Departed {
    order: VecDeque<(Instant, ClientId)>,
    known: HashSet<ClientId>,
}

impl Departed {
    fn insert(&mut self, now: Instant, client: &ClientId) {
        self.forget(now);
        if self.known.insert(client.clone()) {
            self.order.push_back((now + DEPARTED_FOR, client.clone()));
        }
    }

    fn contains(&mut self, now: Instant, client: &ClientId) -> bool {
        self.forget(now);
        self.known.contains(client)
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now || self.order.len() >= MAX_DEPARTED) {
            if let Some((_, client)) = self.order.pop_front() {
                self.known.remove(&client);
            }
        }
    }
}

#[cfg(test)]
impl Lobby {
    pub(super) fn is_seated(&self, room: &RoomName, client: &ClientId) -> bool {
        self.seat(room, client).is_some()
    }

    /// What must hold between any two calls.
    pub(super) fn check(&self) {
        let mut deadlines = BTreeSet::new();
        let (mut clients, mut live, mut queued) = (0, 0, 0);
        for (room, seats) in &self.rooms {
            assert!((1..=SEATS).contains(&seats.len()), "a room has one or two seats");
            assert!(!seats[0].id.is_echo() || seats.len() == 2, "an echo does not sit alone");
            for seat in seats {
                clients += 1;
                queued += seat.inbox.bytes() + seat.outbox.bytes();
                deadlines.extend(seat.presence.deadline().map(|at| (at, room.clone(), seat.id.clone())));
                if let Presence::Live(socket) = seat.presence {
                    live += 1;
                    let bound = &self.sockets[&socket];
                    assert!((&bound.room, &bound.client) == (room, &seat.id) && matches!(bound.role, Role::Seated));
                }
            }
            if let [one, two] = &seats[..] {
                assert_eq!((&one.believes, &two.believes), (&Belief::With(two.id.clone()), &Belief::With(one.id.clone())));
                assert!(one.outbox.is_empty() && two.outbox.is_empty(), "nothing is kept for the next one while both are there");
            }
        }
        assert_eq!(deadlines, self.deadlines);
        assert_eq!((clients, queued), (self.clients, self.queued.bytes()));
        assert_eq!(live + self.leaving.len(), self.sockets.len());
        assert!(self.rooms.len() <= self.max_rooms);
    }
}
