//! A real nginx of a chosen Debian release that keeps its files in a folder of its own and its hands off the machine's.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One whose configuration lies in `etc`; ends when dropped.
pub(crate) struct Nginx {
    folder: PathBuf,
}

/// The program of a Debian release, fetched once; `None`, said loudly, where it cannot be had: with `RTCCTL_REQUIRE=all` that is a failure.
pub(crate) fn program(suite: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/nginx.sh");
    let output = Command::new(script).arg(suite).output().unwrap();
    if output.status.success() {
        return Some(String::from_utf8(output.stdout).unwrap().trim().into());
    }
    skipped(&format!("nginx of {suite}"), &String::from_utf8_lossy(&output.stderr));
    None
}

/// One loud line; a failure where everything is required.
pub(crate) fn skipped(what: &str, why: &str) {
    assert_ne!(std::env::var("RTCCTL_REQUIRE").as_deref(), Ok("all"), "{what} is required: {why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}

impl Nginx {
    /// Not started. `http` stands in the http block before the sites are included.
    pub(crate) fn new(folder: &Path, program: &Path, http: &str) -> Self {
        let nginx = Self { folder: folder.to_owned() };
        for name in ["bin", "etc/conf.d", "etc/sites-enabled", "lib"] {
            fs::create_dir_all(nginx.path(name)).unwrap();
        }
        let at = folder.display();
        let conf = format!(
            "user root;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\nevents {{}}\nhttp {{\n    access_log {at}/access.log;\n    {http}\n    \
             client_body_temp_path {at}/lib/body;\n    proxy_temp_path {at}/lib/proxy;\n    fastcgi_temp_path {at}/lib/fastcgi;\n    \
             uwsgi_temp_path {at}/lib/uwsgi;\n    scgi_temp_path {at}/lib/scgi;\n    include conf.d/*.conf;\n    include sites-enabled/*;\n}}\n"
        );
        fs::write(nginx.path("etc/nginx.conf"), conf).unwrap();
        // As if it had been compiled to live here.
        let program = program.display();
        let wrapper = format!(
            "#!/bin/sh\ncase \" $* \" in\n\
             *' -V '*) {program} -V 2>&1 | sed -e 's|--conf-path=[^ ]*|--conf-path={at}/etc/nginx.conf|' \
             -e 's|--error-log-path=[^ ]*|--error-log-path={at}/error.log|' -e 's|--pid-path=[^ ]*|--pid-path={at}/nginx.pid|' >&2 ;;\n\
             *' -c '*) exec {program} \"$@\" ;;\n*) exec {program} -p {at} -c {at}/etc/nginx.conf \"$@\" ;;\nesac\n"
        );
        fs::write(nginx.path("bin/nginx"), wrapper).unwrap();
        fs::set_permissions(nginx.path("bin/nginx"), fs::Permissions::from_mode(0o755)).unwrap();
        nginx
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.join(below)
    }

    /// `PATH` with this nginx first.
    pub(crate) fn search_path(&self) -> String {
        format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap())
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        Command::new(self.path("bin/nginx")).args(words).output().unwrap()
    }

    pub(crate) fn start(&self) {
        let started = self.run(&[]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.path("nginx.pid").exists() {
            self.run(&["-s", "stop"]);
        }
    }
}

/// Free a moment ago, for TCP and UDP both.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let free = || {
        let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = tcp.local_addr().ok()?.port();
        std::net::UdpSocket::bind(("127.0.0.1", port)).ok()?;
        Some(tcp)
    };
    let held: Vec<TcpListener> = std::iter::repeat_with(free).flatten().take(N).collect();
    std::array::from_fn(|n| held[n].local_addr().unwrap().port())
}
