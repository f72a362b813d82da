//! Who holds the ports that the service needs, and whether the relay has enough of them.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::deploy::ports::PortFact;
use crate::doctor::check::{Fault, Verdict};
use crate::doctor::evidence::{Shared, off_thread};
use crate::doctor::subject::Own;
use crate::host::ports::{Answer, Holder};

pub(super) async fn http(evidence: Shared) -> Verdict {
    if evidence.own().is_some_and(|own| own.config.site.http_port.is_none()) {
        return Verdict::Skip("site.http_port is off".into());
    }
    judge(&evidence, "site.http_port", &["the redirect from http", "phones that fetch /ca"]).await
}

pub(super) async fn https(evidence: Shared) -> Verdict {
    judge(&evidence, "site.https_port", &["the page, rooms and WebSocket", "TURN over TLS"]).await
}

pub(super) async fn turn(evidence: Shared) -> Verdict {
    judge(&evidence, "turn.ports", &["calls between two networks"]).await
}

async fn judge(evidence: &Shared, key: &str, breaks: &[&'static str]) -> Verdict {
    if evidence.status().await.is_err_and(|kind| *kind == ErrorKind::PermissionDenied) {
        return Fault::new("the service here belongs to another user, and only that user may ask which ports are its own")
            .run("sudo rtcctl doctor", "looks as root")
            .unknown();
    }
    let facts = evidence.ports().await;
    let of_key = facts.iter().filter(|fact| fact.wanted.key == key || key == "turn.ports" && fact.wanted.key.starts_with("turn."));
    let Some((fact, cause)) = of_key.filter_map(|fact| Some((fact, obstacle(fact)?))).next() else { return Verdict::Pass };
    let fault = Fault::new(cause).proof("address", format!("{} {}", fact.wanted.address, fact.wanted.protocol)).breaks(breaks);
    match &fact.answer {
        Answer::Held(holder) => ways(fault, fact, holder.as_ref()).fail(),
        Answer::Denied => move_it(fault.run("sudo rtcctl up", "root may bind every port"), fact).fail(),
        _ => fault.hint("set site.listen to addresses of this machine, or to \"0.0.0.0\" and \"::\"").fail(),
    }
}

fn obstacle(PortFact { wanted, answer }: &PortFact) -> Option<String> {
    match answer {
        Answer::Free => None,
        // A wildcard of a family that the kernel lacks is passed over.
        Answer::NoFamily | Answer::NotHere if wanted.address.ip().is_unspecified() => None,
        Answer::Held(Some(holder)) => Some(format!("{wanted} is held by {holder}")),
        Answer::Held(None) => Some(format!("{wanted} is held by a program that cannot be seen from here")),
        Answer::Denied => Some(format!("no right to bind {wanted}")),
        Answer::NotHere | Answer::NoFamily => Some(format!("site.listen: not an address of this machine: {}", wanted.address.ip())),
        Answer::Other(why) => Some(format!("cannot listen on {wanted}: {why}")),
    }
}

/// Cheapest first: what frees the port, then what leaves it to its holder.
fn ways(fault: Fault, fact: &PortFact, holder: Option<&Holder>) -> Fault {
    let process = holder.and_then(|holder| holder.process.as_ref());
    if let Some(state) = process.filter(|process| process.unit.is_none()).and_then(|process| state_of(process.pid)) {
        let fault = fault.proof("runs", format!("rtcctl with its state in {state}"));
        return move_it(fault.run(format!("rtcctl down --state {state}"), "stops that other installation"), fact);
    }
    let fault = match process.map(|process| (process, process.unit.as_deref())) {
        Some((process, Some(unit))) => {
            let line = command_line(process.pid);
            fault.proof("runs", line).run(format!("systemctl disable --now {unit}"), format!("stops {} now and at boot", process.command))
        }
        Some((process, None)) => {
            let line = command_line(process.pid);
            fault
                .proof("runs", line)
                .run(format!("kill {}", process.pid), format!("ends {}; whatever started it may start it again", process.command))
        }
        None => fault.run(format!("sudo ss -lntup 'sport = :{}'", fact.wanted.address.port()), "root sees who it is"),
    };
    move_it(fault, fact)
}

fn move_it(fault: Fault, fact: &PortFact) -> Fault {
    let port = fact.wanted.address.port();
    match fact.wanted.key {
        "site.https_port" => fault.run("rtcctl up --set site.https_port=8443", "leaves it where it is; links then carry :8443"),
        "site.http_port" => fault.run("rtcctl up --set 'site.http_port=\"off\"'", "does without http: no redirect, /ca on https only"),
        key => fault.run(format!("rtcctl up --set '{key}=[{}]'", port.checked_add(1).unwrap_or(3478)), "takes another port for TURN"),
    }
}

/// A daemon of another installation would be started again by its supervisor.
fn state_of(pid: i32) -> Option<String> {
    let words = words_of(pid);
    let is_daemon = words.first()?.ends_with("rtcctl") && words.iter().any(|word| word == "serve");
    let at = words.iter().position(|word| word == "--state").filter(|_| is_daemon)?;
    words.get(at + 1).filter(|state| !state.contains(char::is_whitespace)).cloned()
}

fn words_of(pid: i32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// As `ps` shows it.
fn command_line(pid: i32) -> String {
    let line: String = words_of(pid).join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if line.is_empty() { "its command line cannot be read".to_owned() } else { line }
}

pub(super) async fn relay_range(evidence: Shared) -> Verdict {
    let Some(own) = evidence.own().cloned() else { return Verdict::Skip("not our relay".into()) };
    let ours = evidence.status().await.ok().map(|status| status.allocations as usize).unwrap_or(0);
    let Some((held, overlap)) = off_thread(move || (held(&own), overlap(&own))).await else { return Verdict::Skip("interrupted".into()) };
    let Some(own) = evidence.own() else { return Verdict::Skip("not our relay".into()) };
    let (range, most) = (own.config.turn.relay_ports, own.config.turn.max_allocations);
    let size = usize::from(range.last - range.first) + 1;
    let free = size - held.saturating_sub(ours).min(size);
    if free < most {
        let why = if size < most { format!("{size} ports") } else { format!("{free} of {size} ports are free") };
        return Fault::new(format!("turn.relay_ports {range} has {why}, turn.max_allocations asks for {most}"))
            .breaks(&["calls, once the ports are used up"])
            .hint("set turn.relay_ports = \"61000-65535\" in rtcctl.toml, which is the default and above what Linux hands out itself, then rtcctl up")
            .hint(format!("or set turn.max_allocations = {} in rtcctl.toml, then rtcctl up", free.max(1)))
            .fail();
    }
    match overlap {
        Some((first, last)) => Fault::new(format!("turn.relay_ports {range} overlaps the ports that this system hands out itself ({first}-{last})"))
            .breaks(&["single allocations, when a program was faster"])
            .run(format!("sysctl net.ipv4.ip_local_reserved_ports={range}"), "keeps the range for the relay, until the next reboot")
            .hint("or set turn.relay_ports = \"61000-65535\" in rtcctl.toml, then rtcctl up")
            .warn(),
        None => Verdict::Pass,
    }
}

/// UDP sockets in the range, whoever has them; one per port.
fn held(own: &Own) -> usize {
    let tables = [procfs::net::udp(), procfs::net::udp6()];
    let range = own.config.turn.relay_ports.first..=own.config.turn.relay_ports.last;
    let ports = tables.into_iter().flatten().flatten().map(|entry| SocketAddr::port(&entry.local_address)).filter(|port| range.contains(port));
    ports.collect::<std::collections::HashSet<_>>().len()
}

/// The kernel's own range, when it reaches into ours and is not reserved.
fn overlap(own: &Own) -> Option<(u16, u16)> {
    let range = own.config.turn.relay_ports;
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (first, last) = (bounds.next()?, bounds.next()?);
    let shared = range.first.max(first)..=range.last.min(last);
    let reserved = reserved(&std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default());
    let open = shared.clone().any(|port| !reserved.iter().any(|(from, to)| (*from..=*to).contains(&port)));
    open.then_some((first, last))
}

/// `61000-65535,8080`
fn reserved(text: &str) -> Vec<(u16, u16)> {
    let one = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some((from.trim().parse().ok()?, to.trim().parse().ok()?)),
        None => part.trim().parse().ok().map(|port| (port, port)),
    };
    text.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::reserved;

    #[test]
    fn reserved_ports_as_the_kernel_writes_them() {
        assert_eq!(reserved("61000-65535,8080\n"), [(61000, 65535), (8080, 8080)]);
        assert!(reserved("\n").is_empty());
    }
}
