//! The page in real Chromium: two people talk, one leaves, a third finds the room full, a device that does not trust
//! the site is told so. The server is `rtcctl serve` with a state and ports of its own.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests: a panic is a failed test")]

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::chrome::{Chrome, Page, absent, trust};

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
    /// What Chromium is told besides.
    pub(crate) flags: Vec<String>,
}

impl Site {
    /// Nobody was there before.
    pub(crate) fn room(&self, query: &str) -> String {
        static ROOMS: AtomicU32 = AtomicU32::new(0);
        format!("{}r/test-{}-{}{query}", self.link, std::process::id(), ROOMS.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn chrome(&self) -> Chrome {
        Chrome::start(&self.home, self.netns.as_deref(), &self.flags)
    }
}

#[tokio::test]
async fn two_browsers_talk_directly() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "", &[]).await;
}

#[tokio::test]
async fn two_browsers_talk_by_relay_over_udp() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "?it=relay&tt=udp", &["udp"]).await;
}

#[tokio::test]
async fn two_browsers_talk_by_relay_over_tcp() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "?it=relay&tt=tcp", &["tcp"]).await;
}

#[tokio::test]
async fn two_browsers_talk_by_relay_over_tls() {
    let Some(server) = Server::start() else { return };
    two_browsers_talk(&server.site(), "?it=relay&tt=tls", &["tls"]).await;
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

/// The light beside the lens is the promise: the device is let go, not sent as black frames for ever.
#[tokio::test]
async fn a_camera_that_is_switched_off_is_let_go_and_comes_back() {
    let Some(server) = Server::start() else { return };
    let site = server.site();
    let chrome = site.chrome();
    let (anna, ben) = meet(&chrome, &site, &site.room("")).await;
    for page in [&anna, &ben] {
        flows(page).await;
    }
    anna.eval("window.before = document.querySelector('#mine').srcObject.getVideoTracks()[0]").await;
    anna.press("#bar [data-do=camera]").await;
    anna.wait("the camera let go", SOON, "before.readyState === 'ended'").await;
    ben.wait("the words for it", SOON, "document.querySelector('#face').offsetParent").await;
    let sent = Report::of(&anna).await.sum("outbound-rtp", "video", "framesSent");
    let heard = Report::of(&ben).await.sum("inbound-rtp", "audio", "totalSamplesReceived");
    let until = Instant::now() + SOON;
    while Report::of(&ben).await.sum("inbound-rtp", "audio", "totalSamplesReceived") < heard + 48_000.0 {
        assert!(Instant::now() < until, "the sound goes on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(Report::of(&anna).await.sum("outbound-rtp", "video", "framesSent"), sent, "no frame in a second of sound");

    // Pressed three times in a row, the last one counts.
    anna.eval("for (let at = 0; at < 3; at++) document.querySelector('#bar [data-do=camera]').click()").await;
    anna.wait("its own picture", SOON, "document.querySelector('#mine').srcObject?.getVideoTracks()[0]?.readyState === 'live'").await;
    ben.wait("no more words", SOON, "!document.querySelector('#face').offsetParent").await;
    flows(&ben).await;
    anna.close().await;
    ben.close().await;
}

#[tokio::test]
async fn the_call_outlives_the_server() {
    let Some(mut server) = Server::start() else { return };
    let site = server.site();
    let chrome = site.chrome();
    let (anna, ben) = meet(&chrome, &site, &site.room("")).await;
    flows(&anna).await;

    server.stop();
    anna.wait_state("call-server", SOON).await;
    assert!(anna.text(".notes").await.contains("The server is gone; the call goes on"));
    grows(&anna).await;

    server.start_again();
    anna.wait_state("call", SOON).await;
    ben.wait_state("call", SOON).await;
    flows(&ben).await;

    server.stop();
    ben.press("#bar [data-do=leave]").await;
    ben.wait_state("after", SOON).await;
    anna.close().await;
    ben.close().await;
}

#[tokio::test]
async fn the_page_is_small_and_asks_nobody_else() {
    let Some(server) = Server::start() else { return };
    page_is_small(&server.site()).await;
}

#[tokio::test]
async fn the_modules_decide_rightly() {
    let Some(server) = Server::start() else { return };
    modules_decide(&server.site()).await;
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
    let page = chrome.open().await;
    page.goto(&format!("{}ca", site.link)).await;
    page.press("#test").await;
    page.wait("the verdict", SOON, "document.querySelector('#verdict').innerText.trim() === 'Trusted'").await;
    page.close().await;
}

/// Both see and hear each other, by a relay that was reached over one of these protocols; directly if there are none.
///
/// Chromium takes the first path that works and lets go of what is gathered later: only one protocol that is offered is one that is taken for sure.
pub(crate) async fn two_browsers_talk(site: &Site, query: &str, relay: &[&str]) {
    let chrome = site.chrome();
    let (anna, ben) = meet(&chrome, site, &site.room(query)).await;
    assert!(anna.text("#truth").await.contains("Ben"), "the line names the other side");
    for page in [&anna, &ben] {
        flows(page).await;
        let report = Report::of(page).await;
        let path = match report.relay_protocol() {
            None if relay.is_empty() => "direct".to_owned(),
            Some(protocol) if relay.contains(&protocol.as_str()) => format!("relay over {}", protocol.to_uppercase()),
            other => panic!("to the relay by {other:?}, not {relay:?}:\n{}", report.paths()),
        };
        page.wait(&format!("the line says {path}"), SOON, &format!("document.querySelector('#truth').innerText.includes({path:?})")).await;
    }
    anna.close().await;
    ben.close().await;
}

async fn third_is_told(site: &Site) {
    let chrome = site.chrome();
    let room = site.room("");
    let (anna, ben) = meet(&chrome, site, &room).await;
    let carl = chrome.open().await;
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
    let page = chrome.open().await;
    page.eval("return 0").await;
    page.goto(&site.link).await;
    page.wait_state("landing", SOON).await;
    let loaded = page
        .eval(
            "const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
             return entries.map(({ name, transferSize }) => [name, transferSize]);",
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
    for (width, height) in [(390, 844), (844, 390)] {
        page.size(width, height).await;
        let button = "document.querySelector('#join-button').getBoundingClientRect()";
        page.wait(&format!("Join in sight at {width} x {height}"), SOON, &format!("{button}.height > 0 && {button}.bottom <= innerHeight")).await;
    }
    let room = page.eval("return location.pathname").await;
    let room = room.as_str().unwrap();
    assert!(room.starts_with("/r/") && room.len() > "/r/".len() + 14, "unguessable: {room}");
    page.close().await;
}

/// What the modules decide without a document.
async fn modules_decide(site: &Site) {
    let chrome = site.chrome();
    let page = chrome.open().await;
    page.goto(&site.link).await;
    let cases = [
        ("lobby.js", "['a', 'Quiet-otter_42', 'x'.repeat(128)].map(it.roomProblem)", json!([null, null, null])),
        ("lobby.js", "['', 'a b', 'ä', '<b>', '../a', 'x'.repeat(129)].map(it.roomProblem)", json!(vec!["badRoom"; 6])),
        ("lobby.js", "['ws', 'join', 'ca', 'assets'].map(it.roomProblem)", json!(vec!["reservedRoom"; 4])),
        ("lobby.js", "[' https://a.test:8443/r/anna?it=relay ', 'my room', 'anna'].map(it.roomFrom)", json!(["anna", "my-room", "anna"])),
        ("lobby.js", "new Set(Array.from({ length: 200 }, it.newRoomName)).size", json!(200)),
        ("lobby.js", "Array.from({ length: 200 }, it.newRoomName).every((name) => it.roomProblem(name) === null)", json!(true)),
        ("channel.js", "it.only('tls', servers).flatMap(({ urls }) => urls)", json!(["stun:h:3478", "turns:h:443?transport=tcp"])),
        ("channel.js", "it.only('tcp', servers).flatMap(({ urls }) => urls)", json!(["stun:h:3478", "turn:h:3478?transport=tcp"])),
        ("channel.js", "it.only('udp', servers).flatMap(({ urls }) => urls)", json!(["stun:h:3478", "turn:h:3478?transport=udp", "turn:h"])),
        ("channel.js", "it.only('', servers).flatMap(({ urls }) => urls).length", json!(5)),
        (
            "stats.js",
            "[null, sample(0, 20), sample(0.03, 20), sample(0, 300), sample(0.08, 20), sample(0, 500)].map(it.quality)",
            json!(["poor", "good", "fair", "fair", "poor", "poor"]),
        ),
    ];
    for (module, expression, expected) in cases {
        let body = format!(
            "const it = await import('/assets/{module}');
             const servers = [{{ urls: 'stun:h:3478' }}, {{ urls: ['turn:h:3478?transport=udp', 'turn:h:3478?transport=tcp', 'turns:h:443?transport=tcp', 'turn:h'] }}];
             const sample = (lossIn, roundTrip) => ({{ lossIn, lossOut: null, roundTrip }});
             return {expression};"
        );
        assert_eq!(page.eval(&body).await, expected, "{module}: {expression}");
    }
    page.close().await;
}

/// Chromium itself warns. After "Proceed" it lets page and socket through, but not TURN over TLS: a call that needs it
/// must say so and show the way to `/ca`.
async fn untrusted_is_told(site: &Site, plain: &str) {
    let chrome = site.chrome();
    let (anna, ben) = (chrome.open().await, chrome.open().await);
    anna.goto(&format!("{plain}ca")).await;
    anna.press("#test").await;
    anna.wait("the verdict", SOON, "document.querySelector('#verdict').innerText.trim() === 'Not trusted yet'").await;

    let room = site.room("?it=relay&tt=tls");
    for (page, name) in [(&anna, "Anna"), (&ben, "Ben")] {
        let warning = page.goto_anyway(&room).await;
        assert!(warning.contains("ERR_CERT_AUTHORITY_INVALID"), "{warning}");
        join(page, name).await;
    }
    anna.wait_state("call-nopath", MEDIA).await;
    let words = "document.querySelector('.middle').innerText";
    anna.wait("the reason", SOON, &format!("{words}.includes('does not trust this site')")).await;
    anna.wait("the way to /ca", SOON, "document.querySelector('#nopath-trust').offsetParent").await;
    anna.close().await;
    ben.close().await;
}

/// Anna waits, Ben comes.
async fn meet(chrome: &Chrome, site: &Site, room: &str) -> (Page, Page) {
    let (anna, ben) = (chrome.open().await, chrome.open().await);
    anna.goto(room).await;
    join(&anna, "Anna").await;
    anna.wait_state("waiting", SOON).await;
    assert!(anna.text("#link").await.starts_with(&site.link), "the link to send");
    anna.wait("its QR code", SOON, "document.querySelector('#qr').offsetParent && document.querySelector('#qr-code').naturalWidth > 0").await;
    ben.goto(room).await;
    join(&ben, "Ben").await;
    anna.wait_state("call", MEDIA).await;
    ben.wait_state("call", MEDIA).await;
    (anna, ben)
}

pub(crate) async fn join(page: &Page, name: &str) {
    page.wait("the Join button", SOON, "document.body.dataset.state === 'prejoin' && !document.querySelector('#join-button').disabled").await;
    page.eval(&format!("document.querySelector('#name').value = {name:?}")).await;
    page.press("#join-button").await;
}

/// In the call, and decoded sound and frames grow.
async fn flows(page: &Page) {
    page.wait_state("call", MEDIA).await;
    grows(page).await;
}

async fn grows(page: &Page) {
    let before = Report::of(page).await;
    let until = Instant::now() + MEDIA;
    loop {
        let now = Report::of(page).await;
        if now.sum("inbound-rtp", "audio", "totalSamplesReceived") > before.sum("inbound-rtp", "audio", "totalSamplesReceived")
            && now.sum("inbound-rtp", "audio", "totalAudioEnergy") > 0.0
            && now.sum("inbound-rtp", "video", "framesDecoded") > before.sum("inbound-rtp", "video", "framesDecoded")
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

    fn sum(&self, direction: &str, kind: &str, key: &str) -> f64 {
        let streams = self.0.iter().filter(|row| row["type"] == direction && row["kind"] == kind);
        streams.filter_map(|row| row[key].as_f64()).sum()
    }

    fn by_id(&self, id: &Value) -> &Value {
        self.0.iter().find(|row| row["id"] == *id).unwrap_or(&Value::Null)
    }

    /// Candidates and pairs, for a person who wonders.
    fn paths(&self) -> String {
        let kinds = ["local-candidate", "remote-candidate", "candidate-pair"];
        self.0.iter().filter(|row| kinds.iter().any(|kind| row["type"] == *kind)).map(|row| format!("{row}\n")).collect()
    }

    fn relay_protocol(&self) -> Option<String> {
        let transport = self.0.iter().find(|row| row["type"] == "transport").expect("a transport");
        let local = self.by_id(&self.by_id(&transport["selectedCandidatePairId"])["localCandidateId"]);
        Some(local["relayProtocol"].as_str()?.to_owned())
    }
}

/// Two encoding browsers fill a small machine; more of them at once would starve each other past every deadline.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `rtcctl serve` in the foreground, with a temporary state, on the address that others would use.
pub(crate) struct Server {
    _turn: MutexGuard<'static, ()>,
    daemon: Child,
    folder: tempfile::TempDir,
    address: IpAddr,
    https: u16,
    http: u16,
}

impl Server {
    /// `None` if the tools are not there.
    fn start() -> Option<Self> {
        Self::start_for("anyone")
    }

    /// `openers`: who may open rooms.
    pub(crate) fn start_for(openers: &str) -> Option<Self> {
        if absent(&["chromium", "chromedriver", "certutil"]) {
            return None;
        }
        let turn_taken = one_at_a_time();
        let folder = tempfile::Builder::new().prefix("rtcctl-site-").tempdir().unwrap();
        let address = own_address();
        let [https, http, turn] = free_ports(address);
        let config = folder.path().join("rtcctl.toml");
        let text = format!(
            "[site]\naddress = \"{address}\"\nlisten = [\"{address}\"]\nhttps_port = {https}\nhttp_port = {http}\n\
             [cert]\nca = \"local\"\n[turn]\nports = [{turn}]\npublic_address = \"{address}\"\n[signal]\nopen_rooms = \"{openers}\"\n[metrics]\nlisten = \"off\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let daemon = spawn(folder.path());
        let mut server = Self { _turn: turn_taken, daemon, folder, address, https, http };
        server.wait_until_it_listens();
        Some(server)
    }

    fn start_again(&mut self) {
        self.daemon = spawn(self.folder.path());
        self.wait_until_it_listens();
    }

    /// The same program as its operator calls it.
    pub(crate) fn rtcctl(&self, arguments: &[&str]) -> std::process::Output {
        let (config, state) = (self.folder.path().join("rtcctl.toml"), self.folder.path().join("state"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtcctl"));
        command.args(arguments).arg("--config").arg(config).arg("--state").arg(state).env("HOME", self.folder.path());
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn stop(&mut self) {
        let until = Instant::now() + Duration::from_secs(6);
        if matches!(self.daemon.try_wait(), Ok(None)) {
            let pid = nix::unistd::Pid::from_raw(self.daemon.id().cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
        }
        while matches!(self.daemon.try_wait(), Ok(None)) {
            if Instant::now() > until {
                self.daemon.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
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
    pub(crate) fn site(&self) -> Site {
        let home = self.folder.path().join("trusting");
        trust(&home, &self.folder.path().join("state/ca/ca.pem"));
        Site { link: self.link(), home, netns: None, flags: Vec::new() }
    }

    /// Seen from a device that was never told about it.
    fn stranger(&self) -> Site {
        let home = self.folder.path().join("stranger");
        std::fs::create_dir_all(&home).unwrap();
        Site { link: self.link(), home, netns: None, flags: Vec::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(folder: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_rtcctl"))
        .args(["serve", "--no-input", "--config"])
        .arg(folder.join("rtcctl.toml"))
        .arg("--state")
        .arg(folder.join("state"))
        .env("XDG_RUNTIME_DIR", folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The address a packet to elsewhere would carry; nothing is sent. Without any network, loopback.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let found = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    found.map_or_else(|_| IpAddr::from([127, 0, 0, 1]), |address| address.ip())
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
