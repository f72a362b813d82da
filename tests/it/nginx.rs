//! nginx in front: what is written passes on every version, and with a real nginx before the real daemon everything a browser does comes through.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::support::cli::{Home, Said};
use crate::support::lab::Lab;
use crate::support::nginx::{Nginx, free_ports, program};

/// Anything that is polled for is there by then, or the test fails.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_site_passes_on_every_version_without_a_warning() {
    for (suite, http2) in [("bullseye", "443 ssl http2"), ("bookworm", "443 ssl http2"), ("trixie", "http2 on;"), ("testing", "http2 on;")] {
        let Some(program) = program(suite) else { return };
        let home = Home::new();
        let nginx = Nginx::new(&home.path("nginx"), &program, "");
        let made = rcgen::generate_simple_self_signed(["call.test".to_owned()]).unwrap();
        home.write("c/chain \"1\".pem", &made.cert.pem());
        home.write("c/key.pem", &made.signing_key.serialize_pem());
        let config = "site = { address = \"call.test\", aliases = [\"192.0.2.7\", \"2001:db8::7\"], proxy = \"nginx\" }\n\
                      cert = { ca = \"files\", chain = \"../c/chain \\\"1\\\".pem\", key = \"../c/key.pem\" }\nsignal.open_rooms = \"anyone\"\n";
        home.write("here/rtcctl.toml", config);
        let said = home.rtcctl(&["render", "out"]).env("PATH", &nginx.search_path()).run();
        assert_eq!(said.code, Some(0), "{}", said.snapshot());
        let site = fs::read_to_string(home.path("here/out/nginx/site.conf")).unwrap();
        assert!(site.contains(http2), "{suite}: {site}");
        // Ports that nobody needs to be root for, and that no two runs share.
        let [https, plain] = free_ports();
        let site = site.replace("443 ssl", &format!("{https} ssl")).replace("listen 80;", &format!("listen {plain};"));
        fs::write(nginx.path("etc/sites-enabled/zz-rtcctl.conf"), site.replace("[::]:80;", &format!("[::]:{plain};"))).unwrap();
        let tested = nginx.run(&["-t"]);
        let words = String::from_utf8_lossy(&tested.stderr).into_owned();
        assert!(tested.status.success() && !words.contains("[warn]"), "{suite}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_before_a_running_nginx_from_up_to_purge() {
    let Some(stack) = Stack::new() else { return };
    let others = stack.watch_the_other_site();

    let up = stack.up(&["--json"]);
    assert_eq!(up.code, Some(0), "{}\n{}", up.snapshot(), stack.nginx.log("error.log"));
    let answer = up.json();
    assert_eq!(answer["link"], stack.url("/"));
    let over: Vec<&str> = answer["proof"]["relay"].as_array().unwrap().iter().map(|leg| leg["transport"].as_str().unwrap()).collect();
    assert_eq!(over, ["udp", "tcp", "tls"], "TURN over TLS on its own port too");

    stack.pages_and_links_come_through().await;
    stack.plain_http_is_what_it_should_be().await;
    stack.an_idle_socket_lives().await;
    stack.nothing_that_names_a_room_is_logged();

    let again = stack.up(&["--json"]);
    assert_eq!((again.code, &again.json()["changed"]), (Some(0), &Value::Bool(false)), "{}", again.snapshot());
    stack.hand_edits_are_kept();
    stack.what_others_broke_is_said_and_left_alone();

    let down = stack.run(&["down", "--purge", "--yes"]);
    assert_eq!(down.code, Some(0), "{}", down.snapshot());
    assert!(!stack.site().exists() && !stack.home.path("state").exists());
    // nginx forgets it too: the other site is all that is left on the port.
    let gone = || stack.client().get(stack.url("/healthz")).send();
    let deadline = Instant::now() + SOON;
    while gone().await.is_ok_and(|answer| answer.status() != 418) {
        assert!(Instant::now() < deadline, "nginx still serves a site that is gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (asked, missed) = others.await;
    assert!(asked > 20 && missed == 0, "the other site was asked {asked} times and missed {missed}");
}

/// As on a rented server: systemd keeps both, the service has no right to tell nginx anything, and still a new certificate arrives.
#[test]
fn under_systemd_nginx_takes_a_new_certificate_by_itself() {
    let (Some(lab), Some(program)) = (Lab::up(), program("bookworm")) else { return };
    lab.put(Path::new(env!("CARGO_BIN_EXE_rtcctl")), "/usr/local/bin/rtcctl");
    lab.put(&program.with_file_name("root/usr/sbin/nginx"), "/usr/sbin/nginx");
    lab.must(&["bash", "-c", LAB_NGINX]);
    let (code, said) = lab.run(&["rtcctl", "up", "--set", "site.proxy=nginx"]);
    assert_eq!(code, 0, "{said}\n{}", lab.run(&["journalctl", "--no-pager", "--lines=30"]).1);
    assert!(said.contains("https 443 through nginx") && said.contains("tls "), "{said}");
    let (code, said) = lab.run(&["rtcctl", "up", "--set", "site.proxy=nginx"]);
    assert!(code == 0 && said.contains("nothing to do"), "{said}");

    let workers = || lab.run(&["pgrep", "-f", "nginx: worker process$"]).1;
    let before = workers();
    let mark = "setpriv --reuid=rtcctl --regid=rtcctl --clear-groups bash -c 'touch /run/rtcctl/new && mv /run/rtcctl/new /run/rtcctl/certificate'";
    lab.must(&["bash", "-c", mark]);
    let deadline = Instant::now() + SOON;
    while workers().lines().any(|worker| before.lines().any(|old| old == worker)) {
        assert!(Instant::now() < deadline, "{}", lab.run(&["systemctl", "status", "--no-pager", "rtcctl-proxy.path", "rtcctl-proxy.service"]).1);
        std::thread::sleep(Duration::from_millis(50));
    }

    let (code, said) = lab.run(&["rtcctl", "down", "--purge", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(lab.must(&["bash", "-c", "ls /etc/nginx/sites-enabled; ls /etc/systemd/system | grep rtcctl || true"]), "");
    assert_eq!(lab.must(&["systemctl", "is-active", "nginx"]).trim(), "active");
    assert_eq!(lab.must(&["bash", "-c", "systemctl list-units --all --no-legend 'rtcctl*'"]).trim(), "");
}

/// What Debian's package would have brought, as far as it matters.
const LAB_NGINX: &str = r"
mkdir -p /etc/nginx/sites-enabled /var/lib/nginx /var/log/nginx
cat > /etc/nginx/nginx.conf <<'C'
user nobody nogroup;
pid /run/nginx.pid;
events {}
http {
    include /etc/nginx/sites-enabled/*;
}
C
cat > /etc/systemd/system/nginx.service <<'U'
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStartPre=/usr/sbin/nginx -t -q
ExecStart=/usr/sbin/nginx
ExecReload=/usr/sbin/nginx -s reload
U
systemctl daemon-reload
systemctl start nginx
";

#[test]
fn a_name_that_another_site_has_is_refused_before_anything_is_touched() {
    let Some(stack) = Stack::new() else { return };
    let [http, ..] = stack.ports;
    let taken = format!("\nserver {{ listen 127.0.0.1:{http}; server_name x.test 127.0.0.1; }}\n");
    fs::write(stack.nginx.path("etc/conf.d/taken.conf"), taken).unwrap();
    let said = stack.up(&[]);
    assert_eq!(said.code, Some(3), "{}", said.snapshot());
    assert!(said.stderr.contains("another site of nginx answers to 127.0.0.1 on port"), "{}", said.stderr);
    assert!(said.stderr.contains("etc/conf.d/taken.conf:2"), "{}", said.stderr);
    assert!(!stack.site().exists() && !stack.home.path("state").exists());
}

#[test]
fn from_nginx_to_none_and_back_the_ports_change_hands() {
    let Some(stack) = Stack::new() else { return };
    fs::remove_file(stack.nginx.path("etc/sites-enabled/old")).unwrap();
    stack.nginx.run(&["-s", "reload"]);
    // A reload is asked for and done later.
    let deadline = Instant::now() + Duration::from_secs(10);
    while stack.ports[..2].iter().any(|port| TcpListener::bind(("0.0.0.0", *port)).is_err()) {
        assert!(Instant::now() < deadline, "nginx keeps the ports of a site that is gone");
        std::thread::sleep(Duration::from_millis(20));
    }
    for proxy in ["nginx", "none", "nginx"] {
        let said = stack.up(&["--set", &format!("site.proxy={proxy}")]);
        assert_eq!(said.code, Some(0), "{proxy}: {}\n{}", said.snapshot(), stack.nginx.log("error.log"));
        assert_eq!(stack.site().exists(), proxy == "nginx");
    }
}

#[test]
fn a_proxy_that_is_not_ours_is_told_what_to_do() {
    let home = Home::new();
    let [https, http, turn, turns, backend] = free_ports();
    home.write("here/rtcctl.toml", &config("other", [http, https, turn, turns, backend]));
    let run = |words: &[&str]| home.rtcctl(words).env("RTCCTL_RUN", home.path("state/run").to_str().unwrap()).run();
    let said = run(&["up"]);
    assert_eq!(said.code, Some(0), "{}", said.snapshot());
    assert!(said.stderr.contains("your proxy does not lead here yet"), "{}", said.stderr);
    for word in ["reverse_proxy", "ProxyPass", "loadBalancer", "default_backend", &format!("127.0.0.1:{backend}")] {
        assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
    }
    let status = run(&["status", "--json"]).json();
    let listeners = status["listeners"].as_array().unwrap();
    let serves =
        |port: u16| listeners.iter().find(|l| l["address"] == format!("127.0.0.1:{port}") && l["protocol"] == "tcp").map(|l| l["serves"].clone());
    assert_eq!(serves(backend), Some(json!("page, rooms, for the proxy")), "{listeners:?}");
    assert_eq!((serves(turns), serves(https)), (Some(json!("turn/tls")), None));
    assert_eq!(run(&["down", "--purge", "--yes"]).code, Some(0));
}

#[test]
fn rendered_files_are_compared() {
    let home = Home::new();
    home.write("here/rtcctl.toml", "site.proxy = \"other\"\n");
    let said = home.rtcctl(&["render", "out"]).run();
    let files = [
        "systemd/rtcctl.service",
        "caddy/Caddyfile",
        "apache/site.conf",
        "traefik/site.yaml",
        "haproxy/site.cfg",
        "compose/compose.yaml",
        "compose/rtcctl.toml",
    ];
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), files.map(|file| format!("out/{file}")));
    let same = home.rtcctl(&["render", "--diff", "out"]).run();
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""), "{}", same.snapshot());
    let compose = home.path("here/out/compose/compose.yaml");
    fs::write(&compose, fs::read_to_string(&compose).unwrap().replace("read_only: true", "read_only: false")).unwrap();
    let differs = home.rtcctl(&["render", "--diff", "out"]).run();
    assert_eq!(differs.code, Some(1));
    assert!(differs.stdout.contains("\n-    read_only: false\n+    read_only: true\n"), "{}", differs.stdout);
    let json = home.rtcctl(&["render", "--json"]).run().json();
    assert_eq!(json["files"].as_array().unwrap().len(), files.len());
}

/// A running nginx with a site of somebody else's, and a config that goes before it.
struct Stack {
    /// Before the folder that its files lie in.
    nginx: Nginx,
    home: Home,
    /// http, https, turn, turn/tls, backend
    ports: [u16; 5],
}

impl Stack {
    fn new() -> Option<Self> {
        // Through its own loader its process would not be called nginx, which is how the holder of a port is known.
        let program = program("bookworm")?.with_file_name("root/usr/sbin/nginx");
        let runs_here = std::process::Command::new(&program).arg("-v").output().is_ok_and(|output| output.status.success());
        let may = nix::unistd::geteuid().is_root() && !Path::new("/run/systemd/system").exists();
        if !runs_here || !may {
            crate::support::nginx::skipped("nginx in front", "needs Debian 12's libraries, root, and no systemd that would be given a unit");
            return None;
        }
        let home = Home::new();
        let ports = free_ports::<5>();
        let [http, https, ..] = ports;
        // Timeouts that cut every silent socket, where a site does not say otherwise.
        let nginx = Nginx::new(&home.path("nginx"), &program, "proxy_read_timeout 1s; proxy_send_timeout 1s;");
        let made = rcgen::generate_simple_self_signed(["old.test".to_owned()]).unwrap();
        home.write("nginx/old.pem", &made.cert.pem());
        home.write("nginx/old.key", &made.signing_key.serialize_pem());
        let at = nginx.path("").display().to_string();
        let old = format!(
            "server {{ listen 127.0.0.1:{http}; server_name old.test; return 418; }}\nserver {{\n  listen 127.0.0.1:{https} ssl;\n  \
             server_name old.test;\n  ssl_certificate {at}old.pem;\n  ssl_certificate_key {at}old.key;\n  return 418;\n}}\n"
        );
        fs::write(nginx.path("etc/sites-enabled/old"), old).unwrap();
        nginx.start();
        home.write("here/rtcctl.toml", &config("nginx", ports));
        Some(Self { nginx, home, ports })
    }

    fn run(&self, words: &[&str]) -> Said {
        let run = self.home.path("state/run");
        self.home.rtcctl(words).env("PATH", &self.nginx.search_path()).env("RTCCTL_RUN", run.to_str().unwrap()).run()
    }

    fn up(&self, more: &[&str]) -> Said {
        self.run(&[&["up"], more].concat())
    }

    fn site(&self) -> PathBuf {
        self.nginx.path("etc/sites-enabled/zz-rtcctl.conf")
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.ports[1])
    }

    fn plain(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[0])
    }

    /// Follows nothing, and does not care who vouches: that is the proof's part.
    fn client(&self) -> reqwest::Client {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        rustls::crypto::ring::default_provider().install_default().ok();
        builder.tls_danger_accept_invalid_certs(true).build().unwrap()
    }

    /// Asks it without a pause; the answer is how often, and how often it was not there.
    fn watch_the_other_site(&self) -> impl Future<Output = (usize, usize)> {
        let (stop, asked, missed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (client, url) = (self.client(), self.plain("/"));
        let mut tasks = tokio::task::JoinSet::new();
        let (stopped, asking, missing) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&missed));
        tasks.spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                asking.fetch_add(1, Ordering::Relaxed);
                let answer = client.get(&url).header(header::HOST, "old.test").header(header::CONNECTION, "close").send().await;
                if !answer.is_ok_and(|answer| answer.status() == 418) {
                    missing.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        async move {
            stop.store(true, Ordering::Relaxed);
            tasks.join_all().await;
            (asked.load(Ordering::Relaxed), missed.load(Ordering::Relaxed))
        }
    }

    async fn pages_and_links_come_through(&self) {
        let page = self.client().get(self.url("/r/front-room")).send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert!(page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        let foreign = self.client().post(self.url("/join/front-room")).header("x-forwarded-host", "evil.test").header("x-forwarded-proto", "http");
        let joined: Value = foreign.send().await.unwrap().json().await.unwrap();
        let params = &joined["params"];
        for (key, scheme) in [("room_link", "https"), ("wss_url", "wss"), ("wss_post_url", "https"), ("ice_server_url", "https")] {
            let link = params[key].as_str().unwrap_or_else(|| panic!("{key}: {joined}"));
            assert!(link.starts_with(&format!("{scheme}://127.0.0.1:{}", self.ports[1])), "{key}: {link}");
        }
        let ice: Value = self.client().post(params["ice_server_url"].as_str().unwrap()).send().await.unwrap().json().await.unwrap();
        let turns = format!("turns:127.0.0.1:{}?transport=tcp", self.ports[3]);
        assert!(ice.to_string().contains(&turns) && !ice.to_string().contains(&format!(":{}?transport=tcp", self.ports[1])), "{ice}");
    }

    async fn plain_http_is_what_it_should_be(&self) {
        let client = self.client();
        let moved = client.get(self.plain("/r/x?hd=true")).send().await.unwrap();
        assert_eq!((moved.status().as_u16(), moved.headers()[header::LOCATION].to_str().unwrap()), (308, self.url("/r/x?hd=true").as_str()));
        assert_eq!(client.get(self.plain("/ca")).send().await.unwrap().status(), 200);
        let pem = client.get(self.plain("/ca/ca.pem")).send().await.unwrap().text().await.unwrap();
        assert_eq!(pem, fs::read_to_string(self.home.path("state/ca/ca.pem")).unwrap());
        let token = self.home.write("state/webroot/.well-known/acme-challenge/token", "word");
        let answer = client.get(self.plain("/.well-known/acme-challenge/token")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "word"));
        fs::remove_file(token).unwrap();
    }

    /// Twice as long as nginx waits where it is not told otherwise.
    async fn an_idle_socket_lives(&self) {
        let joined: Value = self.client().post(self.url("/join/idle")).send().await.unwrap().json().await.unwrap();
        let id = joined["params"]["client_id"].as_str().unwrap();
        let mut request = joined["params"]["wss_url"].as_str().unwrap().into_client_request().unwrap();
        request.headers_mut().insert(header::ORIGIN, self.url("").parse().unwrap());
        let connector = tokio_rustls::TlsConnector::from(rtcctl::net::tls::client_config(&[self.ca()]).unwrap());
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", self.ports[1])).await.unwrap();
        let tls = connector.connect("127.0.0.1".try_into().unwrap(), tcp).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(request, tls).await.unwrap();
        socket.send(Message::text(json!({ "cmd": "register", "roomid": "idle", "clientid": id }).to_string())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        socket.send(Message::Ping("still here".into())).await.unwrap();
        let answer = tokio::time::timeout(SOON, socket.next()).await.expect("an answer").unwrap().unwrap();
        assert_eq!(answer, Message::Pong("still here".into()));
    }

    fn ca(&self) -> rustls::pki_types::CertificateDer<'static> {
        use rustls::pki_types::pem::PemObject as _;
        rustls::pki_types::CertificateDer::from_pem_file(self.home.path("state/ca/ca.pem")).unwrap()
    }

    fn nothing_that_names_a_room_is_logged(&self) {
        for name in ["access.log", "error.log"] {
            let log = self.nginx.log(name);
            for word in ["front-room", "idle", "join", "probe-", "/ws"] {
                assert!(!log.contains(word), "{name} says {word}: {log}");
            }
        }
    }

    fn hand_edits_are_kept(&self) {
        let ours = fs::read_to_string(self.site()).unwrap();
        let theirs = format!("{ours}# mine\n");
        fs::write(self.site(), &theirs).unwrap();
        let asked = self.up(&[]);
        assert_eq!(asked.code, Some(2), "{}", asked.snapshot());
        assert!(
            asked.stderr.contains("was changed by hand") && asked.stderr.contains("\n-# mine\n") && asked.stderr.contains("--yes"),
            "{}",
            asked.stderr
        );
        assert_eq!(fs::read_to_string(self.site()).unwrap(), theirs);
        let agreed = self.up(&["--yes"]);
        assert_eq!(agreed.code, Some(0), "{}", agreed.snapshot());
        assert_eq!(fs::read_to_string(self.site()).unwrap(), ours);
        let kept =
            fs::read_dir(self.home.path("state")).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains("by-hand"));
        assert_eq!(fs::read_to_string(kept.expect("the edited version is kept")).unwrap(), theirs);
    }

    fn what_others_broke_is_said_and_left_alone(&self) {
        let broken = self.nginx.path("etc/conf.d/broken.conf");
        fs::write(&broken, "server { lisen 80; }\n").unwrap();
        let before = fs::read_to_string(self.site()).unwrap();
        let said = self.up(&["--set", "site.title=x"]);
        assert_eq!(said.code, Some(3), "{}", said.snapshot());
        assert!(said.stderr.contains("nginx's configuration is broken as it stands; nothing was touched"), "{}", said.stderr);
        assert!(said.stderr.contains("unknown directive \"lisen\""), "{}", said.stderr);
        assert_eq!(fs::read_to_string(self.site()).unwrap(), before);
        fs::remove_file(broken).unwrap();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.run(&["down", "--purge", "--yes"]);
    }
}

fn config(proxy: &str, [http, https, turn, turns, backend]: [u16; 5]) -> String {
    format!(
        "[site]\naddress = \"127.0.0.1\"\nlisten = [\"127.0.0.1\"]\nproxy = \"{proxy}\"\nhttps_port = {https}\nhttp_port = {http}\nbackend = \"127.0.0.1:{backend}\"\n\
         [turn]\nports = [{turn}]\ntls_ports = [{turns}]\nshards = 1\n[metrics]\nlisten = \"off\"\n"
    )
}
