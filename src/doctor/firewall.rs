//! Pure: what an nftables ruleset (`nft --json list ruleset`) does to a packet from outside to one of our ports.
//!
//! Rules are followed as the kernel does for the first packet of a stranger. What is not understood may match or not: it never makes a finding,
//! and where it could hide a drop the answer is an error, not "nothing is dropped".

use std::fmt;

use serde_json::Value;

use crate::config::Config;
use crate::config::model::Proxy;
use crate::host::ports::Protocol;

/// Jumps followed from one base chain.
const DEPTH: usize = 16;

/// A port that people outside must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

/// `3478/udp`
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// A wanted port and what drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) wanted: Wanted,
    /// `inet filter input`
    pub(super) chain: String,
    /// `rule 7`, or `policy`.
    pub(super) by: String,
}

/// Everything that the service listens on, and both ends of the relay's range.
pub(super) fn wanted(config: &Config) -> Vec<Wanted> {
    let tcp = |port| Wanted { port, protocol: Protocol::Tcp };
    let udp = |port| Wanted { port, protocol: Protocol::Udp };
    let mut wanted = vec![tcp(config.site.https_port)];
    if config.site.proxy != Proxy::None {
        wanted = vec![tcp(443)];
    }
    wanted.extend(config.site.http_port.map(tcp));
    wanted.extend(config.turn.ports.iter().flat_map(|port| [udp(*port), tcp(*port)]));
    wanted.extend(config.turn.tls_ports.iter().map(|port| tcp(*port)));
    wanted.extend([config.turn.relay_ports.first, config.turn.relay_ports.last].map(udp));
    wanted
}

/// What is dropped. The error says what could not be understood.
pub(super) fn dropped(ruleset: &str, wanted: &[Wanted]) -> Result<Vec<Dropped>, String> {
    let parsed: Value = serde_json::from_str(ruleset).map_err(|error| format!("nft gave an answer that cannot be read: {error}"))?;
    let rules = Ruleset { objects: parsed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default() };
    let mut found = Vec::new();
    let mut unclear = None;
    for packet in wanted {
        for chain in rules.inputs() {
            match rules.verdict_of(chain, packet) {
                Fate::Drop(by) => found.push(Dropped { wanted: *packet, chain: name(chain), by }),
                Fate::Unclear(what) => unclear = Some(what),
                _ => {}
            }
        }
    }
    match unclear {
        Some(what) if found.is_empty() => Err(what),
        _ => Ok(found),
    }
}

struct Ruleset<'a> {
    objects: &'a [Value],
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Accept,
    /// By this.
    Drop(String),
    /// Left the chain without a verdict.
    Through,
    Unclear(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    Maybe,
}

