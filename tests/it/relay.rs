//! The relay's threads over real sockets on loopback: every transport, both families, one shard and several, and everything that is not a client.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test that cannot go on says where, and a skip is loud")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtcctl::config::Secret;
use rtcctl::net::udp::Socket;
use rtcctl::stun::attr::Family;
use rtcctl::turn::client::Event;
use rtcctl::turn::routes::Transport;
use rtcctl::turn::{Counters, Relay, RelayedAddress, Settings, StartError, TlsClient};

#[path = "support/caller.rs"]
mod caller;

use caller::{Caller, PATIENCE, SECRET, peer, settings};

fn start(settings: Settings) -> (Relay, SocketAddr, SocketAddr) {
    let relay = Relay::start(settings).unwrap();
    let listeners = relay.listeners();
    let of = |v4: bool| listeners.iter().find(|listener| listener.address.is_ipv4() == v4).unwrap().address;
    let (v4, v6) = (of(true), of(false));
    (relay, v4, v6)
}

fn dropped(counters: &Counters, reason: &str) -> u64 {
    counters.drops.iter().find(|(name, _)| *name == reason).unwrap_or_else(|| panic!("no reason {reason}")).1
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A peer sees the relayed address, the client sees the peer: by permission, by channel, for odd sizes and none.
fn echo(caller: &mut Caller, relayed: SocketAddr, peer: &UdpSocket) {
    let there = peer.local_addr().unwrap();
    caller.permit(there.ip());
    let mut buffer = [0; 70_000];
    for bound in [false, true] {
        if bound {
            caller.bind(there);
        }
        for size in [0, 1, 2, 3, 4, 160, 1187, 1440, 8001] {
            let payload: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
            caller.send(there, &payload);
            let (count, source) =
                peer.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{there} from {relayed}, bound: {bound}, size: {size}: {error}"));
            assert_eq!((source, &buffer[..count]), (relayed, &payload[..]), "bound: {bound}");
            let answer: Vec<u8> = payload.iter().rev().copied().collect();
            peer.send_to(&answer, source).unwrap();
            assert_eq!(caller.receive(), (there, answer), "bound: {bound}");
        }
    }
}

/// Two callers that both relay.
fn meet(one: &mut Caller, at: SocketAddr, two: &mut Caller, other: SocketAddr) {
    one.permit(other.ip());
    two.permit(at.ip());
    one.send(other, b"by indication");
    assert_eq!(two.receive(), (at, b"by indication".to_vec()));
    two.bind(at);
    two.send(at, b"by channel");
    assert_eq!(one.receive(), (other, b"by channel".to_vec()));
    one.bind(other);
    one.send(other, b"both bound");
    assert_eq!(two.receive(), (at, b"both bound".to_vec()));
}

fn shard_of(relayed: SocketAddr, settings: &Settings) -> usize {
    usize::from(relayed.port() / 2 - settings.config.relay_ports.first / 2) % settings.config.shards.unwrap()
}

#[test]
fn udp_and_tcp_clients_of_both_families_reach_a_peer_and_back() {
    let (relay, v4, v6) = start(settings(1));
    for (server, family, ip) in [(v4, Family::V4, "127.0.0.1"), (v6, Family::V6, "::1"), (v4, Family::V6, "::1"), (v6, Family::V4, "127.0.0.1")] {
        for mut caller in [Caller::udp(server), Caller::tcp(server)] {
            assert_eq!(caller.mapped().is_ipv4(), server.is_ipv4());
            let relayed = caller.try_allocate(Some(family)).unwrap();
            echo(&mut caller, relayed, &peer(ip));
            caller.refresh(Duration::ZERO);
        }
    }
    eventually("no allocation is left", || relay.counters().allocations_now == 0);
    let counters = relay.counters();
    assert_eq!(counters.allocations_total, 8);
    assert_eq!(counters.relayed_packets, 8 * 2 * 2 * 9);
    assert!(counters.errors.contains(&(401, 8)), "{:?}", counters.errors);
    relay.stop(Duration::ZERO);
}

#[test]
fn a_wildcard_listener_serves_every_address() {
    let mut settings = settings(2);
    settings.listen = vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()];
    let (_relay, v4, v6) = start(settings);
    for server in [SocketAddr::new("127.0.0.7".parse().unwrap(), v4.port()), SocketAddr::new("::1".parse().unwrap(), v6.port())] {
        for mut caller in [Caller::udp(server), Caller::tcp(server)] {
            // The UDP socket is connected: an answer from another address would not arrive.
            let relayed = caller.try_allocate(Some(if server.is_ipv4() { Family::V4 } else { Family::V6 })).unwrap();
            echo(&mut caller, relayed, &peer(if server.is_ipv4() { "127.0.0.1" } else { "::1" }));
        }
    }
}

