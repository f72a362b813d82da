//! The one TLS port: hello, handshake, and then HTTP or TURN. ALPN decides; without it the first decrypted byte does.
//! A connection that begins with a letter speaks no TLS at all: it is plain HTTP that missed its port.
//! Ports of the relay's own speak TLS and TURN only; behind a proxy HTTP comes in plain, with the proxy's word about who asks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept;
use super::conn::{self, Held, Version};
use super::origin::Entrance;
use super::seats::{Seat, Seats};
use super::traffic::{Fate, Traffic};
use crate::net::tls::ALPN_TURN;
use crate::turn::TlsClient;

/// From the first packet to the first decrypted byte, everything together.
const HELLO: Duration = Duration::from_secs(10);
/// STUN messages begin with 0b00 and a method of 12 bits that is small (RFC 8489 §5); HTTP begins with a letter.
const LAST_TURN_BYTE: u8 = 3;

/// Whom connections are handed to, and what they are counted by. One for all ports.
pub(super) struct Front<Answer> {
    pub(super) tls: Arc<ServerConfig>,
    /// Answers a request of this client that came in there.
    pub(super) answer: Answer,
    /// Takes connections that speak TURN; must not block.
    pub(super) turn: Arc<dyn Fn(TlsClient) + Send + Sync>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) seats: Seats,
    /// Owns every connection.
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// What a TLS port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Shared,
    /// Of the relay alone.
    Turn,
}

/// What a connection turned out to be.
enum Kind {
    Http(Box<TlsStream<TcpStream>>, Version),
    Turn(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
    Gone,
}

impl<Answer, Answered> Front<Answer>
where
    Answer: Fn(Entrance, SocketAddr, http::Request<Incoming>) -> Answered + Clone + Send + Sync + 'static,
    Answered: Future<Output = http::Response<Body>> + Send + 'static,
{
    /// Accepts on one listener of the TLS port until stopped.
    pub(super) async fn run_tls(self: Arc<Self>, listener: TcpListener) {
        self.accept(listener, |front, tcp, client, seat| async move { front.greet(tcp, client, seat, Port::Shared).await }).await;
    }

    /// The same for a TLS port on which nothing but TURN is spoken.
    pub(super) async fn run_turn(self: Arc<Self>, listener: TcpListener) {
        self.accept(listener, |front, tcp, client, seat| async move { front.greet(tcp, client, seat, Port::Turn).await }).await;
    }

    /// Accepts on one listener of the plain port until stopped.
    pub(super) async fn run_plain(self: Arc<Self>, listener: TcpListener) {
        self.accept(listener, |front, tcp, client, seat| async move { front.serve_plain(tcp, client, seat, Entrance::Http).await }).await;
    }

    /// Accepts on the listener that a proxy speaks to until stopped. All its connections come from one address, so only their total is bounded here.
    pub(super) async fn run_backend(self: Arc<Self>, listener: TcpListener) {
        let (traffic, stop) = (Arc::clone(&self.traffic), self.stop.clone());
        accept::run(listener, &traffic, &stop, |tcp, client| {
            let Some(seat) = self.counted(self.seats.take_for_proxy(client.ip())) else { return };
            let front = Arc::clone(&self);
            let entrance = if client.ip().is_loopback() { Entrance::Proxy } else { Entrance::Http };
            self.tasks.spawn(async move { front.serve_plain(tcp, client, seat, entrance).await });
        })
        .await;
    }

    async fn accept<Meet, Met>(self: Arc<Self>, listener: TcpListener, meet: Meet)
    where
        Meet: Fn(Arc<Self>, TcpStream, SocketAddr, Seat) -> Met,
        Met: Future<Output = ()> + Send + 'static,
    {
        let (traffic, stop) = (Arc::clone(&self.traffic), self.stop.clone());
        accept::run(listener, &traffic, &stop, |tcp, client| {
            let Some(seat) = self.counted(self.seats.take(client.ip())) else { return };
            self.tasks.spawn(meet(Arc::clone(&self), tcp, client, seat));
        })
        .await;
    }

    fn counted(&self, seat: Option<Seat>) -> Option<Seat> {
        if seat.is_none() {
            self.traffic.count(Fate::Full);
        }
        seat
    }

    async fn greet(&self, tcp: TcpStream, client: SocketAddr, seat: Seat, port: Port) {
        let met = tokio::select! {
            () = self.stop.cancelled() => return,
            met = tokio::time::timeout(HELLO, self.meet(tcp)) => met,
        };
        match met {
            Ok(Ok(Kind::Http(..) | Kind::Plain(_))) if port == Port::Turn => self.traffic.count(Fate::Closed),
            Ok(Ok(Kind::Http(tls, version))) => {
                self.traffic.count(if version == Version::Http2 { Fate::Http2 } else { Fate::Http1 });
                self.serve(Held { io: tls, _seat: seat }, version, Entrance::Https, client).await;
            }
            Ok(Ok(Kind::Turn(tls))) => self.hand_over(*tls, client),
            Ok(Ok(Kind::Plain(tcp))) => self.serve_plain(tcp, client, seat, Entrance::Http).await,
            Ok(Ok(Kind::Gone)) => self.traffic.count(Fate::Closed),
            Ok(Err(error)) => self.refused(client, &error),
            Err(_) => self.traffic.count(Fate::TimedOut),
        }
    }

    async fn meet(&self, tcp: TcpStream) -> io::Result<Kind> {
        let mut first = [0; 1];
        if tcp.peek(&mut first).await? == 0 {
            return Ok(Kind::Gone);
        }
        if first[0].is_ascii_uppercase() {
            return Ok(Kind::Plain(tcp));
        }
        tcp.set_nodelay(true)?;
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await?;
        let mut tls = Box::new(hello.into_stream(Arc::clone(&self.tls)).await?);
        // A client may speak before it has read our session tickets; whoever takes over must not have to know of them.
        tls.flush().await?;
        Ok(match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => Kind::Http(tls, Version::Http2),
            Some(name) if ALPN_TURN.contains(&name) => Kind::Turn(tls),
            Some(_) => Kind::Http(tls, Version::Http1),
            None => match tls.fill_buf().await?.first() {
                Some(byte) if *byte <= LAST_TURN_BYTE => Kind::Turn(tls),
                Some(_) => Kind::Http(tls, Version::Http1),
                None => Kind::Gone,
            },
        })
    }

