//! Measures by really calling: pages, rooms, WebSocket and relay, through exactly the URLs that clients are given. Has no opinion.
//!
//! Not for: saying what to do about a failure (`cli`, `doctor`), media.

mod relay;
mod room;
mod servers;
mod survey;
mod wire;
mod words;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use ring::rand::SecureRandom as _;
use rustls::pki_types::CertificateDer;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

pub use self::room::Links;
use self::room::{Client, Member};
pub use self::servers::IceServer;
pub use self::survey::{Rooms, Server, allocation, binding, chain, exchange, rooms, server};
use self::wire::Trust;
use crate::config::model::Transport;

/// Leaving the room is tried for so long; the seats would end by themselves.
const LEAVE_DEADLINE: Duration = Duration::from_millis(500);

/// What to prove, and whom to trust in doing it.
#[derive(Clone, Debug)]
pub struct Target {
    /// `https://192.168.1.20/`
    pub link: String,
    /// Trust exactly these (DER); empty: nobody.
    pub roots: Vec<CertificateDer<'static>>,
    pub transports: Vec<Transport>,
    /// For all of it.
    pub deadline: Duration,
    /// A `Cookie` line for joining, where only hosts open rooms.
    pub cookie: Option<String>,
}

/// What was measured. As JSON, times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// From nothing to the whole page: TCP, TLS, HTTP.
    #[serde(rename = "page_ms", serialize_with = "millis")]
    pub page: Duration,
    /// Two joins and the message that the first left for the second.
    #[serde(rename = "room_ms", serialize_with = "millis")]
    pub room: Duration,
    /// Two sockets opened and registered, one message each way.
    #[serde(rename = "websocket_ms", serialize_with = "millis")]
    pub websocket: Duration,
    /// In the order of [`Target::transports`].
    pub relay: Vec<RelayProof>,
}

/// Two allocations over this transport that exchanged packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RelayProof {
    #[serde(serialize_with = "word")]
    pub transport: Transport,
    /// From client through both relayed addresses to the other client and back: the median.
    #[serde(rename = "rtt_ms", serialize_with = "millis")]
    pub rtt: Duration,
    /// Of the first allocation.
    pub relayed: SocketAddr,
}

/// One hop of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Page,
    /// Joining, and the ICE servers that a member is given.
    Room,
    WebSocket,
    Relay(Transport),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page => f.write_str("page"),
            Self::Room => f.write_str("room"),
            Self::WebSocket => f.write_str("WebSocket"),
            Self::Relay(transport) => write!(f, "relay over {}", name(*transport)),
        }
    }
}

/// The first hop that did not hold, and why, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {url}: {cause}")]
pub struct Broken {
    pub step: Step,
    /// What was spoken to: the link, a URL of the room server, or an ICE server's URI.
    pub url: String,
    pub cause: String,
}

impl Broken {
    fn new(step: Step, url: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { step, url: url.into(), cause: cause.into() }
    }
}

/// Opens the page, calls itself in a room of its own and lets packets go both ways through the relay over every transport.
/// Leaves nothing behind. Ends at the deadline whatever the other side does.
pub async fn prove(target: &Target) -> Result<Proof, Broken> {
    let broken = |cause: String| Broken::new(Step::Page, &target.link, cause);
    let deadline = Instant::now() + target.deadline;
    let trust = Trust::new(&target.roots).map_err(|error| broken(words::of(&error)))?;
    let client = Client::new(target, &trust, deadline).map_err(broken)?;

    let started = Instant::now();
    client.page().await?;
    let page = started.elapsed();

    let started = Instant::now();
    let room = format!("probe-{:016x}", random().map_err(broken)?);
    let caller = client.join(&room).await?;
    let proof = async {
        let callee = client.join_second(&caller).await?;
        let room = started.elapsed();
        let proof = call(target, &trust, &client, &caller, &callee, deadline).await;
        leave(&client, &callee).await;
        let (websocket, relay) = proof?;
        Ok(Proof { page, room, websocket, relay })
    }
    .await;
    leave(&client, &caller).await;
    proof
}

/// What two members of a room do.
async fn call(
    target: &Target,
    trust: &Trust,
    client: &Client,
    caller: &Member,
    callee: &Member,
    deadline: Instant,
) -> Result<(Duration, Vec<RelayProof>), Broken> {
    let started = Instant::now();
    room::talk(trust, caller, callee, deadline).await?;
    let websocket = started.elapsed();
    let (one, two) = tokio::try_join!(client.ice_servers(caller), client.ice_servers(callee))?;
    let mut legs = Vec::with_capacity(target.transports.len());
    for transport in &target.transports {
        let seeds = [seed(*transport, &one.url)?, seed(*transport, &two.url)?];
        legs.push(relay::prove(trust, *transport, [&one, &two], seeds, deadline));
    }
    Ok((websocket, try_join_all(legs).await?))
}

/// The proof stands or has failed already: neither changes when nobody hears the goodbye.
async fn leave(client: &Client, member: &Member) {
    let _ = tokio::time::timeout(LEAVE_DEADLINE, client.leave(member)).await;
}

fn seed(transport: Transport, url: &str) -> Result<u64, Broken> {
    random().map_err(|cause| Broken::new(Step::Relay(transport), url, cause))
}

fn random() -> Result<u64, String> {
    let mut bytes = [0; 8];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| "this machine has no random numbers".to_owned())?;
    Ok(u64::from_ne_bytes(bytes))
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    }
}

fn word<S: Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name(*transport))
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}
