//! The relay, through exactly the URIs and credentials that clients are given.

use crate::config::model::Transport;
use crate::doctor::check::{Fault, Verdict};
use crate::doctor::checks::net;
use crate::doctor::evidence::Shared;
use crate::doctor::subject::{Subject, is_private};
use crate::probe;
use crate::stun::credential::Claim;

const EXCHANGE: std::time::Duration = std::time::Duration::from_secs(3);

pub(super) async fn uri(evidence: Shared) -> Verdict {
    if let Some(Err(_)) = evidence.rooms().await.map(|rooms| rooms.ice.as_ref()) {
        return ice_list(&evidence).await;
    }
    let uris = evidence.uris().await;
    let wrong: Vec<&String> = uris.iter().map(|(uri, _)| uri).filter(|uri| complaint(uri).is_some()).collect();
    if let Some((first, why)) = wrong.first().and_then(|uri| Some((*uri, complaint(uri)?))) {
        let mut fault = Fault::new(format!("clients cannot read {first}: {why}"));
        for uri in &wrong {
            fault = fault.proof("uri", (*uri).clone());
        }
        return fault.breaks(&["native clients, which then have no relay and say nothing"]).hint(format!("write it as {}", corrected(first))).fail();
    }
    if uris.iter().any(|(uri, _)| probe::server(uri).is_some()) {
        return Verdict::Pass;
    }
    Fault::new("clients are given no TURN server")
        .breaks(&["calls between two networks"])
        .hint("serve the page with rtcctl, which brings a relay, or enter a TURN server in the room server's list")
        .fail()
}

async fn ice_list(evidence: &Shared) -> Verdict {
    let Some(Err(broken)) = evidence.rooms().await.map(|rooms| rooms.ice.as_ref()) else { return Verdict::Pass };
    let fault = Fault::new(format!("clients get no list of TURN servers: {}: {}", broken.url, broken.cause)).breaks(&["calls between two networks"]);
    if evidence.own().is_some() {
        fault.run("rtcctl logs", "what the service met").fail()
    } else {
        fault.hint("see that ice_server_url answers POST with {\"iceServers\": […]}").fail()
    }
}

/// RFC 7064 and RFC 7065, as strict as the strictest client.
fn complaint(uri: &str) -> Option<&'static str> {
    if probe::server(uri).is_some() {
        return None;
    }
    let Some((scheme, rest)) = uri.split_once(':') else { return Some("no scheme") };
    let (authority, query) = rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
    match scheme {
        "stun" | "stuns" | "turn" | "turns" if rest.starts_with("//") => Some("no // after the scheme"),
        "stun" | "stuns" if query.is_some() => Some("a stun URI has no query"),
        // Read as a TURN URI it is one: same form of host and port.
        "stun" | "stuns" => probe::server(&format!("turn:{authority}")).is_none().then_some("no host or no port number"),
        // QUIC-less and allowed by RFC 7065, but no browser speaks DTLS to a relay: passed over, not refused.
        "turns" if query == Some("transport=udp") => None,
        "turn" | "turns" if query.is_some_and(|q| !matches!(q, "transport=udp" | "transport=tcp")) => Some("transport is udp or tcp"),
        "turn" | "turns" => Some("no host or no port number"),
        _ => Some("the scheme is none of stun, stuns, turn, turns"),
    }
}

fn corrected(uri: &str) -> String {
    let fixed = uri.replacen("://", ":", 1);
    if complaint(&fixed).is_none() { fixed } else { "turn:host:3478?transport=udp".to_owned() }
}

pub(super) async fn udp(evidence: Shared) -> Verdict {
    answers(&evidence, Transport::Udp).await
}

pub(super) async fn tcp(evidence: Shared) -> Verdict {
    answers(&evidence, Transport::Tcp).await
}

pub(super) async fn tls(evidence: Shared) -> Verdict {
    answers(&evidence, Transport::Tls).await
}

async fn answers(evidence: &Shared, transport: Transport) -> Verdict {
    let (word, proto) = match transport {
        Transport::Udp => ("UDP", "udp"),
        Transport::Tcp => ("TCP", "tcp"),
        Transport::Tls => ("TLS", "tcp"),
    };
    let bindings = evidence.bindings(transport).await;
    if bindings.is_empty() {
        return Verdict::Skip(format!("no URI says TURN over {word}"));
    }
    let Some((server, broken)) = bindings.iter().find_map(|(server, answer)| Some((server, answer.as_ref().err()?))) else { return Verdict::Pass };
    if net::drops(evidence, server.port, transport == Transport::Udp).await {
        return Verdict::Waits("net.firewall");
    }
    let fault = Fault::new(format!("{} does not answer over {word}: {}", server.uri, broken.cause))
        .proof("asked", format!("a STUN Binding to {} port {}/{proto}", server.host, server.port))
        .breaks(match transport {
            Transport::Udp => &["calls between two networks: they fall back to TCP, or fail"],
            Transport::Tcp => &["calls from networks that let no UDP out"],
            Transport::Tls => &["calls from networks that let only https out"],
        });
    if evidence.own().is_some() {
        return fault.run("rtcctl logs", "what the service met").run("rtcctl status", "which ports it listens on").fail();
    }
    let switch = match (transport, broken.cause.as_str()) {
        (Transport::Udp, _) => "in coturn: take no-udp out of turnserver.conf",
        (Transport::Tcp, _) => "in coturn: take no-tcp out of turnserver.conf",
        (_, cause) if cause.starts_with("connection refused") => {
            "in coturn: cert, pkey and tls-listening-port must be set, no-tls must not, and its user must be able to read pkey: else it starts without TLS and only its log says so"
        }
        (_, cause) if cause.contains("another name") => "give it a certificate for the name in the URI",
        (_, cause) if cause.contains("not trusted") => "give it the full chain of an authority that devices know",
        _ => "see what listens there: it speaks TLS or it speaks TURN, but not both",
    };
    fault.hint(switch).hint(format!("open port {}/{proto} on the way there", server.port)).fail()
}

