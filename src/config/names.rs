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
