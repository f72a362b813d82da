//! Servers of somebody else: coturn with one wrong switch, and room servers that send their clients astray.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::routing::get;
use rtcctl::config::{PortRange, Secret, model};
use rtcctl::signal::{IceSettings, Origin, Settings, Signal};
use rtcctl::turn::{self, Relay, RelayedAddress};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::world::{Background, Findings, eventually, have, rtcctl};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A port of the kernel's choice, free for both protocols a moment ago.
fn free_port() -> u16 {
    let free = || {
        let tcp = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        UdpSocket::bind((LOCALHOST, port)).is_ok().then_some(port)
    };
    std::iter::repeat_with(free).flatten().next().unwrap()
}

/// coturn on loopback with user `u`, password `right`.
struct Coturn {
    _process: Background,
    folder: tempfile::TempDir,
    port: u16,
}

impl Coturn {
    fn start(switches: &[&str]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new("turnserver");
        command.args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--no-cli", "--lt-cred-mech", "--realm=test", "--user=u:right"]);
        command.arg(format!("--listening-port={port}")).arg(format!("--pidfile={}", folder.path().join("pid").display()));
        command.args(["--log-file=stdout", "--no-dtls", &format!("--userdb={}", folder.path().join("db").display())]).args(switches);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Background(command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap());
        std::fs::write(folder.path().join("password"), "right\n").unwrap();
        let coturn = Self { _process: process, folder, port };
        eventually("coturn listens", || coturn.listens());
        coturn
    }

    fn listens(&self) -> bool {
        let tcp = std::net::TcpStream::connect((LOCALHOST, self.port)).is_ok();
        tcp || UdpSocket::bind((LOCALHOST, self.port)).is_err()
    }

    fn doctor(&self, target: &str) -> Findings {
        self.doctor_with(target, &self.folder.path().join("password"))
    }

    fn doctor_with(&self, target: &str, password: &std::path::Path) -> Findings {
        let target = target.replace("PORT", &self.port.to_string());
        let mut command = rtcctl(&["doctor", "--json", &target, "--user", "u", "--password-file"]);
        command.arg(password);
        Findings::of(command)
    }
}

#[test]
fn coturn_with_the_right_switches() {
    if !have(&["turnserver"], false) {
        return;
    }
    let coturn = Coturn::start(&["--no-tls", "--allow-loopback-peers"]);
    let findings = coturn.doctor("turn:127.0.0.1:PORT");
    findings.well();
    for id in ["turn.udp", "turn.tcp", "turn.auth", "turn.relayed-address", "turn.handover"] {
        assert!(findings.with_status("pass").contains(&id), "{id}: {}", findings.raw);
    }
    let target = format!("turn:127.0.0.1:{}", coturn.port);
    let without = Findings::of(rtcctl(&["doctor", "--json", &target]));
    assert_eq!(without.find("turn.auth")["because"], "nobody gave credentials: --user and --password-file");
    without.well();
}

