//! `rtcctl render`: the files for nginx (or another proxy), systemd and compose, written or compared, without touching the system.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::cx::Cx;
use super::front::{self, CertificateFiles};
use crate::config::model::{Authority, Proxy};
use crate::config::{Config, Paths, SiteNames};
use crate::deploy::plan::{helper_paths, unit_path};
use crate::deploy::ports;
use crate::deploy::proxy::{self, Place};
use crate::host::nginx::{Nginx, Version};
use crate::host::{Host as _, Local, Machine};
use crate::render::{compose, diff, other, systemd};
use crate::ui::{Exit, Failure};

/// Where Debian's nginx writes; for a machine that has none yet.
const ERROR_LOG: &str = "/var/log/nginx/error.log";
/// For a machine that has none yet: what is current, as far as the site's syntax goes.
const NEWEST: Version = Version(1, 26, 0);

#[derive(Args)]
pub(super) struct RenderArgs {
    /// Show what differs, and exit 1 if anything does: against DIR, or without
    /// it against what is installed
    #[arg(long)]
    diff: bool,
    /// Write the files here [default: print them]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// One file that was made.
struct Rendered {
    /// Below DIR.
    file: &'static str,
    /// Where `up` installs it.
    installed: Option<PathBuf>,
    text: String,
}

/// What `--json` prints of each.
#[derive(Serialize)]
struct Shown<'a> {
    file: &'a str,
    installed: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Empty: the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

pub(super) fn run(cx: &Cx, args: RenderArgs) -> Result<(), Failure> {
    let config = cx.config()?;
    let files = files(&config, &absolute(&cx.paths(&config))?)?;
    match (args.diff, &args.dir) {
        (true, dir) => show_differences(cx, &files, dir.as_deref()),
        (false, Some(dir)) => write(cx, &files, dir),
        (false, None) => print(cx, &files),
    }
}

fn files(config: &Config, paths: &Paths) -> Result<Vec<Rendered>, Failure> {
    let machine = Machine::look().context("look at this machine's addresses")?;
    let names = SiteNames::of(config, &machine.hostname, &machine.addresses).all;
    let wrong = |error| Failure::from(anyhow::Error::from(error));
    let unit = systemd::Unit { name: &config.name, user: &config.name, state: &paths.state, run: &paths.run, low_ports: ports::low(config) };
    let mut files =
        vec![Rendered { file: "systemd/rtcctl.service", installed: Some(unit_path(&config.name)), text: systemd::unit(&unit).map_err(wrong)? }];
    match config.site.proxy {
        Proxy::None => {}
        Proxy::Nginx => files.extend(for_nginx(config, paths, &names)?),
        Proxy::Other => {
            for proxy in other::Proxy::ALL {
                let (file, text) = front::snippet(proxy, config, paths, &names).map_err(wrong)?;
                files.push(Rendered { file, installed: None, text });
            }
        }
    }
    let own = CertificateFiles::of(config, paths);
    let mut mounts: Vec<&Path> = Vec::new();
    if matches!(config.cert.authority, Authority::Files { .. }) {
        mounts.extend([own.chain.as_path(), own.key.as_path()]);
    }
    mounts.extend(config.turn.secret_file.as_deref());
    let container = compose::Compose { name: &config.name, mounts: &mounts, low_ports: ports::low(config) };
    files.push(Rendered { file: "compose/compose.yaml", installed: None, text: compose::compose(&container).map_err(wrong)? });
    files.push(Rendered { file: "compose/rtcctl.toml", installed: None, text: config.to_toml() });
    Ok(files)
}

/// As for the nginx that is here, among the sites that it has; for a usual one where there is none.
fn for_nginx(config: &Config, paths: &Paths, names: &[crate::config::HostName]) -> Result<Vec<Rendered>, Failure> {
    let wrong = |error| Failure::from(anyhow::Error::from(error));
    let found = Nginx::find(&Local).map_err(anyhow::Error::from)?;
    let program = found.as_ref().map_or("nginx", |nginx| nginx.program.as_str()).to_owned();
    let (text, installed) = match found {
        Some(nginx) => {
            let around = proxy::look_without_test(&Local, nginx, &config.name)?;
            let place = around.place(config, names)?;
            (front::nginx_site(config, paths, around.nginx.version, &around.nginx.error_log, &place).map_err(wrong)?, Some(around.path))
        }
        None => {
            let place = Place::alone(names);
            (front::nginx_site(config, paths, NEWEST, Path::new(ERROR_LOG), &place).map_err(wrong)?, None)
        }
    };
    let [path, service] = systemd::proxy_units(&config.name, &paths.certificate_mark(), &program).map_err(wrong)?;
    let [at_path, at_service] = helper_paths(&config.name);
    Ok(vec![
        Rendered { file: "nginx/site.conf", installed, text },
        Rendered { file: "systemd/rtcctl-proxy.path", installed: Some(at_path), text: path },
        Rendered { file: "systemd/rtcctl-proxy.service", installed: Some(at_service), text: service },
    ])
}

fn print(cx: &Cx, files: &[Rendered]) -> Result<(), Failure> {
    if cx.ui.is_json() {
        let shown: Vec<_> =
            files.iter().map(|f| Shown { file: f.file, installed: f.installed.as_deref(), text: Some(&f.text), diff: None }).collect();
        return cx.ui.out_json("render", &serde_json::json!({ "files": shown }));
    }
    for file in files {
        cx.ui.out(format!("==> {} <==\n{}", file.file, file.text))?;
    }
    cx.ui.say("Nothing was written. Into a folder: rtcctl render DIR");
    Ok(())
}

fn write(cx: &Cx, files: &[Rendered], dir: &Path) -> Result<(), Failure> {
    for file in files {
        let path = dir.join(file.file);
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        std::fs::write(&path, &file.text).with_context(|| format!("write {}", path.display()))?;
    }
    if cx.ui.is_json() {
        let shown: Vec<_> = files.iter().map(|f| Shown { file: f.file, installed: f.installed.as_deref(), text: None, diff: None }).collect();
        return cx.ui.out_json("render", &serde_json::json!({ "dir": dir, "files": shown }));
    }
    for file in files {
        cx.ui.out(dir.join(file.file).display().to_string())?;
    }
    Ok(())
}

fn show_differences(cx: &Cx, files: &[Rendered], dir: Option<&Path>) -> Result<(), Failure> {
    let mut shown = Vec::new();
    for file in files {
        let Some(path) = dir.map_or_else(|| file.installed.clone(), |dir| Some(dir.join(file.file))) else { continue };
        let bytes = Local.read(&path).map_err(anyhow::Error::from)?;
        let name = if bytes.is_some() { path.display().to_string() } else { format!("{} (is not there)", path.display()) };
        let there = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        shown.push((file, diff::unified((&name, &there), (file.file, &file.text))));
    }
    let differing = shown.iter().filter(|(_, diff)| !diff.is_empty()).count();
    if cx.ui.is_json() {
        let all: Vec<_> =
            shown.iter().map(|(f, diff)| Shown { file: f.file, installed: f.installed.as_deref(), text: None, diff: Some(diff.clone()) }).collect();
        cx.ui.out_json("render", &serde_json::json!({ "files": all, "differing": differing }))?;
    } else {
        for (_, diff) in shown.iter().filter(|(_, diff)| !diff.is_empty()) {
            cx.ui.out(diff.trim_end())?;
        }
    }
    if differing == 0 {
        cx.ui.say("nothing differs");
        return Ok(());
    }
    let against = if dir.is_some() { "from what is in the folder" } else { "from what is installed" };
    Err(Failure::new(Exit::No, format!("{differing} of {} files would differ {against}", shown.len())).answered())
}

fn absolute(paths: &Paths) -> Result<Paths, Failure> {
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("find {}", path.display()));
    Ok(Paths { state: absolute(&paths.state)?, run: absolute(&paths.run)? })
}
