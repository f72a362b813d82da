//! What happens in a room, case by case: the order of the reference, and what it gets wrong.

use std::time::{Duration, Instant};

use super::lobby::{BYE, DELETE_PATIENCE, Effect, Ending, Joined, LEAVE_PATIENCE, Lobby, REGISTER_DEADLINE, Refusal, SocketId, is_bye};
use super::names::{ClientId, Identity, RoomName};
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
        let id = self.identity.issue(&room, [self.made; 16], 0);
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
