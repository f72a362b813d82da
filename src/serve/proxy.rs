//! Letting nginx take a certificate that has changed: it reads the files once, and would serve the old one until it ends.

use crate::config::model::Proxy;
use crate::config::{Config, Paths};
use crate::host::nginx::Nginx;
use crate::host::{Host as _, HostError, Local, files};

/// Reloads nginx where we have the right to; elsewhere leaves the mark that systemd waits for. Returns what a person should hear. Blocks on both.
pub(super) fn tell(config: &Config, paths: &Paths) -> Vec<String> {
    if config.site.proxy != Proxy::Nginx {
        return Vec::new();
    }
    let told = if nix::unistd::geteuid().is_root() { reload() } else { mark(paths) };
    told.err().map(|error| format!("nginx was not told of the certificate: {error}")).into_iter().collect()
}

fn reload() -> Result<(), HostError> {
    let Some(nginx) = Nginx::find(&Local)? else { return Ok(()) };
    let Ok(sites) = nginx.sites(&Local, None)? else { return Ok(()) };
    if nginx.is_running(&Local, &sites)? {
        Local.run(&nginx.reload())?;
    }
    Ok(())
}

fn mark(paths: &Paths) -> Result<(), HostError> {
    Ok(files::write_atomic(&paths.certificate_mark(), b"", 0o644)?)
}
