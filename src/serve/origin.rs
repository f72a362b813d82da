//! Pure: under which name a request came in, and so which links it may be handed. A `Host` that is not ours is not believed.

use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use http::uri::Authority;

use crate::config::{HostName, SiteNames};
use crate::signal::Origin;

/// How a request reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    Https,
    Http,
    /// Plain, from a proxy on this machine that says how it was asked.
    Proxy,
}

impl Entrance {
    fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http | Self::Proxy => 80,
        }
    }
}

/// What a proxy says of a request that it passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) entrance: Option<Entrance>,
    pub(super) host: Option<Authority>,
    pub(super) client: Option<IpAddr>,
}

impl Forwarded {
    /// `X-Forwarded-Proto`, `-Host` and `-For`. Where a client wrote such a header itself the proxy's own word is the last one. An unknown
    /// protocol counts as plain http: nothing is served over it.
    pub(super) fn of<B>(request: &http::Request<B>) -> Self {
        let last = |name: &str| {
            let value = request.headers().get_all(name).iter().next_back()?.to_str().ok()?;
            value.rsplit(',').next().map(str::trim)
        };
        Self {
            entrance: last("x-forwarded-proto").map(|proto| if proto.eq_ignore_ascii_case("https") { Entrance::Https } else { Entrance::Http }),
            host: last("x-forwarded-host").and_then(|host| host.parse().ok()),
            client: last("x-forwarded-for").and_then(address).map(|ip| ip.to_canonical()),
        }
    }
}

/// With or without brackets and port, as some proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The request's own host (`:authority`, else `Host`) if it is a name or address of the certificate, else the primary one with the https port.
/// The port is the one the client used: a router in between may have moved it.
pub(super) fn of_request<B>(request: &http::Request<B>, entrance: Entrance, names: &SiteNames, https_port: u16) -> Origin {
    match asked(request).and_then(|authority| own_host(&authority, names)) {
        Some((host, port)) => {
            let default_port = entrance.default_port();
            origin(entrance == Entrance::Https, &host, port.unwrap_or(default_port), default_port)
        }
        None => secure(&names.primary, https_port),
    }
}

/// The authority that a client asked for.
fn asked<B>(request: &http::Request<B>) -> Option<Authority> {
    request.uri().authority().cloned().or_else(|| {
        let host = request.headers().get(HOST)?.to_str().ok()?;
        host.parse::<Authority>().ok()
    })
}

/// The https origin of a name.
pub(super) fn secure(name: &HostName, https_port: u16) -> Origin {
    origin(true, name, https_port, Entrance::Https.default_port())
}

/// The https origin that belongs to a request on plain http: the same host if it is ours.
pub(super) fn secure_of_request<B>(request: &http::Request<B>, names: &SiteNames, https_port: u16) -> Origin {
    let plain = of_request(request, Entrance::Http, names, https_port);
    let host = plain.host.parse().unwrap_or_else(|_| names.primary.clone());
    secure(&host, https_port)
}

/// `https://host[:port]`.
pub(super) fn url(origin: &Origin) -> String {
    let scheme = if origin.secure { "https" } else { "http" };
    format!("{scheme}://{}", origin.authority)
}

fn own_host(authority: &Authority, names: &SiteNames) -> Option<(HostName, Option<u16>)> {
    let text = authority.as_str();
    // User info, and a port that is not one, would survive `host()`.
    if text.contains('@') {
        return None;
    }
    let name: HostName = authority.host().parse().ok()?;
    let rest = &text[authority.host().len()..];
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(digits) => Some(digits.parse().ok().filter(|port| *port != 0)?),
        None => return None,
    };
    names.contains(&name).then_some((name, port))
}

