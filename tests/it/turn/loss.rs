//! RFC 8489 §6.2.1: requests over a path that loses packets.

use rtcctl::turn::client::{Asked, Client, Event};
use rtcctl::turn::routes::Transport;

use super::pair::*;

/// Half of all packets are lost either way; the client's copies and the server's memory of the first answer bring the rest together.
#[test]
fn a_lossy_path_still_gives_one_allocation() {
    for seed in 1..=20 {
        let mut pair = Pair::new();
        pair.loss = Some(Dice(seed));
        let mut alice = pair.client("alice", 0);
        alice.core = Client::new(alice.credentials(), Transport::Udp, seed);
        alice.core.allocate(pair.now.mono, None);
        let events = pair.run(&mut alice);
        match &events[..] {
            [Event::Allocated { .. }] => assert_eq!(pair.server().allocations(), 1),
            // All seven copies of one request may be lost, one time in a hundred or two.
            [Event::TimedOut { asked: Asked::Allocate }] => {}
            other => panic!("{other:?}"),
        }
    }
}
