//! Certificates, made for the purpose: each broken in one way.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rtcctl::net::tls;
use rustls::pki_types::ServerName;

use super::world::{Config, World, command, eventually, have};

/// Root, intermediate, and pairs of files signed by the latter.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    between: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root = CertifiedIssuer::self_signed(params("Test Root"), KeyPair::generate().unwrap()).unwrap();
        let between = CertifiedIssuer::signed_by(params("Test Intermediate"), KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, between }
    }

    /// `days` of life left, of 300 in all.
    fn issue(&self, names: &[&str], days: i64) -> Pair {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("call.example.org"));
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(300 - days);
        params.not_after = now + time::Duration::days(days);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.between).unwrap().pem();
        Pair { chain: format!("{leaf}{}", self.between.pem()), key: key.serialize_pem(), leaf }
    }
}

struct Pair {
    leaf: String,
    chain: String,
    key: String,
}

/// A site on files of its own, which this machine trusts.
struct Files {
    world: World,
    authority: Authority,
}

impl Files {
    fn new(names: &[&str], days: i64) -> Self {
        let mut files = Self { world: World::new(Config::default()), authority: Authority::new() };
        let [chain, key, roots] = ["fullchain.pem", "privkey.pem", "roots.pem"].map(|name| files.world.path(name));
        files.world.config.cert = format!("ca = \"files\"\nchain = {chain:?}\nkey = {key:?}\n");
        files.world.write();
        std::fs::write(&roots, files.authority.root.pem()).unwrap();
        files.world.roots = Some(roots);
        let pair = files.authority.issue(names, days);
        files.put(&pair.chain, &pair.key);
        files
    }

    fn started(names: &[&str], days: i64) -> Self {
        let mut files = Self::new(names, days);
        files.world.start();
        files
    }

    fn put(&self, chain: &str, key: &str) {
        std::fs::write(self.world.path("fullchain.pem"), chain).unwrap();
        std::fs::write(self.world.path("privkey.pem"), key).unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.world.path(name)).unwrap()
    }
}

#[test]
fn files_that_are_in_order() {
    let files = Files::started(&["127.0.0.1"], 200);
    let findings = files.world.doctor();
    findings.well();
    assert!(findings.with_status("pass").contains(&"cert.trusted"), "{}", findings.raw);
}

#[test]
fn no_certificate() {
    let world = World::started();
    std::fs::remove_file(world.path("state/certs/127.0.0.1")).unwrap();
    let findings = world.doctor();
    let finding = findings.only("cert.present", &["state/certs/127.0.0.1/fullchain.pem"]);
    world.mend(&command(finding, "rtcctl cert issue"));
    world.doctor().well();
}

#[test]
fn a_key_with_a_pass_phrase() {
    if !have(&["openssl"], false) {
        return;
    }
    let files = Files::started(&["127.0.0.1"], 200);
    let (plain, locked) = (files.text("privkey.pem"), files.world.path("locked.pem"));
    let lock = ["pkey", "-aes256", "-passout", "pass:secret", "-in"];
    let done = Command::new("openssl").args(lock).arg(files.world.path("privkey.pem")).arg("-out").arg(&locked).status().unwrap();
    assert!(done.success());
    files.put(&files.text("fullchain.pem"), &std::fs::read_to_string(locked).unwrap());
    let findings = files.world.doctor();
    let finding = findings.only("cert.parse", &["privkey.pem", "pass phrase"]);
    assert!(command(finding, "openssl pkey -in ").contains("privkey.pem.plain"));
    files.put(&files.text("fullchain.pem"), &plain);
    files.world.doctor().well();
}

#[test]
fn the_key_of_another_certificate() {
    let files = Files::started(&["127.0.0.1"], 200);
    let (chain, key) = (files.text("fullchain.pem"), files.text("privkey.pem"));
    files.put(&chain, &KeyPair::generate().unwrap().serialize_pem());
    files.world.doctor().only("cert.key", &["privkey.pem", "fullchain.pem", "does not belong"]);
    files.put(&chain, &key);
    files.world.doctor().well();
}

#[test]
fn a_leaf_without_its_intermediate() {
    let files = Files::started(&["127.0.0.1"], 200);
    let (chain, key) = (files.text("fullchain.pem"), files.text("privkey.pem"));
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    files.put(&leaf, &key);
    files.world.doctor().only("cert.chain", &["fullchain.pem", "Test Intermediate"]);
    files.put(&chain, &key);
    files.world.doctor().well();
}

