//! Pure: from the config as written to the config as meant, or every problem at once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::defaults::{KEYS, SECTIONS};
use super::file::{Problem, Value, Written, closest, default_item};
use super::model::{Address, Authority, Cert, Config, Metrics, Proxy, RoomOpeners, Signal, Site, TestCall, Turn};
use super::read::{
    Reader, address, auto_or, bandwidth, choice, count, distinct, duration, grace, list, message_size, name, none_or_distinct, off_or, port,
    public_address, realm, share, text, title, transport, word,
};
use super::values::{self, HostName, PortRange, Prefix};

/// RFC 8656 §7.2 and our own table: no allocation is granted for longer.
const LONGEST_ALLOCATION: Duration = Duration::from_secs(3600);

/// RFC 8656 §18: `turns`.
const TURNS_PORT: u16 = 5349;

/// Everything that is wrong is in the answer, in the order in which it was written.
pub fn resolve(written: &Written) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader { written, problems: written.problems.clone() };
    let site = site(&mut reader);
    let is_private = is_private(&site.address);
    let config = Config {
        name: reader.get("name", name),
        site,
        cert: Cert { authority: Authority::Local },
        turn: turn(&mut reader),
        ice: Vec::new(),
        signal: signal(&mut reader, is_private),
        metrics: Metrics { listen: reader.get("metrics.listen", off_or(word)) },
        test_call: TestCall {
            transports: reader.get("test_call.transports", distinct(transport)),
            max_loss: reader.get("test_call.max_loss", share),
        },
        hosts: Vec::new(),
    };
    let config = behind_a_proxy(&mut reader, config);
    let authority = authority(&mut reader, is_private);
    let config = Config { cert: Cert { authority }, ..config };
    refuse_unbuilt(&mut reader);
    overlapping_ports(&mut reader, &config);
    durations(&mut reader, &config.turn);
    let mut problems = reader.problems;
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Err(problems)
}

/// Those of `site.listen` that are not on this machine; `addresses` are the machine's own. Wildcards and loopback are always there.
pub fn check_machine(config: &Config, addresses: &[IpAddr]) -> Vec<Problem> {
    let missing = config.site.listen.iter().filter(|a| !a.is_unspecified() && !a.is_loopback() && !addresses.contains(a));
    let here = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    let problem = |address: &IpAddr| Problem::new(format!("site.listen: not an address of this machine: {address}"), None);
    let hint = if here.is_empty() {
        "listen on \"0.0.0.0\" and \"::\"".to_owned()
    } else {
        format!("listen on one of {here}, or on \"0.0.0.0\" and \"::\"")
    };
    missing.map(|address| problem(address).hint(hint.clone())).collect()
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        resolve(&Written::default()).expect("the defaults are valid: a test resolves them")
    }
}

fn site(reader: &mut Reader<'_>) -> Site {
    let is_written = |path: &str| reader.written.items.contains_key(path);
    let proxy = match reader.get("site.proxy", |item| choice(item, &["none", "nginx", "other"])) {
        "nginx" => Proxy::Nginx,
        "other" => Proxy::Other,
        _ => Proxy::None,
    };
    // Behind a proxy they are the proxy's, which has the right to bind them.
    let ports_may_move = proxy == Proxy::None && !is_written("site.https_port") && !is_written("site.http_port");
    Site {
        address: reader.get("site.address", address),
        aliases: reader.get("site.aliases", list(word::<HostName>)),
        listen: reader.get("site.listen", distinct(word::<IpAddr>)),
        https_port: reader.get("site.https_port", port),
        http_port: reader.get("site.http_port", off_or(port)),
        ports_may_move,
        proxy,
        backend: reader.get("site.backend", word::<SocketAddr>),
        title: reader.get("site.title", title),
    }
}

