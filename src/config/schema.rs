//! Pure: the JSON schema (draft 2020-12) and the annotated example, both made from the table of keys.

use serde_json::{Map, Value, json};

use super::defaults::{KEYS, Key, Kind, SECTIONS, Section};

/// What an editor needs to complete and check `rtcctl.toml`. Keys that do not exist are refused everywhere.
pub fn schema() -> Value {
    let mut properties = keys_of("");
    for section in SECTIONS {
        let table = json!({ "type": "object", "description": section.why, "additionalProperties": false, "properties": keys_of(section.name) });
        let value = if section.repeated { json!({ "type": "array", "description": section.why, "items": table }) } else { table };
        properties.insert(section.name.to_owned(), value);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rtcctl.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// The annotated example: every key with its default and its reason; `templates/rtcctl.toml` is this text.
pub fn example() -> String {
    let mut text = String::from(
        "# rtcctl.toml: every key, each with its default; an empty file means the same.\n\
         # Found as --config, $RTCCTL_CONFIG, ./rtcctl.toml, $XDG_CONFIG_HOME/rtcctl/rtcctl.toml\n\
         # or /etc/rtcctl/rtcctl.toml. RTCCTL_SECTION__KEY in the environment wins over the file,\n\
         # --set SECTION.KEY=VALUE over both. Marked *: built later, only the default works.\n\n",
    );
    KEYS.iter().filter(|key| key.section.is_empty()).for_each(|key| text.push_str(&example_line(key, "")));
    for section in SECTIONS {
        let Section { name, repeated, why } = section;
        let mark = if *repeated { "# " } else { "" };
        let header = if *repeated { format!("[[{name}]]") } else { format!("[{name}]") };
        let width = 36 - mark.len();
        text.push_str(&format!("\n{mark}{header:<width$} # {why}{}\n", if *repeated { " *" } else { "" }));
        KEYS.iter().filter(|key| key.section == *name).for_each(|key| text.push_str(&example_line(key, mark)));
    }
    text
}

fn example_line(key: &Key, mark: &str) -> String {
    let assignment = format!("{mark}{} = {}", key.name, key.default);
    format!("{assignment:<36} # {}{}\n", key.why, if key.unbuilt.is_some() && mark.is_empty() { " *" } else { "" })
}

fn keys_of(section: &str) -> Map<String, Value> {
    let keys = KEYS.iter().filter(|key| key.section == section);
    keys.map(|key| {
        let mut value = of_kind(key.kind);
        value["description"] = key.why.into();
        if !SECTIONS.iter().any(|section| section.repeated && section.name == key.section) {
            value["default"] = default_of(key);
        }
        (key.name.to_owned(), value)
    })
    .collect()
}

fn default_of(key: &Key) -> Value {
    let line = format!("value = {}", key.default);
    let table: Map<String, Value> = toml::from_str(&line).expect("every default is TOML: a test parses them all");
    table["value"].clone()
}

fn of_kind(kind: Kind) -> Value {
    let port = json!({ "type": "integer", "minimum": 0, "maximum": 65535 });
    let count = json!({ "type": "integer", "minimum": 1 });
    let word = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match kind {
        Kind::Text | Kind::Path | Kind::Address | Kind::Host | Kind::Ip | Kind::IpOrAuto | Kind::Socket | Kind::SocketOrOff | Kind::Prefix => {
            json!({ "type": "string" })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Port => port,
        Kind::PortOrOff => json!({ "oneOf": [port, { "const": "off" }] }),
        Kind::Range => word("^[0-9]+-[0-9]+$"),
        Kind::Duration => word("^[0-9]+(ms|s|m|h|d)$"),
        Kind::Size => word("^[0-9]+([KMG]i)?B$"),
        Kind::RateOrOff => word("^([0-9]+[kMG]?bit/s|off)$"),
        Kind::Count => count,
        Kind::CountOrAuto => json!({ "oneOf": [count, { "const": "auto" }] }),
        Kind::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Choice(choices) => json!({ "enum": choices }),
        Kind::List(inner) => json!({ "type": "array", "items": of_kind(*inner) }),
    }
}
