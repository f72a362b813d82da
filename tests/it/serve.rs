//! The daemon as it runs: the real binary, real sockets, a state directory of its own, ports of the kernel's choice.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream as StdTcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header;
use rtcctl::net::tls;
use rtcctl::telemetry::status;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Anything that is polled for is there by then, or the test fails.
const SOON: Duration = Duration::from_secs(20);
/// What an orderly end may take.
const STOPPED: Duration = Duration::from_secs(5);
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[tokio::test]
async fn pages_and_files_come_over_both_versions_of_http() {
    let daemon = Daemon::start();
    for (client, version) in [(daemon.http1(), reqwest::Version::HTTP_11), (daemon.http2(), reqwest::Version::HTTP_2)] {
        let landing = client.get(daemon.url("/")).send().await.unwrap();
        assert_eq!((landing.status().as_u16(), landing.version()), (200, version));
        assert!(landing.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        let room = client.get(daemon.url("//r/my-room")).send().await.unwrap().text().await.unwrap();
        assert!(room.contains("roomId: 'my-room'"), "{room}");
        let style = client.get(daemon.url("/assets/style.css")).send().await.unwrap();
        let etag = style.headers()[header::ETAG].clone();
        let again = client.get(daemon.url("/assets/style.css")).header(header::IF_NONE_MATCH, etag).send().await.unwrap();
        assert_eq!(again.status(), 304);
        assert_eq!(client.get(daemon.url("/some/where")).send().await.unwrap().status(), 404);
        assert_eq!(client.post(daemon.url("/healthz")).send().await.unwrap().status(), 405);
        let health: Value = client.get(daemon.url("/healthz")).send().await.unwrap().json().await.unwrap();
        assert_eq!(health["ok"], true, "{health}");
    }
}

#[tokio::test]
async fn plain_http_hands_out_the_ca_that_vouches_for_https() {
    let daemon = Daemon::start();
    let client = plain_client();
    let plain = |path: &str| format!("http://127.0.0.1:{}{path}", daemon.http);
    let der = client.get(plain("/ca/ca.crt")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(CertificateDer::from(der.to_vec()), daemon.ca());
    let profile = client.get(plain("/ca/rtcctl.mobileconfig")).send().await.unwrap();
    assert_eq!(profile.headers()[header::CONTENT_TYPE], "application/x-apple-aspen-config");
    let page = client.get(plain("/ca")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&format!("https://127.0.0.1:{}", daemon.https)));

    let moved = client.get(plain("/r/x?hd=true")).send().await.unwrap();
    let location = moved.headers()[header::LOCATION].to_str().unwrap().to_owned();
    assert_eq!((moved.status().as_u16(), location), (308, daemon.url("/r/x?hd=true")));
    // The TLS port knows plain HTTP when it hears it.
    let missed = client.get(format!("http://127.0.0.1:{}/r/x", daemon.https)).send().await.unwrap();
    assert_eq!(missed.headers()[header::LOCATION].to_str().unwrap(), daemon.url("/r/x"));
}

#[tokio::test]
async fn links_carry_the_name_that_was_asked_and_never_a_foreign_one() {
    let daemon = Daemon::start();
    let client = daemon.http1();
    let https = daemon.https;
    for (host, expected) in [
        (format!("127.0.0.1:{https}"), format!("wss://127.0.0.1:{https}/")),
        (format!("call.test:{https}"), format!("wss://call.test:{https}/")),
        ("evil.test".to_owned(), format!("wss://127.0.0.1:{https}/")),
    ] {
        let answer = client.post(daemon.url("/join/origins")).header(header::HOST, &host).send().await.unwrap();
        let joined: Value = answer.json().await.unwrap();
        let wss = joined["params"]["wss_url"].as_str().unwrap_or_else(|| panic!("{host}: {joined}"));
        assert!(wss.starts_with(&expected), "{host}: {wss}");
        let (room, client_id) = (joined["params"]["room_id"].as_str().unwrap(), joined["params"]["client_id"].as_str().unwrap());
        client.post(daemon.url(&format!("/leave/{room}/{client_id}"))).send().await.unwrap();
    }
}

#[tokio::test]
async fn a_websocket_opens_over_both_versions_of_http() {
    let daemon = Daemon::start();
    let mut first = daemon.websocket().await;
    first.send(Message::Ping("a".into())).await.unwrap();
    assert_eq!(next(&mut first).await, Message::Pong("a".into()));

    let tls = daemon.tls(&daemon.ca(), Some("h2")).await.unwrap();
    let (mut requests, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(connection);
    // Extended CONNECT may be used once the server has said so (RFC 8441 §3): an answer comes after its settings.
    let empty = || http_body_util::Empty::<bytes::Bytes>::new();
    let request = http::Request::get(daemon.url("/healthz")).body(empty()).unwrap();
    assert_eq!(requests.send_request(request).await.unwrap().status(), 200);
    let mut request = http::Request::connect(daemon.url("/ws")).header("sec-websocket-version", "13").body(empty()).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = requests.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut second = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    second.send(Message::Ping("b".into())).await.unwrap();
    assert_eq!(next(&mut second).await, Message::Pong("b".into()));
}

#[tokio::test]
async fn turn_is_answered_on_the_https_port_with_and_without_alpn() {
    let daemon = Daemon::start();
    for alpn in [Some("stun.turn"), Some("stun.nat-discovery"), None] {
        let mut tls = daemon.tls(&daemon.ca(), alpn).await.unwrap();
        let transaction = [7; 12];
        let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        binding.extend(transaction);
        tls.write_all(&binding).await.unwrap();
        let mut head = [0; 20];
        tokio::time::timeout(SOON, tls.read_exact(&mut head)).await.expect("an answer").unwrap();
        assert_eq!((&head[..2], &head[8..]), (&[1, 1][..], &transaction[..]), "{alpn:?}: a Binding success (RFC 8489 §6)");
    }
}

#[tokio::test]
async fn silent_clients_delay_nobody() {
    let daemon = Daemon::start();
    let silent: Vec<_> = (0..100).map(|_| StdTcpStream::connect((LOCALHOST, daemon.https)).unwrap()).collect();
    let start = Instant::now();
    assert_eq!(daemon.http1().get(daemon.url("/healthz")).send().await.unwrap().status(), 200);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(silent);
}

#[tokio::test]
async fn devices_that_do_not_trust_us_are_seen() {
    let daemon = Daemon::start();
    let made = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
    daemon.tls(made.cert.der(), None).await.expect_err("not our CA");
    let warning = "1 device does not trust this certificate: it needs /ca";
    eventually(|| daemon.status().warnings.iter().any(|said| said == warning)).await;
    let metrics = daemon.metrics().await;
    assert!(metrics.lines().any(|line| line.starts_with("rtcctl_tls_alerts_total{reason=\"unknown_ca\"} 1")), "{metrics}");
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let daemon = Daemon::start();
    let text = daemon.metrics().await;
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(name.starts_with("rtcctl_"), "{line}");
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
    }
    for name in ["rtcctl_turn_allocations 0", "rtcctl_signal_rooms 0", "rtcctl_connections_total{fate=\"http1\"}", "rtcctl_build_info{version="] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
    }
    let over_admin = daemon.ask("metrics");
    assert!(over_admin["text"].as_str().unwrap().ends_with("# EOF\n"));
}

