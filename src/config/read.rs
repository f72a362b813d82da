//! Pure: one value at a time, from TOML to a type, with words for what is wrong with it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::defaults;
use super::file::{Item, Place, Problem, Value, Written, closest, default_item};
use super::model::{Address, Transport};
use super::values::{self, HostName};

/// A frame that carries a message must stay under 128 KiB for Android's WebSocket.
const LARGEST_MESSAGE: usize = 128 << 10;

/// Reads keys and keeps the problems. A wrong value is replaced by the default, so that the rest can be looked at too.
pub(super) struct Reader<'a> {
    pub(super) written: &'a Written,
    pub(super) problems: Vec<Problem>,
}

/// What is wrong with a value; the key is named by the reader.
pub(super) struct Wrong {
    place: Option<Place>,
    message: String,
    hint: Option<String>,
}

pub(super) type Read<T> = Result<T, Vec<Wrong>>;

impl Reader<'_> {
    pub(super) fn get<T>(&mut self, path: &str, read: impl Fn(&Item) -> Read<T>) -> T {
        if let Some(item) = self.written.items.get(path) {
            match read(item) {
                Ok(value) => return value,
                Err(wrongs) => {
                    for wrong in wrongs {
                        let place = wrong.place.or_else(|| item.place.clone());
                        self.problems.push(Problem { message: format!("{path}: {}", wrong.message), place, label: String::new(), hint: wrong.hint });
                    }
                }
            }
        }
        let key = defaults::find(path).expect("only keys of the table are read");
        read(&default_item(key)).unwrap_or_else(|_| panic!("the default of {path} is valid: a test reads them all"))
    }

    /// For a value that is read, and complained of, elsewhere.
    pub(super) fn quietly<T>(&mut self, path: &str, read: impl Fn(&Item) -> Read<T>) -> T {
        let known = self.problems.len();
        let value = self.get(path, read);
        self.problems.truncate(known);
        value
    }

    /// `None` for `""`. A relative path starts at the folder of the file it is written in.
    pub(super) fn path(&mut self, path: &str) -> Option<PathBuf> {
        let written = self.get(path, text);
        let base = self.written.source_of(path).map_or_else(|| Path::new(""), |(source, _)| source.base.as_path());
        (!written.is_empty()).then(|| base.join(written))
    }

    pub(super) fn problem(&mut self, path: &str, message: &str, hint: &str) {
        let place = self.written.items.get(path).and_then(|item| item.place.clone());
        self.problems.push(Problem::new(message, place).hint(hint));
    }
}

pub(super) fn wrong<T>(item: &Item, message: impl Into<String>) -> Read<T> {
    Err(vec![Wrong { place: item.place.clone(), message: message.into(), hint: None }])
}

pub(super) fn hinted<T>(item: &Item, message: impl Into<String>, hint: impl Into<String>) -> Read<T> {
    Err(vec![Wrong { place: item.place.clone(), message: message.into(), hint: Some(hint.into()) }])
}

pub(super) fn text(item: &Item) -> Read<String> {
    match &item.value {
        Value::Text(text) => Ok(text.clone()),
        other => wrong(item, format!("a word in quotes was expected, not {}", other.what())),
    }
}

pub(super) fn parsed<T>(item: &Item, parse: impl Fn(&str) -> Result<T, String>) -> Read<T> {
    let text = text(item)?;
    parse(&text).or_else(|message| {
        // Advice in brackets at the end of a message is its hint.
        match message.rsplit_once(" (").and_then(|(what, advice)| Some((what, advice.strip_suffix(')')?))) {
            Some((what, advice)) => hinted(item, what, advice),
            None => wrong(item, message),
        }
    })
}

pub(super) fn word<T: FromStr>(item: &Item) -> Read<T>
where
    T::Err: ToString,
{
    parsed(item, |text| {
        text.parse().map_err(|error: T::Err| {
            let message = error.to_string();
            // The errors of the standard library do not name the value.
            if message.contains(text) && !text.is_empty() { message } else { format!("{message}: {text:?}") }
        })
    })
}

pub(super) fn off_or<T>(read: impl Fn(&Item) -> Read<T>) -> impl Fn(&Item) -> Read<Option<T>> {
    keyword_or("off", read)
}

pub(super) fn auto_or<T>(read: impl Fn(&Item) -> Read<T>) -> impl Fn(&Item) -> Read<Option<T>> {
    keyword_or("auto", read)
}

pub(super) fn keyword_or<T>(keyword: &'static str, read: impl Fn(&Item) -> Read<T>) -> impl Fn(&Item) -> Read<Option<T>> {
    move |item| match &item.value {
        Value::Text(text) if text == keyword => Ok(None),
        _ => read(item).map(Some),
    }
}

/// Every wrong element is reported.
pub(super) fn list<T>(read: impl Fn(&Item) -> Read<T>) -> impl Fn(&Item) -> Read<Vec<T>> {
    move |item| {
        let Value::List(items) = &item.value else {
            return hinted(item, format!("a list was expected, not {}", item.value.what()), "put it in brackets: [ ]");
        };
        let (mut values, mut wrongs) = (Vec::new(), Vec::new());
        for item in items {
            match read(item) {
                Ok(value) => values.push(value),
                Err(more) => wrongs.extend(more),
            }
        }
        if wrongs.is_empty() { Ok(values) } else { Err(wrongs) }
    }
}

/// A list of at least one, none of them twice.
pub(super) fn distinct<T: PartialEq>(read: impl Fn(&Item) -> Read<T>) -> impl Fn(&Item) -> Read<Vec<T>> {
    let read = none_or_distinct(read);
    move |item| match read(item)? {
        values if values.is_empty() => wrong(item, "an empty list: at least one is needed"),
        values => Ok(values),
    }
}

