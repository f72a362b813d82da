//! Input nobody should send: silence, small answers, no trace, no panic.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtcctl::stun::credential::Claim;
use rtcctl::stun::framing::Framer;
use rtcctl::stun::integrity::md5_key;
use rtcctl::stun::message::{ALLOCATE, BINDING, Builder, Class, DATA, Integrity, SEND};
use rtcctl::stun::{attr, channel, message};
use rtcctl::turn::routes::{ClientAddr, Transport};

use super::pair::*;

#[test]
fn silence_where_no_answer_is_due() {
    let mut pair = Pair::new();
    let alice = pair.allocated("alice", 0);
    let nonce = pair.nonce();
    let good = Builder::new(Class::Request, BINDING, id(1)).attr(attr::SOFTWARE, b"abc").finish();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut wrong_fingerprint = Builder::new(Class::Request, BINDING, id(1)).fingerprint().finish();
    wrong_fingerprint[27] ^= 1;
    for bytes in [
        vec![],
        vec![0],
        good[..19].to_vec(),
        good[..24].to_vec(),
        with(0, 0xC0),
        with(0, 0x80),
        with(4, 0),
        with(3, 9),
        with(23, 200),
        wrong_fingerprint,
        Builder::new(Class::Indication, BINDING, id(1)).finish(),
        Builder::new(Class::Success, BINDING, id(1)).finish(),
        Builder::new(Class::Error, ALLOCATE, id(1)).error(400, "").finish(),
        Builder::new(Class::Indication, ALLOCATE, id(1)).signed_by(&alice.username, &alice.password, &nonce).finish(),
        Builder::new(Class::Request, SEND, id(1)).finish(),
        Builder::new(Class::Request, DATA, id(1)).finish(),
        Builder::new(Class::Indication, SEND, id(1)).finish(),
        Builder::new(Class::Request, 0x00A, id(1)).finish(),
        Builder::new(Class::Request, 0xFFF, id(1)).finish(),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
    ] {
        assert!(pair.handle(alice.addr, &bytes).is_empty(), "{bytes:02x?}");
    }
}

#[test]
fn strangers_leave_no_trace() {
    let mut pair = Pair::new();
    for number in 0..4000_u16 {
        let from = ClientAddr { client: SocketAddr::new(ip("7.7.7.7"), number + 1), server: address("172.30.0.5:3478"), transport: Transport::Udp };
        let plain = allocate(id(1));
        let forged = plain.clone().attr(attr::USERNAME, b"1:x").attr(attr::REALM, b"r").attr(attr::NONCE, b"n").sign(Integrity::Sha1, b"k");
        for request in [plain, forged] {
            assert_eq!(pair.handle(from, &request.finish())[0].code(), 401);
        }
    }
    assert!(pair.is_untouched());
    assert_eq!((pair.server().deadline(), pair.quotas.taken()), (None, 0));
}

