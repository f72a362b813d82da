//! RFC 8656 §9 and §10.

use std::net::{IpAddr, SocketAddr};

use rtcctl::stun::attr;
use rtcctl::stun::message::{Builder, CREATE_PERMISSION, Class};

use super::pair::*;

#[test]
fn last_five_minutes_and_are_prolonged_by_request_only() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    alice.core.refresh(pair.now.mono, seconds(3600));
    alice.core.permit(pair.now.mono, &[ip("8.8.8.8")]);
    pair.run(&mut alice);
    pair.pass(seconds(299));
    assert!(pair.can_send(&alice, PEER));
    pair.pass(seconds(1));
    assert!(!pair.can_send(&alice, PEER));
    alice.core.permit(pair.now.mono, &[ip("8.8.8.8")]);
    pair.run(&mut alice);
    pair.pass(seconds(200));
    alice.core.permit(pair.now.mono, &[ip("8.8.8.8")]);
    pair.run(&mut alice);
    pair.pass(seconds(200));
    assert!(pair.can_send(&alice, PEER));
}

#[test]
fn all_of_a_request_or_none() {
    let mut pair = Pair::new();
    let alice = pair.allocated("alice", 0);
    assert_eq!(pair.as_user(&alice, permission(id(1), &["8.8.8.8:1", "8.8.4.4:2", "8.8.8.8:3"])).code(), 200);
    assert!(pair.can_send(&alice, "8.8.8.8:9") && pair.can_send(&alice, "8.8.4.4:9"));
    for (number, (request, code)) in [
        (permission(id(2), &[]), 400),
        (permission(id(3), &["1.1.1.1:1"]).attr(attr::XOR_PEER_ADDRESS, b""), 400),
        (permission(id(4), &["1.1.1.1:1"]).attr(attr::XOR_PEER_ADDRESS, &[0, 1, 0, 0, 1, 1]), 400),
        (permission(id(5), &["1.1.1.1:1", "10.0.0.1:1"]), 403),
        (permission(id(6), &["1.1.1.1:1", "[2a00::1]:1"]), 443),
        (permission(id(7), &["1.1.1.1:1", "[::ffff:1.0.0.1]:1"]), 443),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(pair.as_user(&alice, request).code(), code, "{number}");
    }
    assert!(!pair.can_send(&alice, "1.1.1.1:1"));
}

#[test]
fn are_bounded() {
    let mut pair = Pair::new();
    let alice = pair.allocated("alice", 0);
    let many = |from: u32, count: u32| {
        (from..from + count).fold(Builder::new(Class::Request, CREATE_PERMISSION, id(from as u8)), |request, number| {
            request.address(attr::XOR_PEER_ADDRESS, SocketAddr::new(IpAddr::from((0x0801_0000 + number).to_be_bytes()), 1))
        })
    };
    assert_eq!(pair.as_user(&alice, many(0, 257)).code(), 508);
    assert_eq!(pair.as_user(&alice, many(0, 200)).code(), 200);
    assert_eq!(pair.as_user(&alice, many(200, 57)).code(), 508);
    assert_eq!(pair.as_user(&alice, many(0, 256)).code(), 200);
    assert_eq!(pair.as_user(&alice, bind(id(1), 0x4000, PEER)).code(), 508);
}

#[test]
fn belong_to_one_allocation() {
    let mut pair = Pair::new();
    let alice = pair.permitted("alice", 0, &[PEER]);
    let bob = pair.allocated("bob", 1);
    let (relay, _) = pair.relay_of(&bob);
    assert!(pair.can_send(&alice, PEER) && !pair.can_send(&bob, PEER));
    assert_eq!(pair.shards[0].routes.from_peer(pair.now.mono, relay, address(PEER)), None);
}