fn turn(reader: &mut Reader<'_>) -> Turn {
    let realm = reader.get("turn.realm", realm);
    let site_address = reader.quietly("site.address", text);
    Turn {
        ports: reader.get("turn.ports", distinct(port)),
        tls_ports: reader.get("turn.tls_ports", none_or_distinct(port)),
        relay_ports: reader.get("turn.relay_ports", word::<PortRange>),
        public_address: reader.get("turn.public_address", auto_or(public_address)),
        realm: if realm.is_empty() { site_address } else { realm },
        secret_file: reader.path("turn.secret_file"),
        credential_ttl: reader.get("turn.credential_ttl", duration),
        credential_max: reader.get("turn.credential_max", duration),
        allow_peers: reader.get("turn.allow_peers", list(word::<Prefix>)),
        deny_peers: reader.get("turn.deny_peers", list(word::<Prefix>)),
        shards: reader.get("turn.shards", auto_or(|item| count(item, 256))),
        max_allocations: reader.get("turn.max_allocations", |item| count(item, 1_000_000)),
        max_per_user: reader.get("turn.max_per_user", |item| count(item, 1_000_000)),
        max_per_address: reader.get("turn.max_per_address", |item| count(item, 1_000_000)),
        max_bandwidth: reader.get("turn.max_bandwidth", off_or(bandwidth)),
        allocation_lifetime: reader.get("turn.allocation_lifetime", duration),
        permission_lifetime: reader.get("turn.permission_lifetime", duration),
        channel_lifetime: reader.get("turn.channel_lifetime", duration),
        nonce_lifetime: reader.get("turn.nonce_lifetime", duration),
    }
}

/// On a public site an open relay is somebody else's free relay: there the rooms are the hosts'.
fn signal(reader: &mut Reader<'_>, is_private: bool) -> Signal {
    let open_rooms = match reader.get("signal.open_rooms", |item| choice(item, &["auto", "anyone", "hosts"])) {
        "hosts" => RoomOpeners::Hosts,
        "auto" if !is_private => RoomOpeners::Hosts,
        _ => RoomOpeners::Anyone,
    };
    Signal {
        open_rooms,
        room_grace: reader.get("signal.room_grace", grace),
        max_rooms: reader.get("signal.max_rooms", |item| count(item, 10_000_000)),
        max_message: reader.get("signal.max_message", message_size),
    }
}

/// The https port is the proxy's, so TURN over TLS gets the port that RFC 8656 registers, unless somebody wrote another.
fn behind_a_proxy(reader: &mut Reader<'_>, mut config: Config) -> Config {
    if config.site.proxy == Proxy::None {
        return config;
    }
    let backend = config.site.backend;
    if !backend.ip().is_loopback() {
        let message = format!("site.backend: reachable from elsewhere: {backend}: whoever reaches it could speak for the proxy");
        reader.problem("site.backend", &message, "write an address of this machine alone: backend = \"127.0.0.1:8480\"");
    }
    if !reader.written.items.contains_key("turn.tls_ports") {
        config.turn.tls_ports = vec![TURNS_PORT];
    }
    config
}

/// `auto` is the local CA as long as only a LAN can look; a public site wants an authority that is not built yet.
fn authority(reader: &mut Reader<'_>, is_private: bool) -> Authority {
    const LOCAL: &str = "write ca = \"local\" below [cert]: every device then has to trust this machine's own authority once";
    let ca = reader.get("cert.ca", text);
    let files = (reader.path("cert.chain"), reader.path("cert.key"));
    match (ca.as_str(), files) {
        ("files", (Some(chain), Some(key))) => return Authority::Files { chain, key },
        ("files", (Some(_), None)) => {
            reader.problem("cert.chain", "cert.key is missing: a certificate is of no use without its key", "add key = \"…\" below [cert]")
        }
        ("files", (None, Some(_))) => {
            reader.problem("cert.key", "cert.chain is missing: a key is of no use without its certificate", "add chain = \"…\" below [cert]")
        }
        ("files", (None, None)) => reader.problem(
            "cert.ca",
            "cert.chain and cert.key are missing: ca = \"files\" needs both",
            "add chain = \"…\" and key = \"…\" below [cert]",
        ),
        (_, (chain, key)) if chain.is_some() || key.is_some() => {
            let path = if chain.is_some() { "cert.chain" } else { "cert.key" };
            reader.problem(
                path,
                &format!("{path} is only read with ca = \"files\", but ca is \"{ca}\""),
                "write ca = \"files\" below [cert], or remove chain and key",
            );
        }
        ("local", _) => {}
        ("auto", _) if is_private => {}
        ("auto", _) => {
            let name = reader.quietly("site.address", text);
            let message = format!("cert.ca: \"auto\" means Let's Encrypt for the public {name}, and ACME is not built yet");
            reader.problem(if reader.written.items.contains_key("cert.ca") { "cert.ca" } else { "site.address" }, &message, LOCAL);
        }
        (other, _) if other == "letsencrypt" || other == "letsencrypt-staging" || other == "zerossl" || other.starts_with("https://") => {
            reader.problem("cert.ca", &format!("cert.ca: ACME is not built yet: {other}"), LOCAL);
        }
        (other, _) => {
            let hint = closest(other, ["auto", "local", "files"].into_iter()).map(|near| format!("did you mean \"{near}\"?"));
            let hint = hint.unwrap_or_else(|| "write \"auto\", \"local\" or \"files\"".to_owned());
            reader.problem("cert.ca", &format!("cert.ca: not an authority: {other}"), &hint);
        }
    }
    Authority::Local
}