#[test]
fn a_certificate_for_a_name_where_clients_use_the_address() {
    let files = Files::started(&["call.example.org"], 200);
    let findings = files.world.doctor();
    let finding = findings.only("cert.name", &["clients connect to 127.0.0.1, the certificate is for call.example.org"]);
    let text = finding["remedy"]["text"].as_str().unwrap();
    assert!(text.contains(&format!("hand out https://call.example.org:{}/", files.world.ports.https)), "{text}");
    assert!(text.contains("set site.address = \"call.example.org\""), "{text}");
}

#[test]
fn a_certificate_of_our_own_that_lacks_an_alias() {
    let mut world = World::started();
    world.config.site = "aliases = [\"192.0.2.5\"]\n".into();
    world.write();
    let findings = world.doctor();
    let finding = findings.only("cert.name", &["clients connect to 192.0.2.5, the certificate is for 127.0.0.1"]);
    world.mend(&command(finding, "rtcctl cert issue 192.0.2.5"));
    eventually("the daemon takes it over", || world.doctor().code == Some(0));
    world.doctor().well();
}

#[test]
fn a_name_that_stands_only_in_the_common_name() {
    let files = Files::new(&[], 200);
    files.world.doctor().only("cert.name", &["call.example.org only in its common name, which browsers ignore", "127.0.0.1"]);
    let pair = files.authority.issue(&["127.0.0.1"], 200);
    files.put(&pair.chain, &pair.key);
    files.world.doctor().well();
}

#[test]
fn a_certificate_signed_by_itself() {
    let mut files = Files::new(&["127.0.0.1"], 200);
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    files.put(&made.cert.pem(), &made.signing_key.serialize_pem());
    files.world.start();
    files.world.doctor().only("cert.trusted", &["signed by itself"]);
    let trusted = files.world.path("roots.pem");
    std::fs::write(trusted, made.cert.pem()).unwrap();
    files.world.doctor().well();
}

#[test]
fn a_certificate_of_an_authority_that_nobody_knows() {
    let files = Files::started(&["127.0.0.1"], 200);
    std::fs::write(files.world.path("roots.pem"), Authority::new().root.pem()).unwrap();
    files.world.doctor().only("cert.trusted", &["nobody trusts who signed the certificate", "Test Root"]);
}

#[test]
fn a_certificate_from_yesterday() {
    let mut files = Files::started(&["127.0.0.1"], -1);
    let findings = files.world.doctor();
    let finding = findings.only("cert.expiry", &["the certificate expired 24 hours ago"]);
    assert!(finding["remedy"]["text"].as_str().unwrap().contains("fullchain.pem"));
    let pair = files.authority.issue(&["127.0.0.1"], 60);
    files.put(&pair.chain, &pair.key);
    files.world.kill();
    files.world.start();
    files.world.doctor().warns_only("cert.expiry", &["expires in 59 days"]);
}

#[test]
fn the_port_shows_another_certificate_than_the_files() {
    let mut files = Files::started(&["127.0.0.1"], 200);
    let pair = files.authority.issue(&["127.0.0.1"], 250);
    files.put(&pair.chain, &pair.key);
    files.world.doctor().only("cert.served", &[&files.world.ports.https.to_string(), "fullchain.pem"]);
    assert!(pair.chain.starts_with(&pair.leaf));
    files.world.kill();
    files.world.start();
    files.world.doctor().well();
}

#[test]
fn a_device_that_does_not_have_the_ca() {
    let world = World::started();
    let client = tls::client_config(&[Authority::new().root.der().clone()]).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", world.ports.https)).unwrap();
    assert!(connection.complete_io(&mut stream).is_err());
    drop(stream);
    let warned = || world.doctor().with_status("warn").contains(&"cert.refused");
    eventually("the alert is counted", warned);
    world.doctor().warns_only("cert.refused", &["1 device does not trust this certificate"]);
}

#[test]
fn a_key_that_the_service_may_not_read() {
    if !have(&["setpriv", "chown"], true) {
        return;
    }
    const NOBODY: &str = "65534";
    let mut world = World::new(Config::default());
    let program = world.path("rtcctl");
    std::fs::copy(env!("CARGO_BIN_EXE_rtcctl"), &program).unwrap();
    let give = |path: &Path, to: &str| assert!(Command::new("chown").args(["-R", to]).arg(path).status().unwrap().success());
    give(&world.path("."), NOBODY);
    world.start_with(|daemon| {
        let mut other = Command::new("setpriv");
        other.env_clear().envs(daemon.get_envs().filter_map(|(key, value)| Some((key, value?))));
        other.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(&program).arg("serve");
        other
    });
    world.doctor().well();
    let key = world.path("state/certs/127.0.0.1/privkey.pem").canonicalize().unwrap();
    give(&key, "0");
    let findings = world.doctor();
    let finding = findings.only("cert.readable", &["privkey.pem", "0600"]);
    world.mend(&command(finding, "chown -R "));
    world.doctor().well();
}