#[test]
fn status_lists_every_listener() {
    let daemon = Daemon::start();
    let status = daemon.status();
    assert_eq!((status.link, status.pid, status.ready), (daemon.url("/"), daemon.child.id(), true));
    let has = |protocol: &str, address: &str| status.listeners.iter().any(|l| (l.protocol.as_str(), l.address.as_str()) == (protocol, address));
    for (protocol, port) in [("tcp", daemon.https), ("tcp", daemon.http), ("udp", daemon.turn), ("tcp", daemon.turn)] {
        assert!(has(protocol, &format!("127.0.0.1:{port}")), "{protocol} {port}: {:?}", status.listeners);
    }
    assert!(has("unix", &daemon.socket().display().to_string()));
    assert!(status.certificate.names.iter().any(|name| name == "call.test"), "{:?}", status.certificate);
}

#[test]
fn the_admin_socket_answers_nonsense_in_words() {
    let daemon = Daemon::start();
    for (line, expected) in
        [("hello\n", "a request is {"), ("{\"verb\":\"dance\"}\n", "no such verb: dance"), (&"x".repeat(9000), "one line of JSON")]
    {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // It may hang up in the middle of an endless line.
        let _ = stream.write_all(line.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        if BufReader::new(stream).read_line(&mut answer).is_ok() && !answer.is_empty() {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert!(answer["error"].as_str().unwrap().contains(expected), "{answer}");
        } else {
            assert!(line.len() > 4096, "only an endless line may be reset");
        }
    }
    assert!(daemon.status().ready);
}

#[tokio::test]
async fn sigterm_ends_in_order_while_websockets_are_open() {
    let mut daemon = Daemon::start();
    let mut socket = daemon.websocket().await;
    let _tls = daemon.tls(&daemon.ca(), Some("h2")).await.unwrap();
    daemon.signal(Signal::SIGTERM);
    let closing = tokio::time::timeout(STOPPED, socket.next()).await.expect("told before the end");
    match closing {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("not closed in words: {other:?}"),
    }
    drop(socket);
    assert_eq!(daemon.ended(STOPPED).code(), Some(0), "{}", daemon.log());
    assert!(!daemon.socket().exists());
    StdTcpStream::connect((LOCALHOST, daemon.https)).expect_err("nobody listens any more");
}

#[test]
fn ctrl_c_and_the_stop_verb_end_it_too() {
    let mut daemon = Daemon::start();
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.ended(STOPPED).code(), Some(130), "{}", daemon.log());
    let mut daemon = Daemon::start();
    assert_eq!(daemon.ask("stop")["ok"], true);
    assert_eq!(daemon.ended(STOPPED).code(), Some(0), "{}", daemon.log());
}

