//! `rtcctl config` and how a config is found, by the real binary.

use expect_test::{Expect, expect, expect_file};
use rtcctl::config::defaults::{KEYS, Kind, SECTIONS, find_section};
use rtcctl::config::file::Written;
use rtcctl::config::{Config, resolve, schema};

use super::support::cli::Home;

/// What `config check` says of a file.
fn check(text: &str, expected: &Expect) {
    let home = Home::new();
    home.write("here/rtcctl.toml", text);
    expected.assert_eq(&home.rtcctl(&["config", "check"]).run().snapshot());
}

#[test]
fn every_problem_at_once_with_line_and_hint() {
    check(
        "[site]\nadress = \"lan\"\nhttps_port = \"443\"\n\n[turn]\nrelay_ports = \"65535-61000\"\nports = [443]\n\n[signals]\n",
        &expect![[r#"
            exit 2
            --- stdout
            --- stderr
              × unknown key `adress`
               ╭─[rtcctl.toml:2:1]
             1 │ [site]
             2 │ adress = "lan"
               · ───┬──
               ·    ╰── expected one of address, aliases, proxy, backend, …
             3 │ https_port = "443"
               ╰────
              help: did you mean `address`?

              × site.https_port: a port number was expected, not a word in quotes
               ╭─[rtcctl.toml:3:14]
             2 │ adress = "lan"
             3 │ https_port = "443"
               ·              ─────
             4 │ 
               ╰────

              × turn.relay_ports: the range is reversed: 65535-61000
               ╭─[rtcctl.toml:6:15]
             5 │ [turn]
             6 │ relay_ports = "65535-61000"
               ·               ─────────────
             7 │ ports = [443]
               ╰────
              help: write it as "61000-65535"

              × turn.ports: 443 is the port of site.https_port too
               ╭─[rtcctl.toml:7:9]
             6 │ relay_ports = "65535-61000"
             7 │ ports = [443]
               ·         ─────
             8 │ 
               ╰────
              help: give each its own port

              × unknown section `signals`
               ╭─[rtcctl.toml:9:2]
             8 │ 
             9 │ [signals]
               ·  ───┬───
               ·     ╰── expected one of site, cert, turn, ice, signal, metrics, test_call, hosts
               ╰────
              help: did you mean `signal`?
        "#]],
    );
}

#[test]
fn broken_toml_is_pointed_at() {
    check(
        "[site]\ntitle = \"no end\n",
        &expect![[r#"
            exit 2
            --- stdout
            --- stderr
              × not TOML: invalid basic string, expected `"`
               ╭─[rtcctl.toml:2:16]
             1 │ [site]
             2 │ title = "no end
               ·                ▲
               ╰────
        "#]],
    );
}

#[test]
fn a_certificate_without_its_key() {
    check(
        "[cert]\nca = \"files\"\nchain = \"chain.pem\"\n",
        &expect![[r#"
            exit 2
            --- stdout
            --- stderr
              × cert.key is missing: a certificate is of no use without its key
               ╭─[rtcctl.toml:3:9]
             2 │ ca = "files"
             3 │ chain = "chain.pem"
               ·         ───────────
               ╰────
              help: add key = "…" below [cert]
        "#]],
    );
}

#[test]
fn a_public_site_is_told_what_is_not_built() {
    check(
        "[site]\naddress = \"call.example.org\"\n",
        &expect![[r#"
            exit 2
            --- stdout
            --- stderr
              × cert.ca: "auto" means Let's Encrypt for the public call.example.org, and
              │ ACME is not built yet
               ╭─[rtcctl.toml:2:11]
             1 │ [site]
             2 │ address = "call.example.org"
               ·           ──────────────────
               ╰────
              help: write ca = "local" below [cert]: every device then has to trust this
                    machine's own authority once
        "#]],
    );
}

#[test]
fn an_address_of_another_machine() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "[site]\nlisten = [\"192.0.2.77\"]\n");
    let said = home.rtcctl(&["config", "check"]).run();
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("site.listen: not an address of this machine: 192.0.2.77"), "{}", said.stderr);
    assert!(said.stderr.contains("[rtcctl.toml:2:10]"), "no place: {}", said.stderr);
}

#[test]
fn wide_letters_and_control_characters_do_not_shift_the_marks() {
    check(
        "[site]\ntitle = \"電話\", x = 1\n",
        &expect![[r#"
            exit 2
            --- stdout
            --- stderr
              × not TOML: unexpected key or value, expected newline, `#`
               ╭─[rtcctl.toml:2:17]
             1 │ [site]
             2 │ title = "電話", x = 1
               ·               ▲
               ╰────
        "#]],
    );
    check(
        "[site]\n\taliases = [\"ok.local\", \"b\u{e4}d\", \"\\u001b[31m\"]\n",
        &expect![[r#"
            exit 2
            --- stdout
            --- stderr
              × site.aliases: neither a name nor an address: bäd
               ╭─[rtcctl.toml:2:25]
             1 │ [site]
             2 │     aliases = ["ok.local", "bäd", "\u001b[31m"]
               ·                            ─────
               ╰────

              × site.aliases: neither a name nor an address:  [31m
               ╭─[rtcctl.toml:2:33]
             1 │ [site]
             2 │     aliases = ["ok.local", "bäd", "\u001b[31m"]
               ·                                   ────────────
               ╰────
        "#]],
    );
}

#[test]
fn variables_and_their_problems() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "[site]\nhttps_port = 1443\n");
    let said = home.rtcctl(&["config", "show", "--origin"]).env("RTCCTL_SITE__TITLE", "Us").env("RTCCTL_TURN__PORTS", "[3479]").run();
    let origins: Vec<&str> = said.stdout.lines().filter(|line| !line.ends_with("# default")).collect();
    expect![[r#"

        [site]
        https_port = 1443                      # rtcctl.toml:2
        title = "Us"                           # RTCCTL_SITE__TITLE

        [cert]

        [turn]
        ports = [3479]                         # RTCCTL_TURN__PORTS

        [signal]

        [metrics]

        [test_call]"#]]
    .assert_eq(&origins.join("\n"));
    let said = home.rtcctl(&["config", "check"]).env("RTCCTL_SITE__TITEL", "Us").env("RTCCTL_TURN__PORTS", "3479").run();
    expect![[r#"
        exit 2
        --- stdout
        --- stderr
          × unknown key `titel`
           ╭─[RTCCTL_SITE__TITEL:1:1]
         1 │ Us
           · ─┬
           ·  ╰── expected one of title, listen, aliases, proxy, …
           ╰────
          help: did you mean `title`?

          × turn.ports: a list was expected, not a whole number
           ╭─[RTCCTL_TURN__PORTS:1:1]
         1 │ 3479
           · ────
           ╰────
          help: put it in brackets: [ ]
    "#]]
    .assert_eq(&said.snapshot());
}

#[test]
fn errors_are_json_too() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "[turn]\nprots = [3478]\n");
    let said = home.rtcctl(&["config", "check", "--json"]).run();
    let json = said.json();
    assert_eq!((said.code, json["schema"].as_str()), (Some(2), Some("rtcctl.config.check/1")));
    let problem = &json["error"]["problems"][0];
    assert_eq!((problem["source"].as_str(), problem["line"].as_u64(), problem["column"].as_u64()), (Some("rtcctl.toml"), Some(2), Some(1)));
    assert_eq!(problem["hint"], "did you mean `ports`?");
    assert!(said.stderr.is_empty(), "{}", said.stderr);
}

#[test]
fn the_file_is_looked_for_in_order() {
    let home = Home::new();
    let https_port = |home: &Home, arguments: &[&str], variable: Option<&str>| {
        let mut cli = home.rtcctl(&[&["config", "show", "--json"], arguments].concat());
        if let Some(file) = variable {
            cli = cli.env("RTCCTL_CONFIG", file);
        }
        cli.run().json()["config"]["site"]["https_port"].as_i64().unwrap()
    };
    assert_eq!(https_port(&home, &[], None), 443);
    home.write("state/current/rtcctl.toml", "site.https_port = 1");
    assert_eq!(https_port(&home, &[], None), 1);
    home.write(".config/rtcctl/rtcctl.toml", "site.https_port = 2");
    assert_eq!(https_port(&home, &[], None), 2);
    home.write("here/rtcctl.toml", "site.https_port = 3");
    assert_eq!(https_port(&home, &[], None), 3);
    home.write("here/named.toml", "site.https_port = 4");
    assert_eq!(https_port(&home, &[], Some("named.toml")), 4);
    home.write("here/flag.toml", "site.https_port = 5");
    assert_eq!(https_port(&home, &["--config", "flag.toml"], Some("named.toml")), 5);
}

#[test]
fn a_named_file_must_be_there_and_be_text() {
    let home = Home::new();
    let said = home.rtcctl(&["config", "check", "-c", "gone.toml"]).run();
    expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: no such config file: gone.toml
        hint: write one: rtcctl config example > gone.toml
    "#]]
    .assert_eq(&said.snapshot());
    std::fs::write(home.path("here/rtcctl.toml"), [0xff, 0xfe, 0]).unwrap();
    let said = home.rtcctl(&["config", "check"]).run();
    assert_eq!((said.code, said.stderr.trim()), (Some(2), "error: read rtcctl.toml: not UTF-8 text"));
    std::fs::write(home.path("here/rtcctl.toml"), vec![b'#'; 2 << 20]).unwrap();
    assert!(home.rtcctl(&["config", "check"]).run().stderr.contains("larger than 1 MiB"));
    std::fs::remove_file(home.path("here/rtcctl.toml")).unwrap();
    std::fs::create_dir(home.path("here/rtcctl.toml")).unwrap();
    assert_eq!(home.rtcctl(&["config", "check"]).run().code, Some(3));
}

#[test]
fn what_show_prints_is_a_config() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "[site]\ntitle = \"Us\"\n[turn]\nsecret_file = \"secret\"\n");
    let shown = home.rtcctl(&["config", "show"]).run().stdout;
    home.write("here/again.toml", &shown.replace('~', home.path("").to_str().unwrap().trim_end_matches('/')));
    assert_eq!(home.rtcctl(&["config", "show", "-c", "again.toml"]).run().stdout, shown);
    assert!(shown.contains("secret_file = \"~/here/secret\""), "{shown}");
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    expect_file!["../../templates/rtcctl.toml"].assert_eq(&schema::example());
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/rtcctl.toml")).unwrap();
    let mut written = Written::default();
    written.add_file("templates/rtcctl.toml".into(), text.clone(), "/".into());
    let mut config = resolve(&written).unwrap();
    config.site.ports_may_move = true;
    assert_eq!(config, Config::default());
    for key in KEYS {
        let repeated = find_section(key.section).is_some_and(|section| section.repeated);
        if repeated {
            assert!(text.contains(&format!("\n# {} = {}", key.name, key.default)), "{} is not in the example", key.path());
        } else {
            assert!(written.items.contains_key(&key.path()), "{} is not in the example", key.path());
        }
    }
}

#[test]
fn the_commented_sections_of_the_example_are_right_too() {
    let text: String = schema::example()
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains(" = ") || line.starts_with("[["))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut written = Written::default();
    written.add_file("example".into(), text.clone(), "/".into());
    assert!(written.problems.is_empty(), "{:?}\n{text}", written.problems);
    assert_eq!(written.entries.len(), SECTIONS.iter().filter(|section| section.repeated).count());
}

#[test]
fn the_schema_holds_every_key_and_nothing_else() {
    let schema: serde_json::Value = serde_json::from_str(&Home::new().rtcctl(&["config", "schema"]).run().stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let table = |section: &str| {
        let tables = &schema["properties"];
        match find_section(section) {
            None => schema.clone(),
            Some(section) if section.repeated => tables[section.name]["items"].clone(),
            Some(section) => tables[section.name].clone(),
        }
    };
    for key in KEYS {
        let table = table(key.section);
        assert_eq!(table["additionalProperties"], false, "{}", key.section);
        let property = &table["properties"][key.name];
        assert_eq!(property["description"], key.why, "{}", key.path());
        if matches!(key.kind, Kind::Port) {
            assert_eq!(property["type"], "integer", "{}", key.path());
        }
    }
    let count: usize = SECTIONS.iter().map(|section| table(section.name)["properties"].as_object().unwrap().len()).sum();
    assert_eq!(count + schema["properties"].as_object().unwrap().len(), KEYS.len() + SECTIONS.len());
}
