//! Makes a local CA that can vouch for nothing but its site and private networks, and its leaves. Keeps nothing: PEM goes out, time comes in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType,
};
use rustls::pki_types::CertificateDer;

use crate::config::HostName;

/// Apple refuses TLS certificates that live longer than 825 days, and 398 for preinstalled roots: 397 satisfies every client.
pub const LEAF_LIFE: Duration = Duration::from_secs(397 * DAY);
/// Longer than a device is kept, so that a device is asked once.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * DAY);
/// Clocks of other devices may be behind ours.
pub const CLOCK_SLACK: Duration = Duration::from_secs(3600);

const DAY: u64 = 86_400;

/// Networks that mean something else everywhere, and so need no name: the CA may always vouch for addresses in them.
const PRIVATE_V4: [(Ipv4Addr, u8); 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];
const PRIVATE_V6: [(Ipv6Addr, u8); 3] =
    [(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7), (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), (Ipv6Addr::LOCALHOST, 128)];
/// DNS names under these never leave a network (RFC 6762 §3, RFC 6761 §6.3). A constraint covers the name itself and everything below it.
const PRIVATE_DNS: [&str; 2] = ["local", "localhost"];

/// PEM of a certificate and of its key (PKCS#8).
pub struct Issued {
    pub certificate_pem: String,
    pub certificate_der: CertificateDer<'static>,
    pub key_pem: String,
}

/// A CA that may vouch for `names`, `.local`, `localhost` and private addresses only (critical name constraints, RFC 5280 §4.2.1.10), for leaves only
/// (path length 0): whoever steals its key cannot pose as any other site.
pub fn new_ca(names: &[HostName], now: SystemTime) -> anyhow::Result<Issued> {
    let key = KeyPair::generate().context("make the key of the local CA")?;
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key_raw());
    let id: String = digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Two CAs of one name and different keys confuse path building in Firefox: the id keeps them apart.
    params.distinguished_name.push(DnType::CommonName, format!("rtcctl local CA {id}"));
    params.distinguished_name.push(DnType::OrganizationName, "rtcctl");
    params.not_before = (now - CLOCK_SLACK).into();
    params.not_after = (now + CA_LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints { permitted_subtrees: permitted(names), excluded_subtrees: Vec::new() });
    let certificate = params.self_signed(&key).context("sign the local CA")?;
    Ok(Issued { certificate_pem: certificate.pem(), certificate_der: certificate.der().clone(), key_pem: key.serialize_pem() })
}

/// A leaf for `names` (the first becomes its common name), signed by the CA, valid for 397 days but never longer than the CA.
pub fn new_leaf(ca_pem: &str, ca_key_pem: &str, ca_not_after: SystemTime, names: &[HostName], now: SystemTime) -> anyhow::Result<Issued> {
    let ca_key = KeyPair::from_pem(ca_key_pem).context("read the key of the local CA")?;
    let issuer = Issuer::from_ca_cert_pem(ca_pem, ca_key).context("read the local CA")?;
    let key = KeyPair::generate().context("make the key of the certificate")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let primary = names.first().context("a certificate needs at least one name")?;
    params.distinguished_name.push(DnType::CommonName, common_name(primary, names));
    params.subject_alt_names = names.iter().map(subject_alt_name).collect::<anyhow::Result<_>>()?;
    params.not_before = (now - CLOCK_SLACK).into();
    params.not_after = (now + LEAF_LIFE).min(ca_not_after).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).context("sign the certificate")?;
    Ok(Issued { certificate_pem: certificate.pem(), certificate_der: certificate.der().clone(), key_pem: key.serialize_pem() })
}

/// X.520 allows 64 characters (ub-common-name). Without any DNS name beside it, OpenSSL reads an address in the common name as a DNS name and finds it
/// outside the constraints; a blank in it prevents that.
fn common_name(primary: &HostName, names: &[HostName]) -> String {
    let any_dns = names.iter().any(|name| matches!(name, HostName::Dns(_)));
    let text = if any_dns { primary.to_string() } else { format!("address {primary}") };
    if text.len() <= 64 { text } else { "rtcctl".to_owned() }
}

fn subject_alt_name(name: &HostName) -> anyhow::Result<SanType> {
    Ok(match name {
        HostName::Dns(name) => SanType::DnsName(name.as_str().try_into().with_context(|| format!("not a name for a certificate: {name}"))?),
        HostName::Ip(address) => SanType::IpAddress(*address),
    })
}

/// Names and addresses are constrained apart (RFC 5280): a form without a subtree would be free, so both forms and both families always stand here.
fn permitted(names: &[HostName]) -> Vec<GeneralSubtree> {
    let address = |address: IpAddr, length: u8| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(masked(address, length), length));
    let mut subtrees: Vec<GeneralSubtree> = PRIVATE_DNS.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect();
    subtrees.extend(PRIVATE_V4.iter().map(|(net, length)| address((*net).into(), *length)));
    subtrees.extend(PRIVATE_V6.iter().map(|(net, length)| address((*net).into(), *length)));
    for name in names {
        match name {
            HostName::Dns(dns) if PRIVATE_DNS.iter().any(|private| under(dns, private)) => {}
            HostName::Ip(ip) if is_private(*ip) => {}
            HostName::Dns(dns) => subtrees.push(GeneralSubtree::DnsName(dns.clone())),
            HostName::Ip(ip @ IpAddr::V4(_)) => subtrees.push(address(*ip, 32)),
            // A host changes its address within its /64 every day (RFC 8981); the /64 is one network, this one.
            HostName::Ip(ip @ IpAddr::V6(_)) => subtrees.push(address(*ip, 64)),
        }
    }
    subtrees
}

/// `name` is `base` or stands below it.
pub(super) fn under(name: &str, base: &str) -> bool {
    name.strip_suffix(base).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// In one of the ranges that every local CA may vouch for.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => PRIVATE_V4.iter().any(|(net, length)| masked(ip, *length) == IpAddr::V4(*net)),
        IpAddr::V6(_) => PRIVATE_V6.iter().any(|(net, length)| masked(ip, *length) == IpAddr::V6(*net)),
    }
}

fn masked(ip: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(32 - length).unwrap_or(0)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(128 - length).unwrap_or(0)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_private, under};

    #[test]
    fn knows_private_addresses_and_names_below_names() {
        for ip in ["10.1.2.3", "172.31.0.1", "192.168.255.1", "169.254.9.9", "127.0.0.1", "100.127.0.1", "fd00::1", "fe80::1", "::1"] {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["11.0.0.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "8.8.8.8", "2001:db8::1", "::2", "fec0::1"] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
        assert!(under("local", "local") && under("a.local", "local") && !under("alocal", "local") && !under("local.org", "local"));
    }
}
