//! Measures by really calling: pages, rooms, WebSocket and relay, through exactly the URLs that clients are given. Has no opinion.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Serialize;

use crate::config::model::Transport;

pub struct Target {
    pub link: String,
    pub roots: Vec<CertificateDer<'static>>,
    pub transports: Vec<Transport>,
    pub deadline: Duration,
}

#[derive(Serialize)]
pub struct Proof {
    pub page: Duration,
    pub room: Duration,
    pub websocket: Duration,
    pub relay: Vec<RelayProof>,
}

#[derive(Serialize)]
pub struct RelayProof {
    pub transport: Transport,
    pub rtt: Duration,
    pub relayed: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
#[error("{url}: {cause}")]
pub struct Broken {
    pub step: Step,
    pub url: String,
    pub cause: String,
}

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Page,
    Room,
    WebSocket,
    Relay(Transport),
}

pub async fn prove(_target: &Target) -> Result<Proof, Broken> {
    unimplemented!()
}
