//! The page in real Chromium: two people talk, one leaves, a third finds the room full, a device that does not trust
//! the site is told so. The server is `rtcctl serve` with a state and ports of its own.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests: a panic is a failed test")]

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::chrome::{Chrome, Page, absent};

const SOON: Duration = Duration::from_secs(20);
/// Two browsers, their encoders and the server share few cores.
const MEDIA: Duration = Duration::from_secs(45);

/// A running server as its users see it.
pub(crate) struct Site {
    /// `https://192.168.1.20:8443/`, with the slash.
    pub(crate) link: String,
    /// HOME of the browsers: its NSS store trusts the site, or does not.
    pub(crate) home: PathBuf,
    /// The network namespace the browsers run in.
    pub(crate) netns: Option<String>,
}

impl Site {
    /// Nobody was there before.
    fn room(&self, query: &str) -> String {
        static ROOMS: AtomicU32 = AtomicU32::new(0);
        format!("{}r/test-{}-{}{query}", self.link, std::process::id(), ROOMS.fetch_add(1, Ordering::Relaxed))
    }

    fn chrome(&self) -> Chrome {
        Chrome::start(&self.home, self.netns.as_deref())
    }
}

#[tokio::test]
async fn two_browsers_talk_directly() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "", None).await;
}

#[tokio::test]
async fn two_browsers_talk_by_relay_over_udp() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "?it=relay&tt=udp", Some("udp")).await;
}

#[tokio::test]
async fn two_browsers_talk_by_relay_over_tcp() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "?it=relay&tt=tcp", Some("tcp")).await;
}

#[tokio::test]
async fn two_browsers_talk_by_relay_over_tls() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "?it=relay&tt=tls", Some("tls")).await;
}

#[tokio::test]
async fn a_third_device_is_told_that_the_room_is_full() {
    let Some(server) = Server::start() else { return };
    third_is_told(&server.site()).await;
}

#[tokio::test]
async fn leaving_is_said_and_the_same_link_works_again() {
    let Some(server) = Server::start() else { return };
    leaving_is_said(&server.site()).await;
}

#[tokio::test]
async fn the_page_is_small_and_asks_nobody_else() {
    let Some(server) = Server::start() else { return };
    page_is_small(&server.site()).await;
}

#[tokio::test]
async fn the_qr_code_is_the_one_another_encoder_draws() {
    let Some(server) = Server::start() else { return };
    qr_codes_are_right(&server.site()).await;
}

#[tokio::test]
async fn a_device_without_trust_is_told_what_to_do() {
    let Some(server) = Server::start() else { return };
    untrusted_is_told(&server.stranger(), &server.plain_link()).await;
}

#[tokio::test]
async fn the_ca_page_sees_that_this_device_trusts_the_site() {
    let Some(server) = Server::start() else { return };
    let site = server.site();
    let chrome = site.chrome();
    let page = chrome.open(&[]).await;
    page.goto(&format!("{}ca", site.link)).await;
    page.press("#test").await;
    page.wait("the verdict", SOON, "document.querySelector('#verdict').innerText.trim() === 'Trusted'").await;
    page.close().await;
}

/// Both see and hear each other; with `relay`, by a relay that was reached over that protocol.
pub(crate) async fn two_browsers_talk(site: &Site, query: &str, relay: Option<&str>) {
    let chrome = site.chrome();
    let (anna, ben) = meet(&chrome, site, &site.room(query)).await;
    for page in [&anna, &ben] {
        flows(page).await;
        let report = Report::of(page).await;
        assert_eq!(report.relay_protocol().as_deref(), relay, "protocol to the relay, of the selected local candidate");
    }
    assert!(anna.text("#truth").await.contains("Ben"), "the line names the other side");
    let path = match relay {
        None => "direct".to_owned(),
        Some(protocol) => format!("relay over {}", protocol.to_uppercase()),
    };
    anna.wait(&format!("the line says {path}"), SOON, &format!("document.querySelector('#truth').innerText.includes({path:?})")).await;
    anna.close().await;
    ben.close().await;
}

