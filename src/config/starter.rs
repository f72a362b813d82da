//! Pure: the first `rtcctl.toml` of a site, from the few answers that nobody can look up. The same answers give the same bytes.

use super::defaults::find;
use super::file::{Problem, Written};
use super::model::{Address, RoomOpeners};
use super::resolve::{is_private, resolve};

/// What has to be asked. `ca` is written only if it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// As typed: a name, an address, or `lan`.
    pub address: String,
    pub open_rooms: RoomOpeners,
    pub ca: Option<String>,
}

impl Answers {
    /// The file, each line with the reason of its key. It holds no secret.
    pub fn to_toml(&self) -> String {
        let openers = match self.open_rooms {
            RoomOpeners::Anyone => "anyone",
            RoomOpeners::Hosts => "hosts",
        };
        let mut text = String::from("# Made by rtcctl init. Every other key has its default; all of them: rtcctl config example\n");
        text.push_str(&section("site", "address", &self.address));
        if let Some(ca) = &self.ca {
            text.push_str(&section("cert", "ca", ca));
        }
        text.push_str(&section("signal", "open_rooms", openers));
        text
    }

    /// What is wrong with the answers, as it would be with the file.
    pub fn problems(&self) -> Vec<Problem> {
        resolve(&written(self.to_toml())).err().unwrap_or_default()
    }
}

/// The address as meant, or what is wrong with it.
pub fn address(text: &str) -> Result<Address, String> {
    let answers = Answers { address: text.trim().to_owned(), open_rooms: RoomOpeners::Anyone, ca: Some("local".into()) };
    match resolve(&written(answers.to_toml())) {
        Ok(config) => Ok(config.site.address),
        Err(problems) => Err(problems.into_iter().next().map(|problem| problem.message).unwrap_or_default()),
    }
}

/// The whole internet can look at a site with this address.
pub fn is_public(address: &Address) -> bool {
    !is_private(address)
}

fn section(section: &str, name: &str, value: &str) -> String {
    let why = find(&format!("{section}.{name}")).expect("a key of the table").why;
    format!("\n[{section}]\n# {why}\n{name} = {}\n", toml::Value::String(value.to_owned()))
}

fn written(text: String) -> Written {
    let mut written = Written::default();
    written.add_file("rtcctl.toml".into(), text, "/".into());
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(address: &str, open_rooms: RoomOpeners, ca: Option<&str>) -> Answers {
        Answers { address: address.into(), open_rooms, ca: ca.map(str::to_owned) }
    }

    #[test]
    fn what_is_written_means_what_was_answered() {
        let text = answers("call.example.org", RoomOpeners::Hosts, Some("local")).to_toml();
        expect_test::expect![[r#"
            # Made by rtcctl init. Every other key has its default; all of them: rtcctl config example

            [site]
            # "call.example.org", "203.0.113.7", or "lan": whatever this machine is called in its network
            address = "call.example.org"

            [cert]
            # "local": own authority; "files": chain and key below; auto: local where only a LAN can look
            ca = "local"

            [signal]
            # anyone | hosts; auto: anyone on a LAN, hosts on a public site
            open_rooms = "hosts"
        "#]]
        .assert_eq(&text);
        for (given, openers) in [("lan", RoomOpeners::Anyone), ("192.168.1.20", RoomOpeners::Hosts), ("fd00::7", RoomOpeners::Anyone)] {
            let answers = answers(given, openers, None);
            let config = resolve(&written(answers.to_toml())).unwrap();
            assert_eq!((config.signal.open_rooms, config.site.address), (openers, address(given).unwrap()));
            assert_eq!(answers.problems(), []);
        }
    }

    #[test]
    fn an_address_that_is_none_is_said_before_anything_is_written() {
        for (bad, word) in [("https://call.example.org/", "site.address"), ("0.0.0.0", "0.0.0.0"), ("", "site.address"), ("a b\"", "site.address")] {
            let said = address(bad).unwrap_err();
            assert!(said.contains(word), "{bad}: {said}");
        }
        assert!(!answers("lan", RoomOpeners::Anyone, Some("locl")).problems().is_empty());
    }

    #[test]
    fn who_can_look() {
        for (text, public) in [("lan", false), ("10.0.0.1", false), ("box.local", false), ("call.example.org", true), ("203.0.113.7", true)] {
            assert_eq!(is_public(&address(text).unwrap()), public, "{text}");
        }
    }
}
