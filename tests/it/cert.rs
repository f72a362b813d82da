//! The local CA and its leaves as their judges see them: rustls' webpki, OpenSSL, NSS, Chromium; and what survives broken files, crashes and races.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use rtcctl::cert::trust::{self, Added, Scope};
use rtcctl::cert::{self, Bundle, selfsigned};
use rtcctl::config::HostName;
use rustls::pki_types::CertificateDer;

const DAY: Duration = Duration::from_secs(86_400);
const LAN: [&str; 8] = ["192.168.1.20", "fd00::20", "2001:db8:7::20", "myhost", "myhost.local", "localhost", "127.0.0.1", "::1"];

#[test]
fn a_leaf_serves_every_name_and_address_it_was_made_for() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let ensured = cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    assert!(ensured.issued && ensured.notes.is_empty(), "{:?}", ensured.notes);
    let bundle = &ensured.bundle;
    assert_eq!((bundle.names.clone(), bundle.issuer.as_str()), (names(&LAN), "local CA"));
    let life = bundle.not_after.duration_since(now).unwrap();
    assert!(life > 396 * DAY && life <= 397 * DAY, "{life:?}");
    assert!(bundle.not_before < now - Duration::from_secs(3590), "clocks of others may be behind");
    let ca = cert::local_ca(state.path()).unwrap().unwrap();
    bundle.verify(&CertificateDer::from(ca.der.as_slice()), now).unwrap();
    for name in LAN {
        assert!(bundle.covers(&name.parse().unwrap()), "{name}");
    }
    for other in ["192.168.1.21", "other", "x.myhost.local", "::2"] {
        assert!(!bundle.covers(&other.parse().unwrap()), "{other}");
    }
}

#[test]
fn openssl_agrees_for_names_and_addresses() {
    for (site, address) in [("lan", None), ("name", Some("call.example.org")), ("ip", Some("203.0.113.7")), ("ip6", Some("2001:db8::7"))] {
        let state = tempfile::tempdir().unwrap();
        let wanted = address.map_or_else(|| names(&LAN), |name| names(&[name]));
        cert::ensure_local(state.path(), site, &wanted, SystemTime::now()).unwrap();
        for name in &wanted {
            let flag = if matches!(name, HostName::Ip(_)) { "-verify_ip" } else { "-verify_hostname" };
            let verified = openssl_verify(state.path(), site, &[flag, &name.to_string()]);
            assert!(verified.status.success(), "{name}: {}", text(&verified));
        }
        assert!(!openssl_verify(state.path(), site, &["-verify_hostname", "example.com"]).status.success());
    }
    let state = tempfile::tempdir().unwrap();
    cert::ensure_local(state.path(), "lan", &names(&LAN), SystemTime::now()).unwrap();
    let shown = openssl(&["x509", "-noout", "-text", "-in", &path(state.path(), "ca/ca.pem")]);
    for needle in ["X509v3 Name Constraints: critical", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "DNS:local", "IP:10.0.0.0/255.0.0.0"] {
        assert!(text(&shown).contains(needle), "{needle} in {}", text(&shown));
    }
    let shown = openssl(&["x509", "-noout", "-text", "-in", &path(state.path(), "certs/lan/cert.pem")]);
    for needle in ["CN = 192.168.1.20", "TLS Web Server Authentication", "Digital Signature", "Authority Key Identifier", "CA:FALSE"] {
        assert!(text(&shown).contains(needle), "{needle} in {}", text(&shown));
    }
}

