//! What is had or refused before the first thread runs: the place, the ports, the secrets, the certificate.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::certificate::{self, Live};
use super::claim::{self, Claim};
use super::listen::{self, Listeners};
use super::proxy;
use crate::config::model::Proxy;
use crate::config::{Config, Paths, Secret, SiteNames};
use crate::host::{Machine, files};
use crate::net::tls::Swap;
use crate::ui::{Exit, Failure};

/// Random bytes of a secret.
const SECRET: usize = 32;
/// 8443 and 8080 stand in for these without the right to bind them.
const STAND_INS: [(u16, u16); 2] = [(443, 8443), (80, 8080)];

/// The TCP listeners of the page and of TURN over TLS; those that a proxy holds instead of us are empty.
#[derive(Default)]
pub(super) struct Ports {
    pub(super) https: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
    pub(super) backend: Vec<TcpListener>,
    pub(super) turns: Vec<TcpListener>,
    /// What clients dial: ours or the proxy's.
    pub(super) https_port: u16,
    pub(super) http_port: Option<u16>,
    /// Of `turns`, in the order of the config.
    pub(super) turns_ports: Vec<u16>,
}

/// Everything that can be refused before the first thread runs.
pub(super) struct Opened {
    pub(super) claim: Claim,
    pub(super) admin: UnixListener,
    pub(super) ports: Ports,
    pub(super) metrics: Option<TcpListener>,
    pub(super) turn_secret: Secret,
    pub(super) signal_key: Secret,
    pub(super) machine: Machine,
    pub(super) names: SiteNames,
    pub(super) swap: Arc<Swap>,
    pub(super) live: Live,
    pub(super) stamp: Option<[Option<SystemTime>; 2]>,
    pub(super) notes: Vec<String>,
}

/// Claims the place, binds what clients connect to, reads or makes secrets and certificate; in this order, so that a second daemon touches nothing.
pub(super) fn open(config: &Config, paths: &Paths) -> Result<Opened, Failure> {
    let (claim, admin) = claim::claim(paths)?;
    let mut notes = Vec::new();
    let ports = ports(config, &mut notes)?;
    let metrics = config.metrics.listen.and_then(|address| match listen::open(&[address.ip()], address.port(), None) {
        Ok(mut listeners) => listeners.sockets.pop(),
        Err(failure) => {
            notes.push(format!("no metrics: {}", failure.message));
            None
        }
    });
    files::make_dir(&paths.state, 0o700).map_err(refused)?;
    let turn_secret = secret(&config.turn.secret_file.clone().unwrap_or_else(|| paths.turn_secret()))?;
    let signal_key = secret(&paths.signal_key())?;
    let machine = Machine::look().map_err(|error| Failure::new(Exit::Resource, format!("look at the interfaces: {error}")))?;
    let names = SiteNames::of(config, &machine.hostname, &machine.addresses);
    let swap = Arc::new(Swap::default());
    let stamp = certificate::stamp(config);
    let live = certificate::refresh(config, paths, &names, &swap)?;
    // It may hold an older one in its memory.
    notes.extend(proxy::tell(config, paths));
    Ok(Opened { claim, admin, ports, metrics, turn_secret, signal_key, machine, names, swap, live, stamp, notes })
}

fn ports(config: &Config, notes: &mut Vec<String>) -> Result<Ports, Failure> {
    let site = &config.site;
    let stand_in = |port: u16| STAND_INS.iter().find(|(usual, _)| site.ports_may_move && *usual == port).map(|(_, other)| *other);
    let mut said = |listeners: &mut Listeners| {
        for note in listeners.notes.drain(..) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    };
    let mut ports = Ports { https_port: site.https_port, http_port: site.http_port, ..Ports::default() };
    if site.proxy == Proxy::None {
        let mut https = listen::open(&site.listen, site.https_port, stand_in(site.https_port))?;
        said(&mut https);
        (ports.https, ports.https_port) = (https.sockets, https.port);
        if let Some(port) = site.http_port {
            let mut http = listen::open(&site.listen, port, stand_in(port))?;
            said(&mut http);
            (ports.http, ports.http_port) = (http.sockets, Some(http.port));
        }
    } else {
        ports.backend = listen::open(&[site.backend.ip()], site.backend.port(), None)?.sockets;
    }
    for port in &config.turn.tls_ports {
        let mut turns = listen::open(&site.listen, *port, None)?;
        said(&mut turns);
        ports.turns.append(&mut turns.sockets);
        ports.turns_ports.push(turns.port);
    }
    Ok(ports)
}

fn secret(path: &Path) -> Result<Secret, Failure> {
    files::secret_file(path, SECRET).map(Secret::new).map_err(refused)
}

fn refused(error: files::FileError) -> Failure {
    Failure::new(Exit::Resource, error.to_string())
}
