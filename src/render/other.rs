//! Pure: what other proxies need to be told to stand in front of us.

use std::net::SocketAddr;
use std::path::Path;

use minijinja::context;

use super::engine::{RenderError, fill};
use super::nginx::Tls;
use crate::config::HostName;

/// A proxy that we do not configure ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Caddy,
    Apache,
    Traefik,
    HaProxy,
}

impl Proxy {
    pub const ALL: [Self; 4] = [Self::Caddy, Self::Apache, Self::Traefik, Self::HaProxy];

    /// By the name of its program, as `ps` shows it.
    pub fn of_command(command: &str) -> Option<Self> {
        match command {
            "caddy" => Some(Self::Caddy),
            "apache2" | "httpd" => Some(Self::Apache),
            "traefik" => Some(Self::Traefik),
            "haproxy" => Some(Self::HaProxy),
            _ => None,
        }
    }

    /// Below a folder of rendered files.
    pub fn file(self) -> &'static str {
        match self {
            Self::Caddy => "caddy/Caddyfile",
            Self::Apache => "apache/site.conf",
            Self::Traefik => "traefik/site.yaml",
            Self::HaProxy => "haproxy/site.cfg",
        }
    }
}

/// What the proxy must be told.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    pub name: &'a str,
    /// The primary one first.
    pub names: &'a [HostName],
    pub https_port: u16,
    pub http_port: Option<u16>,
    pub backend: SocketAddr,
    pub tls: Tls<'a>,
    /// Key and chain in one file.
    pub combined: &'a Path,
}

/// The part of the proxy's configuration that leads to us. Refuses paths with control characters.
pub fn snippet(proxy: Proxy, front: &Front<'_>) -> Result<String, RenderError> {
    let (template, source) = match proxy {
        Proxy::Caddy => ("other/Caddyfile", include_str!("../../templates/other/Caddyfile")),
        Proxy::Apache => ("other/apache.conf", include_str!("../../templates/other/apache.conf")),
        Proxy::Traefik => ("other/traefik.yaml", include_str!("../../templates/other/traefik.yaml")),
        Proxy::HaProxy => ("other/haproxy.cfg", include_str!("../../templates/other/haproxy.cfg")),
    };
    let hosts: Vec<String> = front.names.iter().map(HostName::in_url).collect();
    let at = |scheme: &str, port: u16, usual: u16| {
        let port = if port == usual { String::new() } else { format!(":{port}") };
        hosts.iter().map(|host| format!("{scheme}://{host}{port}")).collect::<Vec<_>>().join(", ")
    };
    let values = context! {
        name => front.name,
        primary => hosts.first(),
        others => hosts.get(1..).unwrap_or_default().to_vec(),
        https_sites => at("https", front.https_port, 443),
        http_sites => front.http_port.map(|port| at("http", port, 80)),
        rule => hosts.iter().map(|host| format!("Host(`{host}`)")).collect::<Vec<_>>().join(" || "),
        https_port => front.https_port,
        http_port => front.http_port,
        backend => front.backend.to_string(),
        chain => front.tls.chain.to_string_lossy(),
        key => front.tls.key.to_string_lossy(),
        combined => front.combined.to_string_lossy(),
    };
    fill(template, source, values)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Front, Proxy, snippet};
    use crate::config::HostName;
    use crate::render::nginx::Tls;

    #[test]
    fn each_names_every_host_and_the_backend_and_tells_how_it_was_asked() {
        let names: Vec<HostName> = ["call.test", "2001:db8::7"].map(|name| name.parse().unwrap()).into();
        let tls = Tls { chain: Path::new("/c/a b/fullchain.pem"), key: Path::new("/c/a b/privkey.pem") };
        let backend = "127.0.0.1:8480".parse().unwrap();
        let front =
            Front { name: "rtcctl", names: &names, https_port: 8443, http_port: Some(80), backend, tls, combined: Path::new("/c/combined.pem") };
        for proxy in Proxy::ALL {
            let text = snippet(proxy, &front).unwrap();
            assert!(text.contains("127.0.0.1:8480"), "{text}");
            // HAProxy and Traefik's entry points bind whole ports; the rest is told the names.
            for host in ["call.test", "[2001:db8::7]"].iter().filter(|_| proxy != Proxy::HaProxy) {
                assert!(text.contains(host), "{host}: {text}");
            }
        }
        let caddy = snippet(Proxy::Caddy, &front).unwrap();
        assert!(
            caddy.contains("\nhttps://call.test:8443, https://[2001:db8::7]:8443 {") && caddy.contains("\nhttp://call.test, http://[2001:db8::7] {"),
            "{caddy}"
        );
        for proxy in [Proxy::Apache, Proxy::HaProxy] {
            assert!(snippet(proxy, &front).unwrap().contains("X-Forwarded-Proto"), "{proxy:?}");
        }
        assert!(snippet(Proxy::Apache, &front).unwrap().contains(r#"SSLCertificateFile "/c/a b/fullchain.pem""#));
        let hostile = Front { combined: Path::new("/c\nglobal"), ..front };
        assert!(snippet(Proxy::HaProxy, &hostile).is_err());
    }
}
