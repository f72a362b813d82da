//! Looks once a minute whether the machine or the certificate has changed, and makes the daemon follow: new names, new leaf, new relayed addresses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::book::Book;
use super::certificate::{self, Live};
use super::http::View;
use super::origin;
use super::proxy;
use super::relayed;
use crate::config::{Config, Paths, SiteNames};
use crate::host::Machine;
use crate::net::tls::Swap;
use crate::turn::RelayedAddress;

const EVERY: Duration = Duration::from_secs(60);
/// How long a certificate that nobody complained about is left alone; a leaf is renewed months before it ends.
const RENEWAL_CHECK: Duration = Duration::from_secs(6 * 3600);
const RESOLVE: Duration = Duration::from_secs(5);

/// `reload-certificate`; the answer is a sentence.
pub(super) type Reload = oneshot::Sender<Result<String, String>>;

/// What is told to whom when something changes.
pub(super) struct Keeper {
    pub(super) config: Arc<Config>,
    pub(super) paths: Paths,
    pub(super) swap: Arc<Swap>,
    pub(super) view: Arc<View>,
    pub(super) book: Arc<Book>,
    pub(super) seen: Seen,
}

/// What was true at the last look.
pub(super) struct Seen {
    pub(super) names: SiteNames,
    pub(super) resolved: Vec<IpAddr>,
    pub(super) relayed: Vec<RelayedAddress>,
    /// Every address of the machine, as the relay was last told.
    pub(super) own_ips: Vec<IpAddr>,
    pub(super) stamp: Option<[Option<SystemTime>; 2]>,
    pub(super) refreshed: Instant,
}

impl Keeper {
    /// Until `stop`; an error when the relay has died.
    pub(super) async fn run(mut self, mut reloads: mpsc::Receiver<Reload>, stop: CancellationToken) -> Result<(), String> {
        loop {
            let reload = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => None,
                reload = reloads.recv() => reload,
            };
            if !self.book.relay.is_well() {
                return Err("a thread of the relay died".into());
            }
            let outcome = self.look(reload.is_some()).await;
            if let Some(reply) = reload {
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
            }
        }
    }

    /// `force`: the certificate is looked at whether or not anything seems to have changed.
    async fn look(&mut self, force: bool) -> Result<String, String> {
        let machine = match tokio::task::spawn_blocking(Machine::look).await {
            Ok(Ok(machine)) => machine,
            Ok(Err(error)) => return Err(format!("look at the interfaces: {error}")),
            Err(error) => return Err(format!("look at the interfaces: {error}")),
        };
        // Between two networks: links and certificate for nobody but this machine would help nobody.
        let offline = machine.addresses.is_empty() && !self.seen.relayed.iter().all(|relayed| relayed.local.is_loopback());
        if offline && !force {
            return Ok("the machine has no address at the moment".into());
        }
        let names = SiteNames::of(&self.config, &machine.hostname, &machine.addresses);
        self.guard_own_addresses();
        self.follow_addresses(&machine.addresses).await;
        let stamp = certificate::stamp(&self.config);
        let due = names != self.seen.names || stamp != self.seen.stamp || self.seen.refreshed.elapsed() > RENEWAL_CHECK;
        if !due && !force {
            return Ok("nothing changed".into());
        }
        self.seen.stamp = stamp;
        self.seen.refreshed = Instant::now();
        self.refresh(names).await
    }

    async fn refresh(&mut self, names: SiteNames) -> Result<String, String> {
        let (config, paths, swap, wanted) = (Arc::clone(&self.config), self.paths.clone(), Arc::clone(&self.swap), names.clone());
        let refreshed = tokio::task::spawn_blocking(move || certificate::refresh(&config, &paths, &wanted, &swap)).await;
        match refreshed.map_err(anyhow::Error::from).and_then(|result| result) {
            Ok(live) => {
                self.seen.names = names;
                if live.facts != **self.book.certificate.load() {
                    let (config, paths) = (Arc::clone(&self.config), self.paths.clone());
                    self.book.notes.set("proxy", tokio::task::spawn_blocking(move || proxy::tell(&config, &paths)).await.unwrap_or_default());
                }
                Ok(self.tell(live))
            }
            Err(error) => {
                let sentence = format!("the certificate could not be renewed, the old one stays: {error:#}");
                self.book.notes.set("certificate", vec![sentence.clone()]);
                Err(sentence)
            }
        }
    }

    fn tell(&self, live: Live) -> String {
        let link = link(&live.names, self.view.https_port);
        let said = match (live.issued, &live.facts.names) {
            (true, names) => format!("issued a certificate for {}", names.join(", ")),
            (false, _) => "the certificate is in place".to_owned(),
        };
        tracing::info!("{said}");
        if **self.book.link.load() != link {
            self.book.notes.set("link", vec![format!("the link has changed: it is now {link}")]);
            self.book.link.store(Arc::new(link));
        }
        self.book.notes.set("certificate", live.notes);
        self.book.certificate.store(Arc::new(live.facts));
        self.view.names.store(Arc::new(live.names));
        self.view.ca.store(live.ca.map(Arc::new));
        said
    }

    /// The relay knows those of its start; one that came since would be a stranger's to it.
    fn guard_own_addresses(&mut self) {
        match crate::net::addr::of_interfaces() {
            Ok(own_ips) if own_ips != self.seen.own_ips => {
                self.seen.own_ips.clone_from(&own_ips);
                self.book.relay.set_own_ips(own_ips);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot see this machine's addresses: the relay guards those it knows"),
        }
    }

    async fn follow_addresses(&mut self, machine: &[IpAddr]) {
        if let Some(name) = relayed::name_to_resolve(&self.config) {
            match resolve(name).await {
                Ok(resolved) => self.seen.resolved = resolved,
                Err(reason) => tracing::debug!(%reason, "the site's name does not resolve, its last addresses stay"),
            }
        }
        let relayed = relayed::choose(&self.config, machine, &self.seen.resolved);
        if relayed != self.seen.relayed {
            tracing::info!("the relay's addresses have changed");
            self.seen.relayed.clone_from(&relayed);
            self.book.relay.set_relayed(relayed);
        }
    }
}

/// By the system's resolver, in its order; sorted so that a rotating answer is no change.
pub(super) async fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
    match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        }
        Ok(Err(error)) => Err(format!("resolve {name}: {error}")),
        Err(_) => Err(format!("resolve {name}: no answer within {} s", RESOLVE.as_secs())),
    }
}

/// What people are given.
pub(super) fn link(names: &SiteNames, https_port: u16) -> String {
    format!("{}/", origin::url(&origin::secure(&names.primary, https_port)))
}
