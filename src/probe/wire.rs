//! Connections of the probe: TCP, TLS that trusts exactly the given roots, and what goes wrong with them.

use std::future::Future;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::{Broken, Step, words};
use crate::net::tls;

/// A byte stream, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// TLS configs that trust exactly the roots of the target, offering what each kind of client offers.
pub(super) struct Trust {
    /// As a browser asks for pages.
    pub(super) http: ClientConfig,
    /// As a browser opens a WebSocket.
    pub(super) websocket: Arc<ClientConfig>,
    /// As a browser speaks TURN: no ALPN.
    pub(super) turn: Arc<ClientConfig>,
}

impl Trust {
    pub(super) fn new(roots: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        Ok(Self::of(tls::client_config(roots)?))
    }

    /// Whoever answers is spoken to: for looking at what a certificate does not decide.
    pub(super) fn anybody() -> Result<Self, rustls::Error> {
        Ok(Self::of(tls::blind_client_config()?))
    }

    fn of(turn: Arc<ClientConfig>) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::clone(&turn);
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config
        };
        Self { http: offering(&[b"h2", b"http/1.1"]), websocket: Arc::new(offering(&[b"http/1.1"])), turn }
    }
}

/// `host` without brackets.
pub(super) async fn tcp(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| words::of(&error))?;
    stream.set_nodelay(true).map_err(|error| words::of(&error))?;
    Ok(stream)
}

/// A name is sent as SNI, an address is not; the certificate must be for it either way.
pub(super) async fn tls(config: &Arc<ClientConfig>, host: &str, port: u16) -> Result<Box<dyn Stream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("not a name or address: {host}"))?;
    let stream = tcp(host, port).await?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| words::of(&error))?;
    Ok(Box::new(stream))
}

/// The certificates that a server shows, the leaf first; nothing about them is believed.
pub(super) async fn chain(host: &str, port: u16, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let config = tls::blind_client_config().map_err(|error| words::of(&error))?;
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("not a name or address: {name}"))?;
    let stream = tcp(host, port).await?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| words::of(&error))?;
    Ok(stream.get_ref().1.peer_certificates().unwrap_or_default().iter().cloned().map(CertificateDer::into_owned).collect())
}

/// Runs one hop until the deadline; its failure carries the step and the URL.
pub(super) async fn hop<T>(step: Step, url: &str, deadline: Instant, work: impl Future<Output = Result<T, String>>) -> Result<T, Broken> {
    let started = Instant::now();
    match timeout_at(deadline, work).await {
        Ok(done) => done.map_err(|cause| Broken::new(step, url, cause)),
        Err(_) => Err(Broken::new(step, url, words::no_answer(started.elapsed()))),
    }
}
