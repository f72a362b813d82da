//! From nothing to ready, and from ready to nothing, in order. Whatever runs has an owner here.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin::Admin;
use super::book::{Book, Notes, RelaySlot};
use super::certificate::seconds;
use super::claim::Claim;
use super::front::Front;
use super::http::{Roles, Site, View};
use super::keeper::{self, Keeper, Reload, Seen};
use super::open::{Opened, Ports};
use super::seats::Seats;
use super::{listen, relayed, scrape};
use crate::config::model::{Address, Authority, Config, Proxy};
use crate::config::{HostName, Paths};
use crate::net::tls::{self, Swap};
use crate::signal::{IceSettings, Settings as SignalSettings, Signal};
use crate::telemetry::status::ListenerStatus;
use crate::turn::{Intake, Relay, Settings as TurnSettings, StartError};
use crate::ui::{Exit, Failure};

/// From the signal to the end, everything together; systemd and the supervisor wait a little longer before they kill.
const STOP: Duration = Duration::from_millis(4500);
/// How long the relay waits for its calls to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves until something ends it.
pub(super) async fn run(config: Config, paths: Paths, opened: Opened) -> Result<(), Failure> {
    let mut ends = Ends::new()?;
    let mut daemon = Daemon::start(Arc::new(config), paths, opened).await?;
    daemon.say_ready();
    let ended = daemon.until(&mut ends).await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tokio::select! {
        () = daemon.stop() => ended,
        _ = ends.next() => Err(Failure::new(Exit::Interrupted, "stopped at once, on the second signal")),
    }
}

/// Signals that end a daemon.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Resource, format!("listen for signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Result<(), Failure> {
        tokio::select! {
            _ = self.terminate.recv() => Ok(()),
            _ = self.interrupt.recv() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        }
    }
}

/// What runs.
struct Daemon {
    _claim: Claim,
    book: Arc<Book>,
    view: Arc<View>,
    /// Long-lived; each says its name and why when it ends.
    services: JoinSet<(&'static str, Result<(), String>)>,
    /// Connections and requests.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled by the admin verb.
    wanted_down: CancellationToken,
}

impl Daemon {
    async fn start(config: Arc<Config>, paths: Paths, opened: Opened) -> Result<Self, Failure> {
        let seen = look_around(&config, &opened).await;
        let (relay, signal) = start_engines(&config, paths.generation(), &opened, &seen)?;
        let view = Arc::new(View {
            title: config.site.title.clone(),
            https_port: opened.ports.https_port,
            hsts: is_public(&config),
            names: ArcSwap::from_pointee(opened.live.names.clone()),
            ca: ArcSwapOption::from_pointee(opened.live.ca),
            roles: Roles::default(),
        });
        let link = keeper::link(&opened.live.names, opened.ports.https_port);
        let sockets = Sockets { ports: opened.ports, metrics: opened.metrics };
        let (started, notes, intake) = (SystemTime::now(), Notes::default(), relay.intake());
        notes.set("start", opened.notes);
        notes.set("certificate", opened.live.notes);
        let book = Arc::new(Book {
            started,
            ready: AtomicBool::new(false),
            link: ArcSwap::from_pointee(link),
            listeners: sockets.listed(&relay, &opened.claim.socket, seconds(started)),
            certificate: ArcSwap::from_pointee(opened.live.facts),
            signal: signal.clone(),
            relay: RelaySlot::new(relay),
            traffic: Arc::default(),
            seats: Seats::within(crate::net::descriptors::limit()),
            notes,
        });
        let mut daemon = Self {
            _claim: opened.claim,
            book: Arc::clone(&book),
            view: Arc::clone(&view),
            services: JoinSet::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            wanted_down: CancellationToken::new(),
        };
        daemon.open_ports(sockets, &opened.swap, Site::new(Arc::clone(&view), signal.routes(), config.signal.max_message), intake)?;
        let stop = daemon.stop.clone();
        daemon.run_service("signaling", async move { signal.run(stop).await });
        let (reloads, asked) = mpsc::channel(1);
        daemon.open_admin(opened.admin, reloads)?;
        let keeper = Keeper { config, paths, swap: opened.swap, view, book, seen };
        let stop = daemon.stop.clone();
        daemon.services.spawn(async move { ("the keeper", keeper.run(asked, stop).await) });
        if let Some(interval) = sd_notify::watchdog_enabled() {
            let watchdog = watchdog(interval / 2, Arc::clone(&daemon.book), daemon.stop.clone());
            daemon.run_service("the watchdog", watchdog);
        }
        Ok(daemon)
    }

