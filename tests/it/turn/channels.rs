//! RFC 8656 §12.

use rtcctl::stun::message::{Builder, CHANNEL_BIND, Class};
use rtcctl::stun::{attr, channel};
use rtcctl::turn::client::Event;
use rtcctl::turn::routes::ToClient;

use super::pair::*;

#[test]
fn carry_data_both_ways() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    alice.core.bind_channel(pair.now.mono, address(PEER));
    let events = pair.run(&mut alice);
    assert_eq!(events, [Event::ChannelBound { peer: address(PEER), channel: 0x4000 }]);
    let (relay, _) = pair.relay_of(&alice);
    for payload in [&b""[..], b"x", &[0x40, 0, 0, 0], &[0; 1440]] {
        let wire = alice.core.send(address(PEER), payload);
        assert_eq!(channel::parse(&wire), Some((0x4000, payload)));
        assert_eq!(pair.shards[0].relay_to(pair.now, &alice.addr, &wire), Some((relay, address(PEER), payload.to_vec())));
        assert_eq!(pair.arrive(&mut alice, PEER, payload), Some(Event::Data { peer: address(PEER), bytes: payload.to_vec() }));
    }
    let other = "8.8.8.8:5001";
    let expected = Event::Data { peer: address(other), bytes: b"y".to_vec() };
    assert_eq!(pair.arrive(&mut alice, other, b"y"), Some(expected), "other ports of the peer come as indications");
}

#[test]
fn end_after_ten_minutes_or_with_the_permission() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    alice.core.refresh(pair.now.mono, seconds(3600));
    alice.core.bind_channel(pair.now.mono, address(PEER));
    pair.run(&mut alice);
    let route = |pair: &Pair| pair.shards[0].routes.channel(pair.now.mono, &alice.addr, 0x4000).is_some();
    pair.pass(seconds(299));
    assert!(route(&pair));
    pair.pass(seconds(1));
    assert!(!route(&pair), "the permission is over");
    assert_eq!(pair.as_user(&alice, permission(id(1), &[PEER])).code(), 200);
    assert!(route(&pair), "and back");
    pair.pass(seconds(299));
    assert!(route(&pair));
    assert_eq!(pair.as_user(&alice, permission(id(2), &[PEER])).code(), 200);
    pair.pass(seconds(1));
    assert!(!route(&pair), "the channel is over");
    let (relay, _) = pair.relay_of(&alice);
    let now = pair.now.mono;
    assert_eq!(pair.shards[0].routes.from_peer(now, relay, address(PEER)), Some(ToClient { client: alice.addr, channel: None }));
    assert_eq!(pair.as_user(&alice, bind(id(3), 0x4001, PEER)).code(), 200, "both are free again");
}

#[test]
fn numbers_and_peers_pair_up_once() {
    let mut pair = Pair::new();
    let alice = pair.allocated("alice", 0);
    for (number, (request, code)) in [
        (bind(id(1), 0x4000, PEER), 200),
        (bind(id(2), 0x4000, PEER), 200),
        (bind(id(3), 0x4001, PEER), 400),
        (bind(id(4), 0x4000, "8.8.8.8:5001"), 400),
        (bind(id(5), 0x4000, "10.0.0.1:1"), 400),
        (bind(id(6), 0x4001, "8.8.8.8:5001"), 200),
        (bind(id(7), 0x3FFF, "8.8.8.8:5002"), 400),
        (bind(id(8), 0x5000, "8.8.8.8:5002"), 400),
        (bind(id(9), 0x4FFF, "8.8.8.8:5002"), 200),
        (bind(id(10), 0x4002, "[2a00::1]:1"), 443),
        (bind(id(11), 0x4002, "192.168.0.1:1"), 403),
        (Builder::new(Class::Request, CHANNEL_BIND, id(12)).attr(attr::CHANNEL_NUMBER, &[0x40, 9, 0, 0]), 400),
        (Builder::new(Class::Request, CHANNEL_BIND, id(13)).address(attr::XOR_PEER_ADDRESS, address("8.8.8.8:9")), 400),
        (bind(id(14), 0x4003, "8.8.8.8:9").attr(attr::CHANNEL_NUMBER, b""), 200),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(pair.as_user(&alice, request).code(), code, "{number}");
    }
}

#[test]
fn are_bounded() {
    let mut pair = Pair::new();
    let alice = pair.allocated("alice", 0);
    let codes: Vec<u16> =
        (0..129).map(|number| pair.as_user(&alice, bind(id(number as u8), 0x4000 + number, &format!("8.8.8.8:{}", 1000 + number))).code()).collect();
    assert!(codes[..128].iter().all(|code| *code == 200));
    assert_eq!(codes[128], 508);
}