#[test]
fn a_tls_connection_that_is_handed_over_is_served_with_what_it_held() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let (relay, v4, _) = start(settings(2));
    let (front, tls) = Front::new(&relay);
    for _ in 0..3 {
        let mut caller = Caller::stream(Transport::Tls, front.connect(&tls));
        let relayed = caller.allocate();
        echo(&mut caller, relayed, &peer("127.0.0.1"));
        let mut other = Caller::udp(v4);
        let there = other.allocate();
        meet(&mut caller, relayed, &mut other, there);
    }
    eventually("the allocations end with their connections", || relay.counters().allocations_now == 3);
    relay.stop(Duration::ZERO);
}

#[test]
fn callers_who_both_relay_meet_on_one_shard_and_across_shards() {
    let settings = settings(2);
    let (relay, v4, v6) = start(settings.clone());
    for server in [v4, v6] {
        let family = if server.is_ipv4() { Family::V4 } else { Family::V6 };
        let mut seen = [false; 2];
        let mut rounds = 0;
        // The kernel spreads callers by hash, so enough pairs meet both ways.
        while seen != [true; 2] {
            rounds += 1;
            assert!(rounds < 64, "every pair on one side: {seen:?}");
            let (mut one, mut two) =
                if rounds % 2 == 0 { (Caller::udp(server), Caller::tcp(server)) } else { (Caller::udp(server), Caller::udp(server)) };
            let (at, other) = (one.try_allocate(Some(family)).unwrap(), two.try_allocate(Some(family)).unwrap());
            meet(&mut one, at, &mut two, other);
            seen[usize::from(shard_of(at, &settings) == shard_of(other, &settings))] = true;
        }
    }
    relay.stop(Duration::ZERO);
}

#[test]
fn behind_a_nat_callers_meet_by_the_public_address() {
    let mut settings = settings(2);
    let public = "198.51.100.7".parse().unwrap();
    settings.relayed = vec![RelayedAddress { public, local: "127.0.0.1".parse().unwrap() }];
    settings.config.allow_peers.clear();
    let (_relay, v4, _) = start(settings.clone());
    let mut seen = [false; 2];
    for _ in 0..64 {
        let (mut one, mut two) = (Caller::udp(v4), Caller::udp(v4));
        let (at, other) = (one.allocate(), two.allocate());
        assert_eq!((at.ip(), other.ip()), (public, public));
        meet(&mut one, at, &mut two, other);
        seen[usize::from(shard_of(at, &settings) == shard_of(other, &settings))] = true;
        if seen == [true; 2] {
            return;
        }
    }
    panic!("every pair on one side: {seen:?}");
}

#[test]
fn a_relay_lets_nobody_in_without_permission() {
    let (relay, v4, _) = start(settings(1));
    let (mut one, mut two) = (Caller::udp(v4), Caller::udp(v4));
    let (at, other) = (one.allocate(), two.allocate());
    let stranger = peer("127.0.0.1");
    stranger.send_to(b"knock", at).unwrap();
    one.permit(other.ip());
    one.send(other, b"knock");
    // `two` permitted nobody; `one` permitted the address of everybody here, so the stranger's second knock arrives.
    stranger.send_to(b"again", at).unwrap();
    assert_eq!(one.receive(), (stranger.local_addr().unwrap(), b"again".to_vec()));
    eventually("both knocks are counted", || dropped(&relay.counters(), "peer_not_permitted") == 2);
    assert!(two.drain_data().is_empty());
}

#[test]
fn our_own_listeners_are_not_reachable_through_the_relay() {
    let (relay, v4, _) = start(settings(1));
    let mut caller = Caller::udp(v4);
    let relayed = caller.allocate();
    caller.permit(v4.ip());
    // A Binding request to ourselves would be answered.
    let binding = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    caller.send(v4, &binding);
    eventually("the loop is refused", || dropped(&relay.counters(), "peer_denied") == 1);
    echo(&mut caller, relayed, &peer("127.0.0.1"));
    assert!(caller.drain_data().is_empty());
}

