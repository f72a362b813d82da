//! The packet filter of this machine.

use crate::doctor::check::{Fault, Verdict};
use crate::doctor::evidence::Shared;

pub(super) async fn firewall(evidence: Shared) -> Verdict {
    let dropped = match evidence.firewall().await {
        Ok(dropped) => dropped,
        Err(why) if why.starts_with("only root") => {
            return Fault::new(why.clone()).run("sudo rtcctl doctor --check net.firewall", "looks as root").unknown();
        }
        Err(why) => {
            return Fault::new(why.clone()).run("nft list ruleset", "shows the rules; see that they accept the ports of rtcctl status").unknown();
        }
    };
    let Some(first) = dropped.first() else { return Verdict::Pass };
    let ports: Vec<String> = dropped.iter().map(|one| one.wanted.to_string()).collect();
    let mut fault = Fault::new(format!("this machine's firewall drops {}: {} of {}", ports.join(", "), first.by, first.chain));
    let mut rules: Vec<(&str, String)> = Vec::new();
    for one in dropped {
        fault = fault.proof("drops", format!("{}: {} of {}", one.wanted, one.by, one.chain));
        let own = evidence.own().map(|own| own.config.turn.relay_ports);
        let port = match own {
            Some(range) if [range.first, range.last].contains(&one.wanted.port) => format!("{}-{}", range.first, range.last),
            _ => one.wanted.port.to_string(),
        };
        let rule = format!("nft insert rule {} {} dport {port} accept", one.chain, one.wanted.protocol);
        if !rules.iter().any(|(_, known)| *known == rule) {
            rules.push(("until the next reboot; the file that sets the rules up wants it too", rule));
        }
    }
    for (text, rule) in rules {
        fault = fault.run(rule, text);
    }
    fault.breaks(&["everybody who calls from another machine"]).fail()
}

/// A drop here is what other rows only see the consequence of.
pub(super) async fn drops(evidence: &Shared, port: u16, is_udp: bool) -> bool {
    let protocol = if is_udp { crate::host::ports::Protocol::Udp } else { crate::host::ports::Protocol::Tcp };
    evidence.firewall().await.is_ok_and(|dropped| dropped.iter().any(|one| one.wanted.port == port && one.wanted.protocol == protocol))
}
