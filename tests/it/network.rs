//! The first call in networks that forbid things: `rtcctl up` and `cert trust` as people type them on one machine, two Chromium on another, and
//! between them a firewall that leaves less and less.

use crate::browser::{Site, one_at_a_time, two_browsers_talk};
use crate::support::cable::{Cable, SERVER_V4, SERVER_V6};
use crate::support::chrome::absent;
use crate::support::cli::{Home, Said};

const NO_UDP: &str = "meta l4proto udp";
const ONLY_HTTPS: &str = "tcp dport != 443";

#[tokio::test]
async fn the_relay_is_reached_over_udp() {
    let Some(lan) = Lan::up() else { return };
    two_browsers_talk(&lan.site(SERVER_V4), "?it=relay&tt=udp", &["udp"]).await;
}

#[tokio::test]
async fn without_udp_the_relay_is_reached_over_tcp() {
    let Some(lan) = Lan::up() else { return };
    lan.cable.drop_outgoing(&[NO_UDP]);
    two_browsers_talk(&lan.site(SERVER_V4), "?it=relay&tt=tcp", &["tcp"]).await;
}

/// Nobody chose a protocol, and nobody has to know what the network forbids.
#[tokio::test]
async fn without_udp_some_stream_is_found() {
    let Some(lan) = Lan::up() else { return };
    lan.cable.drop_outgoing(&[NO_UDP]);
    two_browsers_talk(&lan.site(SERVER_V4), "?it=relay", &["tcp", "tls"]).await;
}

#[tokio::test]
async fn with_nothing_but_https_the_relay_is_reached_over_tls() {
    let Some(lan) = Lan::up() else { return };
    lan.cable.drop_outgoing(&[NO_UDP, ONLY_HTTPS]);
    two_browsers_talk(&lan.site(SERVER_V4), "?it=relay", &["tls"]).await;
}

/// Page, WebSocket and TURN over TLS all check the certificate, here against the name.
#[tokio::test]
async fn the_machine_s_name_is_trusted_as_its_address_is() {
    let Some(lan) = Lan::up() else { return };
    lan.cable.drop_outgoing(&[NO_UDP, ONLY_HTTPS]);
    let mut site = lan.site(&format!("{HOSTNAME}.local"));
    site.flags.push(format!("--host-resolver-rules=MAP {HOSTNAME}.local {SERVER_V4}"));
    two_browsers_talk(&site, "?it=relay", &["tls"]).await;
}

#[tokio::test]
async fn ipv6_alone_is_enough() {
    let Some(lan) = Lan::up() else { return };
    lan.cable.drop_outgoing(&["meta nfproto ipv4"]);
    two_browsers_talk(&lan.site(&format!("[{SERVER_V6}]")), "?it=relay&tt=udp", &["udp"]).await;
}

const HOSTNAME: &str = "attic";

/// A running site at one end of a cable, and at the other a home whose browsers trust it.
struct Lan {
    cable: Cable,
    home: Home,
    _turn: std::sync::MutexGuard<'static, ()>,
}

impl Lan {
    fn up() -> Option<Self> {
        if absent(&["chromium", "chromedriver", "certutil"]) {
            return None;
        }
        let turn = one_at_a_time();
        let lan = Self { cable: Cable::plug()?, home: Home::new(), _turn: turn };
        let up = lan.on_server(&["up"]);
        assert_eq!((up.code, up.stdout.trim()), (Some(0), &*format!("https://{SERVER_V4}/")), "{}", up.snapshot());
        assert!(up.stderr.contains(&format!("http://{SERVER_V4}/ca")), "the way for phones: {}", up.stderr);
        let trust = lan.on_server(&["cert", "trust", "--yes"]);
        assert_eq!(trust.code, Some(0), "{}", trust.snapshot());
        Some(lan)
    }

    fn site(&self, host: &str) -> Site {
        Site { link: format!("https://{host}/"), home: self.home.path("."), netns: Some(self.cable.clients()), flags: Vec::new() }
    }

    /// As root there, on a machine of that name without systemd, and without a system-wide list of authorities: browsers have their own, and
    /// writing the other takes long.
    fn on_server(&self, words: &[&str]) -> Said {
        let stage = format!(
            "set -e; mount --make-rprivate /; hostname {HOSTNAME}
             for folder in /usr/local/share /run/systemd; do [ ! -d $folder ] || mount -t tmpfs none $folder; done
             exec \"$0\" \"$@\""
        );
        let server = self.cable.server();
        let run = self.home.path("state/run");
        let said = self.home.rtcctl_under(&["ip", "netns", "exec", &server, "unshare", "--mount", "--uts", "sh", "-c", &stage], words);
        said.env("RTCCTL_RUN", run.to_str().unwrap()).run()
    }
}
