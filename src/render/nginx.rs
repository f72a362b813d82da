//! Pure: the site that nginx serves in front of us.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use minijinja::context;

use super::engine::{RenderError, fill};
use crate::config::HostName;
use crate::host::nginx::Version;

const TEMPLATE: &str = include_str!("../../templates/nginx/site.conf");

/// From here on `http2` is a directive, and the parameter of `listen` that it replaces is warned of.
const HTTP2_DIRECTIVE: Version = Version(1, 25, 1);

/// What the site depends on.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub name: &'a str,
    /// Every name and address that clients use.
    pub names: &'a [HostName],
    /// Addresses of families that the kernel has.
    pub listen: &'a [IpAddr],
    pub https_port: u16,
    pub http_port: Option<u16>,
    pub backend: SocketAddr,
    /// `None` while there is no certificate yet: only what an authority and plain http need.
    pub tls: Option<Tls<'a>>,
    /// What answers to an authority lies below it.
    pub webroot: &'a Path,
    pub error_log: &'a Path,
    pub version: Version,
    /// Speak HTTP/2. Before 1.25.1 that holds for every site of the port.
    pub http2: bool,
    /// Be the site for those who name none: a browser that dials an address names none in its TLS hello.
    pub default_server: bool,
    /// Bytes of a request body.
    pub max_body: usize,
}

/// PEM files.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'a> {
    pub chain: &'a Path,
    pub key: &'a Path,
}

/// The bytes of the site file. Refuses paths that nginx would take for something else.
pub fn site(site: &Site<'_>) -> Result<String, RenderError> {
    let http2_directive = site.http2 && site.version >= HTTP2_DIRECTIVE;
    let mut suffix = String::from(" ssl");
    if site.http2 && !http2_directive {
        suffix.push_str(" http2");
    }
    if site.default_server {
        suffix.push_str(" default_server");
    }
    let listens = |port: u16, suffix: &str| site.listen.iter().map(|ip| format!("{}{suffix}", listen(*ip, port))).collect::<Vec<_>>();
    let target = match site.https_port {
        443 => "https://$host".to_owned(),
        port => format!("https://$host:{port}"),
    };
    let tls = site.tls.map(|tls| context! { chain => tls.chain.to_string_lossy(), key => tls.key.to_string_lossy() });
    let values = context! {
        name => site.name,
        names => site.names.iter().map(HostName::in_url).collect::<Vec<_>>().join(" "),
        https_listens => listens(site.https_port, &suffix),
        http_listens => site.http_port.map(|port| listens(port, "")),
        http2_directive => http2_directive,
        tls => tls,
        backend => site.backend.to_string(),
        target => target,
        webroot => site.webroot.to_string_lossy(),
        error_log => site.error_log.to_string_lossy(),
        max_body => site.max_body,
    };
    fill("nginx/site.conf", TEMPLATE, values)
}

/// A wildcard of IPv4 in the short form that every site has; nginx takes IPv6 ones apart from it by itself.
fn listen(ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => port.to_string(),
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Site, Tls, site};
    use crate::config::HostName;
    use crate::host::nginx::Version;

    fn usual(names: &[HostName]) -> Site<'_> {
        Site {
            name: "rtcctl",
            names,
            listen: &[std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)],
            https_port: 443,
            http_port: Some(80),
            backend: "127.0.0.1:8480".parse().unwrap(),
            tls: Some(Tls { chain: Path::new("/c/fullchain.pem"), key: Path::new("/c/privkey.pem") }),
            webroot: Path::new("/var/lib/rtcctl/webroot"),
            error_log: Path::new("/var/log/nginx/error.log"),
            version: Version(1, 26, 3),
            http2: true,
            default_server: false,
            max_body: 200_000,
        }
    }

    fn names(words: &[&str]) -> Vec<HostName> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn lines(text: &str, word: &str) -> Vec<String> {
        let wanted = text.lines().map(str::trim).filter(|line| line.split(' ').next() == Some(word));
        wanted.map(|line| line.trim_start_matches(word).trim().to_owned()).collect()
    }

    #[test]
    fn http2_is_said_as_the_version_wants_it() {
        let names = names(&["call.test"]);
        let text = site(&usual(&names)).unwrap();
        assert_eq!(lines(&text, "listen"), ["443 ssl;", "[::]:443 ssl;", "80;", "[::]:80;"]);
        assert_eq!(lines(&text, "http2"), ["on;"]);
        let old = site(&Site { version: Version(1, 25, 0), ..usual(&names) }).unwrap();
        assert_eq!(lines(&old, "listen")[..2], ["443 ssl http2;", "[::]:443 ssl http2;"]);
        assert!(lines(&old, "http2").is_empty());
        let without = site(&Site { version: Version(1, 18, 0), http2: false, ..usual(&names) }).unwrap();
        assert!(!without.contains("http2"));
    }

    #[test]
    fn addresses_are_names_too_and_need_the_default_place() {
        let names = names(&["192.0.2.7", "2001:db8::7", "call.test"]);
        let text = site(&Site { default_server: true, http_port: None, https_port: 8443, ..usual(&names) }).unwrap();
        assert_eq!(lines(&text, "server_name"), ["192.0.2.7 [2001:db8::7] call.test;"]);
        assert_eq!(lines(&text, "listen"), ["8443 ssl default_server;", "[::]:8443 ssl default_server;"]);
    }

    #[test]
    fn plain_http_answers_the_authority_before_it_redirects() {
        let names = names(&["call.test"]);
        let text = site(&Site { tls: None, https_port: 8443, ..usual(&names) }).unwrap();
        assert!(!text.contains("ssl"), "{text}");
        assert_eq!(lines(&text, "return"), ["308 https://$host:8443$request_uri;"]);
        assert!(text.find("acme-challenge").unwrap() < text.find("return 308").unwrap());
        assert_eq!(lines(&text, "root"), ["\"/var/lib/rtcctl/webroot\";"]);
    }

    #[test]
    fn what_names_rooms_is_not_logged() {
        let text = site(&usual(&names(&["call.test"]))).unwrap();
        assert_eq!(lines(&text, "access_log"), ["off;", "off;"]);
        assert!(lines(&text, "error_log").iter().all(|line| line.ends_with(" crit;")));
    }

    #[test]
    fn hostile_paths_are_refused() {
        let names = names(&["call.test"]);
        for path in ["/x\n}", "/$host/x"] {
            let tls = Tls { chain: Path::new(path), key: Path::new("/k") };
            assert!(site(&Site { tls: Some(tls), ..usual(&names) }).is_err(), "{path}");
        }
        let tls = Tls { chain: Path::new("/a b;\"c\\"), key: Path::new("/k") };
        let text = site(&Site { tls: Some(tls), ..usual(&names) }).unwrap();
        assert_eq!(lines(&text, "ssl_certificate"), [r#""/a b;\"c\\";"#]);
    }
}