#[test]
fn bursts_are_cut_into_the_datagrams_they_were() {
    let (relay, v4, _) = start(settings(1));
    let mut caller = Caller::udp(v4);
    let relayed = caller.allocate();
    let far = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let there = far.local();
    caller.bind(there);
    let mut other = Caller::udp(v4);
    let other_at = other.allocate();
    other.permit(relayed.ip());
    caller.bind(other_at);
    // 40 datagrams of one size in one send, which the kernel may hand over merged; numbered so that order and content show.
    let payloads: Vec<Vec<u8>> = (0..40u8).map(|i| [vec![i; 999], vec![!i]].concat()).collect();
    for (target, receiver) in [(there, None), (other_at, Some(&mut other))] {
        let frames: Vec<u8> = payloads.iter().flat_map(|payload| caller.client.send(target, payload)).collect();
        send_segmented(caller.udp_socket(), &frames, 1004);
        match receiver {
            None => {
                let mut inbox = rtcctl::net::udp::Inbox::default();
                let mut got = Vec::new();
                eventually("all datagrams arrive at the peer", || {
                    for index in 0..far.receive(&mut inbox).unwrap_or(0) {
                        let received = inbox.received(index);
                        assert_eq!(received.from, relayed);
                        got.extend(received.datagrams().map(|range| inbox.bytes()[range].to_vec()));
                    }
                    got.len() >= 40
                });
                assert_eq!(got, payloads);
            }
            Some(other) => {
                let got: Vec<_> = (0..40).map(|_| other.receive()).collect();
                assert!(got.iter().all(|(source, _)| *source == relayed));
                assert_eq!(got.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), payloads);
            }
        }
    }
    // And back: merged at the relay socket, with a header before each.
    assert_eq!(far.send(relayed, None, &payloads.concat(), 1000), 0);
    let got: Vec<_> = (0..40).map(|_| caller.receive()).collect();
    assert!(got.iter().all(|(source, _)| *source == there));
    assert_eq!(got.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), payloads);
    relay.stop(Duration::ZERO);
}

/// As one merged send, on a socket that does not receive merged.
fn send_segmented(socket: &UdpSocket, bytes: &[u8], segment: i32) {
    use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
    setsockopt(socket, UdpGsoSegment, &segment).unwrap();
    assert_eq!(socket.send(bytes).unwrap(), bytes.len());
    setsockopt(socket, UdpGsoSegment, &0).unwrap();
}

#[test]
fn a_closed_peer_port_harms_nothing() {
    let (_relay, v4, _) = start(settings(1));
    let mut caller = Caller::udp(v4);
    let relayed = caller.allocate();
    let gone = peer("127.0.0.1").local_addr().unwrap();
    caller.permit(gone.ip());
    for _ in 0..20 {
        caller.send(gone, b"anybody?");
    }
    echo(&mut caller, relayed, &peer("127.0.0.1"));
}

#[test]
fn a_slow_tcp_reader_loses_messages_but_neither_parts_nor_answers_nor_others() {
    let (relay, v4, _) = start(settings(1));
    let mut slow = Caller::tcp(v4);
    let at = slow.allocate();
    let flood = peer("127.0.0.1");
    slow.permit(flood.local_addr().unwrap().ip());
    let mut other = Caller::tcp(v4);
    let other_at = other.allocate();
    let other_peer = peer("127.0.0.1");
    let payload = |i: u32| [&i.to_be_bytes()[..], &vec![i as u8; 1000]].concat();
    let mut sent = 0;
    eventually("its queue is full", || {
        for _ in 0..500 {
            flood.send_to(&payload(sent), at).unwrap();
            sent += 1;
        }
        dropped(&relay.counters(), "slow_client") > 0
    });
    // Asked now, answered behind what waits already.
    slow.client.refresh(Instant::now(), Duration::from_secs(600));
    slow.transmit();
    let began = Instant::now();
    echo(&mut other, other_at, &other_peer);
    assert!(began.elapsed() < Duration::from_secs(2), "another client waited {:?}", began.elapsed());
    slow.wait("the answer", |event| matches!(event, Event::Refreshed { .. }).then_some(()));
    let got = slow.drain_data();
    assert!(got.len() < sent as usize && !got.is_empty());
    let numbers: Vec<u32> = got.iter().map(|bytes| u32::from_be_bytes(*bytes.first_chunk().unwrap())).collect();
    assert!(numbers.is_sorted());
    assert!(got.iter().zip(&numbers).all(|(bytes, number)| *bytes == payload(*number)));
    let later = peer("127.0.0.1");
    later.send_to(b"still there?", at).unwrap();
    slow.wait("what comes after the flood", |event| match event {
        Event::Data { peer, bytes } => (*peer == later.local_addr().unwrap() && bytes == b"still there?").then_some(()),
        _ => None,
    });
}