    fn run_service(&mut self, name: &'static str, service: impl Future<Output = ()> + Send + 'static) {
        self.services.spawn(async move {
            service.await;
            (name, Ok(()))
        });
    }

    fn open_ports(&mut self, sockets: Sockets, swap: &Arc<Swap>, site: Site, intake: Intake) -> Result<(), Failure> {
        let front = Arc::new(Front {
            tls: tls::server_config(Arc::clone(swap)).map_err(|error| Failure::new(Exit::Resource, format!("set up TLS: {error}")))?,
            answer: move |entrance, client, request| {
                let site = site.clone();
                async move { site.answer(entrance, client, request).await }
            },
            turn: Arc::new(move |client| intake.accept(client)),
            traffic: Arc::clone(&self.book.traffic),
            seats: self.book.seats.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        });
        let Ports { https, http, backend, turns, .. } = sockets.ports;
        for listener in tokio_listeners(https)? {
            self.run_service("the https port", Arc::clone(&front).run_tls(listener));
        }
        for listener in tokio_listeners(http)? {
            self.run_service("the http port", Arc::clone(&front).run_plain(listener));
        }
        for listener in tokio_listeners(backend)? {
            self.run_service("the backend of the proxy", Arc::clone(&front).run_backend(listener));
        }
        for listener in tokio_listeners(turns)? {
            self.run_service("the turn/tls port", Arc::clone(&front).run_turn(listener));
        }
        for listener in tokio_listeners(sockets.metrics)? {
            let metrics = scrape::run(listener, Arc::clone(&self.book), self.tasks.clone(), self.stop.clone());
            self.run_service("metrics", metrics);
        }
        Ok(())
    }

    fn open_admin(&mut self, listener: UnixListener, reloads: mpsc::Sender<Reload>) -> Result<(), Failure> {
        let admin = Admin { book: Arc::clone(&self.book), reloads, wanted_down: self.wanted_down.clone() };
        let listener = tokio::net::UnixListener::from_std(listener);
        let listener = listener.map_err(|error| Failure::new(Exit::Resource, format!("watch the admin socket: {error}")))?;
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        self.run_service("the admin socket", admin.run(listener, tasks, stop));
        Ok(())
    }

    fn say_ready(&self) {
        self.set_roles(true);
        self.book.ready.store(true, Ordering::Relaxed);
        let link = self.book.link.load();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready: {link}");
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&link)]);
    }

    fn set_roles(&self, up: bool) {
        self.view.roles.signal.store(up, Ordering::Relaxed);
        self.view.roles.turn.store(up, Ordering::Relaxed);
    }

    /// `Ok` when somebody wanted it to end.
    async fn until(&mut self, ends: &mut Ends) -> Result<(), Failure> {
        tokio::select! {
            ended = ends.next() => ended,
            () = self.wanted_down.cancelled() => Ok(()),
            Some(ended) = self.services.join_next() => {
                let why = match ended {
                    Ok((name, Ok(()))) => format!("{name} ended by itself"),
                    Ok((name, Err(why))) => format!("{name} gave up: {why}"),
                    Err(error) => format!("a service failed: {error}"),
                };
                tracing::error!("{why}");
                Err(Failure::new(Exit::Resource, why))
            }
        }
    }

    /// Accepting ends, sockets are closed in order, the relay is drained; all at the same time and within the limit.
    async fn stop(&mut self) {
        tracing::info!("stopping");
        self.book.ready.store(false, Ordering::Relaxed);
        self.set_roles(false);
        self.stop.cancel();
        self.tasks.close();
        let relay = self.book.relay.take();
        let relay = tokio::task::spawn_blocking(move || relay.map(|relay| relay.stop(DRAIN)));
        let services = async { while self.services.join_next().await.is_some() {} };
        let everything = async { tokio::join!(services, self.tasks.wait(), relay) };
        if tokio::time::timeout(STOP, everything).await.is_err() {
            tracing::warn!("not everything ended in time");
        }
        tracing::info!("stopped");
    }
}