#[test]
fn a_stolen_ca_key_cannot_pose_as_others() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    cert::ensure_local(state.path(), "lan", &names(&["call.example.org", "203.0.113.7", "2001:db8::7"]), now).unwrap();
    let ca = cert::local_ca(state.path()).unwrap().unwrap();
    let stolen = fs::read_to_string(state.path().join("ca/ca.key")).unwrap();
    let forge = |name: &str| {
        let leaf = selfsigned::new_leaf(&ca.pem, &stolen, ca.not_after, &names(&[name]), now).unwrap();
        let bundle = cert::bundle::parse(leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes()).unwrap();
        let file = state.path().join("forged.pem");
        fs::write(&file, &leaf.certificate_pem).unwrap();
        let by_openssl = openssl(&["verify", "-CAfile", &path(state.path(), "ca/ca.pem"), file.to_str().unwrap()]);
        (bundle.verify(&CertificateDer::from(ca.der.as_slice()), now), by_openssl)
    };
    for name in ["example.com", "example.org", "notcall.example.org", "8.8.8.8", "203.0.113.8", "2001:db8:0:1::7", "2606:4700::1", "localhost.org"] {
        let (by_webpki, by_openssl) = forge(name);
        let error = format!("{:?}", by_webpki.expect_err(name));
        assert!(error.contains("NameConstraintViolation"), "{name}: {error}");
        assert!(text(&by_openssl).contains("permitted subtree violation"), "{name}: {}", text(&by_openssl));
    }
    for name in ["call.example.org", "203.0.113.7", "2001:db8::99", "printer.local", "192.168.7.7", "100.64.1.1", "fe80::1"] {
        let (by_webpki, by_openssl) = forge(name);
        by_webpki.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(by_openssl.status.success(), "{name}: {}", text(&by_openssl));
    }
}

#[test]
fn nothing_is_done_when_nothing_is_due() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let first = cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    let before = tree(state.path());
    let again = cert::ensure_local(state.path(), "lan", &names(&LAN[1..]), now + DAY).unwrap();
    assert!(!again.issued && again.notes.is_empty());
    assert_eq!((again.bundle.sha256(), again.bundle.issuer), (first.bundle.sha256(), first.bundle.issuer));
    assert_eq!(tree(state.path()), before);
}

#[test]
fn a_new_address_gets_a_new_leaf_from_the_same_ca() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    let ca = cert::local_ca(state.path()).unwrap().unwrap();
    let moved = names(&["10.0.0.5", "otherhost", "otherhost.local", "2001:db8:7::99", "2001:db8:8::1", "localhost"]);
    let ensured = cert::ensure_local(state.path(), "lan", &moved, now).unwrap();
    assert!(ensured.issued);
    assert_eq!(cert::local_ca(state.path()).unwrap().unwrap().sha256, ca.sha256, "devices keep their trust");
    assert_eq!(ensured.bundle.names, names(&["10.0.0.5", "otherhost.local", "2001:db8:7::99", "localhost"]));
    assert_eq!(ensured.notes.len(), 2, "{:?}", ensured.notes);
    assert!(ensured.notes[0].starts_with("otherhost is not in the certificate") && ensured.notes[1].starts_with("2001:db8:8::1 is not"));
    assert!(!cert::ensure_local(state.path(), "lan", &moved, now).unwrap().issued, "what was left out is not asked for again");

    let ensured = cert::ensure_every(state.path(), "lan", &moved, now).unwrap();
    assert_eq!(ensured.bundle.names, moved);
    assert!(ensured.notes[0].contains("may not vouch for otherhost, 2001:db8:8::1") && ensured.notes[0].contains("trust it anew"));
}

#[test]
fn a_new_public_name_gets_a_new_ca_that_still_serves_the_old_names() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    cert::ensure_local(state.path(), "a.example.org", &names(&["a.example.org"]), now).unwrap();
    let ensured = cert::ensure_local(state.path(), "b.example.org", &names(&["b.example.org"]), now).unwrap();
    assert!(
        ensured.notes.iter().any(|note| note.contains("may not vouch for b.example.org") && note.contains("ca.pem.aside-1")),
        "{:?}",
        ensured.notes
    );
    let ca = cert::local_ca(state.path()).unwrap().unwrap();
    let ensured = cert::ensure_local(state.path(), "a.example.org", &names(&["a.example.org"]), now).unwrap();
    assert!(ensured.issued && ensured.notes.is_empty(), "reissued by the new CA, which knows the name: {:?}", ensured.notes);
    assert_eq!(cert::local_ca(state.path()).unwrap().unwrap().sha256, ca.sha256);
}

#[test]
fn a_broken_ca_is_set_aside_and_said_loudly() {
    for (file, content) in [("ca.key", "rubbish"), ("ca.pem", "rubbish"), ("ca.key", other_key().as_str())] {
        let state = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
        let old = cert::local_ca(state.path()).unwrap().unwrap();
        fs::write(state.path().join("ca").join(file), content).unwrap();
        let ensured = cert::ensure_local(state.path(), "lan", &names(&["192.168.9.9"]), now).unwrap();
        assert!(ensured.notes[0].contains(file) && ensured.notes[0].contains("trust it anew"), "{:?}", ensured.notes);
        assert_eq!(fs::read_to_string(state.path().join("ca").join(format!("{file}.aside-1"))).unwrap(), content, "kept");
        let new = cert::local_ca(state.path()).unwrap().unwrap();
        assert_ne!(new.sha256, old.sha256);
        ensured.bundle.verify(&CertificateDer::from(new.der.as_slice()), now).unwrap();
    }
}

