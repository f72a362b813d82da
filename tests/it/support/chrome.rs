//! Real Chromium under chromedriver: its own HOME and profile, fake camera and microphone, optionally inside a network
//! namespace. Everything it started ends with it.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests: a panic is a failed test")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// `--no-sandbox`: Chromium refuses to run as root with it. QUIC and background traffic only add noise. Without
/// loopback candidates two browsers on a machine with nothing but `lo` find no path.
const FLAGS: [&str; 13] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-pipe",
];

/// Generous: it is spent only where the machine is busy with other things.
const START: Duration = Duration::from_secs(60);

/// True if a tool is absent: the test then ends early with one loud line, or fails where everything is required.
pub(crate) fn absent(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing: Vec<_> = tools.iter().filter(|tool| !std::env::split_paths(&path).any(|folder| folder.join(tool).exists())).collect();
    if missing.is_empty() {
        return false;
    }
    assert!(std::env::var("RTCCTL_REQUIRE").as_deref() != Ok("all"), "these tools are required: {missing:?}");
    say(&format!("NOT TESTED: these tools are absent: {missing:?}"));
    true
}

#[expect(clippy::print_stderr, reason = "a test that did not run has to say so")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// One chromedriver and the browsers it opened.
pub(crate) struct Chrome {
    driver: Child,
    port: u16,
    binary: PathBuf,
    flags: Vec<String>,
    /// Profiles, caches, the wrapper: unique, so that a stray browser is found by it.
    folder: tempfile::TempDir,
}

impl Chrome {
    /// `home` holds the NSS store that decides which authorities are trusted. `netns`: the browser runs in that network
    /// namespace; the driver stays outside and talks to it through a pipe. `flags` are Chromium's, besides our own.
    pub(crate) fn start(home: &Path, netns: Option<&str>, flags: &[String]) -> Self {
        let folder = tempfile::Builder::new().prefix("rtcctl-chrome-").tempdir().unwrap();
        let binary = folder.path().join("chromium");
        let inside = netns.map_or_else(String::new, |name| format!("ip netns exec {name} "));
        std::fs::write(&binary, format!("#!/bin/sh\nexec {inside}chromium \"$@\"\n")).unwrap();
        std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home)
            .env_remove("XDG_DATA_HOME")
            .env("XDG_CONFIG_HOME", folder.path())
            .env("XDG_CACHE_HOME", folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = announced_port(&mut driver);
        Self { driver, port, binary, flags: flags.to_vec(), folder }
    }

    /// A new browser with a profile of its own.
    pub(crate) async fn open(&self) -> Page {
        let profile = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let mut arguments: Vec<String> = FLAGS.iter().map(ToString::to_string).chain(self.flags.iter().cloned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let capabilities = json!({
            "acceptInsecureCerts": false,
            "goog:chromeOptions": { "binary": self.binary, "args": arguments },
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let connecting = builder.connect(&format!("http://127.0.0.1:{}", self.port)).await;
        Page { client: connecting.expect("chromedriver opens a browser") }
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        self.driver.kill().ok();
        self.driver.wait().ok();
        // Chromium's children end with it; Chromium itself is known by the folder in its arguments.
        let mark = self.folder.path().display().to_string();
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left = started_with(&mark);
            for pid in &left {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL).ok();
            }
            if left.is_empty() || Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Chromium on Linux asks the NSS store in HOME; a page, a WebSocket and TURN over TLS are then trusted alike.
pub(crate) fn trust(home: &Path, authority: &Path) {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{}", store.display());
    for arguments in [vec!["-N", "--empty-password"], vec!["-A", "-t", "C,,", "-n", "rtcctl test", "-i", authority.to_str().unwrap()]] {
        let done = Command::new("certutil").args(["-d", &database]).args(&arguments).output().unwrap();
        assert!(done.status.success(), "certutil {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// The driver was told to take any port and says which.
fn announced_port(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().expect("its output is a pipe")).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let words = line.split_once("started successfully on port ")?.1;
        words.trim_end_matches('.').trim().parse().ok()
    });
    // It goes on talking, and dies if nobody listens.
    std::thread::spawn(move || lines.for_each(drop));
    port.expect("chromedriver says its port")
}

/// Process ids with this text among their arguments.
fn started_with(text: &str) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text)))
        .collect()
}

/// One tab of one browser.
pub(crate) struct Page {
    client: Client,
}

impl Page {
    pub(crate) async fn goto(&self, url: &str) {
        let opening = tokio::time::timeout(START, self.client.goto(url)).await;
        opening.expect("the page answers in time").unwrap_or_else(|error| panic!("open {url}: {error}"));
    }

    /// As people do: reads the browser's warning and presses "Proceed". Returns what the warning said.
    pub(crate) async fn goto_anyway(&self, url: &str) -> String {
        self.goto(url).await;
        self.wait("the browser's warning", START, "document.querySelector('#proceed-link')").await;
        let warning = self.text("body").await;
        self.eval("document.querySelector('#details-button').click(); setTimeout(() => document.querySelector('#proceed-link').click())").await;
        self.wait("the page itself", START, "document.body.dataset.state").await;
        warning
    }

    /// The value of a JavaScript body that may `await`.
    pub(crate) async fn eval(&self, body: &str) -> Value {
        self.try_eval(body).await.unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// Fails while one page makes way for the next.
    async fn try_eval(&self, body: &str) -> Result<Value, fantoccini::error::CmdError> {
        let script = format!("const done = arguments[0]; (async () => {{ {body} }})().then(done, (error) => done({{ failed: String(error) }}));");
        self.client.execute_async(&script, vec![]).await
    }

    /// What `data-state` says.
    pub(crate) async fn state(&self) -> String {
        self.eval("return document.body.dataset.state ?? ''").await.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn wait_state(&self, wanted: &str, within: Duration) {
        self.wait(&format!("state {wanted}"), within, &format!("document.body.dataset.state === {wanted:?}")).await;
    }

    /// Polls until the JavaScript expression is true.
    pub(crate) async fn wait(&self, what: &str, within: Duration, expression: &str) {
        let until = Instant::now() + within;
        let script = format!("return Boolean({expression})");
        while !self.try_eval(&script).await.is_ok_and(|value| value == Value::Bool(true)) {
            assert!(
                Instant::now() < until,
                "waited {within:?} for {what}; the page is in state {:?} and says:\n{}",
                self.state().await,
                self.text("body").await
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Presses it as a script would, wherever it is on the page.
    pub(crate) async fn press(&self, selector: &str) {
        let pressed = self.eval(&format!("const it = document.querySelector({selector:?}); it?.click(); return Boolean(it)")).await;
        assert_eq!(pressed, Value::Bool(true), "nothing to press: {selector}");
    }

    /// The visible text.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("return document.querySelector({selector:?})?.innerText ?? ''")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn size(&self, width: u32, height: u32) {
        self.client.set_window_size(width, height).await.unwrap();
    }

    pub(crate) async fn close(self) {
        self.client.close().await.ok();
    }
}
