//! A relayed UDP packet costs no allocation: counted for the whole process, whose other threads are asleep meanwhile. And an idle relay sleeps.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rtcctl::turn::Relay;

#[path = "it/support/caller.rs"]
mod caller;

use caller::{Caller, PATIENCE, peer, settings};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, whose promises are kept; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` by `alloc` or `realloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout, and the caller's promise about `size` is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PACKETS: usize = 1000;

/// Sends `there` and `back` alternately; the lengths that arrive are known beforehand.
fn ping_pong(near: &UdpSocket, there: &[u8], far: &UdpSocket, back: (&[u8], Option<std::net::SocketAddr>), lengths: (usize, usize)) -> u64 {
    let mut buffer = [0; 2000];
    let mut counted = 0;
    // The first half warms up: pages, the sockets' own first use.
    for half in 0..2 {
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for _ in 0..PACKETS {
            near.send(there).unwrap();
            assert_eq!(far.recv(&mut buffer).unwrap(), lengths.0);
            match back.1 {
                Some(relayed) => far.send_to(back.0, relayed).unwrap(),
                None => far.send(back.0).unwrap(),
            };
            assert_eq!(near.recv(&mut buffer).unwrap(), lengths.1);
        }
        if half == 1 {
            counted = ALLOCATIONS.load(Ordering::SeqCst) - before;
        }
    }
    counted
}

/// The relay's thread does not wake for half a second: no timer runs without a reason.
fn sleeps() {
    let is_relay = |path: &std::path::PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "turn-0");
    let find = || std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path()).find(is_relay);
    let deadline = std::time::Instant::now() + PATIENCE;
    // A thread takes its name when it runs.
    let thread = std::iter::repeat_with(find).take_while(|_| std::time::Instant::now() < deadline).flatten().next().unwrap();
    let switches = || {
        let status = std::fs::read_to_string(thread.join("status")).unwrap();
        status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap().to_owned()
    };
    loop {
        let before = switches();
        std::thread::sleep(Duration::from_millis(500));
        if switches() == before {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "it wakes without a reason");
    }
}

#[test]
fn a_relayed_packet_allocates_nothing_and_an_idle_relay_sleeps() {
    let relay = Relay::start(settings(1)).unwrap();
    sleeps();
    let server = relay.listeners()[0].address;
    let (mut one, mut two) = (Caller::udp(server), Caller::udp(server));
    let (at, other) = (one.allocate(), two.allocate());
    let there = peer("127.0.0.1");
    let address = there.local_addr().unwrap();
    one.permit(address.ip());
    two.permit(at.ip());
    for caller in [&one, &two] {
        caller.udp_socket().set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let payload = [7; 1000];

    let indication = one.client.send(address, &payload);
    assert_eq!(ping_pong(one.udp_socket(), &indication, &there, (&payload, Some(at)), (1000, 1036)), 0, "Send and Data indications");

    let (to_two, to_one) = (one.client.send(other, &payload), two.client.send(at, &payload));
    let counted = ping_pong(one.udp_socket(), &to_two, two.udp_socket(), (&to_one, None), (1036, 1036));
    assert_eq!(counted, 0, "indications from relay to relay");

    for caller in [&one, &two] {
        caller.udp_socket().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    }
    one.bind(address);
    one.bind(other);
    two.bind(at);
    for caller in [&one, &two] {
        caller.udp_socket().set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let channel_data = one.client.send(address, &payload);
    assert_eq!(ping_pong(one.udp_socket(), &channel_data, &there, (&payload, Some(at)), (1000, 1004)), 0, "ChannelData");

    let (to_two, to_one) = (one.client.send(other, &payload), two.client.send(at, &payload));
    let counted = ping_pong(one.udp_socket(), &to_two, two.udp_socket(), (&to_one, None), (1004, 1004));
    assert_eq!(counted, 0, "ChannelData from relay to relay");
    sleeps();
    // Published at the end of a turn, so the last ones may not be counted yet.
    assert!(relay.counters().relayed_packets > 15 * PACKETS as u64);
}