/// What the keeper compares with later.
async fn look_around(config: &Config, opened: &Opened) -> Seen {
    let resolved = match relayed::name_to_resolve(config) {
        None => Vec::new(),
        Some(name) => keeper::resolve(name).await.unwrap_or_else(|reason| {
            tracing::warn!("{reason}: the relay uses this machine's own addresses until it does");
            Vec::new()
        }),
    };
    let relayed = relayed::choose(config, &opened.machine.addresses, &resolved);
    Seen { names: opened.names.clone(), resolved, relayed, own_ips: Vec::new(), stamp: opened.stamp, refreshed: Instant::now() }
}

/// Relay and rooms share the secret that credentials are made with.
fn start_engines(config: &Config, generation_file: PathBuf, opened: &Opened, seen: &Seen) -> Result<(Relay, Signal), Failure> {
    let secrets = Arc::new(ArcSwap::from_pointee(vec![opened.turn_secret.clone()]));
    let ports = &opened.ports;
    // Those of a proxy too: what listens here is not to be reached through the relay.
    let mut own_ports = vec![ports.https_port];
    own_ports.extend(ports.http_port.into_iter().chain(ports.turns_ports.iter().copied()));
    own_ports.extend(config.metrics.listen.map(|metrics| metrics.port()));
    own_ports.extend(ports.backend.iter().filter_map(|socket| Some(socket.local_addr().ok()?.port())));
    // A proxy speaks HTTP on the https port and nothing else.
    let shared = (config.site.proxy == Proxy::None).then_some(ports.https_port);
    let relay = Relay::start(TurnSettings {
        config: config.turn.clone(),
        listen: config.site.listen.clone(),
        relayed: seen.relayed.clone(),
        secrets: Arc::clone(&secrets),
        own_ports,
    })
    .map_err(|error| match error {
        StartError::Bind { address, protocol, source } => listen::bind_failure(address, protocol, &source),
        StartError::Other(_) => Failure::new(Exit::Resource, error.to_string()),
    })?;
    let signal = Signal::new(SignalSettings {
        config: config.signal.clone(),
        ice: IceSettings {
            ports: config.turn.ports.clone(),
            tls_ports: shared.into_iter().chain(ports.turns_ports.iter().copied()).collect(),
            secrets,
            ttl: config.turn.credential_ttl,
        },
        key: opened.signal_key.clone(),
        generation_file,
    });
    Ok((relay, signal))
}

/// A name that the whole internet knows, with a certificate that it believes: only then may a browser be told to refuse plain http for good.
fn is_public(config: &Config) -> bool {
    let private = [".local", ".internal", ".lan", ".home.arpa", ".test", ".localhost"];
    match (&config.cert.authority, &config.site.address) {
        (Authority::Files { .. }, Address::Host(HostName::Dns(name))) => name.contains('.') && !private.iter().any(|end| name.ends_with(end)),
        _ => false,
    }
}

struct Sockets {
    ports: Ports,
    metrics: Option<TcpListener>,
}

impl Sockets {
    fn listed(&self, relay: &Relay, admin: &Path, since: u64) -> Vec<ListenerStatus> {
        let entry = |address: String, protocol: &str, serves: &str| ListenerStatus {
            address,
            protocol: protocol.to_owned(),
            serves: serves.to_owned(),
            pid: std::process::id(),
            since,
        };
        let tcp = |sockets: &[TcpListener], serves: &str| -> Vec<ListenerStatus> {
            let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok());
            addresses.map(|address| entry(address.to_string(), "tcp", serves)).collect()
        };
        let mut all = tcp(&self.ports.https, "page, rooms, turn/tls");
        all.extend(tcp(&self.ports.http, "redirect, /ca"));
        all.extend(tcp(&self.ports.backend, "page, rooms, for the proxy"));
        all.extend(tcp(&self.ports.turns, "turn/tls"));
        all.extend(relay.listeners().into_iter().map(|listener| entry(listener.address.to_string(), listener.protocol, "turn")));
        all.extend(tcp(self.metrics.as_slice(), "metrics"));
        all.push(entry(admin.display().to_string(), "unix", "admin"));
        all
    }
}

fn tokio_listeners(sockets: impl IntoIterator<Item = TcpListener>) -> Result<Vec<tokio::net::TcpListener>, Failure> {
    let adopt =
        |socket| tokio::net::TcpListener::from_std(socket).map_err(|error| Failure::new(Exit::Resource, format!("watch a listener: {error}")));
    sockets.into_iter().map(adopt).collect()
}

/// Says that we live for as long as the relay does; systemd restarts a daemon that has stopped saying so.
async fn watchdog(every: Duration, book: Arc<Book>, stop: CancellationToken) {
    loop {
        if book.relay.is_well() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}
