//! Pure: which names and addresses clients are told, from the config and what the machine is called.

use std::net::IpAddr;

use super::model::{Address, Config};
use super::values::HostName;

/// Every name and address that clients may use; all of them stand in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteNames {
    /// The one that links carry.
    pub primary: HostName,
    /// All, the primary first, without doubles.
    pub all: Vec<HostName>,
}

impl SiteNames {
    /// `hostname` is the machine's own short name; `addresses` are those of its interfaces in the order of preference (the one of the default route first),
    /// loopback and link-local ones left out.
    pub fn of(config: &Config, hostname: &str, addresses: &[IpAddr]) -> Self {
        let mut all = Vec::new();
        match &config.site.address {
            Address::Host(name) => all.push(name.clone()),
            Address::Lan => {
                all.extend(addresses.iter().map(|a| HostName::Ip(*a)));
                if all.is_empty() {
                    all.push(HostName::Ip(IpAddr::from([127, 0, 0, 1])));
                }
                let short = hostname.split('.').next().unwrap_or_default();
                all.extend(short.parse());
                all.extend(format!("{short}.local").parse());
                all.push(HostName::Dns("localhost".into()));
                all.push(HostName::Ip(IpAddr::from([127, 0, 0, 1])));
                all.push(HostName::Ip("::1".parse().expect("a literal")));
            }
        }
        all.extend(config.site.aliases.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        all.retain(|name| seen.insert(name.clone()));
        Self { primary: all[0].clone(), all }
    }

    pub fn contains(&self, name: &HostName) -> bool {
        self.all.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(config: &Config, hostname: &str, addresses: &[&str]) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let names = SiteNames::of(config, hostname, &addresses);
        assert_eq!(names.all[0], names.primary);
        names.all.iter().map(HostName::to_string).collect()
    }

    #[test]
    fn a_lan_is_told_addresses_first_then_names() {
        let found = names(&Config::default(), "Box.example.org", &["192.168.1.20", "fd00::7"]);
        assert_eq!(found, ["192.168.1.20", "fd00::7", "box", "box.local", "localhost", "127.0.0.1", "::1"]);
    }

    #[test]
    fn a_machine_without_a_network_still_finds_itself() {
        assert_eq!(names(&Config::default(), "", &[]), ["127.0.0.1", "localhost", "::1"]);
        assert_eq!(names(&Config::default(), "not_a_name", &[])[0], "127.0.0.1");
    }

    #[test]
    fn a_name_stands_alone_with_its_aliases() {
        let mut config = Config::default();
        config.site.address = Address::Host(HostName::Dns("call.internal".into()));
        config.site.aliases = vec![HostName::Dns("b.internal".into()), HostName::Dns("call.internal".into())];
        assert_eq!(names(&config, "box", &["192.168.1.20"]), ["call.internal", "b.internal"]);
    }
}