#[test]
fn a_broken_leaf_is_set_aside_and_made_anew() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    fs::write(state.path().join("certs/lan/fullchain.pem"), "").unwrap();
    let ensured = cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    assert!(ensured.issued && ensured.notes[0].contains("no certificate in it"), "{:?}", ensured.notes);
    assert!(state.path().join("certs/.versions/lan/1.aside-1/privkey.pem").exists());
    assert!(!cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap().issued);
}

#[test]
fn a_ca_that_is_gone_is_not_replaced_without_a_word() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    fs::remove_file(state.path().join("ca/ca.key")).unwrap();
    let ensured = cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    assert!(!ensured.issued && ensured.notes[0].contains("the key of the local CA is gone"), "said while there is time: {:?}", ensured.notes);
    fs::remove_file(state.path().join("ca/ca.pem")).unwrap();
    let ensured = cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    assert!(ensured.issued && ensured.notes[0].contains("ca.pem is gone") && ensured.notes[0].contains("trust it anew"), "{:?}", ensured.notes);
}

#[test]
fn a_crash_between_the_files_of_a_new_ca_costs_nothing() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    fs::create_dir(state.path().join("ca")).unwrap();
    fs::write(state.path().join("ca/ca.key"), other_key()).unwrap();
    let ensured = cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    assert!(ensured.issued && ensured.notes.is_empty(), "nobody trusted that CA yet: {:?}", ensured.notes);
}

#[test]
fn a_clock_that_went_back_is_said_and_served() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap();
    let ensured = cert::ensure_local(state.path(), "lan", &names(&LAN), now - 100 * DAY).unwrap();
    assert!(ensured.issued && ensured.notes.iter().any(|note| note.contains("check the clock")), "{:?}", ensured.notes);
    let late = cert::ensure_local(state.path(), "lan", &names(&LAN), now + 3600 * DAY).unwrap();
    assert!(late.notes.iter().any(|note| note.contains("near its end")), "{:?}", late.notes);
}

