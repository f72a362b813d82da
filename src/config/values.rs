//! Pure: the words of the config as types, so that a port range cannot be mistaken for a rate.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A DNS name (lower case, no trailing dot, ASCII) or an IP address: what people type into a browser.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostName {
    Dns(String),
    Ip(IpAddr),
}

impl HostName {
    /// The form a URL wants: an IPv6 address stands in brackets.
    pub fn in_url(&self) -> String {
        match self {
            Self::Ip(IpAddr::V6(address)) => format!("[{address}]"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl FromStr for HostName {
    type Err = String;

    /// Accepts a DNS name of letters, digits, hyphens and dots (RFC 1123), an IPv4 address or an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Some(inner) = bare {
            return inner.parse::<Ipv6Addr>().map(|a| Self::Ip(a.into())).map_err(|_| format!("not an IPv6 address: {text}"));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let looks_like_v4 = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if name.is_empty() || name.len() > 253 || looks_like_v4 || !name.split('.').all(label_ok) {
            return Err(format!("neither a name nor an address: {text}"));
        }
        Ok(Self::Dns(name))
    }
}

impl Serialize for HostName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An inclusive range of ports, `"61000-65535"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// How many ports.
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// `"FIRST-LAST"`, both from 1, the first not above the last.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not a range of ports: {text} (write it as \"61000-65535\")");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("the range is reversed: {text} (write it as \"{last}-{first}\")"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// An address prefix, `"10.0.0.0/8"`; a bare address is a prefix of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl FromStr for Prefix {
    type Err = String;

    /// `"ADDRESS/LENGTH"` without bits set behind the length, or a bare address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not an address prefix: {text} (write it as \"10.0.0.0/8\" or \"2001:db8::/32\")");
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(full), |text| text.parse::<u8>().ok().filter(|length| *length <= full).ok_or_else(wrong))?;
        let network = masked(address, length);
        if network != address {
            return Err(format!("bits are set behind the prefix length: {text} (the prefix is \"{network}/{length}\")"));
        }
        Ok(Self { address, length })
    }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    let keep = |bits: u32| u32::from(length).min(bits);
    match address {
        IpAddr::V4(a) => IpAddr::from((a.to_bits() & u32::MAX.checked_shl(32 - keep(32)).unwrap_or(0)).to_be_bytes()),
        IpAddr::V6(a) => IpAddr::from((a.to_bits() & u128::MAX.checked_shl(128 - keep(128)).unwrap_or(0)).to_be_bytes()),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Bytes that must not be seen: no `Display`, and `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves, for a MAC or for the file they are kept in; never for a message.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `"250ms"`, `"30s"`, `"10m"`, `"1h"`, `"2d"`: a whole number and a unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let millis = counted(text, UNITS).ok_or_else(|| format!("not a duration: {text} (write it as \"30s\", \"10m\" or \"1h\")"))?;
    Ok(Duration::from_millis(millis))
}

/// Bytes, as `"512B"`, `"64KiB"`, `"1MiB"`.
pub fn size(text: &str) -> Result<usize, String> {
    let bytes = counted(text, SIZES).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("not a size: {text} (write it as \"64KiB\" or \"1MiB\")"))
}

/// Bits per second, as `"64kbit/s"`, `"3Mbit/s"`.
pub fn rate(text: &str) -> Result<u64, String> {
    counted(text, RATES).ok_or_else(|| format!("not a rate: {text} (write it as \"500kbit/s\" or \"3Mbit/s\")"))
}

/// What [`duration`] reads back as the same, down to a millisecond.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, "0s", &[("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)])
}

/// What [`size`] reads back as the same.
pub fn show_size(bytes: usize) -> String {
    let mut units = SIZES.to_vec();
    units.reverse();
    show(bytes as u64, "0B", &units)
}

/// What [`rate`] reads back as the same.
pub fn show_rate(bits_per_second: u64) -> String {
    let mut units = RATES.to_vec();
    units.reverse();
    show(bits_per_second, "0bit/s", &units)
}

const SIZES: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const RATES: &[(&str, u64)] = &[("bit/s", 1), ("kbit/s", 1000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];

/// A whole number directly followed by one of the units.
fn counted(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// In the largest unit that leaves a whole number; `units` from large to small.
fn show(count: u64, zero: &str, units: &[(&str, u64)]) -> String {
    if count == 0 {
        return zero.to_owned();
    }
    let fitting = units.iter().find(|(_, scale)| count.is_multiple_of(*scale));
    fitting.map_or_else(|| count.to_string(), |(unit, scale)| format!("{}{unit}", count / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!("61000-65535".parse(), Ok(PortRange { first: 61000, last: 65535 }));
        assert_eq!("7-7".parse(), Ok(PortRange { first: 7, last: 7 }));
        assert!("65535-61000".parse::<PortRange>().unwrap_err().contains("\"61000-65535\""));
        for bad in ["", "61000", "0-10", "61000-65536", "-", "a-b", "1-2-3"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "192.168.1.7/32", "2001:db8::/32"] {
            assert_eq!(good.parse::<Prefix>().unwrap().to_string(), good);
        }
        assert_eq!("192.168.1.7".parse(), Ok(Prefix { address: IpAddr::from([192, 168, 1, 7]), length: 32 }));
        assert!("10.1.0.0/8".parse::<Prefix>().unwrap_err().contains("\"10.0.0.0/8\""));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "lan/8"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_are_read_and_shown_the_same() {
        for text in ["250ms", "30s", "10m", "1h", "48h", "0s", "90s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        assert_eq!(duration("2d").unwrap(), Duration::from_secs(172_800));
        for text in ["0B", "513B", "64KiB", "3MiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        for text in ["0bit/s", "64kbit/s", "3Mbit/s", "2500kbit/s"] {
            assert_eq!(show_rate(rate(text).unwrap()), text);
        }
    }

    #[test]
    fn counts_without_a_unit_or_beyond_every_bound_are_refused() {
        for bad in ["", "10", "m", "-1s", "1.5h", "10 m", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["64", "64kb", "64 KiB", "KiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["3", "3Mbit", "3mbit/s", "off"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_addresses() {
        assert_eq!("Call.Example.ORG.".parse(), Ok(HostName::Dns("call.example.org".into())));
        assert_eq!("[2001:db8::7]".parse::<HostName>().unwrap().in_url(), "[2001:db8::7]");
        for bad in ["", "https://a.example", "a..b", "-a.example", "1.2.3", "a b", "a_b.example", "[::1", "caf\u{e9}.example"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(..)");
    }
}