    /// The relay has limits of its own, so the seat is free again.
    fn hand_over(&self, tls: TlsStream<TcpStream>, client: SocketAddr) {
        let (tcp, tls) = tls.into_inner();
        let handed = tcp.local_addr().and_then(|server| Ok(TlsClient { server, tcp: tcp.into_std()?, tls, client }));
        match handed {
            Ok(connection) => {
                self.traffic.count(Fate::Turn);
                (self.turn)(connection);
            }
            Err(_) => self.traffic.count(Fate::Closed),
        }
    }

    fn refused(&self, client: SocketAddr, error: &io::Error) {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => {
                self.traffic.count(Fate::Failed);
                self.traffic.alert(client.ip(), *alert);
            }
            Some(reason) => {
                self.traffic.count(Fate::Failed);
                tracing::debug!(%client, %reason, "a handshake failed");
            }
            None => self.traffic.count(Fate::Closed),
        }
    }

    async fn serve_plain(&self, tcp: TcpStream, client: SocketAddr, seat: Seat, entrance: Entrance) {
        self.traffic.count(Fate::Plain);
        if tcp.set_nodelay(true).is_ok() {
            self.serve(Held { io: tcp, _seat: seat }, Version::Http1, entrance, client).await;
        }
    }

    async fn serve<IO>(&self, io: Held<IO>, version: Version, entrance: Entrance, client: SocketAddr)
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let answer = self.answer.clone();
        conn::serve(io, version, &self.tasks, &self.stop, move |request| answer(entrance, client, request)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::io::Read as _;
    use std::net::IpAddr;
    use std::time::Instant;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
    use tokio::sync::mpsc;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream as ClientStream;

    use super::*;
    use crate::net::tls::{self, Swap};

    /// Anything that is polled for is there by then, or the test fails.
    const SOON: Duration = Duration::from_secs(10);
    const STUN: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    #[tokio::test]
    async fn alpn_decides_and_without_it_the_first_byte() {
        let mut door = Door::open(Seats::within(65_536)).await;
        let get = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".as_slice();
        for (alpn, first, turn) in [
            (Some("http/1.1"), get, false),
            (None, get, false),
            (Some("stun.turn"), &STUN, true),
            (Some("stun.nat-discovery"), &STUN, true),
            (None, &STUN, true),
            (None, &[3, 0], true),
            (Some("http/1.1"), &STUN, false),
        ] {
            let mut tls = door.connect(alpn).await.unwrap();
            tls.write_all(first).await.unwrap();
            if turn {
                let mut client = door.handed_over().await;
                assert_eq!(client.server, door.address);
                assert_eq!(read_decrypted(&mut client, first.len()), first, "{alpn:?}: bytes stay inside the connection");
            } else {
                let answer = read_all(&mut tls).await;
                assert!(answer.starts_with("HTTP/1.1 "), "{alpn:?}: {answer}");
                assert!(door.turn.try_recv().is_err(), "{alpn:?}");
            }
        }
    }

    #[tokio::test]
    async fn http2_is_spoken_and_a_foreign_protocol_refused() {
        let door = Door::open(Seats::within(65_536)).await;
        let mut tls = door.connect(Some("h2")).await.unwrap();
        tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut frame = [0; 9];
        tls.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[3], 4, "a SETTINGS frame");
        assert!(door.connect(Some("smtp")).await.is_err());
        eventually(|| door.traffic.of(Fate::Failed) == 1).await;
    }

    #[tokio::test]
    async fn a_hundred_half_open_connections_delay_nobody() {
        let door = Door::open(Seats::within(65_536)).await;
        let mut silent = Vec::new();
        for n in 0..100 {
            let mut tcp = TcpStream::connect(door.address).await.unwrap();
            // Some say nothing at all, some begin a hello and stop.
            if n % 2 == 0 {
                tcp.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
            }
            silent.push(tcp);
        }
        let start = Instant::now();
        let answer = door.get_over_tls().await;
        assert!(answer.contains("https"), "{answer}");
        assert!(start.elapsed() < HELLO / 2, "{:?}", start.elapsed());
        assert_eq!(door.seats.taken(), 100);
        drop(silent);
        eventually(|| door.seats.taken() == 0).await;
    }

    #[tokio::test]
    async fn one_address_cannot_take_all_seats_and_an_open_connection_keeps_its_own() {
        let door = Door::open(Seats::new(8, 2)).await;
        let held = door.connect(Some("http/1.1")).await.unwrap();
        let _other = door.connect(Some("http/1.1")).await.unwrap();
        assert!(door.connect(Some("http/1.1")).await.is_err());
        assert_eq!(door.traffic.of(Fate::Full), 1);
        drop(held);
        eventually(|| door.seats.taken() == 1).await;
        door.connect(Some("http/1.1")).await.expect("a seat is free again");
    }

    #[tokio::test]
    async fn the_relay_has_limits_of_its_own_so_its_clients_hold_no_seat() {
        let mut door = Door::open(Seats::within(65_536)).await;
        let _tls = door.connect(Some("stun.turn")).await.unwrap();
        let client = door.handed_over().await;
        assert_eq!(client.tls.alpn_protocol(), Some(b"stun.turn".as_slice()));
        eventually(|| door.seats.taken() == 0).await;
    }

    #[tokio::test]
    async fn a_port_of_the_relay_speaks_nothing_but_turn() {
        let mut door = Door::open_as(Seats::within(65_536), Front::run_turn).await;
        for alpn in [Some("stun.turn"), None] {
            door.connect(alpn).await.unwrap().write_all(&STUN).await.unwrap();
            door.handed_over().await;
        }
        let get = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        for alpn in [Some("http/1.1"), Some("h2"), None] {
            let mut tls = door.connect(alpn).await.unwrap();
            // It may have hung up already.
            let _ = tls.write_all(get).await;
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(SOON, tls.read_to_end(&mut rest)).await.expect("closed");
            assert!(rest.is_empty(), "{alpn:?}");
        }
        let mut tcp = TcpStream::connect(door.address).await.unwrap();
        tcp.write_all(get).await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(SOON, tcp.read_to_end(&mut rest)).await.expect("closed");
        assert!(rest.is_empty());
        eventually(|| door.traffic.of(Fate::Closed) == 4 && door.seats.taken() == 0).await;
    }

    #[tokio::test]
    async fn a_proxy_is_one_address_with_many_clients() {
        let door = Door::open_as(Seats::new(4, 1), Front::run_backend).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(TcpStream::connect(door.address).await.unwrap());
        }
        let mut tcp = TcpStream::connect(door.address).await.unwrap();
        tcp.write_all(b"GET /r/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let answer = read_all(&mut tcp).await;
        assert!(answer.ends_with("Proxy /r/x 127.0.0.1"), "{answer}");
        eventually(|| door.seats.taken() == 3).await;
    }

    #[tokio::test]
    async fn plain_http_that_missed_its_port_is_answered_as_plain_http() {
        let door = Door::open(Seats::within(65_536)).await;
        let mut tcp = TcpStream::connect(door.address).await.unwrap();
        tcp.write_all(b"GET /r/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let answer = read_all(&mut tcp).await;
        assert!(answer.ends_with("Http /r/x 127.0.0.1"), "{answer}");
    }

    #[tokio::test]
    async fn noise_is_dropped_and_counted() {
        let mut door = Door::open(Seats::within(65_536)).await;
        for noise in [b"\x00\x01hello".as_slice(), &[0xff; 64], b"ssh-2.0-x\r\n", &[0x16, 3, 1, 0xff, 0xff, 0]] {
            let mut tcp = TcpStream::connect(door.address).await.unwrap();
            tcp.write_all(noise).await.unwrap();
            tcp.shutdown().await.unwrap();
            let mut rest = Vec::new();
            // Reset or closed, with or without an alert.
            let _ = tokio::time::timeout(SOON, tcp.read_to_end(&mut rest)).await.expect("closed");
        }
        eventually(|| door.seats.taken() == 0).await;
        assert_eq!(door.traffic.of(Fate::Failed) + door.traffic.of(Fate::Closed), 4, "{:?}", door.traffic.fates());
        assert!(door.turn.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_device_that_does_not_trust_the_certificate_is_counted() {
        let door = Door::open(Seats::within(65_536)).await;
        let (foreign, _) = issue();
        door.connect_trusting(&foreign, None).await.unwrap_err();
        door.connect_trusting(&foreign, None).await.unwrap_err();
        eventually(|| door.traffic.distrusting() == 1).await;
        eventually(|| door.traffic.alert_totals().iter().map(|(_, count)| count).sum::<u64>() == 2).await;
        door.connect(None).await.expect("one that does is served");
    }

    #[tokio::test]
    async fn a_new_certificate_does_not_end_open_connections() {
        let door = Door::open(Seats::within(65_536)).await;
        let mut open = door.connect(Some("http/1.1")).await.unwrap();
        let (new, key) = issue();
        door.swap.set(vec![new.clone()], key).unwrap();
        let mut fresh = door.connect_trusting(&new, Some("http/1.1")).await.expect("the new one is served");
        door.connect(None).await.unwrap_err();
        for tls in [&mut open, &mut fresh] {
            tls.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            assert!(read_all(tls).await.contains("Https /"));
        }
    }

    #[tokio::test]
    async fn stopping_ends_idle_and_half_open_connections_at_once() {
        let door = Door::open(Seats::within(65_536)).await;
        let _idle = door.connect(Some("http/1.1")).await.unwrap();
        let _h2 = door.connect(Some("h2")).await.unwrap();
        let _silent = TcpStream::connect(door.address).await.unwrap();
        eventually(|| door.seats.taken() == 3).await;
        door.front.stop.cancel();
        door.front.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), door.front.tasks.wait()).await.expect("every connection ended");
        assert_eq!(door.seats.taken(), 0);
    }

    type Answer = fn(Entrance, SocketAddr, http::Request<Incoming>) -> Ready<http::Response<Body>>;

    /// A front with a relay that only collects, on a port of the kernel's choice.
    struct Door {
        front: Arc<Front<Answer>>,
        address: SocketAddr,
        root: CertificateDer<'static>,
        swap: Arc<Swap>,
        turn: mpsc::Receiver<TlsClient>,
        traffic: Arc<Traffic>,
        seats: Seats,
    }

    impl Door {
        async fn open(seats: Seats) -> Self {
            Self::open_as(seats, Front::run_tls).await
        }

        async fn open_as<Run, Running>(seats: Seats, run: Run) -> Self
        where
            Run: FnOnce(Arc<Front<Answer>>, TcpListener) -> Running,
            Running: Future<Output = ()> + Send + 'static,
        {
            let (root, key) = issue();
            let swap = Arc::new(Swap::default());
            swap.set(vec![root.clone()], key).unwrap();
            let (sender, turn) = mpsc::channel(16);
            let traffic = Arc::new(Traffic::default());
            let answer: Answer = |entrance, client, request| {
                let body = format!("{entrance:?} {} {}", request.uri().path(), client.ip());
                ready(http::Response::new(Body::from(body)))
            };
            let front = Arc::new(Front {
                tls: tls::server_config(Arc::clone(&swap)).unwrap(),
                answer,
                turn: Arc::new(move |client| sender.try_send(client).expect("the test reads")),
                traffic: Arc::clone(&traffic),
                seats: seats.clone(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            });
            let listener = TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let running = Arc::clone(&front);
            front.tasks.spawn(run(running, listener));
            Self { front, address, root, swap, turn, traffic, seats }
        }

        async fn connect(&self, alpn: Option<&str>) -> io::Result<ClientStream<TcpStream>> {
            self.connect_trusting(&self.root, alpn).await
        }

        async fn connect_trusting(&self, root: &CertificateDer<'static>, alpn: Option<&str>) -> io::Result<ClientStream<TcpStream>> {
            let mut config = (*tls::client_config(std::slice::from_ref(root)).unwrap()).clone();
            config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
            let tcp = TcpStream::connect(self.address).await?;
            TlsConnector::from(Arc::new(config)).connect(ServerName::from(self.address.ip()), tcp).await
        }

        async fn handed_over(&mut self) -> TlsClient {
            tokio::time::timeout(SOON, self.turn.recv()).await.expect("handed to the relay").expect("the front lives")
        }

        async fn get_over_tls(&self) -> String {
            let mut tls = self.connect(Some("http/1.1")).await.unwrap();
            tls.write_all(b"GET /https HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            read_all(&mut tls).await
        }
    }

    impl Drop for Door {
        fn drop(&mut self) {
            self.front.stop.cancel();
        }
    }

    /// Every one by another issuer.
    fn issue() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("test {number}"));
        let cert = params.self_signed(&key).unwrap();
        (cert.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    async fn read_all(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
        // An end without close_notify is an end.
        assert!(read.is_ok() || !bytes.is_empty(), "{read:?}");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// As the relay does: first what is already decrypted, then what comes.
    fn read_decrypted(client: &mut TlsClient, length: usize) -> Vec<u8> {
        client.tcp.set_nonblocking(false).unwrap();
        client.tcp.set_read_timeout(Some(SOON)).unwrap();
        let mut bytes = vec![0; length];
        let mut have = 0;
        while have < length {
            match client.tls.reader().read(&mut bytes[have..]) {
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    client.tls.read_tls(&mut client.tcp).expect("more from the client");
                    client.tls.process_new_packets().unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        bytes
    }

    async fn eventually(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + SOON;
        while !condition() {
            assert!(Instant::now() < deadline, "it never came true");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
