//! What the first call costs: `up`, the idle daemon, a relayed call, the page: `cargo bench --bench first_call`.
//!
//! The release binary as people run it, with a state of its own, on ports of the kernel's choice. Each figure stands beside its goal; on a machine
//! that does other things meanwhile the times are those of that machine. Without Chromium the call and the page are said to be missing.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints, and one that cannot go on says where")]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../it/support/chrome.rs"]
mod chrome;
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../it/support/cli.rs"]
mod cli;

use chrome::{Chrome, Page};

const UPS: usize = 5;
const IDLE: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(20);
const CALLS: usize = 3;
const LOADS: usize = 7;
/// Two browsers, their encoders and the server share few cores.
const MEDIA: Duration = Duration::from_secs(60);

fn main() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("load average before: {}", load.split(' ').next().unwrap_or_default());
    let site = Site::new();
    time_up(&site);
    site.up();
    let daemon = site.daemon();
    idle(daemon);
    if chrome::absent(&["chromium", "chromedriver", "certutil"]) {
        return;
    }
    let home = site.home.path("browsers");
    chrome::trust(&home, &site.home.path("state/ca/ca.pem"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        load_page(&site, &home).await;
        relay_call(&site, &home, daemon).await;
    });
}

fn time_up(site: &Site) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..UPS {
        first.push(site.up());
        second.push(site.up());
        site.purge();
    }
    row("first up, no state, Enter to link", median(first) * 1e3, 3000.0, "ms");
    row("second up, nothing to do", median(second) * 1e3, 1000.0, "ms");
}

fn idle(daemon: i32) {
    // What it does once after its start is no part of idling.
    std::thread::sleep(Duration::from_secs(5));
    let before = cpu(daemon);
    std::thread::sleep(IDLE);
    row("idle daemon, CPU in 60 s", (cpu(daemon) - before).as_secs_f64() * 1e3, 10.0, "ms");
    row("idle daemon, resident", resident(daemon), 30.0, "MiB");
    println!("{:<36} {:>9.1} MiB", "  its supervisor, resident", resident(status_number(daemon, "PPid:") as i32));
}

/// A new browser each time: no cached file, no TLS session.
async fn load_page(site: &Site, home: &Path) {
    let (mut times, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        let chrome = Chrome::start(home, None, &[]);
        let page = chrome.open().await;
        page.goto("data:text/html,the renderer is up").await;
        page.goto(&site.link()).await;
        page.wait("the page", MEDIA, "performance.timing.loadEventEnd > 0 && document.body.dataset.state === 'landing'").await;
        let measured = page
            .eval(
                "const files = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
                 const { navigationStart, loadEventEnd } = performance.timing;
                 return [loadEventEnd - navigationStart, files.reduce((sum, { transferSize }) => sum + transferSize, 0)]",
            )
            .await;
        times.push(measured[0].as_f64().unwrap());
        bytes.push(measured[1].as_f64().unwrap() / 1024.0);
        page.close().await;
    }
    row("page load, cold cache", median(times), 100.0, "ms");
    row("page load, bytes with headers", median(bytes), 150.0, "KiB");
}

async fn relay_call(site: &Site, home: &Path, daemon: i32) {
    let chrome = Chrome::start(home, None, &[]);
    let room = format!("{}r/bench-{}?it=relay", site.link(), std::process::id());
    let (anna, ben) = (chrome.open().await, chrome.open().await);
    for page in [&anna, &ben] {
        page.goto(&room).await;
        page.wait("the Join button", MEDIA, "document.body.dataset.state === 'prejoin' && !document.querySelector('#join-button').disabled").await;
        page.press("#join-button").await;
        page.wait("a seat", MEDIA, "['waiting', 'call'].includes(document.body.dataset.state)").await;
    }
    for page in [&anna, &ben] {
        page.wait_state("call", MEDIA).await;
    }
    // Encoders find their rate first.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (mut shares, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let (began, before, sent) = (Instant::now(), cpu(daemon), received(&anna).await + received(&ben).await);
        tokio::time::sleep(CALL).await;
        let seconds = began.elapsed().as_secs_f64();
        shares.push((cpu(daemon) - before).as_secs_f64() / seconds * 100.0);
        rates.push((received(&anna).await + received(&ben).await - sent) * 8.0 / seconds / 1e6);
    }
    row("relayed call, CPU of one core", median(shares), 2.0, "%");
    println!("{:<36} {:>9.2} Mbit/s", "  media received by both sides", median(rates));
    anna.close().await;
    ben.close().await;
}

