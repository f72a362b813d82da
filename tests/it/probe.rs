//! The probe against the real daemon, and against sites that are broken at one hop each.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use http::StatusCode;
use rtcctl::config::model::{self, Transport};
use rtcctl::config::{PortRange, Secret};
use rtcctl::probe::{self, Broken, Step, Target};
use rtcctl::signal::{IceSettings, Origin, Settings, Signal};
use rtcctl::telemetry::status;
use rtcctl::turn::{self, Relay, RelayedAddress};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);
const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[tokio::test]
async fn a_deployment_that_works_is_proved_over_every_transport() {
    let daemon = Daemon::start();
    let proof = probe::prove(&daemon.target()).await.unwrap();
    assert_eq!(proof.relay.iter().map(|relay| relay.transport).collect::<Vec<_>>(), ALL);
    for relay in &proof.relay {
        assert!(relay.rtt > Duration::ZERO && relay.rtt < Duration::from_secs(1) && relay.relayed.ip() == LOCALHOST, "{relay:?}");
    }
    for time in [proof.page, proof.room, proof.websocket] {
        assert!(time > Duration::ZERO && time < Duration::from_secs(5), "{proof:?}");
    }
    let shown = serde_json::to_value(&proof).unwrap();
    assert!(shown["page_ms"].is_f64() && shown["relay"][2]["transport"] == "tls" && shown["relay"][2]["rtt_ms"].is_f64(), "{shown}");
    let deadline = Instant::now() + SOON;
    loop {
        let status = status::ask(&daemon.socket(), "status", SOON).unwrap();
        if (&status["rooms"], &status["sockets"], &status["allocations"]) == (&json!(0), &json!(0), &json!(0)) {
            break;
        }
        assert!(Instant::now() < deadline, "something is left behind: {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_trusted() {
    let daemon = Daemon::start();
    let mut target = daemon.target();
    target.roots.clear();
    let broken = probe::prove(&target).await.unwrap_err();
    assert_eq!((broken.step, &*broken.cause), (Step::Page, "the certificate is not trusted: its issuer is unknown here"));
    target.roots = vec![rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap().cert.der().clone()];
    assert_eq!(probe::prove(&target).await.unwrap_err(), broken);
    target = daemon.target();
    target.link = target.link.replace("127.0.0.1", "localhost");
    let broken = probe::prove(&target).await.unwrap_err();
    assert_eq!((broken.step, &*broken.cause), (Step::Page, "the certificate is for another name"));
}

#[tokio::test]
async fn pages_that_do_not_come() {
    let held = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let silent = held.local_addr().unwrap();
    let (refused, _held) = closed_tcp();
    broken_at(&prove(refused, Duration::from_secs(5)).await, Step::Page, "connection refused: nothing listens there");
    let asked = Instant::now();
    broken_at(&prove(silent, Duration::from_millis(200)).await, Step::Page, "no answer within 2");
    assert!(asked.elapsed() < Duration::from_secs(2), "the deadline holds");
    let site = Site::start(|path| (path == "/").then(|| StatusCode::BAD_GATEWAY.into_response())).await;
    broken_at(&site.prove().await, Step::Page, "answered 502 Bad Gateway");
}

#[tokio::test]
async fn a_tls_port_that_speaks_something_else() {
    let site = Site::start(|_| None).await;
    let target = Target { link: format!("https://{}/", site.address), ..site.target() };
    let broken = probe::prove(&target).await.unwrap_err();
    assert_eq!((broken.step, &*broken.cause), (Step::Page, "the server does not speak TLS there"));
}

#[tokio::test]
async fn rooms_that_clients_could_not_use() {
    let answer = |answer: Value| move |path: &str| path.starts_with("/join/").then(|| Json(answer.clone()).into_response());
    let site = Site::start(answer(json!({"result": "FULL", "params": {"messages": []}}))).await;
    broken_at(&site.prove().await, Step::Room, "joining was refused: FULL");
    let site = Site::start(answer(json!({"result": "SUCCESS", "params": {"room_id": 7}}))).await;
    broken_at(&site.prove().await, Step::Room, "clients could not read the answer: ");
    let site = Site::start(|path| path.starts_with("/join/").then(|| (StatusCode::FORBIDDEN, Json(json!({"error": "go away"}))).into_response()));
    broken_at(&site.await.prove().await, Step::Room, "answered 403 Forbidden: go away");
    let origin = Origin { secure: false, host: "inner".into(), authority: "inner:8080".into() };
    let site = Site::start_as(Some(origin), |_| None).await;
    broken_at(&site.prove().await, Step::Room, "room_link leads to another origin than the page: http://inner:8080");
}

#[tokio::test]
async fn sockets_that_do_not_open() {
    let site = Site::start(|path| (path == "/ws").then(|| StatusCode::NOT_FOUND.into_response())).await;
    let broken = site.prove().await;
    broken_at(&broken, Step::WebSocket, "answered 404 Not Found instead of opening a WebSocket");
    assert_eq!(broken.url, format!("ws://{}/ws", site.address));
    assert_eq!(site.signal.counts().clients, 0, "the room was left all the same");
}

#[tokio::test]
async fn keys_that_open_nothing_are_not_shown() {
    let refused = || (StatusCode::FORBIDDEN, Json(json!({"error": "the key has expired"}))).into_response();
    let site = Site::start(move |path| (path == "/v1alpha/iceconfig").then(refused)).await;
    let broken = site.prove().await;
    broken_at(&broken, Step::Room, "answered 403 Forbidden: the key has expired");
    assert_eq!(broken.url, format!("http://{}/v1alpha/iceconfig", site.address));
}

#[tokio::test]
async fn relays_that_do_not_relay() {
    let relay = Relay::start(relay_settings()).unwrap();
    let real = relay.listeners().into_iter().find(|listener| listener.protocol == "udp").unwrap().address;
    let silent = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let silent_at = silent.local_addr().unwrap();
    let ((refused, _tcp), (refused_udp, _udp)) = (closed_tcp(), closed_udp());
    let site_with = |url: String| Site::start(move |path| (path == "/v1alpha/iceconfig").then(|| list(&url)));
    for (url, transport, cause) in [
        (format!("turn:{refused}?transport=tcp"), Transport::Tcp, "connection refused: nothing listens there"),
        (format!("turn:{refused_udp}?transport=udp"), Transport::Udp, "connection refused: nothing listens there"),
        (format!("turns:{refused}?transport=tcp"), Transport::Tls, "connection refused: nothing listens there"),
        (format!("turn:{}?transport=udp", silent_at), Transport::Udp, "no answer within"),
        (format!("turn:{real}?transport=udp"), Transport::Udp, "Allocate was refused: 401"),
    ] {
        let site = site_with(url.clone()).await;
        let deadline = Duration::from_secs(if cause.starts_with("no answer") { 1 } else { 10 });
        let broken = probe::prove(&Target { transports: vec![transport], deadline, ..site.target() }).await.unwrap_err();
        broken_at(&broken, Step::Relay(transport), cause);
        assert_eq!(broken.url, url);
    }
    let site = site_with(format!("turn:{real}?transport=udp")).await;
    let broken = probe::prove(&Target { transports: vec![Transport::Tls], ..site.target() }).await.unwrap_err();
    broken_at(&broken, Step::Relay(Transport::Tls), "no server for tls in the list");
    relay.stop(Duration::ZERO);
}

#[tokio::test]
async fn denying_the_relays_own_network_does_not_break_calls() {
    let daemon = Daemon::start_with("[turn]\ndeny_peers = [\"127.0.0.0/8\"]\n");
    let proof = probe::prove(&daemon.target()).await.unwrap();
    assert_eq!(proof.relay.len(), 3, "the relayed addresses themselves stay within reach");
}

async fn prove(address: SocketAddr, deadline: Duration) -> Broken {
    let target = Target { link: format!("http://{address}/"), roots: Vec::new(), transports: Vec::new(), deadline, cookie: None };
    rustls::crypto::ring::default_provider().install_default().ok();
    probe::prove(&target).await.unwrap_err()
}

#[track_caller]
fn broken_at(broken: &Broken, step: Step, cause: &str) {
    assert!(broken.step == step && broken.cause.starts_with(cause), "{broken:?}\nexpected {step}: {cause}");
}

/// A TCP port that is held, so that nobody else can have it, and does not listen.
fn closed_tcp() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((LOCALHOST, 0)).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// A UDP port that is held and hears only itself: to everybody else it is closed.
fn closed_udp() -> (SocketAddr, UdpSocket) {
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    socket.connect(address).unwrap();
    (address, socket)
}

/// Credentials of nobody.
fn list(url: &str) -> Response {
    Json(json!({"iceServers": [{"urls": [url], "username": "9999999999:nobody", "credential": "wrong"}]})).into_response()
}

/// Page and rooms over plain HTTP; `tamper` answers some paths in their stead.
struct Site {
    address: SocketAddr,
    signal: Signal,
    _tasks: JoinSet<()>,
}

impl Site {
    async fn start(tamper: impl Fn(&str) -> Option<Response> + Clone + Send + Sync + 'static) -> Self {
        Self::start_as(None, tamper).await
    }

    async fn start_as(origin: Option<Origin>, tamper: impl Fn(&str) -> Option<Response> + Clone + Send + Sync + 'static) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let signal = Signal::new(Settings {
            config: model::Signal {
                open_rooms: model::RoomOpeners::Anyone,
                room_grace: Duration::from_secs(10),
                max_rooms: 10,
                max_message: 64 * 1024,
            },
            ice: IceSettings {
                ports: Vec::new(),
                tls_ports: Vec::new(),
                secrets: Arc::new(ArcSwap::from_pointee(Vec::new())),
                ttl: Duration::from_secs(60),
            },
            key: Secret::new([1; 32]),
            generation_file: "/nowhere/hosts.generation".into(),
        });
        let own = Origin { secure: false, host: "127.0.0.1".into(), authority: address.to_string() };
        let answer = move |request: Request, next: Next| {
            let tampered = tamper(request.uri().path());
            async move {
                match tampered {
                    Some(response) => response,
                    None => next.run(request).await,
                }
            }
        };
        let routes = signal.routes().route("/", get(|| async { "a page" })).layer(Extension(origin.unwrap_or(own)));
        let routes = routes.layer(middleware::from_fn(answer));
        let (mut tasks, running) = (JoinSet::new(), signal.clone());
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        tasks.spawn(async move { running.run(CancellationToken::new()).await });
        Self { address, signal, _tasks: tasks }
    }

    fn target(&self) -> Target {
        let link = format!("http://{}/", self.address);
        Target { link, roots: Vec::new(), transports: Vec::new(), deadline: Duration::from_secs(10), cookie: None }
    }

    async fn prove(&self) -> Broken {
        probe::prove(&self.target()).await.unwrap_err()
    }
}

