//! Who may open rooms on a site that keeps it to its hosts: at the wire, by the command, and in a real browser.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Extension;
use axum::routing::get;
use expect_test::expect;
use rtcctl::config::{Secret, model};
use rtcctl::probe::{self, Target};
use rtcctl::signal::invite::{COOKIE, Generation, Rights};
use rtcctl::signal::names::{Identity, RoomName};
use rtcctl::signal::{ClientIp, IceSettings, Origin, Settings, Signal, hosts};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::browser::{Server, join};
use crate::support::cli::Home;

const SOON: Duration = Duration::from_secs(20);
const HOUR: u64 = 3600;

#[tokio::test]
async fn a_stranger_opens_nothing_and_is_told_why_as_apprtc_clients_read_it() {
    let site = Site::start().await;
    let answer = site.join("a", None).await;
    expect![[r#"
        {
          "code": "HOSTS_ONLY",
          "params": {
            "messages": []
          },
          "reason": "no host link was opened in this browser",
          "result": "Only hosts open rooms on this site, and this room is not open. Join when its host is in it."
        }"#]]
    .assert_eq(&format!("{answer:#}"));
    assert_eq!(site.join("a?debug=loopback", None).await["code"], "HOSTS_ONLY");
    assert_eq!(site.may(None).await, json!({ "open_rooms": "hosts", "may_open_rooms": false }));
    assert_eq!(site.signal.counts().rooms, 0);
}

#[tokio::test]
async fn a_host_opens_the_room_and_anybody_with_its_link_comes_in() {
    let site = Site::start().await;
    let cookie = site.host().await;
    assert_eq!(site.may(Some(&cookie)).await["may_open_rooms"], true);
    let host = site.join("a", Some(&cookie)).await;
    assert_eq!((&host["result"], &host["params"]["is_initiator"]), (&json!("SUCCESS"), &json!("true")));
    let guest = site.join("a", None).await;
    assert_eq!((&guest["result"], &guest["params"]["is_initiator"]), (&json!("SUCCESS"), &json!("false")));
    assert_eq!(site.join("a", None).await["result"], "FULL", "an open room is what it always was");

    site.leave("a", &host).await;
    assert_eq!(site.join("a", None).await["result"], "SUCCESS", "open for as long as somebody has a seat");
    site.leave("a", &guest).await;
    assert_eq!(site.join("a", None).await["result"], "SUCCESS");
}

#[tokio::test]
async fn an_empty_room_is_closed_again() {
    let site = Site::start().await;
    let cookie = site.host().await;
    let host = site.join("a", Some(&cookie)).await;
    site.leave("a", &host).await;
    assert_eq!(site.join("a", None).await["code"], "HOSTS_ONLY");
    assert_eq!(site.join("a", Some(&cookie)).await["result"], "SUCCESS");
}

#[tokio::test]
async fn cookies_that_are_forged_over_revoked_or_of_another_site_open_nothing() {
    let site = Site::start().await;
    let good = site.host().await;
    let elsewhere = Site::start_with(Secret::new([9; 32])).await.host().await;
    let link = site.rights().link(Generation(1), now() + HOUR);
    let over = site.rights().pass(now() - HOUR);
    let changed = format!("{}{}", &good[..good.len() - 1], if good.ends_with('A') { 'Q' } else { 'A' });
    for (cookie, why) in [
        ("", "it was not made by this site"),
        ("AAAA", "it was not made by this site"),
        (&changed, "it was not made by this site"),
        (&elsewhere, "it was not made by this site"),
        (&link, "it was not made by this site"),
        (&over, "its time is over"),
    ] {
        let answer = site.join("a", Some(cookie)).await;
        assert_eq!((&answer["code"], &answer["reason"]), (&json!("HOSTS_ONLY"), &json!(why)), "{cookie}");
    }
    hosts::revoke(&site.generation()).unwrap();
    assert_eq!(site.join("a", Some(&good)).await["reason"], "it was revoked", "from the moment it is written");
    let again = site.host().await;
    assert_eq!(site.join("a", Some(&again)).await["result"], "SUCCESS");
}

#[tokio::test]
async fn links_that_give_no_right_say_so() {
    let site = Site::start().await;
    hosts::begin(&site.generation()).unwrap();
    let rights = site.rights();
    let revoked = rights.link(Generation(7), now() + HOUR);
    for (link, status, code) in [
        (rights.link(Generation(1), now() - 1), 403, "expired"),
        (revoked, 403, "revoked"),
        (Rights::new(&Secret::new([9; 32])).link(Generation(1), now() + HOUR), 403, "foreign"),
        (rights.pass(now()), 403, "foreign"),
        ("nonsense".into(), 403, "foreign"),
    ] {
        let answer = site.enter(&link).await;
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("set-cookie")), (status, false), "{code}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
    }
    let answer = site.enter(&rights.link(Generation(1), now() + HOUR)).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(!answer.headers().contains_key("access-control-allow-origin"), "no foreign page may ask for it");
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(set.starts_with(&format!("{COOKIE}=")) && set.ends_with("; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Strict"), "{set}");
}

#[tokio::test]
async fn without_the_file_that_counts_nobody_is_a_host() {
    let site = Site::start().await;
    let cookie = site.host().await;
    std::fs::write(site.generation(), "many").unwrap();
    assert_eq!(site.join("a", Some(&cookie)).await["reason"], "the server cannot read who its hosts are");
    std::fs::remove_file(site.generation()).unwrap();
    assert_eq!(site.join("a", Some(&cookie)).await["reason"], "it was revoked");
}

#[tokio::test]
async fn a_seat_of_today_brings_its_room_back_and_one_of_last_week_does_not() {
    let site = Site::start().await;
    let room = RoomName::parse("a").unwrap();
    let post = async |issued: u64| {
        let id = Identity::new(&Site::key()).issue(&room, [3; 16], issued);
        let path = format!("/message/a/{}", id.as_str());
        site.http.post(site.url(&path)).body("hello").send().await.unwrap().json::<Value>().await.unwrap()["result"].clone()
    };
    assert_eq!(post(now() - 25 * HOUR).await, "UNKNOWN_ROOM");
    assert_eq!(site.signal.counts().rooms, 0);
    assert_eq!(post(now() - 23 * HOUR).await, "SUCCESS", "a restarted server, or a network that was away");
    assert_eq!(post(now() - 25 * HOUR).await, "SUCCESS", "and while the room is open it is as everywhere");
}

#[tokio::test]
async fn relay_credentials_are_for_people_in_a_room() {
    let site = Site::start().await;
    let key = async || {
        let params: Value = site.http.get(site.url("/params")).send().await.unwrap().json().await.unwrap();
        params["ice_server_url"].as_str().unwrap().to_owned()
    };
    let refused = site.http.post(key().await).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("join one first"));

    // iOS asks for both at once.
    let cookie = site.host().await;
    let (ice, joined) = tokio::join!(site.http.post(key().await).send(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        site.join("a", Some(&cookie)).await
    });
    assert_eq!(joined["result"], "SUCCESS");
    let ice: Value = ice.unwrap().json().await.unwrap();
    assert!(ice["iceServers"][1]["credential"].is_string(), "{ice}");
}