/// Only a LAN can look: no public authority would vouch for such a name or address.
pub(super) fn is_private(address: &Address) -> bool {
    match address {
        Address::Lan => true,
        Address::Host(HostName::Ip(IpAddr::V4(a))) => {
            let shared = a.octets()[0] == 100 && a.octets()[1] & 0xc0 == 64;
            a.is_private() || a.is_loopback() || a.is_link_local() || shared
        }
        Address::Host(HostName::Ip(IpAddr::V6(a))) => a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local(),
        Address::Host(HostName::Dns(name)) => {
            let top = name.rsplit('.').next().unwrap_or_default();
            !name.contains('.') || matches!(top, "local" | "internal" | "localhost") || name.ends_with(".home.arpa")
        }
    }
}

/// A key without an engine may only hold its default.
fn refuse_unbuilt(reader: &mut Reader<'_>) {
    for key in KEYS {
        let Some(engine) = key.unbuilt else { continue };
        let path = key.path();
        let Some(item) = reader.written.items.get(&path) else { continue };
        if !same(&item.value, &default_item(key).value) {
            let message = format!("{path}: {engine} is not built yet");
            reader.problem(&path, &message, &format!("remove the line, or write its default: {} = {}", key.name, key.default));
        }
    }
    for section in SECTIONS.iter().filter(|section| section.repeated) {
        let engine = KEYS.iter().find(|key| key.section == section.name).and_then(|key| key.unbuilt).unwrap_or(section.why);
        for place in reader.written.entries.get(section.name).into_iter().flatten() {
            let problem = Problem::new(format!("[[{}]]: {engine} is not built yet", section.name), Some(place.clone()));
            reader.problems.push(problem.hint("remove the section"));
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.value, &b.value)),
        _ => a == b,
    }
}

/// Two listeners on one port, or a listener inside the relay's range. Port 0 is the kernel's choice and meets nobody.
fn overlapping_ports(reader: &mut Reader<'_>, config: &Config) {
    let site = &config.site;
    let metrics = config.metrics.listen.filter(|a| site.listen.iter().any(|l| *l == a.ip() || (l.is_unspecified() && l.is_ipv4() == a.is_ipv4())));
    let mut users: Vec<(&str, u16)> = vec![("site.https_port", site.https_port)];
    users.extend(site.http_port.map(|port| ("site.http_port", port)));
    users.extend(config.turn.ports.iter().map(|port| ("turn.ports", *port)));
    users.extend(config.turn.tls_ports.iter().map(|port| ("turn.tls_ports", *port)));
    // On loopback it meets listeners of the wildcard address only; telling them apart would save nobody a port.
    users.extend((site.proxy != Proxy::None).then(|| ("site.backend", site.backend.port())));
    users.extend(metrics.map(|address| ("metrics.listen", address.port())));
    users.retain(|(_, port)| *port != 0);
    for (index, (path, port)) in users.iter().enumerate() {
        if let Some((first, _)) = users[..index].iter().find(|(other, taken)| taken == port && other != path) {
            // The blame goes to a line that somebody wrote.
            let (blamed, other) = if reader.written.items.contains_key(*path) { (path, first) } else { (first, path) };
            reader.problem(blamed, &format!("{blamed}: {port} is the port of {other} too"), "give each its own port");
        }
        let range = config.turn.relay_ports;
        if range.contains(*port) {
            let blamed = if reader.written.items.contains_key("turn.relay_ports") { "turn.relay_ports" } else { path };
            reader.problem(
                blamed,
                &format!("{blamed}: the relay's range {range} contains {port}, the port of {path}"),
                "move the port out of the range",
            );
        }
    }
    if config.turn.relay_ports.count() < 2 {
        reader.problem("turn.relay_ports", "turn.relay_ports: a call needs at least two ports", "write it as \"61000-65535\"");
    }
}

