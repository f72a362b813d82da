//! RFC 8489 §9.2.4 and RFC 8656 §5.

use std::sync::Arc;
use std::time::Duration;

use rtcctl::config::Secret;
use rtcctl::stun::attr;
use rtcctl::stun::credential::mint;
use rtcctl::stun::integrity::{md5_key, sha256_key};
use rtcctl::stun::message::{ALLOCATE, BINDING, Builder, CHANNEL_BIND, CREATE_PERMISSION, Class, Integrity, REFRESH};
use rtcctl::turn::client::{Asked, Client, Credentials, Event};
use rtcctl::turn::routes::Transport;

use super::pair::*;

#[test]
fn a_request_without_integrity_is_challenged() {
    let mut pair = Pair::new();
    for method in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        let answer = pair.ask(Builder::new(Class::Request, method, id(1)));
        assert_eq!(answer.code(), 401);
        let nonce = answer.text(attr::NONCE);
        assert!(nonce.starts_with("obMatJos2gAAA"), "{nonce}");
        assert_eq!(answer.text(attr::REALM), REALM);
        assert_eq!(answer.get(attr::PASSWORD_ALGORITHMS), Some(&[0, 2, 0, 0, 0, 1, 0, 0][..]));
        assert_eq!((answer.message().integrity(), answer.get(attr::USERNAME)), (None, None));
    }
    assert!(pair.is_untouched());
}

#[test]
fn challenges_stay_small() {
    let mut pair = Pair::new();
    for (request, limit) in [
        (Builder::new(Class::Request, ALLOCATE, id(1)), 4.0),
        (Builder::new(Class::Request, ALLOCATE, id(1)).attr(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]), 4.0),
        (Builder::new(Class::Request, BINDING, id(1)), 2.5),
    ] {
        let size = request.clone().finish().len();
        let factor = (28 + pair.ask(request).0.len()) as f64 / (28 + size) as f64;
        assert!(factor <= limit, "{factor}");
    }
}

#[test]
fn a_client_finds_its_way_through_the_challenge() {
    let mut pair = Pair::new();
    let mut client = pair.client("alice", 0);
    client.core.allocate(pair.now.mono, None);
    let events = pair.run(&mut client);
    let [Event::Allocated { relayed, mapped, lifetime }] = events[..] else { panic!("{events:?}") };
    assert_eq!((relayed.ip(), mapped, lifetime), (ip("93.184.216.34"), client.addr.client, seconds(600)));
    assert!((61000..=61099).contains(&relayed.port()));
}

