//! RFC 8489 §6.3.

use rtcctl::stun::attr;
use rtcctl::stun::message::{BINDING, Builder, Class};
use rtcctl::turn::routes::{ClientAddr, Transport};

use super::pair::*;

#[test]
fn tells_the_source_address() {
    for client in ["8.8.8.8:1234", "[2a00::1]:65535"] {
        let mut pair = Pair::new();
        let from = ClientAddr { client: address(client), server: address("172.30.0.5:3478"), transport: Transport::Udp };
        let answers = pair.handle(from, &Builder::new(Class::Request, BINDING, id(1)).finish());
        let [answer] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(answer.message().address(attr::XOR_MAPPED_ADDRESS), Some(Ok(from.client)));
        assert_eq!(answer.get(attr::MAPPED_ADDRESS), None);
        assert!(!answer.message().has_fingerprint());
    }
}

#[test]
fn fingerprints_are_returned() {
    let mut pair = Pair::new();
    let answer = pair.ask(Builder::new(Class::Request, BINDING, id(1)).fingerprint());
    assert!(answer.message().has_fingerprint());
}

#[test]
fn behaviour_discovery_is_refused() {
    let mut pair = Pair::new();
    // CHANGE-REQUEST, PADDING, RESPONSE-PORT
    for kind in [0x0003_u16, 0x0026, 0x0027] {
        let answer = pair.ask(Builder::new(Class::Request, BINDING, id(1)).attr(kind, &[0; 4]).attr(0x8055, b""));
        assert_eq!((answer.code(), answer.get(attr::UNKNOWN_ATTRIBUTES)), (420, Some(&kind.to_be_bytes()[..])));
    }
}
