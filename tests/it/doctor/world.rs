//! An installation of its own to break, and what the doctor finds there.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rtcctl::telemetry::status;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// A port that was free may be taken before the daemon has it.
const TRIES: usize = 5;

/// Ports of the kernel's choice on loopback, a state and a config in a folder of their own, and the real daemon.
pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) ports: Ports,
    pub(super) config: Config,
    pub(super) roots: Option<PathBuf>,
    daemon: Option<Child>,
}

#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) https: u16,
    pub(super) http: u16,
    pub(super) turn: u16,
}

/// What differs from the usual config.
#[derive(Clone, Default)]
pub(super) struct Config {
    pub(super) site: String,
    pub(super) cert: String,
    pub(super) turn: String,
}

/// What one run of the doctor said.
pub(super) struct Findings {
    pub(super) code: Option<i32>,
    pub(super) all: Vec<Value>,
    pub(super) raw: String,
}

impl World {
    /// Written down, not started.
    pub(super) fn new(config: Config) -> Self {
        let mut world = Self { folder: tempfile::tempdir().unwrap(), ports: Ports::free(), config, roots: None, daemon: None };
        world.write();
        world
    }

    pub(super) fn started() -> Self {
        let mut world = Self::new(Config::default());
        world.start();
        world
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(super) fn write(&mut self) {
        let Ports { https, http, turn } = self.ports;
        let Config { site, cert, turn: more } = &self.config;
        let site = format!("[site]\naddress = \"127.0.0.1\"\nlisten = [\"127.0.0.1\"]\nhttps_port = {https}\nhttp_port = {http}\n{site}");
        let limits = if more.contains("max_allocations") { "" } else { "max_allocations = 10\n" };
        let text = format!("{site}[cert]\n{cert}[turn]\nports = [{turn}]\nshards = 2\n{limits}{more}[metrics]\nlisten = \"off\"\n");
        std::fs::write(self.path("rtcctl.toml"), text).unwrap();
    }

    pub(super) fn start(&mut self) {
        self.start_with(|command| command);
    }

    /// `prepare` may put other words in front of the daemon's.
    pub(super) fn start_with(&mut self, prepare: impl Fn(Command) -> Command) {
        for _ in 0..TRIES {
            let log = std::fs::File::create(self.path("log")).unwrap();
            let mut command = prepare(self.command(&["serve"]));
            self.daemon = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
            if self.comes_up() {
                return;
            }
            let log = std::fs::read_to_string(self.path("log")).unwrap();
            assert!(log.contains("is held by another program"), "it did not come up: {log}");
            self.ports = Ports::free();
            self.write();
        }
        panic!("no free ports");
    }

    fn comes_up(&mut self) -> bool {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline && self.daemon.as_mut().unwrap().try_wait().unwrap().is_none() {
            if status::ask(&self.path("state/run/admin.sock"), "status", SOON).is_ok_and(|status| status["ready"] == true) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().ok();
            daemon.wait().ok();
        }
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = rtcctl(words);
        command.env("HOME", self.folder.path()).env("RTCCTL_STATE", self.path("state")).env("RTCCTL_RUN", self.path("state/run"));
        command.env("RTCCTL_CONFIG", self.path("rtcctl.toml"));
        if let Some(roots) = &self.roots {
            command.env("SSL_CERT_FILE", roots);
        }
        command
    }

    pub(super) fn doctor(&self) -> Findings {
        Findings::of(self.command(&["doctor", "--json"]))
    }

    /// Runs a remedy as it is printed, in a shell that finds `rtcctl`.
    pub(super) fn mend(&self, line: &str) {
        let folder = Path::new(env!("CARGO_BIN_EXE_rtcctl")).parent().unwrap().display().to_string();
        let mut shell = Command::new("sh");
        let own = self.command(&[]);
        shell.env_clear().envs(own.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
        let output = shell.env("PATH", path).args(["-c", line]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Ports {
    fn free() -> Self {
        let free = || {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            UdpSocket::bind(("127.0.0.1", port)).is_ok().then_some((tcp, port))
        };
        let held: Vec<(TcpListener, u16)> = std::iter::repeat_with(free).flatten().take(3).collect();
        Self { https: held[0].1, http: held[1].1, turn: held[2].1 }
    }
}

/// Nothing of this machine's environment but where programs are.
pub(super) fn rtcctl(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtcctl"));
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("LANG", "C.UTF-8").stdin(Stdio::null()).args(words);
    command
}

impl Findings {
    pub(super) fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        Self::read(output.status.code(), &String::from_utf8_lossy(&output.stdout), &String::from_utf8_lossy(&output.stderr))
    }

    pub(super) fn read(code: Option<i32>, stdout: &str, stderr: &str) -> Self {
        let answer: Value = serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        assert_eq!(answer["schema"], "rtcctl.doctor/1");
        let all = answer["targets"][0]["findings"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        let shown = all.iter().filter(|f| f["status"] != "pass").map(|f| format!("{} {} {} {}", f["id"], f["status"], f["cause"], f["because"]));
        let raw = shown.collect::<Vec<_>>().join("\n") + stderr;
        Self { code, all, raw }
    }

    pub(super) fn with_status(&self, status: &str) -> Vec<&str> {
        self.all.iter().filter(|finding| finding["status"] == status).map(|finding| finding["id"].as_str().unwrap()).collect()
    }

    pub(super) fn find(&self, id: &str) -> &Value {
        self.all.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no {id}: {}", self.raw))
    }

    /// Nothing fails, and nothing waits.
    #[track_caller]
    pub(super) fn well(&self) {
        self.expect(&[], &[]);
        assert_eq!(self.code, Some(0), "{}", self.raw);
    }

    /// This row fails, no other does, and what waits waits for it. `named` are words of its cause or its evidence.
    #[track_caller]
    pub(super) fn only(&self, id: &str, named: &[&str]) -> &Value {
        self.expect(&[id], &[]);
        assert_eq!(self.code, Some(1), "{}", self.raw);
        self.named(id, named)
    }

    /// The same for a row that warns.
    #[track_caller]
    pub(super) fn warns_only(&self, id: &str, named: &[&str]) -> &Value {
        self.expect(&[], &[id]);
        self.named(id, named)
    }

    #[track_caller]
    fn expect(&self, failed: &[&str], warned: &[&str]) {
        assert_eq!(self.with_status("fail"), failed, "{}", self.raw);
        // A local CA that this machine was not told to trust is said, always.
        let warnings: Vec<_> = self.with_status("warn").into_iter().filter(|id| *id != "cert.trusted").collect();
        assert_eq!(warnings, warned, "{}", self.raw);
        // Nobody keeps the clock of a machine without systemd; only root reads firewalls.
        let unknown: Vec<_> = self.with_status("unknown").into_iter().filter(|id| *id != "host.clock" && *id != "net.firewall").collect();
        assert_eq!(unknown, [""; 0], "{}", self.raw);
        for finding in self.all.iter().filter(|finding| finding["status"] == "skip") {
            let because = finding["because"].as_str().unwrap();
            let waits = rtcctl::doctor::find(because).is_some();
            assert!(!waits || failed.contains(&because), "{finding}\n{}", self.raw);
        }
        for finding in self.all.iter().filter(|finding| finding["status"] == "fail" || finding["status"] == "warn") {
            assert!(finding["remedy"]["text"].is_string(), "no remedy: {finding}");
            assert!(rtcctl::doctor::page(finding["id"].as_str().unwrap()).is_some());
        }
    }

    #[track_caller]
    fn named(&self, id: &str, named: &[&str]) -> &Value {
        let finding = self.find(id);
        let text = format!("{} {}", finding["cause"].as_str().unwrap_or_default(), finding["evidence"]);
        for word in named {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
        finding
    }
}

/// The command of a remedy that begins like this.
#[track_caller]
pub(super) fn command(finding: &Value, start: &str) -> String {
    let commands = finding["remedy"]["commands"].as_array().unwrap();
    let found = commands.iter().filter_map(Value::as_str).find(|command| command.starts_with(start));
    found.unwrap_or_else(|| panic!("no {start} in {commands:?}")).to_owned()
}

/// False, said loudly, where something is missing; with `RTCCTL_REQUIRE=all` that is a failure.
pub(super) fn have(tools: &[&str], root: bool) -> bool {
    let found = |tool: &&&str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .chain(["/usr/sbin".into()])
            .any(|folder: PathBuf| folder.join(tool).is_file())
    };
    let mut missing: Vec<&str> = tools.iter().filter(|tool| !found(tool)).copied().collect();
    if root && !nix::unistd::geteuid().is_root() {
        missing.push("root");
    }
    if missing.is_empty() {
        return true;
    }
    assert_ne!(std::env::var("RTCCTL_REQUIRE").as_deref(), Ok("all"), "required: {missing:?}");
    #[expect(clippy::print_stderr, reason = "what is skipped is said")]
    {
        eprintln!("SKIPPED: not here: {missing:?}");
    }
    false
}

/// A child that ends with the test.
pub(super) struct Background(pub(super) Child);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