fn relay_settings() -> turn::Settings {
    turn::Settings {
        config: model::Turn {
            ports: vec![0],
            relay_ports: PortRange { first: 10_000, last: 59_999 },
            credential_max: Duration::from_secs(u64::from(u32::MAX) * 4),
            shards: Some(1),
            ..rtcctl::config::Config::default().turn
        },
        listen: vec![LOCALHOST.into()],
        relayed: vec![RelayedAddress { public: LOCALHOST.into(), local: LOCALHOST.into() }],
        secrets: Arc::new(ArcSwap::from_pointee(vec![Secret::new(*b"secret")])),
        own_ports: Vec::new(),
    }
}

/// The real binary on ports that were free a moment ago.
struct Daemon {
    child: Child,
    home: tempfile::TempDir,
    https: u16,
}

impl Daemon {
    fn start() -> Self {
        Self::start_with("[turn]\n")
    }

    /// `turn`: the section, to which the port is added.
    fn start_with(turn: &str) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        for _ in 0..5 {
            let held: Vec<_> = (0..2).map(|_| TcpListener::bind((LOCALHOST, 0)).unwrap()).collect();
            let [https, relay] = [0, 1].map(|n: usize| held[n].local_addr().unwrap().port());
            drop(held);
            let home = tempfile::tempdir().unwrap();
            let site = format!("[site]\naddress = \"127.0.0.1\"\nlisten = [\"127.0.0.1\"]\nhttps_port = {https}\nhttp_port = \"off\"\n");
            let config = format!("{site}{turn}ports = [{relay}]\nshards = 2\n[metrics]\nlisten = \"off\"\n");
            std::fs::write(home.path().join("rtcctl.toml"), config).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_rtcctl"));
            command.env_clear().env("HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::null());
            command.arg("--config").arg(home.path().join("rtcctl.toml")).arg("--state").arg(home.path().join("state")).arg("serve");
            let log = std::fs::File::create(home.path().join("log")).unwrap();
            let child = command.stderr(log).spawn().unwrap();
            let mut daemon = Self { child, home, https };
            if daemon.comes_up() {
                return daemon;
            }
            let log = std::fs::read_to_string(daemon.home.path().join("log")).unwrap();
            assert!(log.contains("is held by another program"), "it did not come up: {log}");
        }
        panic!("no free ports");
    }

    fn comes_up(&mut self) -> bool {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if status::ask(&self.socket(), "status", SOON).is_ok_and(|status| status["ready"] == true) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn socket(&self) -> std::path::PathBuf {
        self.home.path().join("state/run/admin.sock")
    }

    fn target(&self) -> Target {
        Target {
            link: format!("https://127.0.0.1:{}/", self.https),
            roots: vec![root(self.home.path())],
            transports: ALL.to_vec(),
            deadline: SOON,
            cookie: None,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn root(home: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(home.join("state/ca/ca.pem")).unwrap()
}