impl<'a> Ruleset<'a> {
    /// Base chains that see packets for this machine.
    fn inputs(&self) -> impl Iterator<Item = &'a Value> {
        let chains = self.objects.iter().filter_map(|object| object.get("chain"));
        chains.filter(|chain| matches!(chain["hook"].as_str(), Some("input" | "prerouting" | "ingress")) && chain["type"] == "filter")
    }

    fn verdict_of(&self, chain: &Value, packet: &Wanted) -> Fate {
        let drops = chain["policy"] == "drop";
        match self.walk(chain, packet, 0) {
            Fate::Through if drops => Fate::Drop("policy".into()),
            fate => fate,
        }
    }

    fn walk(&self, chain: &Value, packet: &Wanted, depth: usize) -> Fate {
        if depth > DEPTH {
            return Fate::Unclear(format!("{}: more than {DEPTH} jumps", name(chain)));
        }
        let same = |rule: &&Value| ["family", "table"].iter().all(|key| rule[*key] == chain[*key]) && rule["chain"] == chain["name"];
        let rules = self.objects.iter().filter_map(|object| object.get("rule")).filter(same);
        // A rule that may accept hides what comes after it.
        let mut doubt = None;
        for rule in rules {
            let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
            let matched = expressions.iter().map(|expression| matches(expression, packet)).fold(Match::Yes, |all, one| match (all, one) {
                (Match::No, _) | (_, Match::No) => Match::No,
                (Match::Maybe, _) | (_, Match::Maybe) => Match::Maybe,
                _ => Match::Yes,
            });
            if matched == Match::No {
                continue;
            }
            let Some(fate) = self.act(chain, expressions, rule, packet, depth) else { continue };
            match (matched, fate) {
                (_, Fate::Through) => {}
                (Match::Maybe, fate) => doubt = doubt.or_else(|| unclear(chain, rule, &fate)),
                (_, Fate::Unclear(what)) => doubt = doubt.or(Some(what)),
                (_, fate) => return doubt.map_or(fate, Fate::Unclear),
            }
        }
        match doubt {
            Some(what) => Fate::Unclear(what),
            None => Fate::Through,
        }
    }

    /// What a rule does that matches; `None` when it only counts, logs or marks.
    fn act(&self, chain: &Value, expressions: &[Value], rule: &Value, packet: &Wanted, depth: usize) -> Option<Fate> {
        let into = |target: &Value| {
            let called = self.objects.iter().filter_map(|object| object.get("chain"));
            let mut called = called.filter(|other| other["family"] == chain["family"] && other["table"] == chain["table"]);
            called.find(|other| other["name"] == target["target"]).map(|called| self.walk(called, packet, depth + 1))
        };
        expressions.iter().find_map(|expression| {
            let (verb, target) = expression.as_object()?.iter().next()?;
            match verb.as_str() {
                "accept" => Some(Fate::Accept),
                "drop" | "reject" => Some(Fate::Drop(format!("rule {}", rule["handle"]))),
                "return" => Some(Fate::Through),
                "jump" | "goto" => into(target),
                // Verdicts of extensions and maps are not known.
                "xt" | "vmap" | "queue" => Some(Fate::Unclear(format!("{}: rule {} cannot be judged", name(chain), rule["handle"]))),
                _ => None,
            }
        })
    }
}

/// A rule that may match and does nothing harmful or helpful is no doubt.
fn unclear(chain: &Value, rule: &Value, fate: &Fate) -> Option<String> {
    match fate {
        Fate::Through => None,
        _ => Some(format!("{}: rule {} may or may not match", name(chain), rule["handle"])),
    }
}

fn matches(expression: &Value, packet: &Wanted) -> Match {
    let Some((verb, body)) = expression.as_object().and_then(|object| object.iter().next()) else { return Match::Maybe };
    match verb.as_str() {
        "match" => {
            let is = matches_one(&body["left"], &body["right"], packet);
            match (body["op"].as_str(), is) {
                (Some("!="), Match::Yes) => Match::No,
                (Some("!="), Match::No) => Match::Yes,
                (Some("==" | "in" | "!="), is) => is,
                _ => Match::Maybe,
            }
        }
        "limit" => Match::Maybe,
        // Everything else is a statement.
        _ => Match::Yes,
    }
}

fn matches_one(left: &Value, right: &Value, packet: &Wanted) -> Match {
    let protocol = packet.protocol.to_string();
    let (payload, meta, ct) = (&left["payload"], &left["meta"], &left["ct"]);
    match (payload["protocol"].as_str(), payload["field"].as_str()) {
        (Some(of @ ("tcp" | "udp" | "th")), Some("dport")) if of == "th" || of == protocol => return contains(right, &|v| number_in(v, packet.port)),
        (Some("tcp" | "udp" | "icmp" | "icmpv6"), _) if payload["protocol"] != protocol.as_str() => return Match::No,
        (Some("ip"), Some("protocol")) => return contains(right, &|v| v == &Value::from(protocol.as_str())),
        // A stranger comes from anywhere: what is only about some addresses is not about all.
        (Some("ip" | "ip6"), Some("saddr")) => return Match::No,
        _ => {}
    }
    match meta["key"].as_str() {
        Some("l4proto") => return contains(right, &|v| v == &Value::from(protocol.as_str())),
        // Loopback is no stranger's way in; any other interface may be.
        Some("iif" | "iifname") if contains(right, &|v| v == "lo") == Match::Yes => return Match::No,
        _ => {}
    }
    if ct["key"] == "state" {
        return contains(right, &|v| v == "new");
    }
    Match::Maybe
}

