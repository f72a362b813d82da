//! What `up` finds out before it decides: the config as it will be applied, this machine, and what stands there already.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use super::words;
use crate::cert;
use crate::cli::cx::Cx;
use crate::cli::front;
use crate::config::model::{Authority, Proxy};
use crate::config::{Config, HostName, Paths, SiteNames};
use crate::deploy::facts::{self, Keeper};
use crate::deploy::manifest::Manifest;
use crate::deploy::plan::{self, Plan, Want, WantedSite};
use crate::deploy::ports;
use crate::deploy::proxy::{self, Around};
use crate::host::nginx::Nginx;
use crate::host::ports::{Answer, Protocol, try_listen};
use crate::host::{Host, Local, Machine};
use crate::render::systemd;
use crate::ui::{Exit, Failure, Ui};

pub(super) struct Site {
    pub(super) config: Config,
    pub(super) paths: Paths,
    pub(super) keeper: Keeper,
    pub(super) names: SiteNames,
    /// `https://192.168.1.20/`
    pub(super) link: String,
    pub(super) notes: Vec<String>,
    pub(super) is_root: bool,
}

/// The site before nginx, and the units that keep it fresh.
type InFront = (Option<WantedSite>, Vec<(PathBuf, String)>);

/// The certificate that is served, in words and as data.
#[derive(Serialize)]
pub(super) struct Certificate {
    pub(super) names: Vec<HostName>,
    pub(super) issuer: String,
    /// Seconds since the epoch.
    pub(super) not_after: u64,
    /// It was made by this run.
    pub(super) issued: bool,
    #[serde(skip)]
    pub(super) notes: Vec<String>,
    /// What the proof trusts.
    #[serde(skip)]
    pub(super) roots: Vec<CertificateDer<'static>>,
}

impl Site {
    pub(super) fn look(cx: &Cx, set: &[String]) -> Result<Self, Failure> {
        let loaded = cx.load(set)?;
        let machine = Machine::look().context("look at this machine's addresses")?;
        let problems = loaded.check_machine(&machine.addresses);
        if !problems.is_empty() {
            return Err(cx.problems(&problems, &loaded.written.sources));
        }
        let mut config = loaded.config;
        if let Authority::Files { chain, key } = &config.cert.authority {
            // Before anything is touched; it is read again when it is needed.
            cert::load_files(chain, key)?;
        }
        let is_root = nix::unistd::geteuid().is_root();
        let paths = cx.absolute_paths(&config)?;
        let denied = |address| try_listen(address, Protocol::Tcp) == Answer::Denied;
        let notes = ports::settle(&mut config, &denied).into_iter().collect();
        let names = SiteNames::of(&config, &machine.hostname, &machine.addresses);
        let link = words::link(&names.primary, config.site.https_port);
        let keeper = Keeper::of(&Local, is_root).map_err(anyhow::Error::from)?;
        Ok(Self { config, paths, keeper, names, link, notes, is_root })
    }

    /// Of the state folder: as root others may look in, and the service's user must.
    pub(super) fn mode(&self) -> u32 {
        if self.is_root { 0o755 } else { 0o700 }
    }

    /// `made`: folders that this run has made already.
    pub(super) fn plan(&self, made: &[PathBuf]) -> Result<Plan, Failure> {
        let config = &self.config;
        let user = (self.keeper == Keeper::Systemd).then_some(config.name.as_str());
        let around = self.around()?;
        let mut facts = facts::look(&Local, config, &self.paths, self.keeper, user, around.as_ref()).map_err(anyhow::Error::from)?;
        let (site, helpers) = self.in_front(around, &mut facts.notes)?;
        for folder in made {
            facts.manifest.add_folder(folder);
        }
        let binary = std::env::current_exe().context("find this program's own file")?;
        let unit = match user {
            Some(user) => {
                let unit = systemd::Unit { name: &config.name, user, state: &self.paths.state, run: &self.paths.run, low_ports: ports::low(config) };
                Some(systemd::unit(&unit).map_err(anyhow::Error::from)?)
            }
            None => None,
        };
        let missing = || anyhow::anyhow!("this program's own file is gone: {}", binary.display());
        let want = Want {
            name: &config.name,
            paths: &self.paths,
            is_root: self.is_root,
            user,
            binary: &binary,
            binary_sha256: Local.digest(&binary).map_err(anyhow::Error::from)?.ok_or_else(missing)?,
            binary_bytes: std::fs::metadata(&binary).with_context(|| format!("look at {}", binary.display()))?.len(),
            version: env!("CARGO_PKG_VERSION"),
            config: config.to_toml(),
            unit,
            site,
            helpers,
            own_turn_secret: config.turn.secret_file.is_none(),
            now: words::seconds(SystemTime::now()),
        };
        plan::plan(&want, &facts)
    }

    /// nginx, where it is wanted or has a site of ours from before; refused where it is in no state to be given one.
    fn around(&self) -> Result<Option<Around>, Failure> {
        let wanted = self.config.site.proxy == Proxy::Nginx;
        let (manifest, _) = Manifest::load(&Local, &self.paths.state).map_err(anyhow::Error::from)?;
        if !wanted && manifest.sites.is_empty() {
            return Ok(None);
        }
        if !self.is_root {
            return Err(Failure::new(Exit::Resource, "nginx can be given a site by root only").hint("run it as root: sudo rtcctl up"));
        }
        let Some(nginx) = Nginx::find(&Local).map_err(anyhow::Error::from)? else {
            return if wanted { Err(no_nginx()) } else { Ok(None) };
        };
        let around = proxy::look(&Local, nginx, &self.config.name)?;
        if wanted || around.standing.is_some() {
            around.refuse(manifest.sites.contains_key(&around.path))?;
        }
        Ok(Some(around))
    }

