//! Pure: who sits in which room, on which socket, and what waits for whom. One table for what the reference splits between room server and
//! Collider, so that the two cannot disagree. Callers hand in `now` and carry out the [`Effect`]s; nothing here blocks or fails for outside reasons.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::names::{ClientId, RoomName};
use super::queue::{Full, Queue, Total};

/// A seat is held this long for a client that joined but has not registered yet; after that `room_grace` begins.
const REGISTER_DEADLINE: Duration = Duration::from_secs(10);
/// A socket whose client left may still deliver what it had sent for this long.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// The same after DELETE, when every shipped client has already sent its last frame.
const DELETE_PATIENCE: Duration = Duration::from_millis(300);
/// Ids that left are refused for this long, so that a request overtaken by its own goodbye brings nobody back.
const DEPARTED_FOR: Duration = Duration::from_secs(60);
/// How many of them are remembered; the oldest goes first.
const MAX_DEPARTED: usize = 8192;

const SEATS: usize = 2;
const BYE: &str = r#"{"type":"bye"}"#;

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
fn is_bye(message: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::super::names::Identity;
    use super::*;
    use crate::config::Secret;

    const GRACE: Duration = Duration::from_secs(10);
    const A: SocketId = SocketId(1);
    const B: SocketId = SocketId(2);
    const C: SocketId = SocketId(3);

    #[test]
    fn what_the_caller_sent_alone_waits_for_the_callee_once() {
        let mut world = World::new();
        let a = world.join("room", true);
        for text in ["offer", "c1", "c2"] {
            world.post(&a, text).unwrap();
        }
        let (_, messages) = world.join_with_messages("room", false);
        assert_eq!(messages, ["offer", "c1", "c2"]);
        world.leave_second();
        assert_eq!(world.join_with_messages("room", false).1, [""; 0]);
    }

    #[test]
    fn a_third_is_refused_and_after_both_left_the_next_one_starts() {
        let mut world = World::new();
        let (a, b) = (world.join("room", true), world.join("room", false));
        assert_eq!(world.try_join("room"), Joined::Full);
        world.lobby.leave(world.now, &a.0, &a.1);
        world.lobby.leave(world.now, &b.0, &b.1);
        world.join("room", true);
    }

    #[test]
    fn between_join_and_register_messages_wait_for_the_socket() {
        let mut world = World::new();
        let (a, b) = (world.join("room", true), world.join("room", false));
        world.post(&a, "late").unwrap();
        world.register(B, &b).unwrap();
        assert_eq!(world.effects(), [Effect::Wake(B)]);
        assert_eq!(world.read(B), ["late"]);
        world.send(B, "answer").unwrap();
        world.register(A, &a).unwrap();
        assert_eq!(world.read(A), ["answer"]);
    }

    #[test]
    fn a_seat_without_a_socket_dies_after_deadline_and_grace() {
        let mut world = World::new();
        world.join("room", true);
        world.pass(REGISTER_DEADLINE + GRACE - Duration::from_millis(1));
        assert_eq!(world.lobby.clients(), 1);
        world.pass(Duration::from_millis(1));
        assert_eq!((world.lobby.clients(), world.lobby.rooms(), world.lobby.deadline()), (0, 0, None));
    }

    #[test]
    fn a_dropped_client_resumes_within_the_grace_time_and_gets_what_came_meanwhile() {
        let mut world = World::new();
        let (a, b) = world.call("room");
        world.lobby.socket_closed(world.now, B);
        world.send(A, "while away").unwrap();
        world.pass(GRACE / 2);
        world.register(C, &b).unwrap();
        assert_eq!(world.read(C), ["while away"]);
        world.pass(GRACE * 10);
        assert_eq!(world.try_join("room"), Joined::Full);
        assert_eq!(world.read(A), [""; 0], "the call of {a:?} goes on");
    }

    #[test]
    fn coming_back_later_than_the_grace_time_is_coming_back() {
        let mut world = World::new();
        let (_, b) = world.call("room");
        world.lobby.socket_closed(world.now, B);
        world.pass(GRACE * 3);
        world.send(A, "to the sleeper").unwrap();
        world.register(C, &b).unwrap();
        assert_eq!(world.read(C), ["to the sleeper"]);
        assert_eq!(world.read(A), [""; 0], "its media may still flow");
    }

    #[test]
    fn the_same_client_on_a_new_socket_takes_over_with_what_was_not_yet_sent() {
        let mut world = World::new();
        let (_, b) = world.call("room");
        world.send(A, "one").unwrap();
        world.effects();
        world.register(C, &b).unwrap();
        assert_eq!(world.effects(), [Effect::Close(B, Ending::TakenOver), Effect::Wake(C)]);
        assert_eq!(world.read(C), ["one"]);
        world.lobby.socket_closed(world.now, B);
        world.pass(GRACE * 3);
        assert_eq!(world.lobby.clients(), 2, "the end of the old socket means nothing");
        assert_eq!(world.send(B, "x"), Err(Refusal::NotRegistered));
    }

    #[test]
    fn a_newcomer_takes_the_seat_of_a_ghost_and_the_survivor_offers_anew() {
        let mut world = World::new();
        let (a, b) = world.call("room");
        world.lobby.socket_closed(world.now, B);
        world.send(A, "for the ghost").unwrap();
        let (c, messages) = world.join_with_messages("room", false);
        assert_eq!(messages, [""; 0], "not for a stranger");
        assert_eq!(world.read(A), [BYE]);
        world.post(&a, "new offer").unwrap();
        world.register(C, &c).unwrap();
        assert_eq!(world.read(C), ["new offer"]);
        assert_eq!(world.register(SocketId(9), &b), Err(Refusal::RoomFull), "the ghost comes too late");
    }

    #[test]
    fn a_ghost_whose_time_is_over_is_replaced_in_the_same_way() {
        let mut world = World::new();
        let _ = world.call("room");
        world.lobby.socket_closed(world.now, B);
        world.pass(GRACE * 3);
        assert_eq!(world.read(A), [""; 0], "nothing is said as long as nobody came");
        world.join("room", false);
        assert_eq!(world.read(A), [BYE]);
    }

    #[test]
    fn leave_then_bye_on_the_socket_and_the_answer_to_it_is_stored() {
        let mut world = World::new();
        let (a, b) = world.call("room");
        world.lobby.leave(world.now, &b.0, &b.1);
        assert_eq!(world.effects(), [Effect::Drain(B, LEAVE_PATIENCE)]);
        world.send(A, "candidate for the leaver").unwrap();
        world.send(B, BYE).unwrap();
        assert_eq!(world.read(A), [BYE]);
        world.post(&a, "new offer").unwrap();
        let (_, messages) = world.join_with_messages("room", false);
        assert_eq!(messages, ["new offer"]);
        assert_eq!(world.read(A), [""; 0], "told once");
    }

    #[test]
    fn bye_before_leave_frees_the_seat_too() {
        let mut world = World::new();
        let (a, b) = world.call("room");
        world.send(B, BYE).unwrap();
        assert_eq!(world.read(A), [BYE]);
        world.post(&a, "new offer").unwrap();
        world.lobby.leave(world.now, &b.0, &b.1);
        assert_eq!(world.join_with_messages("room", false).1, ["new offer"]);
    }

    #[test]
    fn delete_races_with_bye_and_neither_is_lost_nor_a_zombie_left() {
        let mut world = World::new();
        let (_, b) = world.call("room");
        world.send(B, "last candidate").unwrap();
        world.lobby.delete(world.now, &b.0, &b.1);
        assert!(world.effects().contains(&Effect::Drain(B, DELETE_PATIENCE)));
        world.send(B, BYE).unwrap();
        assert_eq!(world.read(A), ["last candidate", BYE]);
        assert_eq!(world.post(&b, "overtaken request"), Err(Refusal::UnknownClient));
        assert_eq!(world.register(C, &b), Err(Refusal::UnknownClient));
        world.join("room", false);
    }

    #[test]
    fn a_late_bye_does_not_reach_a_member_with_a_new_partner() {
        let mut world = World::new();
        let (_, b) = world.call("room");
        world.lobby.leave(world.now, &b.0, &b.1);
        let c = world.join("room", false);
        world.register(C, &c).unwrap();
        assert_eq!(world.read(A), [BYE], "said by us");
        world.send(B, "late").unwrap();
        world.send(B, BYE).unwrap();
        assert_eq!((world.read(A), world.read(C)), (vec![], vec![]));
    }

    #[test]
    fn a_lone_goodbye_is_not_kept_for_the_next() {
        let mut world = World::new();
        let a = world.join("room", true);
        world.register(A, &a).unwrap();
        world.send(A, BYE).unwrap();
        assert_eq!(world.lobby.rooms(), 0);
        assert_eq!(world.post(&a, "offer"), Err(Refusal::UnknownRoom));
        assert_eq!(world.join_with_messages("room", true).1, [""; 0]);
    }

    #[test]
    fn after_a_restart_both_resume_and_nobody_is_hung_up() {
        let mut world = World::new();
        let (a, b) = world.call("room");
        world.lobby = Lobby::new(GRACE, 4);
        world.register(B, &b).unwrap();
        world.send(B, "kept").unwrap();
        world.post(&a, "by request").unwrap();
        world.register(A, &a).unwrap();
        assert_eq!((world.read(A), world.read(B)), (vec!["kept".into()], vec!["by request".into()]));
    }

    #[test]
    fn after_a_restart_a_newcomer_makes_the_one_who_waits_offer_anew() {
        let mut world = World::new();
        let (a, _) = world.call("room");
        world.lobby = Lobby::new(GRACE, 4);
        world.register(A, &a).unwrap();
        world.join("room", false);
        assert_eq!(world.read(A), [BYE]);
    }

    #[test]
    fn an_echo_exists_only_where_it_was_asked_for() {
        let mut world = World::new();
        let (room, id) = world.ids("room");
        assert_eq!(world.lobby.register(world.now, B, &room, &ClientId::echo()), Err(Refusal::UnknownRoom));
        world.lobby.join(world.now, &room, id.clone(), true);
        assert_eq!(world.try_join("room"), Joined::Full);
        world.post(&(room.clone(), id.clone()), "offer").unwrap();
        world.lobby.register(world.now, B, &room, &ClientId::echo()).unwrap();
        assert_eq!(world.read(B), ["offer"]);
        world.lobby.delete(world.now, &room, &ClientId::echo());
        assert_eq!(world.lobby.clients(), 2, "its name is public, so nobody can send it away");
        world.lobby.leave(world.now, &room, &id);
        assert_eq!(world.lobby.rooms(), 0);
    }

    #[test]
    fn a_reader_that_stalls_costs_itself_its_socket() {
        let mut world = World::new();
        let _ = world.call("room");
        world.effects();
        let refused = (0..2000).find(|_| world.send(A, "flood").is_err());
        assert_eq!(refused, Some(1024));
        assert_eq!(world.effects().last(), Some(&Effect::Close(B, Ending::Stalled)));
    }

    #[test]
    fn rooms_are_bounded() {
        let mut world = World::new();
        for room in ["a", "b", "c", "d"] {
            world.join(room, true);
        }
        assert_eq!(world.try_join("e"), Joined::TooManyRooms);
        let stranger = world.ids("e");
        assert_eq!(world.post(&stranger, "x"), Err(Refusal::TooManyRooms));
        assert_eq!(world.register(A, &stranger), Err(Refusal::TooManyRooms));
        world.join("a", false);
    }

    #[test]
    fn goodbyes_are_messages_of_that_type_only() {
        assert!(is_bye(r#"{"type":"bye"}"#));
        assert!(is_bye("{\n \"x\": [1], \"type\": \"b\\u0079e\"}"));
        for other in ["bye", r#"{"type":"offer"}"#, r#"{"type":{"type":"bye"}}"#, r#"["bye"]"#, ""] {
            assert!(!is_bye(other), "{other}");
        }
    }

    /// A lobby, a clock and a source of ids.
    struct World {
        lobby: Lobby,
        now: Instant,
        identity: Identity,
        made: u8,
        last: Option<(RoomName, ClientId)>,
    }

    impl World {
        fn new() -> Self {
            let identity = Identity::new(&Secret::new([1; 32]));
            Self { lobby: Lobby::new(GRACE, 4), now: Instant::now(), identity, made: 0, last: None }
        }

        fn ids(&mut self, room: &str) -> (RoomName, ClientId) {
            self.made += 1;
            let room = RoomName::parse(room).unwrap();
            let id = self.identity.issue(&room, [self.made; 16]);
            (room, id)
        }

        fn try_join(&mut self, room: &str) -> Joined {
            let (room, id) = self.ids(room);
            let joined = self.lobby.join(self.now, &room, id.clone(), false);
            self.last = Some((room, id));
            self.lobby.check();
            joined
        }

        fn join_with_messages(&mut self, room: &str, expect_initiator: bool) -> ((RoomName, ClientId), Vec<String>) {
            let Joined::Seated { initiator, messages } = self.try_join(room) else { panic!("not seated") };
            assert_eq!(initiator, expect_initiator);
            (self.last.clone().unwrap(), messages)
        }

        fn join(&mut self, room: &str, expect_initiator: bool) -> (RoomName, ClientId) {
            self.join_with_messages(room, expect_initiator).0
        }

        fn leave_second(&mut self) {
            let (room, id) = self.last.clone().unwrap();
            self.lobby.leave(self.now, &room, &id);
            self.lobby.check();
        }

        fn call(&mut self, room: &str) -> ((RoomName, ClientId), (RoomName, ClientId)) {
            let (a, b) = (self.join(room, true), self.join(room, false));
            self.register(A, &a).unwrap();
            self.register(B, &b).unwrap();
            (a, b)
        }

        fn register(&mut self, socket: SocketId, who: &(RoomName, ClientId)) -> Result<(), Refusal> {
            let result = self.lobby.register(self.now, socket, &who.0, &who.1);
            self.lobby.check();
            result
        }

        fn post(&mut self, who: &(RoomName, ClientId), text: &str) -> Result<(), Refusal> {
            let result = self.lobby.post(self.now, &who.0, &who.1, text.into());
            self.lobby.check();
            result
        }

        fn send(&mut self, socket: SocketId, text: &str) -> Result<(), Refusal> {
            let result = self.lobby.send(self.now, socket, text.into());
            self.lobby.check();
            result
        }

        fn read(&mut self, socket: SocketId) -> Vec<String> {
            std::iter::from_fn(|| self.lobby.next(socket)).collect()
        }

        fn effects(&mut self) -> Vec<Effect> {
            self.lobby.take_effects()
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.lobby.tick(self.now);
            self.lobby.check();
        }
    }
}