#[test]
fn systemd_hears_of_readiness_of_life_and_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut daemon = Daemon::start_by("", |home| {
        let mut command = home.command();
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
        home.spawn_as(command)
    });
    let mut heard = String::new();
    let mut hear_until = |word: &str| {
        let mut bytes = [0; 512];
        while !heard.contains(word) {
            let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{word} never came ({error}): {heard}"));
            heard.push_str(&String::from_utf8_lossy(&bytes[..length]));
            heard.push('\n');
        }
        std::mem::take(&mut heard)
    };
    let said = hear_until("READY=1");
    assert!(said.contains(&format!("STATUS={}", daemon.url("/"))), "{said}");
    hear_until("WATCHDOG=1");
    hear_until("WATCHDOG=1");
    daemon.signal(Signal::SIGTERM);
    hear_until("STOPPING=1");
    assert_eq!(daemon.ended(STOPPED).code(), Some(0));
}

#[test]
fn a_second_daemon_is_refused_and_the_first_stays_well() {
    let daemon = Daemon::start();
    let second = daemon.home.serve_and_wait();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("already running (pid {})", daemon.child.id())), "{said}");
    assert!(daemon.status().ready);
}

#[test]
fn what_a_killed_daemon_leaves_behind_does_not_stop_the_next() {
    let mut daemon = Daemon::start();
    daemon.signal(Signal::SIGKILL);
    daemon.ended(STOPPED);
    assert!(daemon.socket().exists(), "a killed daemon cannot clean up");
    let ca = daemon.ca();
    let next = daemon.restart();
    assert!(next.status().ready);
    assert_eq!(next.ca(), ca, "devices that trust it need not trust anew");
}

