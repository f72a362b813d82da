//! Pure: the resolved config written out as TOML that loads as an equal config.

use std::fmt::Display;
use std::path::Path;

use super::defaults::{KEYS, Key, SECTIONS};
use super::model::{Address, Authority, Config, Proxy, RoomOpeners, Transport};
use super::values::{show_duration, show_rate, show_size};

impl Config {
    /// Every key with its value; loading it gives an equal config in which ports no longer move.
    pub fn to_toml(&self) -> String {
        self.to_toml_with(|_| None)
    }

    /// The same with a remark behind each line, for `config show --origin`; `remark` is asked by path, `site.https_port`.
    pub fn to_toml_with(&self, remark: impl Fn(&str) -> Option<String>) -> String {
        let line = |key: &Key| {
            let path = key.path();
            let line = format!("{} = {}", key.name, self.value(&path).unwrap_or_else(|| key.default.to_owned()));
            remark(&path).map_or_else(|| format!("{line}\n"), |remark| format!("{line:<38} # {remark}\n"))
        };
        let lines = |section: &str| KEYS.iter().filter(|key| key.section == section).map(line).collect::<String>();
        let mut text = lines("");
        for section in SECTIONS.iter().filter(|section| !section.repeated) {
            text.push_str(&format!("\n[{}]\n{}", section.name, lines(section.name)));
        }
        text
    }

    /// The value of a key as TOML; `None` for a key without an engine, which holds its default.
    fn value(&self, path: &str) -> Option<String> {
        let (site, turn) = (&self.site, &self.turn);
        let lifetime = |duration| quoted(show_duration(duration));
        Some(match path {
            "name" => quoted(&self.name),
            "site.address" => match &site.address {
                Address::Lan => quoted("lan"),
                Address::Host(host) => quoted(host),
            },
            "site.aliases" => list(site.aliases.iter().map(quoted)),
            "site.listen" => list(site.listen.iter().map(quoted)),
            "site.https_port" => site.https_port.to_string(),
            "site.http_port" => site.http_port.map_or_else(|| quoted("off"), |port| port.to_string()),
            "site.proxy" => quoted(proxy_name(site.proxy)),
            "site.backend" => quoted(site.backend),
            "site.title" => quoted(&site.title),
            "cert.ca" => quoted(if self.cert.authority == Authority::Local { "local" } else { "files" }),
            "cert.chain" | "cert.key" => match &self.cert.authority {
                Authority::Files { chain, .. } if path == "cert.chain" => quoted_path(Some(chain)),
                Authority::Files { key, .. } => quoted_path(Some(key)),
                Authority::Local => quoted(""),
            },
            "turn.ports" => list(turn.ports.iter().map(u16::to_string)),
            "turn.tls_ports" => list(turn.tls_ports.iter().map(u16::to_string)),
            "turn.relay_ports" => quoted(turn.relay_ports),
            "turn.public_address" => turn.public_address.map_or_else(|| quoted("auto"), quoted),
            "turn.realm" => quoted(&turn.realm),
            "turn.secret_file" => quoted_path(turn.secret_file.as_deref()),
            "turn.credential_ttl" => lifetime(turn.credential_ttl),
            "turn.credential_max" => lifetime(turn.credential_max),
            "turn.allow_peers" => list(turn.allow_peers.iter().map(quoted)),
            "turn.deny_peers" => list(turn.deny_peers.iter().map(quoted)),
            "turn.shards" => turn.shards.map_or_else(|| quoted("auto"), |shards| shards.to_string()),
            "turn.max_allocations" => turn.max_allocations.to_string(),
            "turn.max_per_user" => turn.max_per_user.to_string(),
            "turn.max_per_address" => turn.max_per_address.to_string(),
            "turn.max_bandwidth" => quoted(turn.max_bandwidth.map_or_else(|| "off".to_owned(), show_rate)),
            "turn.allocation_lifetime" => lifetime(turn.allocation_lifetime),
            "turn.permission_lifetime" => lifetime(turn.permission_lifetime),
            "turn.channel_lifetime" => lifetime(turn.channel_lifetime),
            "turn.nonce_lifetime" => lifetime(turn.nonce_lifetime),
            "signal.open_rooms" => quoted(match self.signal.open_rooms {
                RoomOpeners::Anyone => "anyone",
                RoomOpeners::Hosts => "hosts",
            }),
            "signal.room_grace" => lifetime(self.signal.room_grace),
            "signal.max_rooms" => self.signal.max_rooms.to_string(),
            "signal.max_message" => quoted(show_size(self.signal.max_message)),
            "metrics.listen" => self.metrics.listen.map_or_else(|| quoted("off"), quoted),
            "test_call.transports" => list(self.test_call.transports.iter().map(|transport| quoted(transport_name(*transport)))),
            // Debug keeps the point of a whole number, which TOML wants.
            "test_call.max_loss" => format!("{:?}", self.test_call.max_loss),
            _ => return None,
        })
    }
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    }
}

fn proxy_name(proxy: Proxy) -> &'static str {
    match proxy {
        Proxy::None => "none",
        Proxy::Nginx => "nginx",
        Proxy::Other => "other",
    }
}

fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn quoted_path(path: Option<&Path>) -> String {
    quoted(path.map(|path| path.display().to_string()).unwrap_or_default())
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}