    /// The site and what keeps it fresh.
    fn in_front(&self, around: Option<Around>, notes: &mut Vec<String>) -> Result<InFront, Failure> {
        let config = &self.config;
        let Some(around) = around.filter(|_| config.site.proxy == Proxy::Nginx) else { return Ok((None, Vec::new())) };
        let place = around.place(config, &self.names.all)?;
        let unchanged = around.standing.is_some();
        notes.extend(place.notes.iter().filter(|_| !unchanged).cloned());
        let text = front::nginx_site(config, &self.paths, around.nginx.version, &around.nginx.error_log, &place).map_err(anyhow::Error::from)?;
        let helpers = match self.keeper {
            Keeper::Supervisor => Vec::new(),
            Keeper::Systemd => {
                let units = systemd::proxy_units(&config.name, &self.paths.certificate_mark(), &around.nginx.program).map_err(anyhow::Error::from)?;
                plan::helper_paths(&config.name).into_iter().zip(units).collect()
            }
        };
        let ports = around.alone(ports::everything_of_page(config));
        let site = WantedSite { path: around.path, text, nginx: around.nginx, running: around.running, ports };
        Ok((Some(site), helpers))
    }

    /// Offers to install nginx where it is wanted and missing.
    pub(super) fn offer_nginx(&self, ui: &Ui) -> Result<(), Failure> {
        if self.config.site.proxy != Proxy::Nginx || !self.is_root || Nginx::find(&Local).map_err(anyhow::Error::from)?.is_some() {
            return Ok(());
        }
        let Some(install) = proxy::installer(&Local) else { return Err(no_nginx()) };
        if !ui.confirm(&format!("nginx is not installed: install it with {install}"), "--yes").map_err(|failure| failure.hint(OTHERWISE))? {
            return Err(Failure::new(Exit::Usage, "nothing was installed, nothing was started").hint(OTHERWISE));
        }
        let step = ui.step("nginx");
        match Local.run(&install) {
            Ok(_) => step.ok(format!("installed: {install}")),
            Err(error) => {
                step.fail(error.to_string());
                return Err(Failure::new(Exit::Resource, format!("nginx was not installed: {error}"))
                    .hint("bring the package lists up to date first: apt-get update")
                    .hint(OTHERWISE));
            }
        }
        Ok(())
    }

    /// What the operator's own proxy must be told, one text each.
    pub(super) fn snippets(&self) -> Vec<String> {
        let made = front::snippets(&self.config, &self.paths, &self.names.all);
        made.map_or_else(|error| vec![error.to_string()], |made| made.into_iter().map(|(_, text)| text).collect())
    }

    /// Issues, renews or loads it.
    pub(super) fn certificate(&self) -> anyhow::Result<Certificate> {
        let (bundle, issued, notes) = match &self.config.cert.authority {
            Authority::Local => {
                let folder = cert::site_folder(&self.config);
                let ensured = cert::ensure_local(&self.paths.state, &folder, &self.names.all, SystemTime::now())?;
                (ensured.bundle, ensured.issued, ensured.notes)
            }
            Authority::Files { chain, key } => (cert::load_files(chain, key)?, false, Vec::new()),
        };
        let roots = match self.config.cert.authority {
            Authority::Local => cert::local_ca(&self.paths.state)?.map(|ca| CertificateDer::from(ca.der)).into_iter().collect(),
            // Whether the world trusts it is another question; here it must be the one that is served.
            Authority::Files { .. } => bundle.chain[usize::from(bundle.chain.len() > 1)..].to_vec(),
        };
        Ok(Certificate { names: bundle.names, issuer: bundle.issuer, not_after: words::seconds(bundle.not_after), issued, notes, roots })
    }

    /// sudo after no sudo, or no sudo after sudo: two installations of one name are rarely meant.
    pub(super) fn ask_about_other_states(&self, ui: &Ui) -> Result<(), Failure> {
        let Some((whose, other)) = self.other_state().filter(|_| !self.paths.current().exists()) else { return Ok(()) };
        let question = format!("a state exists for user {whose} in {}: start anew beside it?", other.display());
        match ui.confirm(&question, "--yes") {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new(Exit::Usage, "nothing was started").hint(use_it(&whose, &other))),
            Err(failure) => Err(failure.hint(use_it(&whose, &other))),
        }
    }

    fn other_state(&self) -> Option<(String, PathBuf)> {
        let name = &self.config.name;
        let has_release = |state: &Path| state != self.paths.state && std::fs::symlink_metadata(state.join("current")).is_ok();
        if !self.is_root {
            let state = Path::new("/var/lib").join(name);
            return has_release(&state).then(|| ("root".to_owned(), state));
        }
        let sudo_user = std::env::var("SUDO_USER").ok()?;
        let home = nix::unistd::User::from_name(&sudo_user).ok()??.dir;
        let state = home.join(".local/state").join(name);
        has_release(&state).then_some((sudo_user, state))
    }
}

const OTHERWISE: &str = "or do without: rtcctl up --set site.proxy=none";

fn no_nginx() -> Failure {
    Failure::new(Exit::Resource, "nginx is not installed").hint("install it, or let rtcctl up do it").hint(OTHERWISE)
}

fn use_it(whose: &str, state: &Path) -> String {
    if whose == "root" { "use it: sudo rtcctl up".into() } else { format!("use it: rtcctl up as {whose} (state {})", state.display()) }
}
