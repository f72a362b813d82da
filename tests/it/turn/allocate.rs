//! RFC 8656 §7.2, in its order.

use std::net::SocketAddr;

use rtcctl::config::PortRange;
use rtcctl::stun::attr;
use rtcctl::stun::credential::mint;
use rtcctl::stun::message::{ALLOCATE, Builder, Class};
use rtcctl::turn::client::Event;
use rtcctl::turn::routes::Transport;
use rtcctl::turn::server::OpenError;

use super::pair::*;

#[test]
fn a_copy_of_the_request_gets_a_copy_of_the_answer() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let nonce = pair.nonce();
    let request = allocate(id(1)).signed_by(&alice.username, &alice.password, &nonce).finish();
    let first = pair.handle(alice.addr, &request);
    let copies = [pair.handle(alice.addr, &request), pair.handle(alice.addr, &request)];
    assert_eq!(first[0].code(), 200);
    assert!(copies.iter().all(|copy| copy[0].0 == first[0].0));
    assert_eq!(pair.as_user(&alice, allocate(id(2))).code(), 437);
    assert_eq!(pair.server().allocations(), 1);
}

#[test]
fn copies_that_arrive_before_the_socket_is_open_wait_for_it() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let nonce = pair.nonce();
    let request = allocate(id(1)).signed_by(&alice.username, &alice.password, &nonce).finish();
    for _ in 0..3 {
        pair.shards[0].handle(pair.now, alice.addr, &request);
    }
    pair.perform(0);
    let codes: Vec<u16> = pair.taken().iter().map(Answer::code).collect();
    assert_eq!(codes, [200]);
    assert_eq!(pair.shards[0].open.len(), 1);
}

#[test]
fn transports_are_told_apart() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    alice.addr.transport = Transport::Tcp;
    assert_eq!(pair.as_user(&alice, allocate(id(9))).code(), 200);
    assert_eq!(pair.server().allocations(), 2);
}

#[test]
fn requested_transport() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let with = |value: &[u8]| Builder::new(Class::Request, ALLOCATE, id(1)).attr(attr::REQUESTED_TRANSPORT, value);
    for (value, code) in [(&[17_u8, 0, 0][..], 400), (&[], 400), (&[6, 0, 0, 0], 442), (&[0, 0, 0, 0], 442), (&[17, 9, 9, 9], 200)] {
        assert_eq!(pair.as_user(&alice, with(value)).code(), code, "{value:?}");
    }
}

#[test]
fn what_is_not_offered_is_unknown() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    for kind in [attr::DONT_FRAGMENT, 0x002A, 0x8000 - 1] {
        let answer = pair.as_user(&alice, allocate(id(1)).attr(kind, &[0; 8]).attr(0x7001, b"").attr(kind, b""));
        assert_eq!(answer.code(), 420);
        assert_eq!(answer.get(attr::UNKNOWN_ATTRIBUTES), Some(&[kind.to_be_bytes(), 0x7001_u16.to_be_bytes()].concat()[..]));
    }
    assert_eq!(pair.as_user(&alice, allocate(id(2)).attr(0x8777, b"optional")).code(), 200);
}

#[test]
fn families() {
    let mut pair = Pair::new();
    let family = |kind, value: &[u8]| allocate(id(1)).attr(kind, value);
    let (requested, additional) = (attr::REQUESTED_ADDRESS_FAMILY, attr::ADDITIONAL_ADDRESS_FAMILY);
    for (number, (request, code)) in [
        (family(requested, &[1, 0, 0, 0]), 200),
        (family(requested, &[1, 9, 9, 9]), 200),
        (family(requested, &[2, 0, 0, 0]), 440),
        (family(requested, &[3, 0, 0, 0]), 440),
        (family(requested, &[1]), 400),
        (family(additional, &[1, 0, 0, 0]), 400),
        (family(additional, &[2]), 400),
        (family(additional, &[2, 0, 0, 0]).attr(requested, &[1, 0, 0, 0]), 400),
    ]
    .into_iter()
    .enumerate()
    {
        let alice = pair.client("alice", number as u16);
        assert_eq!(pair.as_user(&alice, request).code(), code, "{number}");
    }
}

#[test]
fn even_ports() {
    let mut pair = Pair::with(World { shards: 2, ..World::default() });
    for port in 0..20 {
        let alice = pair.client("alice", port);
        let answer = pair.as_user(&alice, allocate(id(1)).attr(attr::EVEN_PORT, &[0x7F]));
        let relayed = answer.addresses(attr::XOR_RELAYED_ADDRESS);
        assert!(relayed[0].port().is_multiple_of(2), "{relayed:?}");
        assert_eq!(answer.get(attr::RESERVATION_TOKEN), None);
    }
    let alice = pair.client("alice", 50);
    for value in [&[][..], &[0, 0]] {
        assert_eq!(pair.as_user(&alice, allocate(id(2)).attr(attr::EVEN_PORT, value)).code(), 400);
    }
    let both = allocate(id(3)).attr(attr::EVEN_PORT, &[0x80]).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(pair.as_user(&alice, both).code(), 400);
}

