//! Taking away everything that `up` ever made, and looking whether it is gone. Killed at any point, the next purge goes on: the manifest goes last.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::apply::remove_user;
use super::lock::Lock;
use super::manifest::Manifest;
use super::ours::{has_unit, is_our_folder, is_ours};
use super::plan::{helper_paths, unit_path};
use super::service::Service;
use crate::config::Paths;
use crate::host::nginx::Nginx;
use crate::host::{Cmd, Host, HostError};

/// What a purge found and left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Files and folders that went, the topmost name of each.
    pub removed: Vec<PathBuf>,
    pub user: Option<String>,
    /// In our folders, but not ours.
    pub foreign: Vec<PathBuf>,
    /// Ours, and still there afterwards.
    pub remains: Vec<String>,
    /// What could not be known. One sentence each.
    pub notes: Vec<String>,
}

/// Stops the service first. The lock, which lies in the state folder, goes with it.
pub fn purge(host: &dyn Host, service: &dyn Service, name: &str, paths: &Paths, lock: Lock) -> anyhow::Result<Purged> {
    let (mut manifest, broken) = Manifest::load(host, &paths.state)?;
    let mut purged = Purged { user: manifest.user.clone(), ..Purged::default() };
    if has_unit(host, paths, name, &manifest)? {
        manifest.add_file(&unit_path(name));
        let was_broken = broken.is_some() || host.entry(&Manifest::aside(&paths.state))?.is_some();
        if was_broken && manifest.user.is_none() && host.run(&Cmd::new(["getent", "passwd", name])).is_ok() {
            purged
                .notes
                .push(format!("user {name} stays, because the manifest that would say whose it is was broken; if it is ours: userdel {name}"));
        }
    }
    service.stop()?;
    if !manifest.files.is_empty() {
        service.disable()?;
    }
    let [watcher, _] = helper_paths(name);
    if manifest.files.contains(&watcher) {
        service.unwatch()?;
    }
    for file in &manifest.files {
        take(host, file, &mut purged)?;
    }
    release_nginx(host, &manifest)?;
    if manifest.files.contains(&unit_path(name)) {
        host.run(&Cmd::new(["systemctl", "daemon-reload"]))?;
    }
    if let Some(user) = &manifest.user {
        remove_user(host, user)?;
    }
    if is_our_folder(host, &manifest, &paths.run)? {
        take(host, &paths.run, &mut purged)?;
    }
    for entry in host.list(&paths.state)? {
        if is_ours(host, paths, name, &manifest, &entry)? {
            take(host, &paths.state.join(entry), &mut purged)?;
        }
    }
    // From here on there is nothing to remember.
    host.remove(&Manifest::path(&paths.state))?;
    lock.remove()?;
    for folder in manifest.folders.iter().rev() {
        remove_if_empty(host, folder, &mut purged)?;
    }
    prove(host, &manifest, &mut purged)?;
    Ok(purged)
}

/// nginx forgets our site. What is broken in its configuration is somebody else's by now, and stays as nginx has it.
fn release_nginx(host: &dyn Host, manifest: &Manifest) -> anyhow::Result<()> {
    if manifest.sites.is_empty() {
        return Ok(());
    }
    let Some(nginx) = Nginx::find(host)? else { return Ok(()) };
    let running = match nginx.sites(host, None)? {
        Ok(sites) => nginx.is_running(host, &sites)?,
        Err(_) => false,
    };
    if running {
        host.run(&nginx.reload())?;
    }
    Ok(())
}

fn take(host: &dyn Host, path: &Path, purged: &mut Purged) -> Result<(), HostError> {
    if host.entry(path)?.is_some() {
        host.remove_tree(path)?;
        purged.removed.push(path.into());
    }
    Ok(())
}

/// A folder of ours with somebody else's things in it stays, and so does what it lies in.
fn remove_if_empty(host: &dyn Host, folder: &Path, purged: &mut Purged) -> Result<(), HostError> {
    if host.entry(folder)?.is_none() {
        return Ok(());
    }
    let inside = host.list(folder)?;
    if inside.is_empty() {
        host.remove(folder)?;
        purged.removed.push(folder.into());
    } else {
        // What keeps an inner folder keeps the outer one too, and is named once.
        let named = purged.foreign.clone();
        let new = inside.iter().map(|name| folder.join(name)).filter(|path| !named.iter().any(|known| known.starts_with(path)));
        purged.foreign.extend(new);
    }
    Ok(())
}

fn prove(host: &dyn Host, manifest: &Manifest, purged: &mut Purged) -> Result<(), HostError> {
    for path in manifest.files.iter().chain(&purged.removed) {
        if host.entry(path)?.is_some() {
            purged.remains.push(format!("still there: {}", path.display()));
        }
    }
    for database in ["passwd", "group"] {
        if let Some(user) = manifest.user.as_ref().filter(|user| host.run(&Cmd::new(["getent", database, user])).is_ok()) {
            purged.remains.push(format!("still in {database}: {user}"));
        }
    }
    Ok(())
}