#[test]
fn garbage_everywhere_harms_nobody() {
    let (relay, v4, v6) = start(settings(1));
    let mut caller = Caller::udp(v4);
    let at = caller.allocate();
    let there = peer("127.0.0.1");
    echo(&mut caller, at, &there);
    let garbage = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
        vec![0; 2000],
        vec![0xFF; 2000],
        vec![0x40; 2000],
        vec![0x00, 0x16, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42],
        vec![],
    ];
    for server in [v4, v6] {
        let stranger = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
        for (index, bytes) in garbage.iter().enumerate() {
            stranger.send_to(bytes, server).unwrap();
            caller.write(bytes);
            let mut stream = TcpStream::connect(server).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(bytes).unwrap();
            // "GE" and "@@" are channel numbers, and the last two may still become something; the rest is closed at once.
            if (1..=5).contains(&index) {
                let end = stream.read(&mut [0; 64]);
                assert!(matches!(end, Ok(0) | Err(_)) && !end.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "{index}");
            }
        }
        stranger.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(stranger.recv(&mut [0; 100]).is_err(), "garbage is not answered");
    }
    echo(&mut caller, at, &there);
    let counters = relay.counters();
    assert!(dropped(&counters, "connection_not_turn") >= 10 && dropped(&counters, "not_turn") >= 4, "{counters:?}");
}

#[test]
fn junk_does_not_starve_a_call() {
    let (_relay, v4, _) = start(settings(1));
    let mut caller = Caller::udp(v4);
    let at = caller.allocate();
    let there = peer("127.0.0.1");
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flood = std::thread::spawn({
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !stop.load(Ordering::Relaxed) {
                for first in [0u8, 0x40, 0x16, 0xFF] {
                    let _ = socket.send_to(&[first; 200], v4);
                    let _ = socket.send_to(&[first; 200], at);
                    sent.fetch_add(2, Ordering::Relaxed);
                }
            }
        }
    });
    caller.permit(there.local_addr().unwrap().ip());
    eventually("the flood flows", || sent.load(Ordering::Relaxed) > 1000);
    let before = sent.load(Ordering::Relaxed);
    let mut buffer = [0; 100];
    there.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // UDP may lose some of ours among the junk; a call needs most of them.
    let (mut spoken, mut arrived) = (0, 0);
    while spoken < 100 || sent.load(Ordering::Relaxed) < before + 10_000 {
        spoken += 1;
        caller.send(there.local_addr().unwrap(), b"voice");
        while let Ok((count, from)) = there.recv_from(&mut buffer) {
            if from == at && &buffer[..count] == b"voice" {
                arrived += 1;
                break;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert!(arrived * 10 >= spoken * 6, "{arrived} of {spoken}");
}

#[test]
fn three_hundred_idle_connections_keep_nobody_out() {
    let (relay, v4, _) = start(settings(2));
    let idle: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(v4).unwrap()).collect();
    let began = Instant::now();
    for mut caller in [Caller::tcp(v4), Caller::udp(v4)] {
        let at = caller.allocate();
        echo(&mut caller, at, &peer("127.0.0.1"));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(idle);
    relay.stop(Duration::ZERO);
}

/// The relay lives in a process of its own here, because its last descriptors are taken away.
#[test]
fn without_descriptors_it_neither_spins_nor_stops_serving() {
    const CHILD: &str = "RTCCTL_TEST_DESCRIPTORS";
    if std::env::var_os(CHILD).is_some() {
        return starve();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "relay::without_descriptors_it_neither_spins_nor_stops_serving", "--nocapture"])
        .env(CHILD, "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let server: SocketAddr = lines.by_ref().find_map(|line| line.unwrap().split("serving ").nth(1).map(|address| address.parse().unwrap())).unwrap();
    let mut caller = Caller::udp(server);
    let waiting: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(server).unwrap()).collect();
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<u64> = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap()).collect();
        fields.iter().sum::<u64>()
    };
    caller.mapped();
    let before = cpu();
    std::thread::sleep(Duration::from_millis(1000));
    let spent = cpu() - before;
    assert!(spent <= 20, "{spent} ticks of 10 ms in one second");
    caller.mapped();
    assert_eq!(caller.try_allocate(None), Err(508));
    drop(child.stdin.take());
    eventually("descriptors are free again", || Caller::udp(server).try_allocate(None).is_ok());
    Caller::tcp(server).allocate();
    drop(waiting);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Serves, with no descriptor left until stdin ends; then for ever.