#[test]
fn a_token_stands_for_the_next_port_on_any_shard() {
    for port in [1, 2] {
        let mut pair = Pair::with(World { shards: 2, ..World::default() });
        let (rtp, rtcp) = (pair.client("alice", 0), pair.client("alice", port));
        let answer = pair.as_user(&rtp, allocate(id(1)).attr(attr::EVEN_PORT, &[0x80]));
        let even = answer.addresses(attr::XOR_RELAYED_ADDRESS)[0];
        let token = answer.get(attr::RESERVATION_TOKEN).unwrap().to_vec();
        assert!(even.port().is_multiple_of(2));
        pair.pass(seconds(30));
        let with_token = || allocate(id(2)).attr(attr::RESERVATION_TOKEN, &token);
        let answer = pair.as_user(&rtcp, with_token());
        assert_eq!(answer.addresses(attr::XOR_RELAYED_ADDRESS), [SocketAddr::new(even.ip(), even.port() + 1)]);
        let third = pair.client("alice", 9);
        assert_eq!(pair.as_user(&third, with_token()).code(), 508, "used");
        pair.release(&rtp);
        pair.release(&rtcp);
        assert!(pair.is_untouched());
    }
}

#[test]
fn tokens_that_stand_for_nothing() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let token = |value: &[u8]| allocate(id(1)).attr(attr::RESERVATION_TOKEN, value);
    for (request, code) in [
        (token(&[0; 8]), 508),
        (token(&[7; 8]), 508),
        (token(&[0; 7]), 400),
        (token(&[0; 8]).attr(attr::EVEN_PORT, &[0]), 400),
        (token(&[0; 8]).attr(attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]), 400),
        (token(&[0; 8]).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]), 400),
    ] {
        assert_eq!(pair.as_user(&alice, request).code(), code);
    }
    assert!(pair.is_untouched());
    assert_eq!(pair.quotas.taken(), 0);
}

#[test]
fn a_pair_of_ports_that_cannot_be_had_keeps_nothing() {
    let ports = PortRange { first: 61000, last: 61003 };
    let mut pair = Pair::with(World { ports, ..World::default() });
    pair.shards[0].refuse_opens = Some((2, OpenError::InUse));
    let alice = pair.client("alice", 0);
    assert_eq!(pair.as_user(&alice, allocate(id(1)).attr(attr::EVEN_PORT, &[0x80])).code(), 508);
    assert!(pair.is_untouched());
    // Both even ports are avoided for a while; the odd ones are free at once.
    pair.allocated("alice", 1);
    pair.allocated("alice", 2);
}

#[test]
fn both_families_at_once() {
    let mut pair = Pair::with(World { relayed: vec![v4(), v6()], ..World::default() });
    let alice = pair.client("alice", 0);
    let answer = pair.as_user(&alice, allocate(id(1)).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]));
    let relayed = answer.addresses(attr::XOR_RELAYED_ADDRESS);
    assert_eq!(relayed.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [v4().public, v6().public]);
    assert_eq!(pair.as_user(&alice, permission(id(2), &["8.8.8.8:1", "[2a00::1]:1"])).code(), 200);
    assert!(pair.can_send(&alice, "8.8.8.8:1") && pair.can_send(&alice, "[2a00::1]:1"));
    // RFC 8656 §8.2: one half may go while the other stays.
    let request = refresh(id(3), 0).attr(attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
    assert_eq!(pair.as_user(&alice, request.clone()).code(), 200);
    assert!(!pair.can_send(&alice, "8.8.8.8:1") && pair.can_send(&alice, "[2a00::1]:1"));
    assert_eq!(pair.as_user(&alice, request).code(), 443);
    assert_eq!(pair.as_user(&alice, permission(id(4), &["8.8.8.8:1"])).code(), 443);
    pair.release(&alice);
    assert!(pair.is_untouched());
}

#[test]
fn a_family_that_is_not_there_is_told_beside_the_other() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let answer = pair.as_user(&alice, allocate(id(1)).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]));
    assert_eq!(answer.addresses(attr::XOR_RELAYED_ADDRESS).len(), 1);
    let error = answer.get(attr::ADDRESS_ERROR_CODE).unwrap();
    assert_eq!(error[..4], [2, 0, 4, 40]);
}

#[test]
fn lifetime_is_held_between_default_and_maximum() {
    let mut pair = Pair::new();
    for (asked, granted) in [(0, 600), (1, 600), (599, 600), (601, 601), (3600, 3600), (3601, 3600), (u32::MAX, 3600)] {
        let alice = pair.client("alice", 0);
        let answer = pair.as_user(&alice, allocate(id(1)).u32(attr::LIFETIME, asked));
        assert_eq!(answer.lifetime(), granted, "{asked}");
        pair.release(&alice);
    }
    let alice = pair.client("alice", 0);
    assert_eq!(pair.as_user(&alice, allocate(id(1)).attr(attr::LIFETIME, &[0, 0])).code(), 400);
    assert!(pair.is_untouched());
}