/// One value, a list or an anonymous set; a named set is not looked into.
fn contains(value: &Value, is: &dyn Fn(&Value) -> bool) -> Match {
    let set = value.get("set").unwrap_or(value);
    let yes = match set.as_array() {
        Some(members) => members.iter().any(is),
        None if set.as_str().is_some_and(|text| text.starts_with('@')) => return Match::Maybe,
        None => is(set),
    };
    if yes { Match::Yes } else { Match::No }
}

fn number_in(value: &Value, port: u16) -> bool {
    match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => (first.as_u64()..=last.as_u64()).contains(&Some(port.into())),
        _ => value.as_u64() == Some(port.into()),
    }
}

fn name(chain: &Value) -> String {
    ["family", "table", "name"].map(|key| chain[key].as_str().unwrap_or_default()).join(" ")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// `rules` of one input chain, in nft's JSON; 3478/udp, 443/tcp and 61000/udp are wanted.
    fn check(policy: &str, rules: &[&str], expected: Expect) {
        let chain = format!(r#"{{"chain":{{"family":"inet","table":"t","name":"input","type":"filter","hook":"input","policy":"{policy}"}}}}"#);
        let helper = r#"{"chain":{"family":"inet","table":"t","name":"helper"}}"#.to_owned();
        let rule = |(n, expr): (usize, &&str)| {
            let (at, expr) = expr.strip_prefix("helper ").map_or(("input", *expr), |expr| ("helper", expr));
            format!(r#"{{"rule":{{"family":"inet","table":"t","chain":"{at}","handle":{n},"expr":[{expr}]}}}}"#)
        };
        let objects: Vec<String> = [chain, helper].into_iter().chain(rules.iter().enumerate().map(rule)).collect();
        let wanted = [(3478, Protocol::Udp), (443, Protocol::Tcp), (61000, Protocol::Udp)].map(|(port, protocol)| Wanted { port, protocol });
        let said = match dropped(&format!(r#"{{"nftables":[{}]}}"#, objects.join(",")), &wanted) {
            Ok(found) => found.iter().map(|d| format!("{} by {} of {}", d.wanted, d.by, d.chain)).collect::<Vec<_>>().join("; "),
            Err(why) => format!("unknown: {why}"),
        };
        expected.assert_eq(&said);
    }

    const UDP_3478: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":3478}}"#;
    const SSH: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}},{"accept":null}"#;
    const RANGE: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":{"set":[3478,{"range":[61000,65535]}]}}},{"accept":null}"#;
    const HTTPS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":443}},{"accept":null}"#;
    const KNOWN: &str = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}"#;
    const LOOPBACK: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}},{"accept":null}"#;

    #[test]
    fn one_rule_that_drops() {
        check("accept", &[], expect![""]);
        check("accept", &[&format!(r#"{UDP_3478},{{"counter":null}},{{"drop":null}}"#)], expect!["3478/udp by rule 0 of inet t input"]);
        check("accept", &[RANGE, &format!(r#"{UDP_3478},{{"drop":null}}"#)], expect![""]);
    }

    #[test]
    fn a_policy_that_drops_what_nobody_accepts() {
        check("drop", &[KNOWN, LOOPBACK, SSH, HTTPS], expect!["3478/udp by policy of inet t input; 61000/udp by policy of inet t input"]);
        check("drop", &[KNOWN, LOOPBACK, HTTPS, RANGE], expect![""]);
        check("drop", &[r#"{"jump":{"target":"helper"}}"#, &format!("helper {RANGE}"), HTTPS], expect![""]);
    }

    #[test]
    fn what_is_not_understood_is_no_finding_and_no_pass() {
        let by_set = r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":"@ours"}},{"accept":null}"#;
        check("drop", &[by_set, HTTPS], expect!["unknown: inet t input: rule 0 may or may not match"]);
        check("accept", &[r#"{"xt":null}"#], expect!["unknown: inet t input: rule 0 cannot be judged"]);
        let some = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"203.0.113.9"}},{"drop":null}"#;
        check("accept", &[some], expect![""]);
    }
}