/// A list with none of them twice.
pub(super) fn none_or_distinct<T: PartialEq>(read: impl Fn(&Item) -> Read<T>) -> impl Fn(&Item) -> Read<Vec<T>> {
    let read = list(read);
    move |item| {
        let values = read(item)?;
        match (1..values.len()).find(|index| values[..*index].contains(&values[*index])) {
            Some(index) => {
                let Value::List(items) = &item.value else { return Ok(values) };
                wrong(&items[index], "stands there twice")
            }
            None => Ok(values),
        }
    }
}

pub(super) fn port(item: &Item) -> Read<u16> {
    match item.value {
        Value::Integer(number) => u16::try_from(number).or_else(|_| wrong(item, format!("not a port: {number}"))),
        ref other => wrong(item, format!("a port number was expected, not {}", other.what())),
    }
}

pub(super) fn count(item: &Item, most: usize) -> Read<usize> {
    match item.value {
        Value::Integer(number) => match usize::try_from(number) {
            Ok(count) if (1..=most).contains(&count) => Ok(count),
            _ => wrong(item, format!("not between 1 and {most}: {number}")),
        },
        ref other => wrong(item, format!("a whole number was expected, not {}", other.what())),
    }
}

pub(super) fn share(item: &Item) -> Read<f64> {
    let number = match item.value {
        Value::Float(number) => number,
        Value::Integer(0) => 0.0,
        Value::Integer(1) => 1.0,
        Value::Integer(number) => return hinted(item, format!("not between 0.0 and 1.0: {number}"), "write two per cent as 0.02"),
        ref other => return wrong(item, format!("a number from 0.0 to 1.0 was expected, not {}", other.what())),
    };
    if (0.0..=1.0).contains(&number) { Ok(number) } else { hinted(item, format!("not between 0.0 and 1.0: {number}"), "write two per cent as 0.02") }
}

pub(super) fn duration(item: &Item) -> Read<Duration> {
    let duration = parsed(item, values::duration)?;
    if duration.is_zero() { wrong(item, "nothing lasts 0 s") } else { Ok(duration) }
}

pub(super) fn grace(item: &Item) -> Read<Duration> {
    let grace = parsed(item, values::duration)?;
    if grace > Duration::from_secs(600) { hinted(item, "a seat that waits so long blocks its room", "write at most \"10m\"") } else { Ok(grace) }
}

pub(super) fn message_size(item: &Item) -> Read<usize> {
    let size = parsed(item, values::size)?;
    if (1024..=LARGEST_MESSAGE).contains(&size) { Ok(size) } else { hinted(item, "not between 1KiB and 128KiB", "write \"64KiB\"") }
}

pub(super) fn bandwidth(item: &Item) -> Read<u64> {
    let rate = parsed(item, values::rate)?;
    if rate < 8000 { hinted(item, "below 8kbit/s not even speech gets through", "write \"3Mbit/s\", or \"off\" for no limit") } else { Ok(rate) }
}

pub(super) fn address(item: &Item) -> Read<Address> {
    let text = text(item)?;
    if text == "lan" {
        return Ok(Address::Lan);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let bare = rest.split(['/', ':']).next().unwrap_or_default();
        return hinted(item, format!("a name or an address was expected, not a {scheme} link: {text}"), format!("write \"{bare}\""));
    }
    word::<HostName>(item).and_then(|host| match host {
        HostName::Ip(ip) if ip.is_unspecified() || ip.is_multicast() => {
            hinted(item, format!("nobody can call {ip}"), "write what people type into their browser")
        }
        host => Ok(Address::Host(host)),
    })
}

pub(super) fn public_address(item: &Item) -> Read<IpAddr> {
    let ip: IpAddr = word(item)?;
    if ip.is_unspecified() || ip.is_multicast() { hinted(item, format!("nobody can reach {ip}"), "write \"auto\"") } else { Ok(ip) }
}

pub(super) fn transport(item: &Item) -> Read<Transport> {
    choice(item, &["udp", "tcp", "tls"]).map(|word| match word {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => Transport::Tls,
    })
}

pub(super) fn choice(item: &Item, choices: &[&'static str]) -> Read<&'static str> {
    let text = text(item)?;
    if let Some(choice) = choices.iter().find(|choice| **choice == text) {
        return Ok(choice);
    }
    let hint = closest(&text, choices.iter().copied())
        .map_or_else(|| format!("write one of {}", choices.join(", ")), |near| format!("did you mean \"{near}\"?"));
    hinted(item, format!("not one of {}: {text}", choices.join(", ")), hint)
}

/// Stands in file names, a unit name and a user name: systemd and useradd agree on these letters.
pub(super) fn name(item: &Item) -> Read<String> {
    let name = text(item)?;
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if letters && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 31 {
        return Ok(name);
    }
    hinted(item, format!("not a name for a service: {name}"), "write 1 to 31 of a-z, 0-9 and -, a letter first")
}

pub(super) fn title(item: &Item) -> Read<String> {
    let title = text(item)?;
    if title.trim().is_empty() || title.chars().count() > 60 || title.chars().any(char::is_control) {
        return wrong(item, "not a title: 1 to 60 characters on one line");
    }
    Ok(title)
}

/// RFC 8489 §14.9: fewer than 128 characters; inside quotes on the wire.
pub(super) fn realm(item: &Item) -> Read<String> {
    let realm = text(item)?;
    if realm.chars().count() > 127 || realm.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return wrong(item, "not a realm: at most 127 characters, none of them a quote or a backslash");
    }
    Ok(realm)
}