fn durations(reader: &mut Reader<'_>, turn: &Turn) {
    let at_most = |reader: &mut Reader<'_>, path: &str, value: Duration, limit: Duration, why: &str| {
        if value > limit {
            let limit = values::show_duration(limit);
            reader.problem(
                path,
                &format!("{path}: longer than {limit}: {}", values::show_duration(value)),
                &format!("write at most \"{limit}\": {why}"),
            );
        }
    };
    let maximum_is_wrong = turn.credential_max < turn.credential_ttl && !reader.written.items.contains_key("turn.credential_ttl");
    if maximum_is_wrong {
        let message = format!("turn.credential_max: shorter than turn.credential_ttl, which is {}", values::show_duration(turn.credential_ttl));
        reader.problem("turn.credential_max", &message, "write credential_ttl too, at most as long");
    } else {
        at_most(reader, "turn.credential_ttl", turn.credential_ttl, turn.credential_max, "turn.credential_max");
    }
    at_most(reader, "turn.allocation_lifetime", turn.allocation_lifetime, LONGEST_ALLOCATION, "no allocation is granted for longer");
    at_most(reader, "turn.permission_lifetime", turn.permission_lifetime, Duration::from_secs(300), "RFC 8656 fixes it");
    at_most(reader, "turn.channel_lifetime", turn.channel_lifetime, Duration::from_secs(600), "RFC 8656 fixes it");
    at_most(reader, "turn.nonce_lifetime", turn.nonce_lifetime, Duration::from_secs(3600), "RFC 8656 §5 asks for an hour at most");
}

#[cfg(test)]
mod tests {
    use super::super::defaults;
    use super::super::report::{Style, render};
    use super::*;

    #[test]
    fn every_default_is_read_and_right() {
        let config = Config::default();
        assert_eq!(config.site.address, Address::Lan);
        assert_eq!((config.site.https_port, config.site.http_port, config.site.ports_may_move), (443, Some(80), true));
        assert_eq!(config.turn.relay_ports, PortRange { first: 61000, last: 65535 });
        assert_eq!(config.turn.max_bandwidth, Some(3_000_000));
        assert_eq!(config.signal.max_message, 65536);
        assert_eq!(config.turn.realm, "lan");
    }

    #[test]
    fn what_is_written_out_loads_as_the_same() {
        let rich = r#"
            name = "calls-2"
            site = { address = "192.168.1.20", aliases = ["a.internal", "fd00::7"], listen = ["192.168.1.20"], https_port = 0, http_port = "off", proxy = "nginx", backend = "[::1]:9", title = "\"Us\" \\ them" }
            cert = { ca = "files", chain = "/c/chain.pem", key = "/c/key.pem" }
            metrics.listen = "off"
            signal = { open_rooms = "hosts", room_grace = "250ms", max_rooms = 7, max_message = "1500B" }
            test_call = { transports = ["tls"], max_loss = 1 }
            [turn]
            ports = [3478, 3479]
            relay_ports = "50000-50999"
            public_address = "203.0.113.7"
            realm = "r"
            secret_file = "/s"
            credential_ttl = "90s"
            allow_peers = ["10.0.0.0/8", "fd00::/8"]
            deny_peers = ["192.0.2.1"]
            shards = 3
            max_bandwidth = "off"
            nonce_lifetime = "1500ms"
        "#;
        for text in ["", rich, "[site]\nhttp_port = 8080"] {
            let config = resolve(&read(text)).unwrap();
            let again = resolve(&read(&config.to_toml())).unwrap();
            let mut settled = config.clone();
            settled.site.ports_may_move = false;
            assert_eq!(again, settled, "{}", config.to_toml());
            assert_eq!(again.to_toml(), config.to_toml());
        }
    }

    #[test]
    fn later_sources_win_and_quotes_may_be_left_out() {
        let mut written = read("[site]\nhttps_port = 1443\ntitle = \"file\"");
        written.add_variable("RTCCTL_SITE__TITLE", "from outside", "/".into());
        written.add_variable("RTCCTL_SITE__HTTPS_PORT", "2443", "/".into());
        written.add_variable("RTCCTL_TURN__PORTS", "[1, 2]", "/".into());
        written.add_variable("RTCCTL_STATE", "no key of ours", "/".into());
        written.add_flag("site.https_port=3443", "/".into());
        written.add_flag("site.address=\"192.168.0.1\"", "/".into());
        let config = resolve(&written).unwrap();
        assert_eq!((config.site.https_port, config.site.title.as_str()), (3443, "from outside"));
        assert_eq!(config.turn.ports, [1, 2]);
        assert_eq!(config.site.address, Address::Host(HostName::Ip([192, 168, 0, 1].into())));
    }