/// Every message there is, mutated for a few seconds: at most one answer, none above a datagram, and the old allocation still relays.
#[test]
fn mutated_messages_do_no_harm() {
    let mut pair = Pair::with(World { relayed: vec![v4(), v6()], ..World::default() });
    let alice = pair.permitted("alice", 0, &[PEER]);
    let bob = pair.client("bob", 1);
    let nonce = pair.nonce_for(bob.addr.client);
    let templates: Vec<Builder> = vec![
        allocate(id(1)),
        allocate(id(2)).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]).u32(attr::LIFETIME, 900),
        refresh(id(3), 900),
        refresh(id(4), 0).attr(attr::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
        permission(id(5), &["8.8.4.4:1", "[2a00::1]:2"]),
        bind(id(6), 0x4000, "8.8.4.4:7"),
        Builder::new(Class::Request, BINDING, id(7)).attr(0x7777, b"unknown"),
    ];
    let mut dice = Dice(0x5EED);
    let end = Instant::now() + seconds(2);
    let mut rounds = 0_u64;
    let mut codes = BTreeSet::new();
    while Instant::now() < end {
        rounds += 1;
        let template = templates[dice.below(templates.len())].clone();
        // Half of them are mutated before they are signed, so that they get past the door.
        let bytes = if dice.below(2) == 0 {
            let mut inner = template.finish();
            dice.mutate(&mut inner);
            resign(&inner, &bob, &nonce)
        } else {
            let mut bytes = template.signed_by(&bob.username, &bob.password, &nonce).fingerprint().finish();
            dice.mutate(&mut bytes);
            bytes
        };
        let answers = pair.handle(bob.addr, &bytes);
        assert!(answers.len() <= 1, "{bytes:02x?}");
        for answer in &answers {
            codes.insert(answer.code());
            assert!(answer.0.len() <= 1500);
            assert_eq!(answer.message().transaction(), bytes[8..20]);
        }
        if rounds.is_multiple_of(64) {
            pair.pass(Duration::from_millis(1));
        }
    }
    assert!(rounds > 500, "{rounds}");
    for code in [200, 400, 401, 420, 437] {
        assert!(codes.contains(&code), "the mutants never got as far as {code}: {codes:?}");
    }
    pair.pass(Duration::ZERO);
    assert_eq!(pair.as_user(&alice, permission(id(9), &[PEER])).code(), 200);
    assert!(pair.can_send(&alice, PEER));
    pair.release(&bob);
    pair.release(&alice);
    assert!(pair.is_untouched());
}

#[test]
fn a_message_of_nothing_but_attributes() {
    let mut pair = Pair::new();
    let bob = pair.client("bob", 1);
    let huge = (0..15_000_u16).fold(allocate(id(1)), |request, number| request.attr(0x4000 + number, b""));
    assert_eq!(pair.ask(huge.clone()).code(), 401);
    let answer = pair.as_user(&bob, huge);
    assert_eq!((answer.code(), answer.get(attr::UNKNOWN_ATTRIBUTES).map(<[u8]>::len)), (420, Some(128)));
}

/// Bytes out of nowhere, into every reader there is.
#[test]
fn noise_is_read_without_harm() {
    let mut dice = Dice(0xBAD);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..dice.below(80)).map(|_| dice.below(256) as u8).collect();
        if dice.below(2) == 0 && bytes.len() >= 8 {
            bytes[4..8].copy_from_slice(&message::COOKIE.to_be_bytes());
            bytes[0] &= 0x3F;
            bytes[2] = 0;
            bytes[3] &= 0x7C;
        }
        if let Ok(message) = message::Message::parse(&bytes) {
            let inside: usize = message.attributes().map(|(_, value)| 4 + value.len()).sum();
            assert!(message::HEADER + inside <= bytes.len());
            assert!(!message.verify(b"key"));
        }
        if let Some((_, payload)) = channel::parse(&bytes) {
            assert!(channel::HEADER + payload.len() <= bytes.len());
        }
        let mut framer = Framer::new();
        framer.push(&bytes);
        let mut framed = 0;
        while let Ok(Some(frame)) = framer.next_frame() {
            framed += frame.len();
        }
        assert!(framed <= bytes.len());
        if let Some(claim) = Claim::parse(&bytes) {
            assert!(claim.expiry > 0 && claim.id.len() < bytes.len());
        }
    }
}

/// Gives mutated bytes a right length and signs them, as a hostile user could.
fn resign(inner: &[u8], user: &TestClient, nonce: &str) -> Vec<u8> {
    let mut bytes = inner.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4).max(message::HEADER), 0);
    for (kind, value) in [(attr::USERNAME, user.username.as_bytes()), (attr::REALM, REALM.as_bytes()), (attr::NONCE, nonce.as_bytes())] {
        bytes.extend(kind.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let at = bytes.len();
    bytes[2..4].copy_from_slice(&((at + 24 - message::HEADER) as u16).to_be_bytes());
    let key = md5_key(user.username.as_bytes(), REALM.as_bytes(), user.password.as_bytes());
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = ring::hmac::sign(&hmac, &bytes);
    bytes.extend([0, 8, 0, 20]);
    bytes.extend(tag.as_ref());
    bytes
}
