//! RFC 8656 §21: who may be reached, and our own addresses.

use rtcctl::config::Prefix;
use rtcctl::stun::channel;
use rtcctl::turn::RelayedAddress;
use rtcctl::turn::client::Event;

use super::pair::*;

#[test]
fn special_addresses_are_forbidden_unless_opened() {
    let allow = vec![Prefix { address: ip("10.0.0.0"), length: 8 }];
    let deny = vec![Prefix { address: ip("8.8.8.8"), length: 32 }];
    let mut pair = Pair::with(World { allow, deny, ..World::default() });
    let alice = pair.allocated("alice", 0);
    for (peer, code) in [("127.0.0.1:1", 403), ("169.254.169.254:80", 403), ("10.9.9.9:1", 200), (PEER, 403), ("8.8.4.4:1", 200)] {
        assert_eq!(pair.as_user(&alice, permission(id(1), &[peer])).code(), code, "{peer}");
        assert_eq!(pair.as_user(&alice, bind(id(2), 0x4000 + code % 7 + peer.len() as u16, peer)).code(), code, "{peer}");
    }
}

#[test]
fn our_own_services_are_never_reached() {
    let mut pair = Pair::new();
    let alice = pair.permitted("alice", 0, &["93.184.216.34:1", "172.30.0.5:1"]);
    for port in [22, 80, 443, 3478, 60999, 61100] {
        for own in ["93.184.216.34", "172.30.0.5"] {
            assert!(!pair.can_send(&alice, &format!("{own}:{port}")), "{own}:{port}");
        }
    }
    assert!(pair.can_send(&alice, "93.184.216.34:61050"));
}

#[test]
fn an_address_that_became_ours_is_no_strangers_any_more() {
    let mut pair = Pair::new();
    let alice = pair.permitted("alice", 0, &["8.8.4.4:1"]);
    assert!(pair.can_send(&alice, "8.8.4.4:53"));
    pair.shards[0].server.set_own_ips(vec![ip("8.8.4.4")]);
    assert!(!pair.can_send(&alice, "8.8.4.4:53"), "although it was permitted before");
    assert_eq!(pair.as_user(&alice, permission(id(1), &["8.8.4.4:1"])).code(), 403);
}

#[test]
fn two_relays_on_one_shard() {
    relay_to_relay(1, 0, 1);
}

#[test]
fn two_relays_on_two_shards() {
    relay_to_relay(2, 0, 1);
}

/// Alice and Bob are both told a public relayed address and talk through both relays, by indication and by channel.
fn relay_to_relay(shards: usize, alice_port: u16, bob_port: u16) {
    let mut pair = Pair::with(World { shards, ..World::default() });
    let (mut alice, mut bob) = (pair.allocated("alice", alice_port), pair.allocated("bob", bob_port));
    assert_eq!(alice.shard == bob.shard, shards == 1);
    let (alice_relayed, bob_relayed) = (alice.relayed.expect("allocated"), bob.relayed.expect("allocated"));
    alice.core.permit(pair.now.mono, &[bob_relayed.ip()]);
    pair.run(&mut alice);
    let wire = alice.core.send(bob_relayed, b"early");
    assert_eq!(pair.carry(&alice, &wire, &mut bob), None, "bob has not permitted alice");
    bob.core.bind_channel(pair.now.mono, alice_relayed);
    pair.run(&mut bob);
    let wire = alice.core.send(bob_relayed, b"hello");
    assert_eq!(pair.carry(&alice, &wire, &mut bob), Some(Event::Data { peer: alice_relayed, bytes: b"hello".to_vec() }));
    let wire = bob.core.send(alice_relayed, b"hello yourself");
    assert_eq!(channel::parse(&wire).map(|(number, _)| number), Some(0x4000));
    assert_eq!(pair.carry(&bob, &wire, &mut alice), Some(Event::Data { peer: bob_relayed, bytes: b"hello yourself".to_vec() }));
}

#[test]
fn new_relayed_addresses_are_for_new_allocations() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    let moved = RelayedAddress { public: ip("93.184.216.99"), local: ip("172.30.0.6") };
    pair.shards[0].server.set_relayed(vec![moved]);
    let mut bob = pair.allocated("bob", 1);
    assert_eq!((alice.relayed.unwrap().ip(), bob.relayed.unwrap().ip()), (v4().public, moved.public));
    alice.core.permit(pair.now.mono, &[moved.public]);
    bob.core.permit(pair.now.mono, &[v4().public]);
    pair.run(&mut alice);
    pair.run(&mut bob);
    let wire = alice.core.send(bob.relayed.unwrap(), b"still here");
    let expected = Event::Data { peer: alice.relayed.unwrap(), bytes: b"still here".to_vec() };
    assert_eq!(pair.carry(&alice, &wire, &mut bob), Some(expected));
}