    #[test]
    fn behind_a_proxy_turn_over_tls_has_a_port_of_its_own() {
        let tls_ports = |text: &str| resolve(&read(text)).unwrap().turn.tls_ports;
        assert_eq!(tls_ports(""), [0; 0]);
        assert_eq!(tls_ports("turn.tls_ports = [5349, 8349]"), [5349, 8349]);
        for proxy in ["nginx", "other"] {
            assert_eq!(tls_ports(&format!("site.proxy = \"{proxy}\"")), [5349]);
            assert_eq!(tls_ports(&format!("site.proxy = \"{proxy}\"\nturn.tls_ports = []")), [0; 0]);
            assert!(!resolve(&read(&format!("site.proxy = \"{proxy}\""))).unwrap().site.ports_may_move);
        }
    }

    #[test]
    fn relative_paths_start_at_their_file() {
        let config = resolve(&read("[turn]\nsecret_file = \"keys/turn\"")).unwrap();
        assert_eq!(config.turn.secret_file, Some("/etc/x/keys/turn".into()));
    }

    #[test]
    fn addresses_of_other_machines_cannot_be_listened_on() {
        let config = resolve(&read("[site]\nlisten = [\"0.0.0.0\", \"::1\", \"10.0.0.1\", \"10.0.0.2\"]")).unwrap();
        let problems = check_machine(&config, &["10.0.0.2".parse().unwrap()]);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "site.listen: not an address of this machine: 10.0.0.1");
    }

    #[test]
    fn a_public_site_says_what_it_would_need() {
        for address in ["call.example.org", "203.0.113.7", "2001:db8::7"] {
            let problems = resolve(&read(&format!("site.address = \"{address}\""))).unwrap_err();
            let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
            assert_eq!(messages.len(), 1, "{messages:?}");
            let text = format!("site.address = \"{address}\"\ncert.ca = \"local\"");
            assert_eq!(resolve(&read(&text)).unwrap().cert.authority, Authority::Local);
        }
        for address in ["lan", "192.168.1.1", "100.64.3.2", "fd00::1", "::1", "box", "box.local", "a.b.internal"] {
            assert!(resolve(&read(&format!("site.address = \"{address}\""))).is_ok(), "{address}");
        }
    }

    #[test]
    fn rooms_of_a_public_site_are_opened_by_hosts_unless_said_otherwise() {
        for (address, choice, openers) in [
            ("lan", "auto", RoomOpeners::Anyone),
            ("192.168.1.1", "auto", RoomOpeners::Anyone),
            ("call.example.org", "auto", RoomOpeners::Hosts),
            ("203.0.113.7", "auto", RoomOpeners::Hosts),
            ("call.example.org", "anyone", RoomOpeners::Anyone),
            ("lan", "hosts", RoomOpeners::Hosts),
        ] {
            let text = format!("site.address = \"{address}\"\ncert.ca = \"local\"\nsignal.open_rooms = \"{choice}\"");
            let config = resolve(&read(&text)).unwrap();
            assert_eq!(config.signal.open_rooms, openers, "{text}");
            assert_eq!(resolve(&read(&config.to_toml())).unwrap().signal.open_rooms, openers, "{text}");
        }
    }

    #[test]
    fn keys_without_an_engine_hold_only_their_default() {
        for key in KEYS.iter().filter(|key| key.unbuilt.is_some()) {
            let repeated = defaults::find_section(key.section).is_some_and(|section| section.repeated);
            let other = match key.kind {
                defaults::Kind::Flag => "true".to_owned(),
                defaults::Kind::List(_) => "[5349]".to_owned(),
                _ => "\"something\"".to_owned(),
            };
            let text = if repeated { format!("[[{}]]\n{} = {other}", key.section, key.name) } else { format!("{} = {other}", key.path()) };
            let problems = resolve(&read(&text)).expect_err(&text);
            assert!(problems[0].message.contains("is not built yet"), "{}: {problems:?}", key.path());
            if !repeated {
                resolve(&read(&format!("{} = {}", key.path(), key.default))).expect("its default is fine");
            }
        }
    }

    /// One wrong line each: the message must name the key.
    #[test]
    fn each_wrong_value_is_one_problem() {
        for text in [
            "name = \"Big Name\"",
            "name = 3",
            "site.address = \"https://x.local/\"",
            "site.address = \"\"",
            "site.address = \"0.0.0.0\"",
            "site.listen = []",
            "site.listen = [\"eth0\"]",
            "site.listen = [\"::\", \"::\"]",
            "site.listen = \"::\"",
            "site.https_port = 65536",
            "site.https_port = -1",
            "site.https_port = \"443\"",
            "site.http_port = \"of\"",
            "site.https_port = 80",
            "site.title = \"\"",
            "cert.ca = \"locl\"",
            "cert.ca = \"letsencrypt\"",
            "cert.ca = \"https://acme.example/dir\"",
            "cert.ca = \"files\"",
            "cert.chain = \"c.pem\"",
            "cert.key = \"k.pem\"",
            "turn.ports = [443]",
            "turn.ports = [3478, 3478]",
            "turn.ports = [61000]",
            "turn.ports = []",
            "turn.tls_ports = [443]",
            "turn.tls_ports = [5349, 5349]",
            "turn.tls_ports = 5349",
            "site.proxy = \"apache\"",
            "site = { proxy = \"nginx\", backend = \"0.0.0.0:8480\" }",
            "site = { proxy = \"nginx\", backend = \"127.0.0.1:443\" }",
            "site.backend = \"8480\"",
            "turn.relay_ports = \"65535-61000\"",
            "turn.relay_ports = \"1000-4000\"",
            "turn.relay_ports = \"61000\"",
            "turn.relay_ports = \"61000-61000\"",
            "turn.relay_ports = 61000",
            "turn.public_address = \"here\"",
            "turn.public_address = \"::\"",
            "turn.realm = \"a\\\"b\"",
            "turn.credential_ttl = \"49h\"",
            "turn.credential_max = \"10m\"",
            "turn.credential_ttl = \"0s\"",
            "turn.credential_ttl = 3600",
            "turn.allow_peers = [\"10.0.0.1/8\"]",
            "turn.deny_peers = [\"x\"]",
            "turn.shards = 0",
            "turn.shards = \"all\"",
            "turn.max_allocations = 0",
            "turn.max_per_user = -1",
            "turn.max_bandwidth = \"3Mbit\"",
            "turn.max_bandwidth = \"1bit/s\"",
            "turn.allocation_lifetime = \"2h\"",
            "turn.permission_lifetime = \"6m\"",
            "turn.channel_lifetime = \"11m\"",
            "turn.nonce_lifetime = \"2h\"",
            "signal.open_rooms = \"all\"",
            "signal.room_grace = \"1h\"",
            "signal.max_rooms = 0",
            "signal.max_message = \"1MiB\"",
            "signal.max_message = \"10B\"",
            "metrics.listen = \"9641\"",
            "metrics.listen = \"127.0.0.1:443\"",
            "test_call.transports = []",
            "test_call.transports = [\"sctp\"]",
            "test_call.max_loss = 2",
            "test_call.max_loss = 1.5",
            "test_call.max_loss = \"0.1\"",
            "site = 3",
            "ice = { }",
            "[[site]]",
            "name = [",
        ] {
            let problems = resolve(&read(text)).expect_err(text);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            let key = text.split([' ', '.', '=']).next().unwrap().trim_matches(['[', ']']);
            assert!(problems[0].message.contains(key) || problems[0].message.starts_with("not TOML"), "{text}: {problems:?}");
            assert!(problems[0].place.is_some(), "{text}");
        }
    }

    #[test]
    fn port_zero_meets_nobody() {
        assert!(resolve(&read("site = { https_port = 0, http_port = 0 }\nturn.ports = [0]\nmetrics.listen = \"127.0.0.1:0\"")).is_ok());
    }

    #[test]
    fn all_problems_come_at_once_in_the_order_of_the_file() {
        let written = read("nmae = \"x\"\n[turn]\nprots = [3478]\nrelay_ports = \"9-8\"\nmax_per_user = \"many\"\n[sit]\ntitle = \"t\"\n");
        let problems = resolve(&written).unwrap_err();
        let report = render(&problems, &written.sources, Style { colour: false, unicode: true });
        expect_test::expect_file!["../../tests/data/config/problems.txt"].assert_eq(&report);
    }

    fn read(text: &str) -> Written {
        let mut written = Written::default();
        written.add_file("rtcctl.toml".into(), text.to_owned(), "/etc/x".into());
        written
    }
}