#[test]
fn a_held_port_is_named() {
    let holder = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = holder.local_addr().unwrap();
    let home = Home::new(&Ports { https: address.port(), ..Ports::free() }, "");
    let refused = home.serve_and_wait();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("{address} tcp is held by another program")), "{said}");
}

#[tokio::test]
async fn own_files_are_reloaded_and_broken_ones_never_replace_them() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let write = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        fs::write(&chain, pair.cert.pem()).unwrap();
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    };
    let issue = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (first, second) = (issue(), issue());
    write(&first);
    let config = format!("[cert]\nca = \"files\"\nchain = \"{}\"\nkey = \"{}\"\n", chain.display(), key.display());
    let daemon = Daemon::start_with(&config);
    let mut open = daemon.tls(first.cert.der(), Some("http/1.1")).await.expect("the first pair");

    write(&second);
    assert_eq!(daemon.ask("reload-certificate")["ok"], true);
    daemon.tls(second.cert.der(), Some("http/1.1")).await.expect("the second pair");
    fs::write(&key, first.signing_key.serialize_pem()).unwrap();
    let refused = daemon.ask("reload-certificate");
    assert!(refused["error"].as_str().unwrap().contains("the old one stays"), "{refused}");
    assert!(daemon.status().warnings.iter().any(|warning| warning.contains("the old one stays")));
    daemon.tls(second.cert.der(), Some("http/1.1")).await.expect("still the second pair");
    write(&second);
    assert_eq!(daemon.ask("reload-certificate")["ok"], true);
    assert!(!daemon.status().warnings.iter().any(|warning| warning.contains("the old one stays")), "mended is mended");

    open.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, open.read_to_string(&mut answer)).await.expect("open connections live on").ok();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut daemon = Daemon::start();
    // A request whose body never ends holds the first, orderly end back.
    let mut slow = daemon.tls(&daemon.ca(), Some("http/1.1")).await.unwrap();
    slow.write_all(b"POST /join/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
    eventually(|| daemon.ask("metrics")["text"].as_str().unwrap().contains("rtcctl_connections_total{fate=\"http1\"} 1")).await;
    daemon.signal(Signal::SIGTERM);
    eventually(|| daemon.log().contains("stopping")).await;
    daemon.signal(Signal::SIGTERM);
    let start = Instant::now();
    let code = daemon.ended(STOPPED).code();
    // Either the first end was quicker than our second signal, or the second one cut it short.
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_flood_of_connections_leaves_descriptors_for_the_operator_and_does_not_spin() {
    let daemon = Daemon::start_limited(48);
    let held: Vec<_> = (0..100).filter_map(|_| StdTcpStream::connect((LOCALHOST, daemon.https)).ok()).collect();
    let before = daemon.cpu_ticks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(daemon.status().pid, daemon.child.id(), "the admin socket still has a descriptor to answer with");
    let spent = daemon.cpu_ticks() - before;
    assert!(spent < 20, "{spent} hundredths of a second of CPU in one second of waiting");
    drop(held);
    let deadline = Instant::now() + SOON;
    // The seats of the flood are free as soon as the daemon has seen them close.
    while !daemon.http1().get(daemon.url("/healthz")).send().await.is_ok_and(|answer| answer.status() == 200) {
        assert!(Instant::now() < deadline, "no new connection after the flood");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_machine_that_moves_to_another_network_gets_a_new_leaf_and_says_the_new_link() {
    let Some(net) = Namespace::make("10.99.7.1/24") else { return };
    let daemon = Daemon::start_by("", |home| {
        let config = fs::read_to_string(home.path("rtcctl.toml")).unwrap();
        let everywhere = config.replace("address = \"127.0.0.1\"", "address = \"lan\"").replace("listen = [\"127.0.0.1\"]\nhttps", "https");
        fs::write(home.path("rtcctl.toml"), everywhere).unwrap();
        home.spawn_as(net.exec(&home.command()))
    });
    assert_eq!(daemon.status().link, format!("https://10.99.7.1:{}/", daemon.https));
    let ca = daemon.ca();

    net.ip("address add 10.99.8.2/24 dev lo");
    net.ip("address del 10.99.7.1/24 dev lo");
    let said = daemon.ask("reload-certificate");
    assert!(said["message"].as_str().unwrap_or_default().starts_with("issued a certificate for 10.99.8.2"), "{said}");
    let status = daemon.status();
    let link = format!("https://10.99.8.2:{}/", daemon.https);
    assert_eq!(status.link, link);
    assert!(status.warnings.contains(&format!("the link has changed: it is now {link}")), "{:?}", status.warnings);
    assert!(status.certificate.names.contains(&"10.99.8.2".to_owned()), "{:?}", status.certificate);
    assert_eq!(daemon.ca(), ca, "devices need not trust anew");
}

/// One running daemon. Dropping it kills it.
struct Daemon {
    child: Child,
    home: Home,
    https: u16,
    http: u16,
    turn: u16,
}

/// Config, state and log of one daemon.
struct Home {
    folder: tempfile::TempDir,
}

struct Ports {
    https: u16,
    http: u16,
    turn: u16,
}

impl Ports {
    /// Free a moment ago. Whoever starts something on them looks whether it came up and tries again.
    fn free() -> Self {
        let held: Vec<_> = (0..3).map(|_| TcpListener::bind((LOCALHOST, 0)).unwrap()).collect();
        let port = |n: usize| held[n].local_addr().unwrap().port();
        Self { https: port(0), http: port(1), turn: port(2) }
    }
}

impl Home {
    fn new(ports: &Ports, more: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        let Ports { https, http, turn } = ports;
        let config = format!(
            "[site]\naddress = \"127.0.0.1\"\naliases = [\"call.test\"]\nlisten = [\"127.0.0.1\"]\nhttps_port = {https}\nhttp_port = {http}\n\
             [turn]\nports = [{turn}]\nshards = 1\n[metrics]\nlisten = \"127.0.0.1:0\"\n{more}"
        );
        fs::write(home.path("rtcctl.toml"), config).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtcctl"));
        command.env_clear().env("HOME", self.folder.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg("--config").arg(self.path("rtcctl.toml")).arg("--state").arg(self.path("state")).arg("serve").stdin(Stdio::null());
        command
    }

    fn spawn(&self) -> Child {
        self.spawn_as(self.command())
    }

    fn spawn_as(&self, mut command: Command) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// For daemons that refuse to start.
    fn serve_and_wait(&self) -> Output {
        let child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut child = KillOnDrop(Some(child));
        wait(child.0.as_mut().unwrap(), SOON);
        child.0.take().unwrap().wait_with_output().unwrap()
    }
}

/// A network of our own with one address on its only interface. Dropping it removes it.
struct Namespace {
    name: String,
}

impl Namespace {
    /// `None`, said loudly, where namespaces cannot be had; a failure when everything is required.
    fn make(address: &str) -> Option<Self> {
        let name = format!("rtcctl-serve-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        if !made.as_ref().is_ok_and(|made| made.status.success()) {
            assert_ne!(std::env::var("RTCCTL_REQUIRE").as_deref(), Ok("all"), "no network namespace to be had: {made:?}");
            #[allow(clippy::print_stderr, reason = "a test that did not run must be seen")]
            {
                eprintln!("SKIPPED: a network namespace needs root and iproute2: {made:?}");
            }
            return None;
        }
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace.ip(&format!("address add {address} dev lo"));
        Some(namespace)
    }

    fn ip(&self, words: &str) {
        let done = Command::new("ip").args(["-n", &self.name]).args(words.split(' ')).output().unwrap();
        assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn exec(&self, inner: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?)))).stdin(Stdio::null());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

struct KillOnDrop(Option<Child>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Daemon {
    fn start() -> Self {
        Self::start_with("")
    }

    /// `config`: further sections.
    fn start_with(config: &str) -> Self {
        Self::start_by(config, Home::spawn)
    }

    /// With so many descriptors and no more.
    fn start_limited(descriptors: u32) -> Self {
        Self::start_by("", |home| {
            let serve = home.command();
            let mut shell = Command::new("sh");
            shell.env_clear().envs(serve.get_envs().filter_map(|(key, value)| Some((key, value?)))).stdin(Stdio::null());
            shell.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")).arg(serve.get_program()).args(serve.get_args());
            home.spawn_as(shell)
        })
    }

    fn start_by(config: &str, spawn: impl Fn(&Home) -> Child) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        for _ in 0..5 {
            let ports = Ports::free();
            let home = Home::new(&ports, config);
            let child = spawn(&home);
            let Ports { https, http, turn } = ports;
            let mut daemon = Self { child, home, https, http, turn };
            if daemon.comes_up() {
                return daemon;
            }
            assert!(daemon.log().contains("is held by another program"), "it did not come up: {}", daemon.log());
        }
        panic!("no free ports");
    }

    /// In the same home, after it has ended.
    fn restart(mut self) -> Self {
        self.child = self.home.spawn();
        assert!(self.comes_up(), "{}", self.log());
        self
    }

    fn comes_up(&mut self) -> bool {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if status::ask(&self.socket(), "status", SOON).is_ok_and(|status| status["ready"] == true) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn socket(&self) -> PathBuf {
        self.home.path("state/run/admin.sock")
    }

    fn ask(&self, verb: &str) -> Value {
        status::ask(&self.socket(), verb, SOON).unwrap()
    }

    fn status(&self) -> status::Status {
        serde_json::from_value(self.ask("status")).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path("log")).unwrap_or_default()
    }

    /// User and system time so far, in hundredths of a second (proc(5)).
    fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn ended(&mut self, deadline: Duration) -> ExitStatus {
        wait(&mut self.child, deadline)
    }

    fn ca(&self) -> CertificateDer<'static> {
        ca_of(&self.home.path("state"))
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.https)
    }

    fn http1(&self) -> reqwest::Client {
        self.client().http1_only().build().unwrap()
    }

    fn http2(&self) -> reqwest::Client {
        self.client().build().unwrap()
    }

    fn client(&self) -> reqwest::ClientBuilder {
        let ca = reqwest::Certificate::from_der(&self.ca()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([ca]).redirect(reqwest::redirect::Policy::none()).timeout(SOON)
    }

    async fn tls(&self, root: &CertificateDer<'static>, alpn: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = (*tls::client_config(std::slice::from_ref(root)).unwrap()).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let address = SocketAddr::from((LOCALHOST, self.https));
        let tcp = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), tcp).await
    }

    async fn websocket(&self) -> WebSocketStream<TlsStream<TcpStream>> {
        let tls = self.tls(&self.ca(), Some("http/1.1")).await.unwrap();
        let url = format!("wss://127.0.0.1:{}/ws", self.https);
        let (socket, response) = tokio_tungstenite::client_async(url, tls).await.unwrap();
        assert_eq!(response.status(), 101);
        socket
    }

    async fn metrics(&self) -> String {
        let listener = self.status().listeners.into_iter().find(|listener| listener.serves == "metrics").expect("a metrics listener");
        let answer = plain_client().get(format!("http://{}/metrics", listener.address)).send().await.unwrap();
        assert!(answer.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
        answer.text().await.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ca_of(state: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(state.join("ca/ca.pem")).expect("the daemon has made its CA")
}

fn plain_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(SOON).build().unwrap()
}

fn wait(child: &mut Child, deadline: Duration) -> ExitStatus {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < end, "it has not ended within {deadline:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn next<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Message {
    tokio::time::timeout(SOON, socket.next()).await.expect("an answer").expect("still open").unwrap()
}

async fn eventually(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