#[test]
fn coturn_without_udp() {
    if !have(&["turnserver"], false) {
        return;
    }
    let coturn = Coturn::start(&["--no-tls", "--no-udp", "--allow-loopback-peers"]);
    let findings = coturn.doctor("turn:127.0.0.1:PORT");
    let finding = findings.only("turn.udp", &[&format!("turn:127.0.0.1:{}", coturn.port), "over UDP"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("no-udp"));
}

#[test]
fn coturn_without_tcp() {
    if !have(&["turnserver"], false) {
        return;
    }
    let coturn = Coturn::start(&["--no-tls", "--no-tcp", "--allow-loopback-peers"]);
    let findings = coturn.doctor("turn:127.0.0.1:PORT");
    let finding = findings.only("turn.tcp", &[&coturn.port.to_string(), "connection refused"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("no-tcp"));
}

#[test]
fn coturn_that_cannot_read_its_key() {
    if !have(&["turnserver"], false) {
        return;
    }
    let tls = free_port();
    let port = format!("--tls-listening-port={tls}");
    let coturn = Coturn::start(&[&port, "--cert=/nowhere/cert.pem", "--pkey=/nowhere/key.pem"]);
    let findings = coturn.doctor(&format!("turns:127.0.0.1:{tls}"));
    let finding = findings.only("turn.tls", &[&tls.to_string(), "connection refused"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("pkey"));
}

#[test]
fn a_password_that_coturn_does_not_know() {
    if !have(&["turnserver"], false) {
        return;
    }
    let coturn = Coturn::start(&["--no-tls", "--allow-loopback-peers"]);
    let wrong = coturn.folder.path().join("wrong");
    std::fs::write(&wrong, "wrong\n").unwrap();
    coturn.doctor_with("turn:127.0.0.1:PORT", &wrong).only("turn.auth", &["401", "u"]);
}

#[test]
fn coturn_that_denies_its_own_address() {
    if !have(&["turnserver"], false) {
        return;
    }
    // Which is what coturn does with loopback by itself.
    let coturn = Coturn::start(&["--no-tls"]);
    let findings = coturn.doctor("turn:127.0.0.1:PORT");
    let finding = findings.only("turn.handover", &["403", "127.0.0.1"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("allowed-peer-ip=127.0.0.1"));
}

/// Page, rooms and relay of our own making over plain HTTP, with answers in which some words are replaced.
struct Site {
    address: SocketAddr,
    relay: Option<Relay>,
    _tasks: JoinSet<()>,
}

impl Site {
    /// `replace(address)` says what becomes what.
    async fn start(replace: impl Fn(SocketAddr) -> (String, String)) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let secrets = Arc::new(ArcSwap::from_pointee(vec![Secret::new(*b"secret")]));
        let relay = Relay::start(relay_settings(Arc::clone(&secrets))).unwrap();
        let port = relay.listeners()[0].address.port();
        let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let signal = Signal::new(Settings {
            config: model::Signal {
                open_rooms: model::RoomOpeners::Anyone,
                room_grace: Duration::from_secs(10),
                max_rooms: 10,
                max_message: 64 * 1024,
            },
            ice: IceSettings { ports: vec![port], tls_ports: Vec::new(), secrets, ttl: Duration::from_secs(3600) },
            key: Secret::new([1; 32]),
            generation_file: "/nowhere/generation".into(),
        });
        let (from, to) = replace(address);
        let tamper = move |request: Request, next: Next| {
            let (from, to, is_socket) = (from.clone(), to.clone(), request.uri().path() == "/ws");
            async move {
                let response = next.run(request).await;
                if is_socket {
                    return response;
                }
                let (mut head, body) = response.into_parts();
                head.headers.remove(http::header::CONTENT_LENGTH);
                let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
                axum::response::Response::from_parts(head, Body::from(text.replace(&from, &to)))
            }
        };
        let own = Origin { secure: false, host: "127.0.0.1".into(), authority: address.to_string() };
        let routes = signal.routes().route("/", get(|| async { "<script>const base = 'OWN';</script>" })).layer(Extension(own));
        let routes = routes.layer(middleware::from_fn(tamper));
        let (mut tasks, running) = (JoinSet::new(), signal.clone());
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        tasks.spawn(async move { running.run(CancellationToken::new()).await });
        Self { address, relay: Some(relay), _tasks: tasks }
    }

    async fn doctor(&self) -> Findings {
        let target = format!("http://{}/", self.address);
        tokio::task::spawn_blocking(move || Findings::of(rtcctl(&["doctor", "--json", &target]))).await.unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.stop(Duration::ZERO);
        }
    }
}

fn relay_settings(secrets: Arc<ArcSwap<Vec<Secret>>>) -> turn::Settings {
    turn::Settings {
        config: model::Turn {
            ports: vec![0],
            relay_ports: PortRange { first: 10_000, last: 59_999 },
            shards: Some(1),
            ..rtcctl::config::Config::default().turn
        },
        listen: vec![LOCALHOST.into()],
        relayed: vec![RelayedAddress { public: LOCALHOST.into(), local: LOCALHOST.into() }],
        secrets,
        own_ports: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_site_that_works() {
    let site = Site::start(|_| ("OWN".into(), "mine".into())).await;
    let findings = site.doctor().await;
    findings.well();
    assert!(findings.with_status("pass").contains(&"signal.websocket"), "{}", findings.raw);
    assert!(!findings.all.iter().any(|finding| finding["id"] == "port.https"), "rows that mean nothing there are left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_still_names_the_servers_of_others() {
    let site = Site::start(|_| ("OWN".into(), "https://appr.tc/join".into())).await;
    site.doctor().await.only("config.third-party", &["appr.tc", "the page"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_with_the_wrong_origin() {
    let site = Site::start(|address| (format!("http://{address}/r/"), "http://inner:8080/r/".to_owned())).await;
    site.doctor().await.only("signal.origin", &["room_link", "http://inner:8080/r/", &site.address.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_on_a_port_where_nothing_listens() {
    let closed = free_port();
    let site = Site::start(move |address| (format!("ws://{address}/ws"), format!("ws://127.0.0.1:{closed}/ws"))).await;
    site.doctor().await.only("signal.websocket", &[&closed.to_string(), "connection refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_uri_with_slashes() {
    let site = Site::start(|_| ("turn:127.0.0.1".into(), "turn://127.0.0.1".into())).await;
    let findings = site.doctor().await;
    let finding = findings.only("turn.uri", &["turn://127.0.0.1", "no // after the scheme"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().starts_with("write it as turn:127.0.0.1:"), "{finding}");
}

#[test]
fn another_server_in_the_place_of_the_room_server() {
    if !have(&["python3"], false) {
        return;
    }
    let port = free_port();
    let mut python = Command::new("python3");
    python.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Background(python.spawn().unwrap());
    eventually("python listens", || std::net::TcpStream::connect((LOCALHOST, port)).is_ok());
    let target = format!("http://127.0.0.1:{port}/");
    let findings = Findings::of(rtcctl(&["doctor", "--json", &target]));
    findings.only("signal.join", &["/join/", "501"]);
}

#[test]
fn what_is_no_target_is_said() {
    let output = rtcctl(&["doctor", "call.example.org"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a target: call.example.org: expected https://host/"));
}
