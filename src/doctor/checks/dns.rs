//! The site's name: whether it has an address, and whether that address is here.

use std::net::IpAddr;

use crate::doctor::check::{Fault, Verdict};
use crate::doctor::evidence::{NotResolved, Shared};
use crate::doctor::subject::Own;
use crate::probe;

const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(3);

pub(super) async fn resolves(evidence: Shared) -> Verdict {
    let Some(own) = evidence.own() else { return Verdict::Skip("not our site".into()) };
    let Some(name) = own.dns_name() else { return Verdict::Skip("the site is an address: no name to resolve".into()) };
    match evidence.resolved().await {
        None | Some(Ok(_)) => Verdict::Pass,
        Some(Err(NotResolved::None(why))) => {
            let address = own.config.turn.public_address.or_else(|| own.machine.addresses.first().copied());
            let record = address.map_or_else(|| format!("{name}. A <address of this machine>"), |ip| format!("{name}. {} {ip}", kind(ip)));
            Fault::new(format!("{name} has no address in DNS"))
                .proof("resolver", why.clone())
                .breaks(&["everybody who opens the link"])
                .hint(format!("create this record where the domain is managed: {record}"))
                .fail()
        }
        Some(Err(NotResolved::Unknown(why))) => Fault::new(format!("{name} could not be looked up: {why}"))
            .hint("see whether this machine's resolver works: getent hosts example.org")
            .unknown(),
    }
}

pub(super) async fn points_here(evidence: Shared) -> Verdict {
    let Some((own, name)) = evidence.own().and_then(|own| Some((own, own.dns_name()?))) else {
        return Verdict::Skip("the site is an address: no name to resolve".into());
    };
    let Some(Ok(addresses)) = evidence.resolved().await else { return Verdict::Waits("dns.resolves") };
    let mut unclear = None;
    for address in addresses {
        if is_here(own, *address) {
            continue;
        }
        // Behind 1:1 NAT no interface has the public address: whoever answers there must hold our certificate.
        let shown = probe::chain(&address.to_string(), own.config.site.https_port, name, HANDSHAKE).await;
        let ours = evidence.served().await;
        match (shown, ours) {
            (Ok(shown), Ok(ours)) if shown.first() == ours.first() => {}
            (Ok(_), _) => return elsewhere(own, name, *address, "another certificate is shown there"),
            (Err(broken), _) if broken.cause.starts_with("connection refused") => return elsewhere(own, name, *address, &broken.cause),
            (Err(broken), _) => unclear = Some((*address, broken.cause)),
        }
    }
    match unclear {
        None => Verdict::Pass,
        Some((address, cause)) => Fault::new(format!("{name} is {address}, which is no address of this machine and does not answer it: {cause}"))
            .hint(format!("open https://{name}/ from another network: if it answers, this machine only cannot reach itself (NAT without hairpin)"))
            .hint(format!("when {address} does lead here, say so in the config: turn.public_address = \"{address}\""))
            .unknown(),
    }
}

fn elsewhere(own: &Own, name: &str, address: IpAddr, seen: &str) -> Verdict {
    let same_family = own.machine.addresses.iter().find(|ip| ip.is_ipv4() == address.is_ipv4());
    let new = same_family.map_or_else(|| "the address of this machine".to_owned(), ToString::to_string);
    Fault::new(format!("{name} leads to {address}, which is another machine"))
        .proof("seen", format!("{address}: {seen}"))
        .proof("this machine", own.machine.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        .breaks(&["everybody who opens the link"])
        .hint(format!("change the record where the domain is managed: {name}. {} {address} becomes {new}", kind(address)))
        .fail()
}

fn is_here(own: &Own, address: IpAddr) -> bool {
    address.is_loopback() || own.machine.addresses.contains(&address) || own.config.turn.public_address == Some(address)
}

fn kind(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "A" } else { "AAAA" }
}