#[test]
fn racing_processes_end_with_one_ca_and_one_leaf() {
    let state = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let leaves: Vec<[u8; 32]> = std::thread::scope(|scope| {
        let racer = || cert::ensure_local(state.path(), "lan", &names(&LAN), now).unwrap().bundle.sha256();
        let racers: Vec<_> = (0..6).map(|_| scope.spawn(racer)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(leaves.iter().all(|leaf| *leaf == leaves[0]));
    assert_eq!(fs::read_dir(state.path().join("certs/.versions/lan")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(state.path().join("ca")).unwrap().count(), 2);
}

#[test]
fn keys_are_for_their_owner_only() {
    let state = tempfile::tempdir().unwrap();
    cert::ensure_local(state.path(), "lan", &names(&LAN), SystemTime::now()).unwrap();
    let mode = |file: &str| fs::metadata(state.path().join(file)).unwrap().mode() & 0o7777;
    assert_eq!([mode("ca"), mode("certs")], [0o700, 0o700]);
    assert_eq!([mode("ca/ca.key"), mode("certs/lan/privkey.pem"), mode("certs/lan/combined.pem")], [0o600; 3]);
    fs::set_permissions(state.path().join("ca/ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let ensured = cert::ensure_local(state.path(), "lan", &names(&["10.9.9.9"]), SystemTime::now()).unwrap();
    assert!(ensured.notes[0].contains("chmod 600"), "{:?}", ensured.notes);
}

#[test]
fn own_files_are_taken_or_refused_with_the_way_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    cert::ensure_local(&state, "lan", &names(&LAN), SystemTime::now()).unwrap();
    let live = state.join("certs/lan");
    let file = |name: &str, parts: &[&str]| {
        let path = dir.path().join(name);
        fs::write(&path, parts.concat()).unwrap();
        path
    };
    let read = |name: &str| fs::read_to_string(live.join(name)).unwrap();
    let (leaf, ca, key) = (read("cert.pem"), read("chain.pem"), read("privkey.pem"));

    let chain = file("chain.pem", &[&leaf, &ca]);
    assert_eq!(cert::load_files(&chain, &live.join("privkey.pem")).unwrap().chain.len(), 2);
    let one = file("one.pem", &["comment before\n", &key, &leaf]);
    let bundle: Bundle = cert::load_files(&one, &one).unwrap();
    assert!(bundle.issuer.starts_with("rtcctl local CA "), "{}", bundle.issuer);

    let refused = |chain: &Path, key: &Path| {
        let failure = cert::load_files(chain, key).unwrap_err().downcast::<rtcctl::ui::Failure>().unwrap();
        format!("{} | {}", failure.message, failure.hints.join(" "))
    };
    let without_key = file("cert.pem", &[&leaf]);
    assert!(refused(&without_key, &without_key).contains("cert.pem: no private key in it"));
    assert!(refused(&live.join("privkey.pem"), &live.join("privkey.pem")).contains("no certificate in it"));
    assert!(refused(&chain, &file("other.key", &[&other_key()])).contains("does not belong to the first certificate |"));
    assert!(
        refused(&file("turned.pem", &[&ca, &leaf]), &live.join("privkey.pem")).contains("but to certificate 2: the server's own must come first")
    );
    assert!(refused(&file("twice.pem", &[&leaf, &leaf]), &live.join("privkey.pem")).contains("certificate 1 is not vouched for"));
    assert!(refused(&file("cut.pem", &[&leaf[..leaf.len() / 2]]), &live.join("privkey.pem")).contains("PEM"));
    assert!(refused(&dir.path().join("no.pem"), &one).contains("no.pem: No such file"));
    assert!(refused(dir.path(), &one).contains("not a PEM file"));

    for (name, extra) in [("pkcs8.key", None), ("old.key", Some("-traditional"))] {
        let encrypted = dir.path().join(name);
        let mut words = vec!["pkey", "-aes128", "-passout", "pass:secret", "-out", encrypted.to_str().unwrap()];
        words.extend(extra);
        let source = path(&live, "privkey.pem");
        words.extend(["-in", &source]);
        assert!(openssl(&words).status.success());
        let said = refused(&chain, &encrypted);
        assert!(said.contains("encrypted with a pass phrase") && said.contains(&format!("openssl pkey -in {}", encrypted.display())), "{said}");
    }
}

#[test]
fn a_wildcard_covers_one_label() {
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = (path(dir.path(), "key.pem"), path(dir.path(), "cert.pem"));
    let made = openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        &key,
        "-out",
        &certificate,
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=DNS:*.example.org",
    ]);
    assert!(made.status.success(), "{}", text(&made));
    let bundle = cert::load_files(Path::new(&certificate), Path::new(&key)).unwrap();
    assert_eq!((bundle.names.len(), bundle.wildcards.as_slice(), bundle.issuer.as_str()), (0, ["*.example.org".to_owned()].as_slice(), "itself"));
    assert!(bundle.covers(&"call.example.org".parse().unwrap()));
    assert!(!bundle.covers(&"a.b.example.org".parse().unwrap()) && !bundle.covers(&"example.org".parse().unwrap()));
}

#[test]
fn a_profile_is_a_property_list_that_carries_the_ca() {
    let state = tempfile::tempdir().unwrap();
    cert::ensure_local(state.path(), "lan", &names(&LAN), SystemTime::now()).unwrap();
    let ca = cert::local_ca(state.path()).unwrap().unwrap();
    let profile = cert::mobileconfig(&ca, "Anna & <Bob>\u{1}");
    assert_eq!(profile, cert::mobileconfig(&ca, "Anna & <Bob>\u{1}"), "stable");
    assert!(profile.contains("<string>Anna &amp; &lt;Bob&gt; </string>"));
    let script = "import plistlib,sys; p=plistlib.loads(sys.stdin.buffer.read()); c=p['PayloadContent'][0]; \
                  print(p['PayloadType'], c['PayloadType'], p['PayloadUUID'] != c['PayloadUUID'], c['PayloadContent'].hex())";
    let mut python =
        Command::new("python3").args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(profile.as_bytes()).unwrap();
    let read = text(&python.wait_with_output().unwrap());
    let der: String = ca.der.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(read.trim(), format!("Configuration com.apple.security.root True {der}"));
}

#[test]
fn trust_goes_into_nss_stores_and_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let (state, home) = (dir.path().join("state"), dir.path().join("home"));
    cert::ensure_local(&state, "lan", &names(&LAN), SystemTime::now()).unwrap();
    let ca = cert::local_ca(&state).unwrap().unwrap();
    for store in [".pki/nssdb", ".mozilla/firefox/abc.default-release", "snap/firefox/common/.mozilla/firefox/xyz.default"] {
        fs::create_dir_all(home.join(store)).unwrap();
        certutil(&home.join(store), &["-N", "--empty-password"]);
    }
    fs::create_dir_all(home.join(".mozilla/firefox/Crash Reports")).unwrap();
    let scope = scope(&home, &dir.path().join("no-system"));
    let before = listed(&home);

    let survey = trust::survey(&scope, &ca);
    assert!(!survey.certutil_missing && !survey.system_needs_root);
    let browsers: Vec<String> = survey.places.iter().map(ToString::to_string).collect();
    assert_eq!(browsers.len(), 3, "{browsers:?}");
    for place in &survey.places {
        assert!(!trust::trusts(place, &ca).unwrap());
        assert_eq!(trust::add(&state, &ca, place).unwrap(), Added::Done);
        assert_eq!(trust::add(&state, &ca, place).unwrap(), Added::Already);
    }
    let nickname = format!("rtcctl local CA {:02x}{:02x}{:02x}{:02x}", ca.sha256[0], ca.sha256[1], ca.sha256[2], ca.sha256[3]);
    let shown = certutil(&home.join(".pki/nssdb"), &["-L"]);
    assert!(shown.lines().any(|line| line.starts_with(&nickname) && line.trim_end().ends_with("C,,")), "{shown}");

    let records = trust::records(&state).unwrap();
    assert_eq!(records.len(), 3);
    for record in &records {
        trust::remove(&state, record).unwrap();
        trust::remove(&state, record).expect("gone already is no error");
    }
    assert_eq!(listed(&home), before);
    assert!(!state.join("trust.json").exists());
}

#[test]
fn a_store_made_for_us_goes_again_unless_others_use_it() {
    for used in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (state, home) = (dir.path().join("state"), dir.path().join("home"));
        fs::create_dir(&home).unwrap();
        cert::ensure_local(&state, "lan", &names(&LAN), SystemTime::now()).unwrap();
        let ca = cert::local_ca(&state).unwrap().unwrap();
        let survey = trust::survey(&scope(&home, &dir.path().join("no-system")), &ca);
        assert_eq!(survey.places.iter().map(ToString::to_string).collect::<Vec<_>>(), [path(&home, ".pki/nssdb")]);
        trust::add(&state, &ca, &survey.places[0]).unwrap();
        if used {
            let other = selfsigned::new_ca(&names(&["other.local"]), SystemTime::now()).unwrap();
            fs::write(dir.path().join("other.pem"), other.certificate_pem).unwrap();
            certutil(&home.join(".pki/nssdb"), &["-A", "-t", "C,,", "-n", "other", "-i", &path(dir.path(), "other.pem")]);
        }
        trust::remove(&state, &trust::records(&state).unwrap()[0]).unwrap();
        assert_eq!(home.join(".pki").exists(), used);
        if used {
            assert!(certutil(&home.join(".pki/nssdb"), &["-L"]).contains("other"));
        }
    }
}

#[test]
fn root_writes_the_store_of_another_user_as_that_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (state, home) = (dir.path().join("state"), dir.path().join("home"));
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(12_345), Some(12_345)).unwrap();
    cert::ensure_local(&state, "lan", &names(&LAN), SystemTime::now()).unwrap();
    let ca = cert::local_ca(&state).unwrap().unwrap();
    let survey = trust::survey(&scope(&home, &dir.path().join("no-system")), &ca);
    assert_eq!(trust::add(&state, &ca, &survey.places[0]).unwrap(), Added::Done);
    for file in [".pki", ".pki/nssdb", ".pki/nssdb/cert9.db", ".pki/nssdb/key4.db"] {
        assert_eq!(fs::metadata(home.join(file)).unwrap().uid(), 12_345, "{file}");
    }
    trust::remove(&state, &trust::records(&state).unwrap()[0]).unwrap();
    assert!(!home.join(".pki").exists());
}