#[test]
fn quotas() {
    let mut pair = Pair::with(World { quotas: (4, 2, 3), ..World::default() });
    let one = pair.allocated("alice", 0);
    pair.allocated("alice", 1);
    let third = pair.client("alice", 2);
    assert_eq!(pair.as_user(&third, allocate(id(1))).code(), 486, "per user");
    // A fresh timestamp is the same user.
    let later = mint(SECRET, "alice", EPOCH + 7000);
    let nonce = pair.nonce_for(third.addr.client);
    let request = allocate(id(2)).signed_by(&later.username, &later.password, &nonce).finish();
    assert_eq!(pair.handle(third.addr, &request)[0].code(), 486);
    pair.allocated("bob", 3);
    let fourth = pair.client("carol", 4);
    assert_eq!(pair.as_user(&fourth, allocate(id(3))).code(), 486, "per address");
    pair.release(&one);
    assert_eq!(pair.as_user(&fourth, allocate(id(4))).code(), 200, "given back at once");
    let mut elsewhere = pair.client("dave", 5);
    elsewhere.addr.client = address("7.7.7.7:7");
    assert_eq!(pair.as_user(&elsewhere, allocate(id(5))).code(), 200);
    let mut too_many = pair.client("erin", 6);
    too_many.addr.client = address("6.6.6.6:6");
    assert_eq!(pair.as_user(&too_many, allocate(id(6))).code(), 508, "in total");
}

#[test]
fn a_failed_allocate_costs_nothing() {
    let mut pair = Pair::with(World { quotas: (1, 1, 1), ..World::default() });
    pair.shards[0].refuse_opens = Some((usize::MAX, OpenError::Exhausted));
    let alice = pair.client("alice", 0);
    assert_eq!(pair.as_user(&alice, allocate(id(1))).code(), 508);
    assert!(pair.is_untouched());
    assert_eq!(pair.quotas.taken(), 0);
    pair.shards[0].refuse_opens = None;
    assert_eq!(pair.as_user(&alice, allocate(id(2))).code(), 200);
}

#[test]
fn ports_of_others_are_stepped_over() {
    let mut pair = Pair::new();
    pair.shards[0].refuse_opens = Some((7, OpenError::InUse));
    pair.allocated("alice", 0);
    assert_eq!(pair.shards[0].opens, 8);
    // The eighth failure is the last for one request.
    pair.shards[0].refuse_opens = Some((8, OpenError::InUse));
    let bob = pair.client("bob", 1);
    assert_eq!(pair.as_user(&bob, allocate(id(1))).code(), 508);
    assert_eq!(pair.shards[0].opens, 16);
}

#[test]
fn a_full_range_is_508_and_recovers() {
    let ports = PortRange { first: 61000, last: 61003 };
    let mut pair = Pair::with(World { ports, ..World::default() });
    let clients: Vec<TestClient> = (0..4).map(|port| pair.allocated("alice", port)).collect();
    let mut relayed: Vec<u16> = pair.shards[0].open.values().map(SocketAddr::port).collect();
    relayed.sort_unstable();
    assert_eq!(relayed, [61000, 61001, 61002, 61003]);
    let fifth = pair.client("bob", 9);
    assert_eq!(pair.as_user(&fifth, allocate(id(1))).code(), 508);
    pair.release(&clients[2]);
    assert_eq!(pair.as_user(&fifth, allocate(id(2))).code(), 200);
}

#[test]
fn draining_refuses_new_and_keeps_old() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    pair.shards[0].server.drain();
    let bob = pair.client("bob", 1);
    assert_eq!(pair.as_user(&bob, allocate(id(1))).code(), 508);
    alice.core.refresh(pair.now.mono, seconds(900));
    assert_eq!(pair.run(&mut alice), [Event::Refreshed { lifetime: seconds(900) }]);
}

#[test]
fn a_stream_that_ends_takes_its_allocation_along() {
    let mut pair = Pair::new();
    let mut alice = pair.client("alice", 0);
    alice.addr.transport = Transport::Tls;
    assert_eq!(pair.as_user(&alice, allocate(id(1))).code(), 200);
    pair.shards[0].close_client(pair.now, alice.addr);
    pair.perform(0);
    assert!(pair.is_untouched());
    assert_eq!(pair.quotas.taken(), 0);
    // Once more, with the socket still to come.
    let nonce = pair.nonce();
    let request = allocate(id(2)).signed_by(&alice.username, &alice.password, &nonce).finish();
    pair.shards[0].handle(pair.now, alice.addr, &request);
    pair.shards[0].close_client(pair.now, alice.addr);
    pair.perform(0);
    assert!(pair.is_untouched() && pair.taken().is_empty());
    assert_eq!(pair.quotas.taken(), 0);
}
