//! Every row, in the order in which findings are printed. A family is a file; ids are public words.

use super::check::{Check, Vantage, When};

mod cert;
mod config;
mod dns;
mod host;
mod net;
mod port;
mod signal;
mod turn;

use Vantage::{Both, Host};

/// The table. `needs` point upwards.
pub static CHECKS: [Check; 35] = [
    row("config.valid", "the config has no problem", Host, &[], |e| Box::pin(config::valid(e))),
    row("host.disk", "the state folder can be written", Host, &["config.valid"], |e| Box::pin(host::disk(e))),
    row("net.firewall", "this machine's firewall lets clients in", Host, &["config.valid"], |e| Box::pin(net::firewall(e))),
    row("dns.resolves", "the site's name has an address", Both, &["config.valid"], |e| Box::pin(dns::resolves(e))),
    row("port.http", "nobody else holds the http port", Host, &["config.valid"], |e| Box::pin(port::http(e))),
    row("port.https", "nobody else holds the https port", Host, &["config.valid"], |e| Box::pin(port::https(e))),
    row("port.turn", "nobody else holds a TURN port", Host, &["config.valid"], |e| Box::pin(port::turn(e))),
    row("port.relay-range", "the relay has ports enough", Host, &["config.valid"], |e| Box::pin(port::relay_range(e))),
    live("host.service", "the service is kept alive", Host, &["port.http", "port.https", "port.turn"], |e| Box::pin(host::service(e))),
    live("signal.health", "the service says that it is well", Both, &["port.https", "host.service"], |e| Box::pin(signal::health(e))),
    live("host.files", "the service may open files enough", Host, &["signal.health"], |e| Box::pin(host::files(e))),
    early("cert.present", "there is a certificate", Host, &["config.valid", "host.disk"], |e| Box::pin(cert::present(e))),
    early("cert.readable", "the service can read its key", Host, &["cert.present"], |e| Box::pin(cert::readable(e))),
    early("cert.parse", "certificate and key are PEM that we read", Host, &["cert.readable"], |e| Box::pin(cert::parse(e))),
    early("cert.key", "the key belongs to the certificate", Host, &["cert.parse"], |e| Box::pin(cert::key(e))),
    early_foreign("cert.chain", "the chain is whole", &["cert.parse"], |e| Box::pin(cert::chain(e))),
    early_foreign("cert.name", "the certificate is for what clients connect to", &["cert.parse"], |e| Box::pin(cert::name(e))),
    early_foreign("cert.trusted", "devices trust who signed the certificate", &["cert.chain"], |e| Box::pin(cert::trusted(e))),
    early_foreign("cert.expiry", "the certificate has time left", &["cert.parse"], |e| Box::pin(cert::expiry(e))),
    live("cert.served", "every TLS port shows the certificate of the files", Both, &["cert.key", "signal.health"], |e| Box::pin(cert::served(e))),
    live("cert.refused", "no device refused the certificate lately", Host, &["signal.health"], |e| Box::pin(cert::refused(e))),
    live("dns.points-here", "every address of the name leads here", Both, &["dns.resolves", "cert.served"], |e| Box::pin(dns::points_here(e))),
    foreign("config.third-party", "clients are sent to nobody else's servers", &["config.valid", "signal.health", "dns.points-here"], |e| {
        Box::pin(config::third_party(e))
    }),
    foreign("signal.join", "two clients can join a room", &["signal.health", "dns.points-here", "config.third-party"], |e| Box::pin(signal::join(e))),
    foreign("signal.open", "strangers cannot use the relay", &["signal.join"], |e| Box::pin(signal::open(e))),
    foreign("signal.origin", "all links lead to the page's own origin", &["signal.join"], |e| Box::pin(signal::origin(e))),
    foreign("signal.websocket", "a message passes each way through the WebSocket", &["signal.origin"], |e| Box::pin(signal::websocket(e))),
    foreign("turn.uri", "every STUN and TURN URI can be read by clients", &["signal.origin"], |e| Box::pin(turn::uri(e))),
    foreign("turn.udp", "TURN answers over UDP", &["turn.uri", "port.turn"], |e| Box::pin(turn::udp(e))),
    foreign("turn.tcp", "TURN answers over TCP", &["turn.uri", "port.turn"], |e| Box::pin(turn::tcp(e))),
    foreign("turn.tls", "TURN answers over TLS", &["turn.uri", "cert.name", "cert.trusted", "cert.expiry", "cert.served"], |e| {
        Box::pin(turn::tls(e))
    }),
    foreign("turn.auth", "clients are given credentials that TURN accepts", &["turn.udp"], |e| Box::pin(turn::auth(e))),
    foreign("turn.relayed-address", "relayed addresses can be reached", &["turn.auth"], |e| Box::pin(turn::relayed_address(e))),
    foreign("turn.handover", "two clients of the relay reach each other", &["turn.auth"], |e| Box::pin(turn::handover(e))),
    row("host.clock", "the clock is kept right", Host, &[], |e| Box::pin(host::clock(e))),
];

type Look = fn(super::evidence::Shared) -> super::check::Looking;

/// About this machine, before and after `up`.
const fn row(id: &'static str, title: &'static str, vantage: Vantage, needs: &'static [&'static str], look: Look) -> Check {
    Check { id, title, vantage, foreign: false, when: When::Always, needs, look }
}

/// Means nothing before `up`.
const fn live(id: &'static str, title: &'static str, vantage: Vantage, needs: &'static [&'static str], look: Look) -> Check {
    Check { when: When::Running, ..row(id, title, vantage, needs, look) }
}

/// Means nothing before there is a certificate.
const fn early(id: &'static str, title: &'static str, vantage: Vantage, needs: &'static [&'static str], look: Look) -> Check {
    Check { when: When::Certified, ..row(id, title, vantage, needs, look) }
}

/// The same, and also about somebody else's server.
const fn early_foreign(id: &'static str, title: &'static str, needs: &'static [&'static str], look: Look) -> Check {
    Check { foreign: true, ..early(id, title, Both, needs, look) }
}

/// Means nothing before `up`, and also something about somebody else's server.
const fn foreign(id: &'static str, title: &'static str, needs: &'static [&'static str], look: Look) -> Check {
    Check { foreign: true, ..live(id, title, Both, needs, look) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::CHECKS;
    use crate::doctor::page;

    #[test]
    fn needs_exist_and_stand_before_those_that_need_them() {
        let mut seen = HashSet::new();
        for check in &CHECKS {
            for need in check.needs {
                assert!(seen.contains(need), "{} needs {need}", check.id);
            }
            assert!(seen.insert(check.id), "{} stands there twice", check.id);
        }
    }

    #[test]
    fn every_row_has_a_page_with_all_its_parts() {
        for check in &CHECKS {
            let page = page(check.id).unwrap_or_else(|| panic!("{} has no page", check.id));
            assert!(page.starts_with(&format!("# {}: ", check.id)), "{}", check.id);
            for part in ["\n## Why\n", "\n## Confirm\n", "\n## Mend\n"] {
                assert!(page.contains(part), "{}: no {}", check.id, part.trim());
            }
        }
        let pages = crate::doctor::pages::ids();
        assert!(pages.iter().all(|id| CHECKS.iter().any(|check| check.id == id)), "{pages:?}");
    }
}