#[tokio::test]
async fn the_proof_of_up_comes_in_by_the_operators_pass() {
    let site = Site::start().await;
    let target = Target {
        link: site.url("/"),
        roots: Vec::new(),
        transports: Vec::new(),
        deadline: SOON,
        cookie: Some(format!("{COOKIE}={}", site.rights().pass(now()))),
    };
    probe::prove(&target).await.unwrap();
    let broken = probe::prove(&Target { cookie: None, ..target }).await.unwrap_err();
    assert!(broken.cause.contains("Only hosts open rooms on this site"), "{broken}");
}

#[test]
fn the_command_says_what_stands_in_the_way() {
    let home = Home::new();
    let invite = |more: &[&str]| home.rtcctl(&[&["call", "invite", "--as-host"], more].concat()).run().snapshot();
    expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: nothing was set up in ~/state
        hint: rtcctl up
        hint: or call as the user who ran rtcctl up, often: sudo rtcctl call invite --as-host
    "#]]
    .assert_eq(&invite(&["--revoke", "--yes"]));
    expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: nothing runs here that a host link could lead to
        hint: rtcctl up
    "#]]
    .assert_eq(&invite(&[]));
    expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: --ttl: longer than 168h: 192h
        hint: a host link is opened once, soon; the browser keeps the right for a year
    "#]]
    .assert_eq(&invite(&["--ttl", "8d"]));
    home.write("state/signal.key", "00");
    expect![[r#"
        exit 3
        --- stdout
        --- stderr
        error: read secret ~/state/signal.key: others may read it (mode 0644); chmod 600 ~/state/signal.key, and make a new secret if somebody could have
    "#]]
    .assert_eq(&invite(&["--revoke"]));
    assert!(!home.path("state/hosts.generation").exists());
}

#[tokio::test]
async fn in_a_browser_the_closed_landing_the_host_link_and_a_guest() {
    let Some(server) = Server::start_for("hosts") else { return };
    let site = server.site();
    let chrome = site.chrome();
    let (guest, host) = (chrome.open().await, chrome.open().await);

    guest.goto(&site.link).await;
    guest.wait_state("landing-closed", SOON).await;
    assert!(guest.text("main:not([hidden])").await.contains("Only hosts open rooms here"));
    assert_eq!(guest.eval("return document.querySelector('#new-room').offsetParent").await, Value::Null, "nothing to press that would not work");

    let room = site.room("");
    guest.goto(&room).await;
    join(&guest, "Guest").await;
    guest.wait_state("landing-closed", SOON).await;
    assert!(guest.text("#closed-why").await.contains("is not open now"));

    let link = invite(&server);
    let (address, token) = link.split_once("#host=").unwrap();
    assert_eq!(address, site.link);
    guest.goto(&format!("{address}#host=A{token}")).await;
    guest.wait("the reason", SOON, "document.querySelector('#closed-why').innerText.includes('not made by this site')").await;

    host.goto(&link).await;
    host.wait_state("landing", SOON).await;
    assert!(host.text("#host-note").await.contains("This browser may open rooms now"));
    assert_eq!(host.eval("return location.href").await, json!(site.link), "the token does not stay in the address");
    assert_eq!(host.eval("return document.cookie").await, "", "no script reads the right");
    // As from a chat: a first visit from elsewhere, where the browser keeps a strict cookie back from the navigation itself.
    host.goto("about:blank").await;
    host.goto(&site.link).await;
    host.wait_state("landing", SOON).await;

    host.goto(&room).await;
    join(&host, "Host").await;
    host.wait_state("waiting", SOON).await;
    guest.goto(&room).await;
    join(&guest, "Guest").await;
    guest.wait_state("call", Duration::from_secs(45)).await;
    host.wait_state("call", SOON).await;

    let revoked = server.rtcctl(&["call", "invite", "--as-host", "--revoke", "--yes"]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    assert_eq!(host.state().await, "call", "a call that runs goes on");
    host.press("#bar [data-do=leave]").await;
    host.wait_state("after", SOON).await;
    host.goto(&site.link).await;
    host.wait_state("landing-closed", SOON).await;
    host.goto(&link).await;
    host.wait("the reason", SOON, "document.querySelector('#closed-why').innerText.includes('revoked')").await;
    guest.close().await;
    host.close().await;
}

fn invite(server: &Server) -> String {
    let said = server.rtcctl(&["call", "invite", "--as-host", "--json"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let answer: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&answer["schema"], &answer["generation"]), (&json!("rtcctl.call.invite/1"), &json!(1)));
    answer["link"].as_str().unwrap().to_owned()
}

/// Signaling of a hosts-only site at a port of the kernel's choice, with a page that a probe can open.
struct Site {
    address: SocketAddr,
    signal: Signal,
    http: reqwest::Client,
    state: tempfile::TempDir,
    key: Secret,
    _tasks: JoinSet<()>,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(Self::key()).await
    }

    fn key() -> Secret {
        Secret::new([5; 32])
    }

    async fn start_with(key: Secret) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = tempfile::tempdir().unwrap();
        let signal = Signal::new(Settings {
            config: model::Signal {
                open_rooms: model::RoomOpeners::Hosts,
                room_grace: Duration::from_secs(10),
                max_rooms: 100,
                max_message: 64 * 1024,
            },
            ice: IceSettings {
                ports: vec![3478],
                tls_ports: Vec::new(),
                secrets: Arc::new(ArcSwap::from_pointee(vec![Secret::new(*b"secret")])),
                ttl: Duration::from_secs(3600),
            },
            key: key.clone(),
            generation_file: state.path().join("hosts.generation"),
        });
        let origin = Origin { secure: false, host: "127.0.0.1".into(), authority: address.to_string() };
        let routes = signal.routes().route("/", get(|| async { "a page" })).layer(Extension(origin)).layer(Extension(ClientIp(address.ip())));
        let (mut tasks, running) = (JoinSet::new(), signal.clone());
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        tasks.spawn(async move { running.run(CancellationToken::new()).await });
        let http = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
        Self { address, signal, http, state, key, _tasks: tasks }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn generation(&self) -> std::path::PathBuf {
        self.state.path().join("hosts.generation")
    }

    fn rights(&self) -> Rights {
        Rights::new(&self.key)
    }

    async fn enter(&self, link: &str) -> reqwest::Response {
        self.http.post(self.url("/api/host")).body(link.to_owned()).send().await.unwrap()
    }

    /// The cookie of a browser that opened a fresh host link.
    async fn host(&self) -> String {
        let generation = hosts::begin(&self.generation()).unwrap();
        let answer = self.enter(&self.rights().link(generation, now() + HOUR)).await;
        let set = answer.headers()["set-cookie"].to_str().unwrap();
        set.strip_prefix(&format!("{COOKIE}=")).unwrap().split(';').next().unwrap().to_owned()
    }

    async fn may(&self, cookie: Option<&str>) -> Value {
        let request = self.http.get(self.url("/api/host"));
        with(request, cookie).send().await.unwrap().json().await.unwrap()
    }

    /// Status 200 whatever the outcome.
    async fn join(&self, room: &str, cookie: Option<&str>) -> Value {
        let response = with(self.http.post(self.url(&format!("/join/{room}"))), cookie).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    async fn leave(&self, room: &str, joined: &Value) {
        let client = joined["params"]["client_id"].as_str().unwrap();
        self.http.post(self.url(&format!("/leave/{room}/{client}"))).send().await.unwrap();
    }
}

/// Among others, as browsers send it.
fn with(request: reqwest::RequestBuilder, cookie: Option<&str>) -> reqwest::RequestBuilder {
    match cookie {
        Some(cookie) => request.header("Cookie", format!("theme=dark; {COOKIE}={cookie}")),
        None => request,
    }
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