pub(super) async fn auth(evidence: Shared) -> Verdict {
    let Some((server, credentials, relayed)) = evidence.allocation().await else {
        return Verdict::Skip(why_no_allocation(&evidence).await.to_owned());
    };
    let Err(broken) = relayed else { return Verdict::Pass };
    let mut fault = Fault::new(format!("{} refuses an allocation: {}", server.uri, broken.cause))
        .proof("user", credentials.username.clone())
        .breaks(&["calls between two networks"]);
    if let Some(claim) = Claim::parse(credentials.username.as_bytes()) {
        let now = crate::doctor::evidence::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        fault = fault.proof("expires", format!("in {} s by this machine's clock", i128::from(claim.expiry) - i128::from(now)));
    }
    if evidence.own().is_some() {
        return fault.run("rtcctl logs", "what the relay met").run("rtcctl up", "starts it anew: pages and relay then share one secret").fail();
    }
    fault
        .hint("see that the relay's secret (coturn: static-auth-secret, with use-auth-secret) is the one that the room server mints credentials with")
        .hint("see that user name and password are those of the relay's realm, and that both machines' clocks agree")
        .fail()
}

async fn why_no_allocation(evidence: &Shared) -> &'static str {
    let bindings = evidence.bindings(Transport::Udp).await.iter().chain(evidence.bindings(Transport::Tcp).await);
    match bindings.filter(|(_, answer)| answer.is_ok()).count() {
        0 => "no server answers over UDP or TCP",
        _ => "nobody gave credentials: --user and --password-file",
    }
}

pub(super) async fn relayed_address(evidence: Shared) -> Verdict {
    let Some((server, _, Ok(relayed))) = evidence.allocation().await else { return Verdict::Skip("no allocation to look at".into()) };
    if !is_private(*relayed) {
        return Verdict::Pass;
    }
    let is_public = match &evidence.subject {
        Subject::Own(Ok(own)) => match &own.config.site.address {
            crate::config::model::Address::Lan => false,
            crate::config::model::Address::Host(crate::config::HostName::Ip(ip)) => !is_private(*ip),
            crate::config::model::Address::Host(_) => {
                matches!(evidence.resolved().await, Some(Ok(addresses)) if addresses.iter().any(|ip| !is_private(*ip)))
            }
        },
        _ => tokio::net::lookup_host((&*server.host, server.port)).await.is_ok_and(|mut found| found.any(|address| !is_private(address.ip()))),
    };
    if !is_public {
        return Verdict::Pass;
    }
    let fault = Fault::new(format!("{} gives out the address {relayed}, which nobody outside can reach", server.uri))
        .proof("relayed", relayed.to_string())
        .breaks(&["calls between two networks: they connect and stay silent"]);
    if evidence.own().is_some() {
        return fault.hint("set turn.public_address in rtcctl.toml to the address that the site's name has, then rtcctl up").fail();
    }
    fault.hint("in coturn: external-ip=PUBLIC/PRIVATE in turnserver.conf, the public address first").fail()
}

pub(super) async fn handover(evidence: Shared) -> Verdict {
    let Some((server, credentials, Ok(relayed))) = evidence.allocation().await else { return Verdict::Skip("no allocation to look at".into()) };
    let Err(broken) = probe::exchange(server, credentials, &[], EXCHANGE).await else { return Verdict::Pass };
    let fault = Fault::new(format!("two clients of {} do not reach each other: {}", server.uri, broken.cause))
        .proof("relayed", relayed.to_string())
        .breaks(&["calls between two people who both need the relay"]);
    if evidence.own().is_some() {
        return fault
            .run("rtcctl logs", "what the relay met")
            .hint(format!("see that turn.deny_peers in rtcctl.toml does not cover {relayed}, then rtcctl up"))
            .fail();
    }
    fault.hint(format!("in coturn: allowed-peer-ip={relayed} in turnserver.conf, before the denied-peer-ip that covers it")).fail()
}

#[cfg(test)]
mod tests {
    use super::{complaint, corrected};

    #[test]
    fn uris_that_clients_refuse() {
        for fine in ["stun:h", "stun:h:3478", "stuns:[2001:db8::1]:443", "turn:h:1?transport=tcp", "turns:h?transport=tcp", "turns:h?transport=udp"] {
            assert_eq!(complaint(fine), None, "{fine}");
        }
        for (wrong, why, better) in [
            ("turn://host", "no // after the scheme", "turn:host"),
            ("stun://h:3478", "no // after the scheme", "stun:h:3478"),
            ("turn:h?transport=tls", "transport is udp or tcp", "turn:host:3478?transport=udp"),
            ("turn:h:port", "no host or no port number", "turn:host:3478?transport=udp"),
            ("stun:h?transport=udp", "a stun URI has no query", "turn:host:3478?transport=udp"),
            ("https://h", "the scheme is none of stun, stuns, turn, turns", "turn:host:3478?transport=udp"),
            ("h:3478x", "the scheme is none of stun, stuns, turn, turns", "turn:host:3478?transport=udp"),
        ] {
            assert_eq!((complaint(wrong), corrected(wrong).as_str()), (Some(why), better), "{wrong}");
        }
    }
}