#[test]
fn wrong_password_and_unknown_user_look_the_same() {
    let mut pair = Pair::new();
    let nonce = pair.nonce();
    let mut answers = Vec::new();
    let expired = EPOCH - 1;
    let too_long = EPOCH + 48 * 3600 + 1;
    for (username, secret) in [
        (format!("{}:alice", EPOCH + 60), &b"another secret"[..]),
        ("alice".into(), SECRET),
        (format!("{expired}:alice"), SECRET),
        (format!("{too_long}:alice"), SECRET),
        (format!("+{}:alice", EPOCH + 60), SECRET),
        ("%n\r\n\0\u{1b}'\"".into(), SECRET),
        ("x".repeat(763), SECRET),
    ] {
        let password = rtcctl::stun::credential::password(secret, &username);
        let answer = pair.ask(allocate(id(1)).signed_by(&username, &password, &nonce));
        assert_eq!(answer.code(), 401, "{username}");
        answers.push((answer.0.len(), answer.kinds()));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    let mut client = pair.client("alice", 0);
    client.core = Client::new(Credentials { username: client.username.clone(), password: "wrong".into() }, Transport::Udp, 1);
    client.core.allocate(pair.now.mono, None);
    let events = pair.run(&mut client);
    assert_eq!(events, [Event::Failed { asked: Asked::Allocate, code: 401, reason: "Unauthorized".into() }]);
    assert!(pair.is_untouched());
}

#[test]
fn user_names_that_are_no_text_are_unknown() {
    let mut pair = Pair::new();
    let nonce = pair.nonce();
    let request = allocate(id(1)).attr(attr::USERNAME, &[0xFF, 0, 0xC0]).attr(attr::REALM, b"r").attr(attr::NONCE, nonce.as_bytes());
    assert_eq!(pair.ask(request.sign(Integrity::Sha1, b"k")).code(), 401);
}

#[test]
fn integrity_without_what_it_needs_is_400_without_a_challenge() {
    let mut pair = Pair::new();
    let nonce = pair.nonce();
    let all = [(attr::USERNAME, "1:a"), (attr::REALM, REALM), (attr::NONCE, nonce.as_str())];
    for missing in 0..3 {
        let present = all.iter().enumerate().filter(|(index, _)| *index != missing);
        let request = present.fold(allocate(id(1)), |request, (_, (kind, value))| request.attr(*kind, value.as_bytes()));
        let answer = pair.ask(request.sign(Integrity::Sha1, b"k"));
        assert_eq!((answer.code(), answer.get(attr::NONCE), answer.get(attr::REALM)), (400, None, None));
    }
}

#[test]
fn stale_and_foreign_nonces_are_438() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let nonce = pair.nonce();
    let foreign = pair.nonce_for(address("9.9.9.9:9"));
    let mut forged = nonce.clone();
    forged.replace_range(20..21, if &nonce[20..21] == "A" { "B" } else { "A" });
    for wrong in [foreign.as_str(), forged.as_str(), "obMatJos2gAAA", "x", "\u{1F4A9}"] {
        let answer = pair.ask(allocate(id(1)).signed_by(&alice.username, &alice.password, wrong));
        assert_eq!(answer.code(), 438, "{wrong}");
        assert_eq!(answer.text(attr::REALM), REALM);
        let fresh = answer.text(attr::NONCE);
        pair.answer(allocate(id(2)).signed_by(&alice.username, &alice.password, &fresh), 200);
        pair.release(&alice);
    }
    pair.pass(seconds(600));
    assert_eq!(pair.ask(allocate(id(3)).signed_by(&alice.username, &alice.password, &nonce)).code(), 438);
}

#[test]
fn a_nonce_that_runs_out_costs_one_more_round_and_nothing_else() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    pair.pass(seconds(550));
    alice.core.refresh(pair.now.mono, seconds(3000));
    assert_eq!(pair.run(&mut alice), [Event::Refreshed { lifetime: seconds(3000) }]);
    pair.pass(seconds(700));
    alice.core.permit(pair.now.mono, &[ip("8.8.8.8")]);
    assert_eq!(pair.run(&mut alice), [Event::PermissionGranted { peers: vec![ip("8.8.8.8")] }]);
}

#[test]
fn bidding_down_is_refused() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let nonce = pair.nonce();
    let ours = [0, 2, 0, 0, 0, 1, 0, 0];
    let sha256: &[u8] = &[0, 2, 0, 0];
    for (list, chosen) in [
        (None, Some(sha256)),
        (Some(&ours[..]), None),
        (Some(&ours[4..]), Some(sha256)),
        (Some(&ours), Some(&[0, 3, 0, 0][..])),
        (Some(&ours), Some(&[0, 2][..])),
    ] {
        let mut request = allocate(id(1));
        for (kind, value) in [(attr::PASSWORD_ALGORITHMS, list), (attr::PASSWORD_ALGORITHM, chosen)] {
            if let Some(value) = value {
                request = request.attr(kind, value);
            }
        }
        assert_eq!(pair.ask(request.signed_by(&alice.username, &alice.password, &nonce)).code(), 400);
    }
}

#[test]
fn sha256_is_spoken_with_those_who_choose_it() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let nonce = pair.nonce();
    let key = sha256_key(alice.username.as_bytes(), REALM.as_bytes(), alice.password.as_bytes());
    let request = allocate(id(1))
        .attr(attr::USERNAME, alice.username.as_bytes())
        .attr(attr::REALM, REALM.as_bytes())
        .attr(attr::NONCE, nonce.as_bytes())
        .attr(attr::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0])
        .attr(attr::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
        .sign(Integrity::Sha256, &key);
    let answer = pair.answer(request, 200);
    assert_eq!(answer.message().integrity(), Some(Integrity::Sha256));
    assert!(answer.message().verify(&key));
}