async fn third_is_told(site: &Site) {
    let chrome = site.chrome();
    let room = site.room("");
    let (anna, ben) = meet(&chrome, site, &room).await;
    let carl = chrome.open(&[]).await;
    carl.goto(&room).await;
    join(&carl, "Carl").await;
    carl.wait_state("room-full", SOON).await;
    assert!(carl.text("main:not([hidden])").await.contains("This room is full"));
    flows(&anna).await;
    ben.press("#bar [data-do=leave]").await;
    ben.wait_state("after", SOON).await;
    carl.press("#message [data-do=retry]").await;
    join(&carl, "Carl").await;
    carl.wait_state("call", SOON).await;
    anna.wait("the newcomer by name", SOON, "document.querySelector('#truth').innerText.includes('Carl')").await;
    for page in [anna, ben, carl] {
        page.close().await;
    }
}

async fn leaving_is_said(site: &Site) {
    let chrome = site.chrome();
    let (anna, ben) = meet(&chrome, site, &site.room("")).await;
    ben.press("#bar [data-do=leave]").await;
    ben.wait_state("after", SOON).await;
    assert!(ben.text("main:not([hidden])").await.contains("The call has ended"));
    anna.wait_state("call-left", SOON).await;
    assert!(anna.text(".middle").await.contains("Ben has left"));
    anna.wait("the live region says it", SOON, "document.querySelector('#said').textContent.includes('Ben has left')").await;

    ben.press("[data-do=rejoin]").await;
    join(&ben, "Ben").await;
    flows(&anna).await;
    flows(&ben).await;

    // A closed tab says goodbye too, without a button.
    ben.goto("about:blank").await;
    anna.wait_state("call-left", SOON).await;
    anna.press("[data-do=wait]").await;
    anna.wait_state("waiting", SOON).await;
    anna.close().await;
    ben.close().await;
}

