//! What stands in front of us, in files: the same for `up`, which installs them, and for `render`, which only shows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::cert;
use crate::config::model::{Authority, Proxy};
use crate::config::{Config, HostName, Paths};
use crate::deploy::proxy::Place;
use crate::host::nginx::Version;
use crate::host::ports::{Answer, Protocol, holder, try_listen};
use crate::render::nginx::Tls;
use crate::render::{RenderError, nginx, other};

/// JSON may escape each byte of a message, and a message travels within a body.
const BODY_OVERHEAD: usize = 64 << 10;

/// Of the certificate that a proxy is to serve, PEM.
pub(super) struct CertificateFiles {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    combined: PathBuf,
}

impl CertificateFiles {
    pub(super) fn of(config: &Config, paths: &Paths) -> Self {
        let folder = paths.certs().join(cert::site_folder(config));
        let combined = folder.join("combined.pem");
        match &config.cert.authority {
            Authority::Files { chain, key } => Self { chain: chain.clone(), key: key.clone(), combined },
            _ => Self { chain: folder.join("fullchain.pem"), key: folder.join("privkey.pem"), combined },
        }
    }

    fn tls(&self) -> Tls<'_> {
        Tls { chain: &self.chain, key: &self.key }
    }
}

/// The site for nginx of this version, in its place among others.
pub(super) fn nginx_site(config: &Config, paths: &Paths, version: Version, error_log: &Path, place: &Place) -> Result<String, RenderError> {
    let files = CertificateFiles::of(config, paths);
    nginx::site(&nginx::Site {
        name: &config.name,
        names: &place.names,
        listen: &listen(config),
        https_port: config.site.https_port,
        http_port: config.site.http_port,
        backend: config.site.backend,
        tls: Some(files.tls()),
        webroot: &paths.webroot(),
        error_log,
        version,
        http2: place.http2,
        default_server: place.default_server,
        max_body: 2 * config.signal.max_message + BODY_OVERHEAD,
    })
}

/// Those of `site.listen` whose family the kernel has: nginx does not start with one that it lacks.
fn listen(config: &Config) -> Vec<IpAddr> {
    let lacks = |ip: IpAddr| ip.is_unspecified() && matches!(try_listen((ip, 0).into(), Protocol::Tcp), Answer::NoFamily | Answer::NotHere);
    config.site.listen.iter().copied().filter(|ip| !lacks(*ip)).collect()
}

/// For the proxy that holds the https port now, if it is one that we know; else for each that we know.
pub(super) fn snippets(config: &Config, paths: &Paths, names: &[HostName]) -> Result<Vec<(&'static str, String)>, RenderError> {
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let holder = any.iter().find_map(|ip| holder((*ip, config.site.https_port).into(), Protocol::Tcp)?.process);
    match holder.and_then(|process| other::Proxy::of_command(&process.command)) {
        Some(proxy) => Ok(vec![snippet(proxy, config, paths, names)?]),
        None => other::Proxy::ALL.into_iter().map(|proxy| snippet(proxy, config, paths, names)).collect(),
    }
}

pub(super) fn snippet(proxy: other::Proxy, config: &Config, paths: &Paths, names: &[HostName]) -> Result<(&'static str, String), RenderError> {
    let files = CertificateFiles::of(config, paths);
    let front = other::Front {
        name: &config.name,
        names,
        https_port: config.site.https_port,
        http_port: config.site.http_port,
        backend: config.site.backend,
        tls: files.tls(),
        combined: &files.combined,
    };
    Ok((proxy.file(), other::snippet(proxy, &front)?))
}

/// `443 through nginx`
pub(super) fn https(config: &Config) -> String {
    match config.site.proxy {
        Proxy::None => config.site.https_port.to_string(),
        Proxy::Nginx => format!("{} through nginx", config.site.https_port),
        Proxy::Other => format!("{} through your proxy", config.site.https_port),
    }
}