#[test]
fn a_hash_of_the_user_name_is_an_unknown_user() {
    let mut pair = Pair::new();
    let nonce = pair.nonce();
    let request = allocate(id(1)).attr(attr::USERHASH, &[7; 32]).attr(attr::REALM, REALM.as_bytes()).attr(attr::NONCE, nonce.as_bytes());
    assert_eq!(pair.ask(request.sign(Integrity::Sha256, b"k")).code(), 401);
}

#[test]
fn only_who_made_an_allocation_may_touch_it() {
    let mut pair = Pair::new();
    let alice = pair.allocated("alice", 0);
    let bob = pair.client("bob", 0);
    assert_eq!(alice.addr, bob.addr);
    for request in [refresh(id(5), 0), permission(id(6), &["8.8.8.8:1"]), bind(id(7), 0x4000, PEER)] {
        assert_eq!(pair.as_user(&bob, request).code(), 441);
    }
    assert_eq!(pair.as_user(&bob, allocate(id(8))).code(), 437);
    // The same person with a later credential is another user of the allocation, too.
    let later = mint(SECRET, "alice", EPOCH + 7200);
    let nonce = pair.nonce();
    assert_eq!(pair.ask(refresh(id(9), 600).signed_by(&later.username, &later.password, &nonce)).code(), 441);
    assert_eq!(pair.server().allocations(), 1);
}

#[test]
fn an_allocation_outlives_its_credential_and_its_secret() {
    let mut pair = Pair::new();
    let mut alice = pair.allocated("alice", 0);
    alice.core.refresh(pair.now.mono, seconds(3600));
    pair.run(&mut alice);
    pair.pass(seconds(3599));
    pair.secrets.store(Arc::new(vec![Secret::new(*b"the next secret")]));
    alice.core.refresh(pair.now.mono, seconds(3600));
    assert_eq!(pair.run(&mut alice), [Event::Refreshed { lifetime: seconds(3600) }]);
    pair.pass(seconds(10));
    alice.core.refresh(pair.now.mono, Duration::ZERO);
    assert_eq!(pair.run(&mut alice), [Event::Refreshed { lifetime: Duration::ZERO }]);
    alice.core.allocate(pair.now.mono, None);
    assert!(matches!(pair.run(&mut alice)[..], [Event::Failed { code: 401, .. }]), "a new one needs a credential that counts");
}

#[test]
fn old_and_new_secret_count_side_by_side() {
    let mut pair = Pair::new();
    pair.secrets.store(Arc::new(vec![Secret::new(*b"the next secret"), Secret::new(SECRET)]));
    pair.allocated("alice", 0);
    pair.allocated("bob", 1);
}

#[test]
fn every_answer_after_authentication_is_signed() {
    let mut pair = Pair::new();
    let alice = pair.client("alice", 0);
    let key = md5_key(alice.username.as_bytes(), REALM.as_bytes(), alice.password.as_bytes());
    let cases: [(Builder, u16); 6] = [
        (refresh(id(1), 600), 437),
        (permission(id(2), &[PEER]), 437),
        (bind(id(3), 0x4000, PEER), 437),
        (Builder::new(Class::Request, ALLOCATE, id(4)), 400),
        (allocate(id(5)).attr(0x7777, b""), 420),
        (allocate(id(6)), 200),
    ];
    for (request, code) in cases {
        let answer = pair.as_user(&alice, request);
        assert_eq!(answer.code(), code);
        assert!(answer.message().verify(&key), "{code}");
    }
}

#[test]
fn what_stands_behind_the_integrity_has_no_effect() {
    let mut pair = Pair::new();
    let alice = pair.allocated("alice", 0);
    let nonce = pair.nonce();
    let signed = Builder::new(Class::Request, REFRESH, id(1)).signed_by(&alice.username, &alice.password, &nonce);
    let answer = pair.answer(signed.u32(attr::LIFETIME, 0).attr(0x7777, b""), 200);
    assert_eq!(answer.lifetime(), 600);
    assert_eq!(pair.server().allocations(), 1);
    let signed = permission(id(2), &["8.8.8.8:1"]).signed_by(&alice.username, &alice.password, &nonce);
    pair.answer(signed.address(attr::XOR_PEER_ADDRESS, address("8.8.4.4:1")), 200);
    assert!(pair.can_send(&alice, "8.8.8.8:1") && !pair.can_send(&alice, "8.8.4.4:1"));
}
