//! What was seen: each thing is looked at once, by the first row that asks, and all others wait for the same answer.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::OnceCell;

use super::check::When;
use super::firewall;
use super::subject::{Own, Subject, Target};
use crate::cert::store::Store;
use crate::cert::{self, LocalCa, trust};
use crate::config::model::{Authority, RoomOpeners, Transport};
use crate::config::{Config, Paths, Secret};
use crate::deploy::facts;
use crate::deploy::history;
use crate::deploy::ports::PortFact;
use crate::host::{Cmd, Host as _, HostError, Local, files};
use crate::probe::{self, Broken, Rooms, Server};
use crate::signal::invite;
use crate::telemetry::status::{self, Status};
use crate::turn::client::Credentials;

/// The daemon answers from memory.
const STATUS: Duration = Duration::from_secs(2);
/// Page, rooms and WebSocket together.
const ROOMS: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Three sends over UDP (RFC 8489 §6.2.1).
const STUN: Duration = Duration::from_secs(2);
const RESOLVE: Duration = Duration::from_secs(4);
const COMMAND: Duration = Duration::from_secs(3);

/// Where systems keep the roots that they trust.
const ROOT_BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/var/lib/ca-certificates/ca-bundle.pem"];

pub struct Evidence {
    pub(super) subject: Subject,
    credentials: Option<Credentials>,
    status: OnceCell<Result<Status, Silence>>,
    life: OnceCell<Life>,
    ports: OnceCell<Vec<PortFact>>,
    files: OnceCell<Option<CertFiles>>,
    served: OnceCell<Result<Chain, Broken>>,
    roots: OnceCell<Result<Chain, String>>,
    local_ca: OnceCell<Result<Option<LocalCa>, String>>,
    trusted_here: OnceCell<bool>,
    rooms: OnceCell<Rooms>,
    bindings: [OnceCell<Vec<Bound>>; 3],
    allocation: OnceCell<Option<Allocated>>,
    resolved: OnceCell<Result<Vec<IpAddr>, NotResolved>>,
    firewall: OnceCell<Result<Vec<firewall::Dropped>, String>>,
}

/// DER, the leaf first.
pub(super) type Chain = Vec<CertificateDer<'static>>;

/// A server, and whether it answered a Binding.
type Bound = (Server, Result<(), Broken>);
/// Whom was asked with what, and the relayed address.
type Allocated = (Server, Credentials, Result<IpAddr, Broken>);

/// Why the daemon says nothing.
pub(super) type Silence = io::ErrorKind;

/// Whether something is meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It was never brought up here.
    Never,
    /// `down` was the last word.
    Stopped,
    Expected,
}

/// The files of the certificate as they stand.
#[derive(Debug)]
pub(super) struct CertFiles {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    pub(super) chain_pem: io::Result<Vec<u8>>,
    pub(super) key_pem: io::Result<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) enum NotResolved {
    /// The name is known to have no address.
    None(String),
    /// Nobody could be asked.
    Unknown(String),
}

impl Evidence {
    /// `credentials` are for a foreign relay.
    pub fn new(subject: Subject, credentials: Option<Credentials>) -> Self {
        Self {
            subject,
            credentials,
            status: OnceCell::new(),
            life: OnceCell::new(),
            ports: OnceCell::new(),
            files: OnceCell::new(),
            served: OnceCell::new(),
            roots: OnceCell::new(),
            local_ca: OnceCell::new(),
            trusted_here: OnceCell::new(),
            rooms: OnceCell::new(),
            bindings: Default::default(),
            allocation: OnceCell::new(),
            resolved: OnceCell::new(),
            firewall: OnceCell::new(),
        }
    }

    pub(super) fn is_foreign(&self) -> bool {
        matches!(self.subject, Subject::Foreign(_))
    }

    /// Nothing is running, and nothing is meant to.
    pub async fn is_before_up(&self) -> bool {
        matches!(self.subject, Subject::Own(Ok(_))) && self.life().await != Life::Expected
    }

    pub(super) fn own(&self) -> Option<&Own> {
        match &self.subject {
            Subject::Own(Ok(own)) => Some(own),
            _ => None,
        }
    }

    pub(super) async fn is_time_for(&self, when: When) -> bool {
        let own_files = || self.own().is_some_and(|own| matches!(own.config.cert.authority, Authority::Files { .. }));
        when == When::Always || self.is_foreign() || when == When::Certified && own_files() || self.life().await == Life::Expected
    }