#[test]
fn another_user_hears_that_the_state_is_closed() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let home = Cli::new();
    home.run(&["cert", "issue"]);
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for words in [["cert", "ca"], ["cert", "list"], ["cert", "trust"]] {
        let mut command = home.command("setpriv");
        // A copy: the build's own folder may be closed to that user.
        let binary = home.dir.path().join("rtcctl");
        fs::copy(env!("CARGO_BIN_EXE_rtcctl"), &binary).unwrap();
        let output = command.args(["--reuid=12345", "--regid=12345", "--clear-groups"]).arg(&binary).args(words).current_dir("/").output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(text(&output).contains("Permission denied") && text(&output).contains("hint: run it with sudo"), "{words:?}: {}", text(&output));
    }
}

#[test]
fn the_system_store_is_written_verified_and_undone() {
    let dir = tempfile::tempdir().unwrap();
    let (state, root) = (dir.path().join("state"), dir.path().join("root"));
    cert::ensure_local(&state, "lan", &names(&LAN), SystemTime::now()).unwrap();
    let ca = cert::local_ca(&state).unwrap().unwrap();
    for folder in ["usr/local/share/ca-certificates", "etc/ssl/certs", "bin"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let bundle = path(&root, "etc/ssl/certs/ca-certificates.crt");
    let script = format!("#!/bin/sh\ncat {}/*.crt > {bundle} 2>/dev/null || :\n", path(&root, "usr/local/share/ca-certificates"));
    let program = root.join("bin/update-ca-certificates");
    let install = |script: &str| {
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    };
    install(&script);
    let scope = Scope { home: None, root: root.clone(), path: vec![root.join("bin")] };
    let survey = trust::survey(&scope, &ca);
    let [place] = survey.places.as_slice() else { panic!("{survey:?}") };
    let before = listed(&root);
    assert_eq!(trust::add(&state, &ca, place).unwrap(), Added::Done);
    assert!(trust::trusts(place, &ca).unwrap());
    trust::remove(&state, &trust::records(&state).unwrap()[0]).unwrap();
    assert!(!trust::trusts(place, &ca).unwrap());
    fs::remove_file(&bundle).unwrap();
    assert_eq!(listed(&root), before);

    install("#!/bin/sh\necho the store is locked >&2\nexit 3\n");
    let error = format!("{:#}", trust::add(&state, &ca, place).unwrap_err());
    assert!(error.contains("update-ca-certificates: the store is locked"), "{error}");
    install("#!/bin/sh\nexit 0\n");
    let error = format!("{:#}", trust::add(&state, &ca, place).unwrap_err());
    assert!(error.ends_with("does not show the CA"), "{error}");
    assert_eq!(trust::records(&state).unwrap().len(), 1, "what may be there is kept in mind");
}

#[test]
fn chromium_loads_pages_by_name_and_by_address_once_it_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let (state, home) = (dir.path().join("state"), dir.path().join("home"));
    fs::create_dir(&home).unwrap();
    let ensured = cert::ensure_local(&state, "lan", &names(&LAN), SystemTime::now()).unwrap();
    let ca = cert::local_ca(&state).unwrap().unwrap();
    let port = serve(ensured.bundle);
    let load = |host: &str| {
        let mut words = vec!["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
        words.extend(["--disable-component-update", "--disable-sync", "--dump-dom"]);
        let profile = format!("--user-data-dir={}", path(dir.path(), "profile"));
        let url = format!("https://{host}:{port}/");
        let output = Command::new("timeout").arg("60").arg("chromium").args(words).args([&profile, &url]).env("HOME", &home).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(!load("localhost").contains("vouched for"), "an unknown CA must not be believed, or this test shows nothing");
    for place in trust::survey(&scope(&home, &dir.path().join("no-system")), &ca).places {
        trust::add(&state, &ca, &place).unwrap();
    }
    for host in ["localhost", "127.0.0.1"] {
        let page = load(host);
        assert!(page.contains("vouched for"), "{host}: {page}");
    }
}

#[test]
fn the_commands_issue_list_show_and_hand_out() {
    let home = Cli::new();
    let none = home.run(&["cert", "ca"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none).contains("there is no local CA") && text(&none).contains("hint: make one: rtcctl up"), "{}", text(&none));

    let issued = home.run(&["cert", "issue"]);
    assert!(text(&issued).contains("certificate   call.example.org, 192.168.1.20 (local CA, valid 397 days)"), "{}", text(&issued));
    assert!(issued.stdout.is_empty(), "talk goes to stderr");
    assert!(text(&home.run(&["cert", "issue"])).contains("397 days, unchanged)"));
    let further = home.json(&["cert", "issue", "10.1.2.3"]);
    assert_eq!(
        (&further["schema"], &further["issued"], &further["reloaded"]),
        (&"rtcctl.cert.issue/1".into(), &true.into(), &serde_json::Value::Null)
    );
    assert_eq!(further["names"], serde_json::json!(["call.example.org", "192.168.1.20", "10.1.2.3"]));
    let wrong = home.run(&["cert", "issue", "not a name"]);
    assert_eq!((wrong.status.code(), text(&wrong).contains("neither a name nor an address")), (Some(2), true));

    let listed = home.json(&["cert", "list"]);
    assert_eq!((&listed["certificates"][0]["site"], &listed["certificates"][0]["issuer"]), (&"call.example.org".into(), &"local CA".into()));
    let table = text(&home.run(&["cert", "list"]));
    assert!(table.lines().all(|line| line.chars().count() <= 80) && table.contains("call.example.org, 192.168.1.20 +1"), "{table}");
    assert!(text(&home.run(&["cert", "show", "10.1.2.3"])).contains("SHA-256"));
    assert_eq!(home.run(&["cert", "show", "10.9.9.9"]).status.code(), Some(1));

    let ca = cert::local_ca(&home.state()).unwrap().unwrap();
    assert_eq!(text(&home.run(&["cert", "ca", "--export", "-"])), ca.pem);
    let shown = text(&home.run(&["cert", "ca", "--qr"]));
    assert!(shown.contains(&format!("{:02X} {:02X}  {:02X} {:02X}  ", ca.sha256[0], ca.sha256[1], ca.sha256[2], ca.sha256[3])), "{shown}");
    assert!(shown.contains("http://call.example.org/ca\n") && shown.contains("####"), "{shown}");
    let file = home.dir.path().join("ca.pem");
    assert!(home.run(&["cert", "ca", "--export", file.to_str().unwrap()]).status.success());
    assert_eq!(fs::read_to_string(file).unwrap(), ca.pem);

    fs::write(home.state().join("certs/call.example.org/privkey.pem"), "").unwrap();
    let broken = text(&home.run(&["cert", "show"]));
    assert!(broken.contains("is broken: no private key") && broken.contains("rtcctl cert issue"), "{broken}");
}

#[test]
fn a_running_service_is_told_of_a_new_certificate() {
    let home = Cli::new();
    fs::create_dir_all(home.state().join("run")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(home.state().join("run/admin.sock")).unwrap();
    let service = std::thread::spawn(move || {
        for answer in ["{\"reloaded\": true}\n", "{\"error\": \"busy\"}\n"] {
            let (stream, _) = socket.accept().unwrap();
            let mut asked = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(&stream), &mut asked).unwrap();
            assert!(asked.contains("reload-certificate"), "{asked}");
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    assert!(text(&home.run(&["cert", "issue"])).contains("the service has taken it over"));
    let refused = text(&home.run(&["cert", "issue", "b.example.org"]));
    assert!(refused.contains("still serves the old certificate: busy"), "{refused}");
    service.join().unwrap();
}

#[test]
fn cert_trust_asks_and_the_real_system_store_follows() {
    let home = Cli::new();
    home.run(&["cert", "issue"]);
    let asked = home.run(&["cert", "trust"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(text(&asked).contains(".pki/nssdb") && text(&asked).contains("answer yes with --yes"), "{}", text(&asked));
    assert!(!home.dir.path().join("home/.pki").exists() && !home.state().join("trust.json").exists());
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // Private copies of the folders that change; Java's hook is slow and not ours.
    let script = "set -e; mount --make-rprivate /; mkdir -p /etc/ca-certificates/update.d
        for folder in /etc/ssl/certs /usr/local/share/ca-certificates; do
            copy=$(mktemp -d -p \"$SCRATCH\"); mount -t tmpfs none $copy; cp -a $folder/. $copy/; mount --bind $copy $folder
        done
        mount -t tmpfs none /etc/ca-certificates/update.d
        leaf=\"$RTCCTL_STATE/certs/call.example.org/cert.pem\"
        \"$RTCCTL\" cert trust --yes; openssl verify $leaf; ls /usr/local/share/ca-certificates
        \"$RTCCTL\" cert untrust --yes; ! openssl verify $leaf; ls /usr/local/share/ca-certificates /etc/ssl/certs | grep rtcctl- || echo gone";
    let done = home.command("unshare").args(["-m", "sh", "-c", script]).output().unwrap();
    let said = text(&done);
    assert!(done.status.success() && said.contains("cert.pem: OK") && said.contains("rtcctl-") && said.trim_end().contains("gone"), "{said}");
    assert!(!home.dir.path().join("home/.pki").exists() && !home.state().join("trust.json").exists());
}

/// The binary with a config, a state and a home of its own.
struct Cli {
    dir: tempfile::TempDir,
}

impl Cli {
    fn new() -> Self {
        let config =
            "[site]\naddress = \"call.example.org\"\naliases = [\"192.168.1.20\"]\n[cert]\nca = \"local\"\n[signal]\nopen_rooms = \"anyone\"\n";
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::write(dir.path().join("rtcctl.toml"), config).unwrap();
        Self { dir }
    }

    fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("RTCCTL_CONFIG", self.dir.path().join("rtcctl.toml")).env("RTCCTL_STATE", self.state()).env("HOME", self.dir.path().join("home"));
        command.env("RTCCTL", env!("CARGO_BIN_EXE_rtcctl")).env("SCRATCH", self.dir.path());
        command.env_remove("SUDO_USER").env("LC_ALL", "C").stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_rtcctl")).args(words).output().unwrap()
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let output = self.run(&[words, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)))
    }
}

/// An HTTPS server that gives everybody the same page, for as long as the test binary runs.
fn serve(bundle: Bundle) -> u16 {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = std::sync::Arc::new(versions.with_no_client_auth().with_single_cert(bundle.chain, bundle.key).unwrap());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, config) = (stream.unwrap(), config.clone());
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut tls = rustls::ServerConnection::new(config).unwrap();
                let mut tls = rustls::Stream::new(&mut tls, &mut stream);
                let page = "<!doctype html><p>vouched for</p>";
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len());
                // A client that does not trust us hangs up in the middle; that is its answer.
                if tls.read(&mut [0; 4096]).is_ok() {
                    let _ = tls.write_all(answer.as_bytes()).and_then(|()| tls.flush());
                }
            });
        }
    });
    port
}

