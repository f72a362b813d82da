//! The same hops one by one, each with its own answer, and none of them stopped by a certificate: for whoever asks which of them does not hold.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::room::{self, Client, Links};
use super::servers::{self, IceServer, RelayAddress};
use super::wire::{self, Trust, hop};
use super::{Broken, RelayProof, Step, Target, leave, random, relay, seed, words};
use crate::config::model::Transport;
use crate::turn::client::Credentials;

/// What a page and its rooms do. A hop after one that failed was not tried and has failed with it.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Its text.
    pub page: Result<String, Broken>,
    /// Two clients in one room: what the first was told.
    pub links: Result<Links, Broken>,
    /// A message each way through the advertised URL.
    pub websocket: Result<(), Broken>,
    pub ice: Result<Vec<IceServer>, Broken>,
}

/// A STUN or TURN server in a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub uri: String,
    pub transport: Transport,
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl Server {
    fn address(&self) -> RelayAddress {
        RelayAddress { uri: self.uri.clone(), host: self.host.clone(), port: self.port }
    }
}

/// `turn:` and `turns:` URIs (RFC 7065); `None` for anything else.
pub fn server(uri: &str) -> Option<Server> {
    servers::parse(uri).map(|(transport, address)| Server { uri: address.uri, transport, host: address.host, port: address.port })
}

/// Opens the page of the target, joins a room of its own twice, talks, asks for ICE servers, leaves. Its roots and transports are not looked at.
pub async fn rooms(target: &Target) -> Rooms {
    let deadline = Instant::now() + target.deadline;
    let failed = |cause: String| Broken::new(Step::Page, &target.link, cause);
    let client = Trust::anybody().map_err(|error| words::of(&error)).and_then(|trust| Ok((Client::new(target, &trust, deadline)?, trust)));
    let (client, trust) = match client {
        Ok(pair) => pair,
        Err(cause) => return Rooms::failed(failed(cause)),
    };
    let page = client.page().await;
    let room = match random() {
        Ok(number) => format!("probe-{number:016x}"),
        Err(cause) => return Rooms { page, ..Rooms::failed(failed(cause)) },
    };
    let caller = match client.join_anywhere(&room).await {
        Ok(caller) => caller,
        Err(broken) => return Rooms { page, ..Rooms::failed(broken) },
    };
    let rest = match client.join_second_anywhere(&caller).await {
        Ok(callee) => {
            let (websocket, ice) = tokio::join!(room::talk(&trust, &caller, &callee, deadline), client.ice_servers(&caller));
            leave(&client, &callee).await;
            Rooms { page, links: Ok(caller.links.clone()), websocket, ice: ice.map(|list| list.servers.servers) }
        }
        Err(broken) => Rooms { page, ..Rooms::failed(broken) },
    };
    leave(&client, &caller).await;
    rest
}

impl Rooms {
    fn failed(broken: Broken) -> Self {
        Self { page: Err(broken.clone()), links: Err(broken.clone()), websocket: Err(broken.clone()), ice: Err(broken) }
    }
}

/// The certificates that `host:port` shows to somebody who asks for `name`, the leaf first.
pub async fn chain(host: &str, port: u16, name: &str, within: Duration) -> Result<Vec<CertificateDer<'static>>, Broken> {
    hop(Step::Page, &format!("{host}:{port}"), Instant::now() + within, wire::chain(host, port, name)).await
}

/// Our address as the server sees it. TLS is believed when it leads to one of `roots`.
pub async fn binding(server: &Server, roots: &[CertificateDer<'static>], within: Duration) -> Result<SocketAddr, Broken> {
    let (trust, seed) = prepared(server, roots)?;
    relay::binding(&trust, server.transport, &server.address(), seed, Instant::now() + within).await
}

/// The relayed address that these credentials are given.
pub async fn allocation(
    server: &Server,
    credentials: &Credentials,
    roots: &[CertificateDer<'static>],
    within: Duration,
) -> Result<SocketAddr, Broken> {
    let (trust, seed) = prepared(server, roots)?;
    relay::allocation(&trust, server.transport, (server.address(), credentials.clone()), seed, Instant::now() + within).await
}

/// Packets between two allocations of the same user.
pub async fn exchange(server: &Server, credentials: &Credentials, roots: &[CertificateDer<'static>], within: Duration) -> Result<RelayProof, Broken> {
    let (trust, first) = prepared(server, roots)?;
    let seeds = [first, seed(server.transport, &server.uri)?];
    let ends = [(server.address(), credentials.clone()), (server.address(), credentials.clone())];
    relay::exchange(&trust, server.transport, ends, seeds, Instant::now() + within).await
}

fn prepared(server: &Server, roots: &[CertificateDer<'static>]) -> Result<(Trust, u64), Broken> {
    let trust = Trust::new(roots).map_err(|error| Broken::new(Step::Relay(server.transport), &server.uri, words::of(&error)))?;
    Ok((trust, seed(server.transport, &server.uri)?))
}
