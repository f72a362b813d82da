//! CPU time per relayed packet, ours and coturn's in the same run and under the same load: `cargo bench --bench relay`.
//!
//! Both relays are processes of their own with one thread for relaying. The figure to look at is the ratio: absolute times are the machine's.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and one that cannot go on says where")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rtcctl::turn::Relay;

#[path = "../it/support/caller.rs"]
mod caller;

use caller::{Caller, SECRET, peer, settings};

/// Calls at once; each sends video frames both ways.
const CALLS: usize = 40;
/// Packets of one frame, and their bytes.
const FRAME: (usize, usize) = (7, 1200);
const FRAMES_PER_SECOND: u32 = 30;
const SECONDS: u32 = 5;

fn main() {
    if std::env::args().any(|argument| argument == "--serve") {
        return serve();
    }
    let ours = measure("rtcctl", &mut start_ours());
    let Some(mut coturn) = start_coturn() else {
        println!("SKIPPED: turnserver (package coturn) is not installed; nothing to compare with");
        return;
    };
    let theirs = measure("coturn", &mut coturn);
    println!("ratio   {:.2} (ours / coturn)", ours / theirs);
}

/// A relay in a child process, ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    /// What it writes meanwhile.
    _files: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() {
    let relay = Relay::start(settings(1)).unwrap();
    println!("{}", relay.listeners()[0].address);
    // Until the parent goes away.
    let _ = std::io::stdin().read(&mut [0; 1]);
}

fn start_ours() -> Server {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server { child, address: line.trim().parse().unwrap(), _files: None }
}

fn start_coturn() -> Option<Server> {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = free.port().to_string();
    let secret = std::str::from_utf8(SECRET).unwrap();
    let fixed = ["-n", "--no-cli", "--no-tls", "--no-dtls", "--allow-loopback-peers", "--use-auth-secret", "--realm=test", "--relay-threads=1"];
    let own = ["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--log-file=stdout"];
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let mut command = Command::new("turnserver");
    command.args(fixed).args(own).args(["--listening-port", &port, "--static-auth-secret", secret]);
    command.args(["--pidfile", &path("pid"), "--userdb", &path("users")]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    Some(Server { child, address: free, _files: Some(files) })
}

struct Call {
    caller: Caller,
    peer: UdpSocket,
    relayed: SocketAddr,
    frame: Vec<Vec<u8>>,
}

fn measure(name: &str, server: &mut Server) -> f64 {
    let mut calls: Vec<Call> = (0..CALLS).map(|_| call(server.address)).collect();
    let before = cpu(server.child.id());
    let (began, mut arrived, mut sent) = (Instant::now(), 0_usize, 0_usize);
    for round in 0..FRAMES_PER_SECOND * SECONDS {
        for call in &mut calls {
            sent += speak(call);
        }
        let next = began + Duration::from_secs(1) / FRAMES_PER_SECOND * (round + 1);
        loop {
            arrived += calls.iter().map(hear).sum::<usize>();
            let Some(rest) = next.checked_duration_since(Instant::now()) else { break };
            std::thread::sleep(rest.min(Duration::from_millis(5)));
        }
    }
    arrived += calls.iter().map(hear).sum::<usize>();
    let spent = cpu(server.child.id()) - before;
    let each = spent.as_secs_f64() * 1e6 / arrived as f64;
    let lost = 100.0 * (sent - arrived) as f64 / sent as f64;
    println!("{name}  {each:.2} us of CPU per relayed packet, {arrived} packets in {SECONDS} s, {lost:.2} % lost");
    each
}

fn call(server: SocketAddr) -> Call {
    let mut caller = Caller::udp(server);
    let relayed = caller.allocate();
    let peer = peer("127.0.0.1");
    let there = peer.local_addr().unwrap();
    caller.bind(there);
    let frame = (0..FRAME.0).map(|i| caller.client.send(there, &vec![i as u8; FRAME.1])).collect();
    peer.set_nonblocking(true).unwrap();
    caller.udp_socket().set_nonblocking(true).unwrap();
    Call { caller, peer, relayed, frame }
}

/// One frame each way, packet by packet as browsers send.
fn speak(call: &Call) -> usize {
    for packet in &call.frame {
        call.caller.udp_socket().send(packet).unwrap();
        call.peer.send_to(&packet[4..], call.relayed).unwrap();
    }
    2 * call.frame.len()
}

fn hear(call: &Call) -> usize {
    let mut buffer = [0; 2000];
    let mut count = 0;
    while call.caller.udp_socket().recv(&mut buffer).is_ok() {
        count += 1;
    }
    while call.peer.recv(&mut buffer).is_ok() {
        count += 1;
    }
    count
}

/// User and system time of all threads so far.
fn cpu(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanoseconds = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(threads.flatten().map(nanoseconds).sum())
}
