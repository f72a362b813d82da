//! The one TLS port: hello, handshake, and then HTTP or TURN. ALPN decides; without it the first decrypted byte does.
//! A connection that begins with a letter speaks no TLS at all: it is plain HTTP that missed its port.

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
        let (traffic, stop) = (Arc::clone(&self.traffic), self.stop.clone());
        accept::run(listener, &traffic, &stop, |tcp, client| {
            let Some(seat) = self.seat(client) else { return };
            let front = Arc::clone(&self);
            self.tasks.spawn(async move { front.greet(tcp, client, seat).await });
        })
        .await;
    }

    /// Accepts on one listener of the plain port until stopped.
    pub(super) async fn run_plain(self: Arc<Self>, listener: TcpListener) {
        let (traffic, stop) = (Arc::clone(&self.traffic), self.stop.clone());
        accept::run(listener, &traffic, &stop, |tcp, client| {
            let Some(seat) = self.seat(client) else { return };
            let front = Arc::clone(&self);
            self.tasks.spawn(async move { front.serve_plain(tcp, client, seat).await });
        })
        .await;
    }

    fn seat(&self, client: SocketAddr) -> Option<Seat> {
        let seat = self.seats.take(client.ip());
        if seat.is_none() {
            self.traffic.count(Fate::Full);
        }
        seat
    }

    async fn greet(&self, tcp: TcpStream, client: SocketAddr, seat: Seat) {
        let met = tokio::select! {
            () = self.stop.cancelled() => return,
            met = tokio::time::timeout(HELLO, self.meet(tcp)) => met,
        };
        match met {
            Ok(Ok(Kind::Http(tls, version))) => {
                self.traffic.count(if version == Version::Http2 { Fate::Http2 } else { Fate::Http1 });
                self.serve(Held { io: tls, _seat: seat }, version, Entrance::Https, client).await;
            }
            Ok(Ok(Kind::Turn(tls))) => self.hand_over(*tls, client),
            Ok(Ok(Kind::Plain(tcp))) => self.serve_plain(tcp, client, seat).await,
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

    async fn serve_plain(&self, tcp: TcpStream, client: SocketAddr, seat: Seat) {
        self.traffic.count(Fate::Plain);
        if tcp.set_nodelay(true).is_ok() {
            self.serve(Held { io: tcp, _seat: seat }, Version::Http1, Entrance::Http, client).await;
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