async fn page_is_small(site: &Site) {
    let chrome = site.chrome();
    let page = chrome.open(&[]).await;
    page.eval("return 0").await;
    page.goto(&site.link).await;
    page.wait_state("landing", SOON).await;
    let loaded = page
        .eval(
            "const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
             return entries.map(({ name, decodedBodySize }) => [name, decodedBodySize]);",
        )
        .await;
    let loaded: Vec<(String, u64)> = serde_json::from_value(loaded).unwrap();
    assert!(loaded.len() > 10, "page, style and modules: {loaded:?}");
    for (address, _) in &loaded {
        assert!(address.starts_with(&site.link), "asked elsewhere: {address}");
    }
    let total: u64 = loaded.iter().map(|(_, size)| size).sum();
    assert!(total < 150 * 1024, "{total} bytes");

    for width in [320, 390, 1280] {
        page.size(width, 800).await;
        let beyond = page.eval("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(beyond, Value::from(0), "nothing scrolls sideways at {width} px");
    }
    page.press("#new-room").await;
    page.wait_state("prejoin", SOON).await;
    let room = page.eval("return location.pathname").await;
    let room = room.as_str().unwrap();
    assert!(room.starts_with("/r/") && room.len() > "/r/".len() + 14, "unguessable: {room}");
    page.close().await;
}

/// Every version there is, at both ends of its capacity. The masks may differ: any of the eight is a right one.
async fn qr_codes_are_right(site: &Site) {
    use fast_qr::datamasking::Mask;
    let masks = [
        Mask::Checkerboard,
        Mask::HorizontalLines,
        Mask::VerticalLines,
        Mask::DiagonalLines,
        Mask::LargeCheckerboard,
        Mask::Fields,
        Mask::Diamonds,
        Mask::Meadow,
    ];
    let chrome = site.chrome();
    let page = chrome.open(&[]).await;
    page.goto(&site.link).await;
    for length in [1, 14, 15, 26, 27, 42, 43, 62, 63, 84, 85, 106, 107, 122, 123, 152, 153, 180, 181, 213] {
        let text: String = "https://192.168.1.20/r/quiet-otter-x7k2m9q4ta?".chars().cycle().take(length).collect();
        let drawn = page.eval(&format!("const {{ qr }} = await import('/assets/qr.js'); return qr({text:?})")).await;
        let drawn: Vec<Vec<bool>> = serde_json::from_value(drawn).unwrap();
        let right = masks.iter().any(|mask| {
            let mut builder = fast_qr::QRBuilder::new(text.as_str());
            let code = builder.mode(fast_qr::Mode::Byte).ecl(fast_qr::ECL::M).mask(*mask).build().unwrap();
            (0..code.size).map(|y| code[y].iter().map(|module| module.value()).collect::<Vec<_>>()).eq(drawn.iter().cloned())
        });
        assert!(right, "{length} bytes, {} modules wide", drawn.len());
    }
    let longer = page.eval("const { qr } = await import('/assets/qr.js'); return qr('a'.repeat(214))").await;
    assert_eq!(longer, Value::Null, "too long to draw, and not drawn wrongly");
    page.close().await;
}

/// Chromium itself refuses the page. After "proceed" it lets page and socket through, but not TURN over TLS: a call
/// that needs it must say so and show the way to `/ca`.
async fn untrusted_is_told(site: &Site, plain: &str) {
    let chrome = site.chrome();
    let strict = chrome.open(&[]).await;
    let refused = strict.try_goto(&site.link).await.expect_err("a certificate nobody trusts");
    assert!(refused.contains("ERR_CERT_AUTHORITY_INVALID"), "{refused}");

    strict.goto(&format!("{plain}ca")).await;
    strict.press("#test").await;
    strict.wait("the verdict", SOON, "document.querySelector('#verdict').innerText.trim() === 'Not trusted yet'").await;
    strict.close().await;

    let room = site.room("?it=relay&tt=tls");
    let (anna, ben) = (chrome.open_careless().await, chrome.open_careless().await);
    for (page, name) in [(&anna, "Anna"), (&ben, "Ben")] {
        page.goto(&room).await;
        join(page, name).await;
    }
    anna.wait_state("call-nopath", MEDIA).await;
    let words = anna.text(".middle").await;
    assert!(words.contains("does not trust this site"), "{words}");
    anna.wait("the way to /ca", SOON, "document.querySelector('[data-in=call-nopath] a[href=\"/ca\"]').offsetParent").await;
    anna.close().await;
    ben.close().await;
}

/// Anna waits, Ben comes.
async fn meet(chrome: &Chrome, site: &Site, room: &str) -> (Page, Page) {
    let (anna, ben) = (chrome.open(&[]).await, chrome.open(&[]).await);
    anna.goto(room).await;
    join(&anna, "Anna").await;
    anna.wait_state("waiting", SOON).await;
    assert!(anna.text("#link").await.starts_with(&site.link), "the link to send");
    ben.goto(room).await;
    join(&ben, "Ben").await;
    anna.wait_state("call", MEDIA).await;
    ben.wait_state("call", MEDIA).await;
    (anna, ben)
}

async fn join(page: &Page, name: &str) {
    page.wait("the Join button", SOON, "document.body.dataset.state === 'prejoin' && !document.querySelector('#join-button').disabled").await;
    page.eval(&format!("document.querySelector('#name').value = {name:?}")).await;
    page.press("#join-button").await;
}

/// Decoded sound and decoded frames grow.
async fn flows(page: &Page) {
    page.wait_state("call", MEDIA).await;
    let before = Report::of(page).await;
    let until = Instant::now() + MEDIA;
    loop {
        let now = Report::of(page).await;
        if now.sum("audio", "totalSamplesReceived") > before.sum("audio", "totalSamplesReceived")
            && now.sum("audio", "totalAudioEnergy") > 0.0
            && now.sum("video", "framesDecoded") > before.sum("video", "framesDecoded")
        {
            return;
        }
        assert!(Instant::now() < until, "nothing decoded: {:?}", now.0);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What getStats says.
struct Report(Vec<Value>);

impl Report {
    async fn of(page: &Page) -> Self {
        Self(page.eval("return await rtcctl.report()").await.as_array().cloned().unwrap_or_default())
    }

    fn sum(&self, kind: &str, key: &str) -> f64 {
        let incoming = self.0.iter().filter(|row| row["type"] == "inbound-rtp" && row["kind"] == kind);
        incoming.filter_map(|row| row[key].as_f64()).sum()
    }

    fn by_id(&self, id: &Value) -> &Value {
        self.0.iter().find(|row| row["id"] == *id).unwrap_or(&Value::Null)
    }

    fn relay_protocol(&self) -> Option<String> {
        let transport = self.0.iter().find(|row| row["type"] == "transport").expect("a transport");
        let local = self.by_id(&self.by_id(&transport["selectedCandidatePairId"])["localCandidateId"]);
        Some(local["relayProtocol"].as_str()?.to_owned())
    }
}

/// `rtcctl serve` in the foreground, with a temporary state, on the address that others would use.
struct Server {
    daemon: Child,
    folder: tempfile::TempDir,
    address: IpAddr,
    https: u16,
    http: u16,
}

impl Server {
    /// `None` if the tools are not there.
    fn start() -> Option<Self> {
        if absent(&["chromium", "chromedriver", "certutil"]) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("rtcctl-site-").tempdir().unwrap();
        let address = own_address();
        let [https, http, turn] = free_ports(address);
        let config = folder.path().join("rtcctl.toml");
        let text = format!(
            "[site]\naddress = \"{address}\"\nlisten = [\"{address}\"]\nhttps_port = {https}\nhttp_port = {http}\n\
             [cert]\nca = \"local\"\n[turn]\nports = [{turn}]\npublic_address = \"{address}\"\n[metrics]\nlisten = \"off\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let daemon = Command::new(env!("CARGO_BIN_EXE_rtcctl"))
            .args(["serve", "--no-input", "--config"])
            .arg(&config)
            .arg("--state")
            .arg(folder.path().join("state"))
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { daemon, folder, address, https, http };
        server.wait_until_it_listens();
        Some(server)
    }

    fn wait_until_it_listens(&mut self) {
        let until = Instant::now() + SOON;
        while TcpStream::connect((self.address, self.https)).is_err() || TcpStream::connect((self.address, self.http)).is_err() {
            let ended = self.daemon.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the server ended, {ended:?}:\n{}", log());
            assert!(Instant::now() < until, "the server does not listen:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn link(&self) -> String {
        format!("https://{}:{}/", bracketed(self.address), self.https)
    }

    fn plain_link(&self) -> String {
        format!("http://{}:{}/", bracketed(self.address), self.http)
    }

    /// Seen from a device that trusts the site's authority.
    fn site(&self) -> Site {
        let home = self.folder.path().join("trusting");
        trust(&home, &self.folder.path().join("state/ca/ca.pem"));
        Site { link: self.link(), home, netns: None }
    }

    /// Seen from a device that was never told about it.
    fn stranger(&self) -> Site {
        let home = self.folder.path().join("stranger");
        std::fs::create_dir_all(&home).unwrap();
        Site { link: self.link(), home, netns: None }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.daemon.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
        let until = Instant::now() + Duration::from_secs(6);
        while matches!(self.daemon.try_wait(), Ok(None)) {
            if Instant::now() > until {
                self.daemon.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Chromium on Linux asks the NSS store in HOME; a page, a WebSocket and TURN over TLS are then trusted alike.
fn trust(home: &Path, authority: &Path) {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{}", store.display());
    for arguments in [vec!["-N", "--empty-password"], vec!["-A", "-t", "C,,", "-n", "rtcctl test", "-i", authority.to_str().unwrap()]] {
        let done = Command::new("certutil").args(["-d", &database]).args(&arguments).output().unwrap();
        assert!(done.status.success(), "certutil {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// The address a packet to elsewhere would carry; nothing is sent. Without any network, loopback.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let found = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    found.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

/// Ports that are free for TCP and UDP at this moment.
fn free_ports<const N: usize>(address: IpAddr) -> [u16; N] {
    let mut held = Vec::new();
    std::array::from_fn(|_| {
        loop {
            let stream = TcpListener::bind((address, 0)).unwrap();
            let port = stream.local_addr().unwrap().port();
            let datagram = UdpSocket::bind((address, port));
            let free = datagram.is_ok();
            held.push((stream, datagram));
            if free {
                return port;
            }
        }
    })
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
