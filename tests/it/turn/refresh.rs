//! RFC 8656 §8.

use std::time::Duration;

use rtcctl::turn::client::Event;
use rtcctl::turn::routes::Transport;

use super::pair::*;

#[test]
fn zero_ends_it_now() {
    let mut pair = Pair::new();
    let mut alice = pair.permitted("alice", 0, &[PEER]);
    alice.core.refresh(pair.now.mono, Duration::ZERO);
    assert_eq!(pair.run(&mut alice), [Event::Refreshed { lifetime: Duration::ZERO }]);
    assert!(pair.is_untouched());
    assert!(!pair.can_send(&alice, PEER));
    assert_eq!(pair.as_user(&alice, refresh(id(1), 600)).code(), 437);
    assert_eq!(pair.as_user(&alice, allocate(id(2))).code(), 200, "the five-tuple is free at once");
    assert!(!pair.can_send(&alice, PEER), "and begins with no permission");
}

#[test]
fn time_ends_it_and_traffic_does_not_prolong_it() {
    let mut pair = Pair::new();
    let alice = pair.permitted("alice", 0, &[PEER]);
    pair.pass(seconds(599));
    assert_eq!(pair.server().allocations(), 1);
    assert_eq!(pair.as_user(&alice, permission(id(1), &[PEER])).code(), 200);
    pair.pass(seconds(1));
    assert!(!pair.can_send(&alice, PEER));
    assert!(pair.is_untouched());
    assert_eq!(pair.server().deadline(), None);
    assert_eq!(pair.quotas.taken(), 0);
}

#[test]
fn the_connection_of_a_stream_is_closed_with_it() {
    let mut pair = Pair::new();
    let mut alice = pair.client("alice", 0);
    alice.addr.transport = Transport::Tcp;
    pair.as_user(&alice, allocate(id(1)));
    pair.pass(seconds(601));
    assert_eq!(pair.shards[0].closed, [alice.addr]);
}

#[test]
fn refreshed_in_time_it_lives() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    for _ in 0..5 {
        pair.pass(seconds(590));
        alice.core.refresh(pair.now.mono, seconds(600));
        assert_eq!(pair.run(&mut alice), [Event::Refreshed { lifetime: seconds(600) }]);
    }
}

#[test]
fn a_late_driver_relays_nothing_that_is_over() {
    let mut pair = Pair::new();
    let alice = pair.permitted("alice", 0, &[PEER]);
    let (relay, _) = pair.relay_of(&alice);
    pair.now.mono += seconds(300);
    // `expire` was not called.
    assert!(!pair.can_send(&alice, PEER));
    assert_eq!(pair.shards[0].routes.from_peer(pair.now.mono, relay, address(PEER)), None);
    pair.now.mono += seconds(300);
    pair.now.wall += seconds(600);
    assert_eq!(pair.as_user(&alice, permission(id(1), &[PEER])).code(), 437);
}