/// A home of its own, no system store, and the real certutil.
fn scope(home: &Path, root: &Path) -> Scope {
    Scope { home: Some(home.to_owned()), root: root.to_owned(), path: vec!["/usr/bin".into()] }
}

fn certutil(store: &Path, words: &[&str]) -> String {
    let output = Command::new("certutil").args(words).args(["-d", &format!("sql:{}", store.display())]).output().expect("certutil is installed");
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// Every path below `dir` with its mode and content; of certificate stores what certutil lists, because SQLite pages change when a row comes and goes.
fn listed(dir: &Path) -> Vec<(String, u32, String)> {
    let list = |(path, mode, hash): (String, u32, String)| {
        let shown = match path.strip_suffix("/cert9.db") {
            Some(store) => certutil(Path::new(store), &["-L"]),
            None if path.ends_with("/key4.db") => String::new(),
            None => hash,
        };
        (path, mode, shown)
    };
    tree(dir).into_iter().map(list).collect()
}

fn names(texts: &[&str]) -> Vec<HostName> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn openssl_verify(state: &Path, site: &str, extra: &[&str]) -> Output {
    let (ca, leaf) = (path(state, "ca/ca.pem"), path(state, &format!("certs/{site}/cert.pem")));
    openssl(&[&["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &ca], extra, &[leaf.as_str()]].concat())
}

fn openssl(words: &[&str]) -> Output {
    Command::new("openssl").args(words).output().expect("openssl is installed")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// Every path below with its mode and the hash of its content.
fn tree(dir: &Path) -> Vec<(String, u32, String)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let hash = format!("{:?}", ring::digest::digest(&ring::digest::SHA256, &content));
            found.push((path.display().to_string(), metadata.mode(), hash));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn other_key() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}