    pub(super) async fn why_not_live(&self) -> &'static str {
        if self.life().await == Life::Stopped { "it was stopped by rtcctl down" } else { "nothing is running yet" }
    }

    pub(super) async fn life(&self) -> Life {
        *self
            .life
            .get_or_init(|| async {
                let Some(own) = self.own() else { return Life::Never };
                if self.status().await.is_ok() {
                    return Life::Expected;
                }
                let paths = own.paths.clone();
                off_thread(move || life(&paths)).await.unwrap_or(Life::Never)
            })
            .await
    }

    pub(super) async fn status(&self) -> Result<&Status, &Silence> {
        let ask = || async {
            let Some(own) = self.own() else { return Err(io::ErrorKind::NotFound) };
            let socket = own.paths.admin_socket();
            let asked = off_thread(move || status::ask(&socket, "status", STATUS)).await.unwrap_or_else(|| Err(io::Error::other("interrupted")));
            asked.and_then(|answer| serde_json::from_value(answer).map_err(io::Error::other)).map_err(|error| error.kind())
        };
        self.status.get_or_init(ask).await.as_ref()
    }

    /// The https and TURN ports that are not held by our own daemon.
    pub(super) async fn ports(&self) -> &[PortFact] {
        self.ports
            .get_or_init(|| async {
                let Some(own) = self.own() else { return Vec::new() };
                let (config, paths, status) = (own.config.clone(), own.paths.clone(), self.status().await.ok().cloned());
                off_thread(move || facts::port_facts(&config, &paths, status.as_ref(), None)).await.unwrap_or_default()
            })
            .await
    }

    /// `None` for a foreign target.
    pub(super) async fn files(&self) -> Option<&CertFiles> {
        self.files
            .get_or_init(|| async {
                let own = self.own()?;
                let (config, paths) = (own.config.clone(), own.paths.clone());
                off_thread(move || CertFiles::read(&config, &paths)).await
            })
            .await
            .as_ref()
    }

    /// What our https port, or the one of a foreign page, shows.
    pub(super) async fn served(&self) -> Result<&Chain, &Broken> {
        let look = || async {
            match &self.subject {
                Subject::Own(Ok(own)) => {
                    let host = own.local_address().to_string();
                    probe::chain(&host, own.config.site.https_port, &own.names.primary.to_string(), HANDSHAKE).await
                }
                Subject::Foreign(target) => match endpoint(target) {
                    Some((host, port)) => probe::chain(&host, port, &host, HANDSHAKE).await,
                    None => Err(nothing("the target speaks no TLS")),
                },
                Subject::Own(Err(_)) => Err(nothing("no config")),
            }
        };
        self.served.get_or_init(look).await.as_ref()
    }

    /// The chain that is to be judged: of our files, or as a foreign server shows it.
    pub(super) async fn chain(&self) -> Result<Chain, String> {
        if self.is_foreign() {
            return self.served().await.cloned().map_err(ToString::to_string);
        }
        let pem = self.files().await.ok_or("no files")?.chain_pem.as_ref().map_err(ToString::to_string)?;
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    /// What this machine trusts. The error says where was looked.
    pub(super) async fn roots(&self) -> Result<&Chain, &String> {
        let read = || async { off_thread(system_roots).await.unwrap_or_else(|| Err("interrupted".into())) };
        self.roots.get_or_init(read).await.as_ref()
    }

    pub(super) async fn local_ca(&self) -> Result<Option<&LocalCa>, &String> {
        let read = || async {
            let Some(own) = self.own().filter(|own| own.config.cert.authority == Authority::Local) else { return Ok(None) };
            let state = own.paths.state.clone();
            off_thread(move || cert::local_ca(&state)).await.unwrap_or(Ok(None)).map_err(|error| format!("{error:#}"))
        };
        self.local_ca.get_or_init(read).await.as_ref().map(Option::as_ref)
    }

    /// The local CA is in a trust store of this machine or this user.
    pub(super) async fn is_trusted_here(&self) -> bool {
        *self
            .trusted_here
            .get_or_init(|| async {
                let Ok(Some(ca)) = self.local_ca().await.map(Option::<&LocalCa>::cloned) else { return false };
                let look = move || {
                    let scope = trust::Scope::of_caller(&|key| std::env::var(key).ok());
                    trust::survey(&scope, &ca).places.iter().any(|place| trust::trusts(place, &ca).unwrap_or(false))
                };
                off_thread(look).await.unwrap_or(false)
            })
            .await
    }

    /// `None` for a target without rooms.
    pub(super) async fn rooms(&self) -> Option<&Rooms> {
        let link = match &self.subject {
            Subject::Own(Ok(own)) => own.link(),
            Subject::Foreign(Target::Page(url)) => url.to_string(),
            _ => return None,
        };
        let look = || async {
            let cookie = self.own().and_then(pass);
            probe::rooms(&probe::Target { link, roots: Vec::new(), transports: Vec::new(), deadline: ROOMS, cookie }).await
        };
        Some(self.rooms.get_or_init(look).await)
    }

    /// Every URI of a STUN or TURN server that clients are given, as it is written; none when the rooms do not say.
    pub(super) async fn uris(&self) -> Vec<(String, Option<Credentials>)> {
        if let Subject::Foreign(Target::Relay(servers)) = &self.subject {
            return servers.iter().map(|server| (server.uri.clone(), self.credentials.clone())).collect();
        }
        let Some(Ok(ice)) = self.rooms().await.map(|rooms| rooms.ice.as_ref()) else { return Vec::new() };
        let credentials = |server: &probe::IceServer| Credentials { username: server.username.clone(), password: server.credential.clone() };
        ice.iter().flat_map(|server| server.urls.iter().map(move |uri| (uri.clone(), Some(credentials(server))))).collect()
    }

    async fn servers(&self, transport: Transport) -> Vec<(Server, Option<Credentials>)> {
        let parsed = self.uris().await.into_iter().filter_map(|(uri, credentials)| Some((probe::server(&uri)?, credentials)));
        parsed.filter(|(server, _)| server.transport == transport).collect()
    }

    /// Roots that TURN over TLS may lead to.
    pub(super) async fn turn_roots(&self) -> Chain {
        match self.local_ca().await {
            Ok(Some(ca)) => vec![CertificateDer::from(ca.der.clone())],
            _ => self.roots().await.cloned().unwrap_or_default(),
        }
    }

    /// Each server of this transport with its answer to a Binding.
    pub(super) async fn bindings(&self, transport: Transport) -> &[Bound] {
        let ask = || async {
            let roots = if transport == Transport::Tls { self.turn_roots().await } else { Vec::new() };
            let servers = self.servers(transport).await;
            let asked = servers.iter().map(|(server, _)| async { (server.clone(), probe::binding(server, &roots, STUN).await.map(drop)) });
            futures_util::future::join_all(asked).await
        };
        self.bindings[transport as usize].get_or_init(ask).await
    }

    /// An allocation over the first transport that answers; `None`: no server answers, or nobody gave us credentials.
    pub(super) async fn allocation(&self) -> Option<&Allocated> {
        let ask = || async {
            for transport in [Transport::Udp, Transport::Tcp] {
                let alive = self.bindings(transport).await.iter().find(|(_, answer)| answer.is_ok()).map(|(server, _)| server.clone());
                let Some(server) = alive else { continue };
                let credentials = self.servers(transport).await.into_iter().find(|(of, _)| *of == server)?.1?;
                let relayed = probe::allocation(&server, &credentials, &[], STUN).await.map(|address| address.ip());
                return Some((server, credentials, relayed));
            }
            None
        };
        self.allocation.get_or_init(ask).await.as_ref()
    }

    /// The site's name by this machine's resolver; `None` when there is no name.
    pub(super) async fn resolved(&self) -> Option<Result<&Vec<IpAddr>, &NotResolved>> {
        let name = self.own()?.dns_name()?;
        Some(self.resolved.get_or_init(|| resolve(name)).await.as_ref())
    }

    /// What this machine's firewall drops of what we need; an error when it could not be read or understood.
    pub(super) async fn firewall(&self) -> Result<&[firewall::Dropped], &String> {
        let look = || async {
            let Some(own) = self.own() else { return Ok(Vec::new()) };
            let wanted = firewall::wanted(&own.config);
            let ruleset = off_thread(|| Local.run(&Cmd::new(["nft", "--json", "list", "ruleset"]).within(COMMAND))).await;
            match ruleset {
                Some(Ok(output)) => firewall::dropped(&output.stdout, &wanted),
                Some(Err(HostError::Start { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                    if nf_tables_in_use() {
                        Err("the kernel filters packets, but nft is not installed to ask how".into())
                    } else {
                        Ok(Vec::new())
                    }
                }
                Some(Err(_)) if !nix::unistd::geteuid().is_root() => Err("only root may read the firewall".into()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("interrupted".into()),
            }
        };
        self.firewall.get_or_init(look).await.as_ref().map(Vec::as_slice)
    }
}

impl CertFiles {
    fn read(config: &Config, paths: &Paths) -> Self {
        let (chain, key) = match &config.cert.authority {
            Authority::Files { chain, key } => (chain.clone(), key.clone()),
            Authority::Local => {
                let folder = Store::of(&paths.state).folder(&cert::site_folder(config));
                (folder.join("fullchain.pem"), folder.join("privkey.pem"))
            }
        };
        Self { chain_pem: std::fs::read(&chain), key_pem: std::fs::read(&key), chain, key }
    }
}

/// Bytes of the signaling key, as `serve` makes it.
const KEY_BYTES: usize = 32;

/// What lets us open a room where only hosts may; `None` where everybody may, or the key cannot be read.
fn pass(own: &Own) -> Option<String> {
    if own.config.signal.open_rooms == RoomOpeners::Anyone {
        return None;
    }
    let path = own.paths.signal_key();
    // Asking for an absent secret would make one.
    let key = path.is_file().then(|| files::secret_file(&path, KEY_BYTES).ok()).flatten()?;
    let now = now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(format!("{}={}", invite::COOKIE, invite::Rights::new(&Secret::new(key)).pass(now)))
}

/// The daemon does not answer: was it ever meant to run?
fn life(paths: &Paths) -> Life {
    let last = history::read(&Local, &paths.history()).unwrap_or_default().pop();
    if last.is_some_and(|entry| entry.verb == "down" && entry.outcome == "done") {
        return Life::Stopped;
    }
    // A daemon takes its socket with it, unless it is killed.
    let left = paths.current().symlink_metadata().is_ok() || paths.admin_socket().exists();
    if left { Life::Expected } else { Life::Never }
}

fn system_roots() -> Result<Chain, String> {
    let told = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let candidates: Vec<PathBuf> = told.map_or_else(|| ROOT_BUNDLES.map(PathBuf::from).to_vec(), |path| vec![path]);
    for path in &candidates {
        if let Ok(pem) = std::fs::read(path) {
            return Ok(CertificateDer::pem_slice_iter(&pem).flatten().collect());
        }
    }
    let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    Err(format!("no list of trusted roots on this machine ({})", looked.join(", ")))
}

async fn resolve(name: &str) -> Result<Vec<IpAddr>, NotResolved> {
    match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        }
        // The resolver's code is lost on the way; its words (gai_strerror) are not.
        Ok(Err(error)) if ["not known", "No address associated", "does not resolve"].iter().any(|words| error.to_string().contains(words)) => {
            Err(NotResolved::None(error.to_string()))
        }
        Ok(Err(error)) => Err(NotResolved::Unknown(error.to_string())),
        Err(_) => Err(NotResolved::Unknown(format!("no answer within {} s", RESOLVE.as_secs()))),
    }
}

fn endpoint(target: &Target) -> Option<(String, u16)> {
    match target {
        Target::Page(url) if url.scheme() == "https" => {
            let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
            Some((host, url.port_or_known_default()?))
        }
        Target::Page(_) => None,
        Target::Relay(servers) => servers.iter().find(|s| s.transport == Transport::Tls).map(|s| (s.host.clone(), s.port)),
    }
}

fn nothing(cause: &str) -> Broken {
    Broken { step: probe::Step::Page, url: String::new(), cause: cause.to_owned() }
}

/// Tables exist when the module counts users.
fn nf_tables_in_use() -> bool {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    modules.lines().filter_map(|line| line.strip_prefix("nf_tables ")).any(|rest| rest.split(' ').nth(1).is_some_and(|users| users != "0"))
}

/// Off the runtime's threads; `None` when the runtime ends first.
pub(super) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

pub(super) type Shared = Arc<Evidence>;