fn origin(secure: bool, name: &HostName, port: u16, default_port: u16) -> Origin {
    let host = name.in_url();
    let authority = if port == default_port { host.clone() } else { format!("{host}:{port}") };
    Origin { secure, host, authority }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_host_is_kept_and_a_foreign_one_is_not_believed() {
        for (host, expected) in [
            ("call.test", "https://call.test"),
            ("CALL.test.", "https://call.test"),
            ("call.test:443", "https://call.test"),
            ("call.test:9443", "https://call.test:9443"),
            ("192.0.2.7", "https://192.0.2.7"),
            ("[2001:db8::7]:8443", "https://[2001:db8::7]:8443"),
            ("[2001:DB8:0::7]", "https://[2001:db8::7]"),
            ("evil.test", "https://192.0.2.7:8443"),
            ("call.test@evil.test", "https://192.0.2.7:8443"),
            ("call.test:", "https://192.0.2.7:8443"),
            ("call.test:99999", "https://192.0.2.7:8443"),
            ("call.test:0", "https://192.0.2.7:8443"),
            ("call.test/evil", "https://192.0.2.7:8443"),
            ("", "https://192.0.2.7:8443"),
        ] {
            let request = http::Request::get("/").header(HOST, host).body(()).unwrap();
            let origin = of_request(&request, Entrance::Https, &names(), 8443);
            assert_eq!(url(&origin), expected, "{host}");
        }
        let without = http::Request::get("/").body(()).unwrap();
        assert_eq!(url(&of_request(&without, Entrance::Https, &names(), 443)), "https://192.0.2.7");
    }

    #[test]
    fn the_authority_of_http2_wins_over_a_host_header() {
        let request = http::Request::get("https://call.test/").header(HOST, "192.0.2.7").body(()).unwrap();
        assert_eq!(url(&of_request(&request, Entrance::Https, &names(), 443)), "https://call.test");
    }

    #[test]
    fn plain_http_leads_to_the_same_host_on_the_https_port() {
        for (host, expected) in [
            ("call.test", "https://call.test:8443"),
            ("call.test:8080", "https://call.test:8443"),
            ("[2001:db8::7]:8080", "https://[2001:db8::7]:8443"),
            ("evil.test", "https://192.0.2.7:8443"),
        ] {
            let request = http::Request::get("/").header(HOST, host).body(()).unwrap();
            assert_eq!(url(&secure_of_request(&request, &names(), 8443)), expected, "{host}");
        }
    }

    #[test]
    fn a_plain_origin_says_so() {
        let request = http::Request::get("/").header(HOST, "call.test:8080").body(()).unwrap();
        let origin = of_request(&request, Entrance::Http, &names(), 443);
        assert_eq!(origin, Origin { secure: false, host: "call.test".into(), authority: "call.test:8080".into() });
    }

    #[test]
    fn the_last_word_is_the_proxys() {
        let of = |headers: &[(&str, &str)]| {
            let mut request = http::Request::get("/");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            Forwarded::of(&request.body(()).unwrap())
        };
        assert_eq!(of(&[]), Forwarded::default());
        let said = of(&[("x-forwarded-proto", "https"), ("x-forwarded-host", "call.test:8443"), ("x-forwarded-for", "192.0.2.9")]);
        let expected =
            Forwarded { entrance: Some(Entrance::Https), host: Some("call.test:8443".parse().unwrap()), client: Some([192, 0, 2, 9].into()) };
        assert_eq!(said, expected);
        // A client that lies comes first; the proxy's word follows in the same line or in one of its own.
        let lies = of(&[("x-forwarded-for", "127.0.0.1, 192.0.2.9"), ("x-forwarded-host", "evil.test"), ("x-forwarded-host", "call.test")]);
        assert_eq!((lies.client, lies.host), (Some([192, 0, 2, 9].into()), Some("call.test".parse().unwrap())));
        for (text, ip) in
            [("[2001:db8::1]", "2001:db8::1"), ("[2001:db8::1]:99", "2001:db8::1"), ("192.0.2.9:99", "192.0.2.9"), ("::ffff:192.0.2.9", "192.0.2.9")]
        {
            assert_eq!(of(&[("x-forwarded-for", text)]).client, Some(ip.parse().unwrap()), "{text}");
        }
        assert_eq!(
            of(&[("x-forwarded-proto", "wss"), ("x-forwarded-for", "unknown")]),
            Forwarded { entrance: Some(Entrance::Http), ..Forwarded::default() }
        );
    }

    fn names() -> SiteNames {
        let all: Vec<HostName> = ["192.0.2.7", "call.test", "2001:db8::7"].map(|name| name.parse().unwrap()).into();
        SiteNames { primary: all[0].clone(), all }
    }
}