async fn received(page: &Page) -> f64 {
    let report = page.eval("return await rtcctl.report()").await;
    let streams = report.as_array().unwrap().iter().filter(|entry| entry["type"] == "inbound-rtp");
    streams.filter_map(|entry| entry["bytesReceived"].as_f64()).sum()
}

/// An installation that is taken away with everything it wrote.
struct Site {
    home: cli::Home,
    settings: Vec<String>,
}

impl Site {
    fn new() -> Self {
        let free = || {
            let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            UdpSocket::bind(("0.0.0.0", port)).is_ok().then_some((tcp, port))
        };
        let held: Vec<(TcpListener, u16)> = std::iter::repeat_with(free).flatten().take(3).collect();
        let keys = [format!("site.https_port={}", held[0].1), format!("site.http_port={}", held[1].1), format!("turn.ports=[{}]", held[2].1)];
        Self { home: cli::Home::new(), settings: keys.into_iter().chain(["metrics.listen=off".to_owned()]).collect() }
    }

    /// Seconds until the link stands there.
    fn up(&self) -> f64 {
        let began = Instant::now();
        let mut up = self.rtcctl(&self.up_words(&[])).spawn();
        let mut link = String::new();
        BufReader::new(up.stdout.take().unwrap()).read_line(&mut link).unwrap();
        let took = began.elapsed().as_secs_f64();
        let done = up.wait_with_output().unwrap();
        assert!(link.starts_with("https://"), "{}", String::from_utf8_lossy(&done.stderr));
        took
    }

    fn answer(&self) -> Value {
        self.rtcctl(&self.up_words(&["--json"])).run().json()
    }

    fn daemon(&self) -> i32 {
        self.answer()["pid"].as_i64().expect("up names the pid").try_into().unwrap()
    }

    fn link(&self) -> String {
        self.answer()["link"].as_str().unwrap().to_owned()
    }

    fn purge(&self) {
        let purged = self.rtcctl(&["down", "--purge", "--yes"]).run();
        assert_eq!(purged.code, Some(0), "{}", purged.snapshot());
    }

    fn up_words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let set = self.settings.iter().flat_map(|setting| ["--set", setting]);
        ["up"].into_iter().chain(set).chain(more.iter().copied()).collect()
    }

    fn rtcctl(&self, words: &[&str]) -> cli::Cli {
        self.home.rtcctl(words).env("RTCCTL_RUN", self.home.path("state/run").to_str().unwrap())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.rtcctl(&["down", "--purge", "--yes"]).run();
    }
}

/// On a processor so far, all threads together, from the scheduler's own count in nanoseconds.
fn cpu(pid: i32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    Duration::from_nanos(times.map(|line| line.split(' ').next().unwrap_or_default().parse::<u64>().unwrap()).sum())
}

/// MiB.
fn resident(pid: i32) -> f64 {
    status_number(pid, "VmRSS:") / 1024.0
}

fn status_number(pid: i32, key: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn row(what: &str, figure: f64, goal: f64, unit: &str) {
    let verdict = if figure < goal { "ok" } else { "MISSED" };
    println!("{what:<36} {figure:>9.1} {unit:<4} goal {goal:>6} {unit:<4} {verdict}");
}