fn starve() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (relay, v4, _) = start(settings(1));
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 128, hard).unwrap();
    let mut taken: Vec<std::fs::File> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(taken.len() > 20);
    println!("serving {v4}");
    let _ = std::io::stdin().read(&mut [0; 1]);
    taken.clear();
    loop {
        std::thread::park();
        assert!(relay.is_running());
    }
}

#[test]
fn a_closed_connection_gives_its_allocation_back() {
    let (relay, v4, _) = start(settings(1));
    let mut caller = Caller::tcp(v4);
    caller.allocate();
    eventually("it is counted", || relay.counters().allocations_now == 1);
    drop(caller);
    eventually("it is gone", || relay.counters().allocations_now == 0);
}

#[test]
fn more_than_the_bandwidth_is_dropped_each_way() {
    let mut settings = settings(1);
    settings.config.max_bandwidth = Some(80_000);
    let (relay, v4, _) = start(settings);
    let mut caller = Caller::udp(v4);
    let at = caller.allocate();
    let there = peer("127.0.0.1");
    caller.permit(there.local_addr().unwrap().ip());
    for _ in 0..200 {
        caller.send(there.local_addr().unwrap(), &[1; 1000]);
    }
    eventually("what the client sends is capped", || dropped(&relay.counters(), "bandwidth") >= 100);
    let capped = dropped(&relay.counters(), "bandwidth");
    for _ in 0..200 {
        there.send_to(&[2; 1000], at).unwrap();
    }
    eventually("what the peer sends is capped", || dropped(&relay.counters(), "bandwidth") >= capped + 100);
    let counters = relay.counters();
    assert!((130..=200).contains(&counters.relayed_packets), "{counters:?}");
}

#[test]
fn secrets_are_swapped_while_it_runs() {
    let settings = settings(1);
    let secrets = Arc::clone(&settings.secrets);
    let (_relay, v4, _) = start(settings);
    let mut old = Caller::udp(v4);
    let at = old.allocate();
    assert_eq!(Caller::udp_with_secret(v4, b"the next").try_allocate(None), Err(401));
    secrets.store(Arc::new(vec![Secret::new(*b"the next"), Secret::new(SECRET)]));
    Caller::udp_with_secret(v4, b"the next").allocate();
    Caller::udp(v4).allocate();
    secrets.store(Arc::new(vec![Secret::new(*b"the next")]));
    assert_eq!(Caller::udp(v4).try_allocate(None), Err(401));
    echo(&mut old, at, &peer("127.0.0.1"));
}

#[test]
fn new_relayed_addresses_are_for_new_allocations() {
    let (relay, v4, _) = start(settings(1));
    let mut old = Caller::udp(v4);
    let at = old.allocate();
    relay.set_relayed(vec![RelayedAddress { public: "127.0.0.5".parse().unwrap(), local: "127.0.0.5".parse().unwrap() }]);
    let mut new = Caller::udp(v4);
    let other = new.allocate();
    assert_eq!(other.ip().to_string(), "127.0.0.5");
    meet(&mut old, at, &mut new, other);
}

#[test]
fn stopping_waits_for_calls_as_long_as_it_may_and_takes_no_new_ones() {
    let (relay, ..) = start(settings(2));
    let began = Instant::now();
    relay.stop(Duration::from_secs(60));
    assert!(began.elapsed() < Duration::from_secs(5), "an idle relay stops at once");

    // Calls on two shards of four: the empty ones must stay, or the kernel would spread the others' packets anew.
    let settings = settings(4);
    let (relay, v4, _) = start(settings.clone());
    let mut calls: Vec<(Caller, SocketAddr)> = Vec::new();
    for _ in 0..24 {
        let mut caller = Caller::udp(v4);
        let at = caller.allocate();
        let mut shards: Vec<usize> = calls.iter().map(|(_, at)| shard_of(*at, &settings)).collect();
        shards.push(shard_of(at, &settings));
        shards.sort_unstable();
        shards.dedup();
        if shards.len() <= 2 { calls.push((caller, at)) } else { caller.refresh(Duration::ZERO) }
    }
    let stopping = std::thread::spawn(move || relay.stop(Duration::from_secs(60)));
    eventually("it accepts no more", || TcpStream::connect(v4).is_err());
    assert_eq!(Caller::udp(v4).try_allocate(None), Err(508));
    for (caller, at) in &mut calls {
        echo(caller, *at, &peer("127.0.0.1"));
    }
    assert!(!stopping.is_finished());
    for (caller, _) in &mut calls {
        caller.refresh(Duration::ZERO);
    }
    eventually("the last call has ended", || stopping.is_finished());
    stopping.join().unwrap();

    let (relay, v4, _) = start(caller::settings(1));
    let mut caller = Caller::udp(v4);
    caller.allocate();
    let began = Instant::now();
    relay.stop(Duration::from_millis(300));
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(UdpSocket::bind(v4).is_ok(), "its ports are free again");
}

#[test]
fn a_port_in_use_is_reported_by_address_and_protocol() {
    let (relay, v4, _) = start(settings(2));
    let mut second = settings(2);
    second.listen = vec![v4.ip()];
    second.config.ports = vec![v4.port()];
    let Err(error @ StartError::Bind { .. }) = Relay::start(second) else { panic!("two relays on one port") };
    assert!(error.to_string().starts_with(&format!("bind {v4} udp: ")), "{error}");
    let StartError::Bind { source, .. } = error else { unreachable!() };
    assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
    drop(relay);
}

#[test]
fn coturns_client_is_content() {
    if Command::new("turnutils_uclient").arg("-h").output().is_err() {
        assert_ne!(std::env::var("RTCCTL_REQUIRE").as_deref(), Ok("all"), "turnutils_uclient (package coturn) is required");
        eprintln!("SKIPPED: turnutils_uclient (package coturn) is not installed; no foreign client has tried the relay");
        return;
    }
    let (relay, v4, _) = start(settings(2));
    let (secret, port) = (std::str::from_utf8(SECRET).unwrap(), v4.port().to_string());
    // Two clients speak to each other by Send (-s): for channels it draws numbers of RFC 5766 (0x4000-0x7FFF), of which RFC 8656 left a quarter.
    let fixed = ["-s", "-y", "-n", "40", "-z", "5", "-l", "171", "-u", "tester", "-W", secret, "-p", &port];
    for transport in [&[][..], &["-t"]] {
        let output = Command::new("turnutils_uclient").args(fixed).args(transport).arg("127.0.0.1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{transport:?}: {said}");
        assert!(said.contains("Total lost packets 0 (0.000000%)"), "{transport:?}: {said}");
        assert!(said.contains("tot_send_msgs=160, tot_recv_msgs=160"), "{transport:?}: {said}");
    }
    relay.stop(Duration::ZERO);
}

/// What `serve::front` does: shakes hands and hands the connection over.
struct Front {
    address: SocketAddr,
    _thread: std::thread::JoinHandle<()>,
}

impl Front {
    fn new(relay: &Relay) -> (Self, Arc<rustls::ClientConfig>) {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (intake, server) = (relay.intake(), Arc::new(server));
        let thread = std::thread::spawn(move || {
            while let Ok((mut tcp, client)) = listener.accept() {
                let mut tls = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
                // Until the first message is decrypted inside, as the front does to tell TURN from HTTP.
                while tls.is_handshaking() || tls.process_new_packets().unwrap().plaintext_bytes_to_read() == 0 {
                    if tls.complete_io(&mut tcp).is_err() {
                        break;
                    }
                }
                let server = tcp.local_addr().unwrap();
                intake.accept(TlsClient { tcp, tls, client, server });
            }
        });
        (Self { address, _thread: thread }, Arc::new(client))
    }

    fn connect(&self, config: &Arc<rustls::ClientConfig>) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let tls = rustls::ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
        rustls::StreamOwned::new(tls, tcp)
    }
}
