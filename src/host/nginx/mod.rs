//! nginx on a machine: which version, what its configuration includes, which server blocks stand there and what they answer to.

mod syntax;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use syntax::{Directive, parse};

use super::exec::{Cmd, Host, HostError};

/// Files of a configuration that are read; one of ten thousand lines has some hundred.
const MAX_FILES: usize = 4000;
/// Includes within each other.
const MAX_DEPTH: usize = 16;

/// As `nginx -v` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Version(pub u32, pub u32, pub u32);

/// An nginx that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nginx {
    /// As it is called: found in `PATH`, or by its usual place outside of a user's.
    pub program: String,
    pub version: Version,
    /// Its main file.
    pub conf: PathBuf,
    pub error_log: PathBuf,
    pid: PathBuf,
}

/// What its configuration says that matters to another site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    pub servers: Vec<Server>,
    /// Patterns that are included where sites stand, in their order: `/etc/nginx/sites-enabled/*`.
    pub includes: Vec<PathBuf>,
    /// Where it writes its process id.
    pid: Option<PathBuf>,
}

/// One server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub file: PathBuf,
    pub line: usize,
    pub listens: Vec<Listen>,
    pub names: Vec<String>,
}

/// One `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A wildcard when unspecified.
    pub ip: IpAddr,
    pub port: u16,
    pub default_server: bool,
    pub http2: bool,
}

impl Nginx {
    /// `None`: not installed.
    pub fn find(host: &dyn Host) -> Result<Option<Self>, HostError> {
        for program in ["nginx", "/usr/sbin/nginx"] {
            match host.run(&Cmd::new([program, "-V"])) {
                Ok(output) => return Ok(Some(Self::of_words(program, &output.stderr))),
                Err(HostError::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// An unreadable version counts as the oldest that is known to be around.
    fn of_words(program: &str, words: &str) -> Self {
        let version = words.lines().find_map(|line| line.strip_prefix("nginx version: nginx/")).unwrap_or_default();
        let mut numbers = version.split(['.', ' ']).map_while(|number| number.parse().ok());
        let mut number = |otherwise| numbers.next().unwrap_or(otherwise);
        let version = Version(number(1), number(18), number(0));
        let option = |name: &str, otherwise: &str| {
            let word = words.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            PathBuf::from(word.unwrap_or(otherwise))
        };
        Self {
            program: program.to_owned(),
            version,
            conf: option("--conf-path", "/etc/nginx/nginx.conf"),
            error_log: option("--error-log-path", "/var/log/nginx/error.log"),
            pid: option("--pid-path", "/run/nginx.pid"),
        }
    }

    /// `Err`: nginx's own lines about what is wrong.
    pub fn test(&self, host: &dyn Host) -> Result<Result<(), Vec<String>>, HostError> {
        self.tested(host, &["-t", "-q"])
    }

    /// The same for a main file of our own, with everything that it names below `folder`.
    pub fn test_apart(&self, host: &dyn Host, folder: &Path, conf: &Path) -> Result<Result<(), Vec<String>>, HostError> {
        self.tested(host, &["-t", "-q", "-p", &folder.to_string_lossy(), "-c", &conf.to_string_lossy()])
    }

    fn tested(&self, host: &dyn Host, words: &[&str]) -> Result<Result<(), Vec<String>>, HostError> {
        match host.run(&self.cmd(words)) {
            Ok(_) => Ok(Ok(())),
            Err(HostError::Failed { output, .. }) => Ok(Err(complaints(&output.stderr))),
            Err(error) => Err(error),
        }
    }

    /// Workers finish what they have; new ones take the new configuration.
    pub fn reload(&self) -> Cmd {
        self.cmd(&["-s", "reload"])
    }

    /// Ends when its connections have.
    pub fn quit(&self) -> Cmd {
        self.cmd(&["-s", "quit"])
    }

    pub fn start(&self) -> Cmd {
        self.cmd(&[])
    }

    fn cmd(&self, words: &[&str]) -> Cmd {
        Cmd::new(std::iter::once(self.program.as_str()).chain(words.iter().copied()))
    }

    /// Its process id file names a process.
    pub fn is_running(&self, host: &dyn Host, sites: &Sites) -> Result<bool, HostError> {
        let path = sites.pid.as_ref().unwrap_or(&self.pid);
        let Some(pid) = host.read(path)?.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<u32>().ok()) else { return Ok(false) };
        Ok(host.entry(&PathBuf::from(format!("/proc/{pid}")))?.is_some())
    }

    /// Follows every include. `without` is left out: our own site, which is not somebody else's.
    pub fn sites(&self, host: &dyn Host, without: Option<&Path>) -> Result<Result<Sites, String>, HostError> {
        let mut walk =
            Walk { host, folder: self.conf.parent().unwrap_or_else(|| Path::new("/")).to_owned(), without, sites: Sites::default(), files: 0 };
        match walk.file(&self.conf, Context::Main, 0) {
            Ok(()) => Ok(Ok(walk.sites)),
            Err(Stopped::Host(error)) => Err(error),
            Err(Stopped::Words(words)) => Ok(Err(words)),
        }
    }
}

/// systemd runs, and knows an nginx.
pub fn has_unit(host: &dyn Host) -> Result<bool, HostError> {
    if host.entry(Path::new("/run/systemd/system"))?.is_none() {
        return Ok(false);
    }
    for folder in ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"] {
        if host.entry(&Path::new(folder).join("nginx.service"))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What nginx says of an error, without its time stamps.
fn complaints(stderr: &str) -> Vec<String> {
    let of_interest = |line: &&str| ["[emerg]", "[alert]", "[crit]", "[error]"].iter().any(|level| line.contains(level));
    let lines: Vec<String> = stderr.lines().filter(of_interest).map(|line| line.trim_start_matches("nginx: ").to_owned()).collect();
    if lines.is_empty() { stderr.lines().rev().take(1).map(str::to_owned).collect() } else { lines }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Main,
    Http,
}

enum Stopped {
    Host(HostError),
    Words(String),
}

impl From<HostError> for Stopped {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

struct Walk<'a> {
    host: &'a dyn Host,
    /// Of the main file: relative includes start there.
    folder: PathBuf,
    without: Option<&'a Path>,
    sites: Sites,
    files: usize,
}

impl Walk<'_> {
    fn file(&mut self, path: &Path, context: Context, depth: usize) -> Result<(), Stopped> {
        for directive in self.read(path, depth)? {
            self.directive(path, directive, context, depth)?;
        }
        Ok(())
    }

    fn directive(&mut self, file: &Path, directive: Directive, context: Context, depth: usize) -> Result<(), Stopped> {
        match (directive.name.as_str(), context, directive.block) {
            ("include", _, None) => {
                let Some(pattern) = directive.args.first().map(|pattern| self.folder.join(pattern)) else { return Ok(()) };
                for path in matching(self.host, &pattern)? {
                    self.file(&path, context, depth + 1)?;
                }
                if context == Context::Http {
                    self.sites.includes.push(pattern);
                }
            }
            ("pid", Context::Main, None) => self.sites.pid = directive.args.first().map(|path| self.folder.join(path)),
            ("http", Context::Main, Some(block)) => {
                for inner in block {
                    self.directive(file, inner, Context::Http, depth)?;
                }
            }
            ("server", Context::Http, Some(block)) => {
                let mut server = Server { file: file.into(), line: directive.line, listens: Vec::new(), names: Vec::new() };
                self.server(block, &mut server, depth)?;
                if server.listens.is_empty() {
                    server.listens.extend(listen(&["80".to_owned()]));
                }
                self.sites.servers.push(server);
            }
            _ => {}
        }
        Ok(())
    }

    fn server(&mut self, block: Vec<Directive>, server: &mut Server, depth: usize) -> Result<(), Stopped> {
        for directive in block {
            match directive.name.as_str() {
                "listen" => server.listens.extend(listen(&directive.args)),
                "server_name" => server.names.extend(directive.args.iter().map(|name| name.to_ascii_lowercase())),
                "http2" if directive.args == ["on"] => server.listens.iter_mut().for_each(|listen| listen.http2 = true),
                "include" => {
                    let Some(pattern) = directive.args.first().map(|pattern| self.folder.join(pattern)) else { continue };
                    for path in matching(self.host, &pattern)? {
                        let inner = self.read(&path, depth + 1)?;
                        self.server(inner, server, depth + 1)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read(&mut self, path: &Path, depth: usize) -> Result<Vec<Directive>, Stopped> {
        self.files += 1;
        if self.files > MAX_FILES || depth > MAX_DEPTH {
            return Err(Stopped::Words(format!("{}: more than {MAX_FILES} files, or includes deeper than {MAX_DEPTH}", path.display())));
        }
        if self.without == Some(path) {
            return Ok(Vec::new());
        }
        let Some(bytes) = self.host.read(path)? else { return Ok(Vec::new()) };
        parse(&String::from_utf8_lossy(&bytes)).map_err(|error| Stopped::Words(format!("{}: {error}", path.display())))
    }
}

/// `80`, `*:80`, `[::]:443`, `192.0.2.7`; `None` for a unix socket or a name.
fn listen(args: &[String]) -> Option<Listen> {
    let (address, options) = args.split_first()?;
    let any = IpAddr::from([0, 0, 0, 0]);
    let has = |word: &str| options.iter().any(|option| option == word);
    let (ip, port) = match address.parse::<std::net::SocketAddr>() {
        Ok(address) => (address.ip(), address.port()),
        Err(_) => match (address.parse::<u16>(), address.strip_prefix("*:").or_else(|| address.strip_prefix("localhost:"))) {
            (Ok(port), _) => (any, port),
            (_, Some(port)) => (if address.starts_with('*') { any } else { IpAddr::from([127, 0, 0, 1]) }, port.parse().ok()?),
            _ => (address.trim_matches(['[', ']']).parse().ok()?, 80),
        },
    };
    Some(Listen { ip, port, default_server: has("default_server") || has("default"), http2: has("http2") })
}

/// glob(3) as nginx uses it: each part of the path may hold `*` and `?`; sorted.
fn matching(host: &dyn Host, pattern: &Path) -> Result<Vec<PathBuf>, HostError> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str().to_string_lossy();
        if !part.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part.as_ref()));
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let names = host.list(&folder)?;
            next.extend(names.iter().filter(|name| !name.starts_with('.') && fits(&part, name)).map(|name| folder.join(name)));
        }
        found = next;
    }
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(found)
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| fits(&pattern[1..], &name[at..])),
        Some(c) => match name.chars().next() {
            Some(first) if c == '?' || c == first => fits(&pattern[c.len_utf8()..], &name[first.len_utf8()..]),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Nginx, Sites, Version, fits, listen};
    use crate::host::Host as _;
    use crate::host::script::Script;

    const WORDS: &str = "nginx version: nginx/1.22.1 (Ubuntu)\nconfigure arguments: --with-cc-opt='-g -O2' --conf-path=/etc/nginx/nginx.conf --pid-path=/run/nginx.pid";

    fn machine(files: &[(&str, &str)]) -> Script {
        let host = Script::new(|_| Ok(String::new()));
        for (path, text) in files {
            let path = Path::new(path);
            let folders: Vec<_> = path.ancestors().skip(1).collect();
            for folder in folders.iter().rev() {
                host.make_dir(folder, 0o755).unwrap();
            }
            host.write(path, text.as_bytes(), 0o644).unwrap();
        }
        host
    }

    fn sites(files: &[(&str, &str)], without: Option<&str>) -> Sites {
        Nginx::of_words("nginx", WORDS).sites(&machine(files), without.map(Path::new)).unwrap().unwrap()
    }

    #[test]
    fn what_it_says_of_itself() {
        let nginx = Nginx::of_words("nginx", WORDS);
        assert_eq!((nginx.version, nginx.conf.as_path()), (Version(1, 22, 1), Path::new("/etc/nginx/nginx.conf")));
        assert_eq!(nginx.error_log, Path::new("/var/log/nginx/error.log"));
        assert_eq!(Nginx::of_words("nginx", "nginx version: nginx/1.31-mainline").version, Version(1, 18, 0));
    }

    #[test]
    fn includes_are_followed_in_nginx_order() {
        let main = "pid /run/x.pid;\nhttp {\n include conf.d/*.conf;\n include /etc/nginx/sites-enabled/*;\n}\nstream { server { listen 443; } }";
        let found = sites(
            &[
                ("/etc/nginx/nginx.conf", main),
                ("/etc/nginx/conf.d/b.conf", "server { server_name B.test; }"),
                ("/etc/nginx/conf.d/a.conf", "map $x $y { default 1; }"),
                ("/etc/nginx/conf.d/no.txt", "server { server_name no; }"),
                ("/etc/nginx/sites-enabled/c", "\nserver {\n include snippets/listen;\n server_name c.test *.c.test;\n}"),
                ("/etc/nginx/sites-enabled/zz-ours.conf", "server { server_name ours; }"),
                ("/etc/nginx/snippets/listen", "listen [::]:443 ssl http2 default_server; listen 192.0.2.7;"),
            ],
            Some("/etc/nginx/sites-enabled/zz-ours.conf"),
        );
        let shown: Vec<_> = found.servers.iter().map(|s| format!("{}:{} {:?} {}", s.file.display(), s.line, s.names, s.listens.len())).collect();
        assert_eq!(shown, [r#"/etc/nginx/conf.d/b.conf:1 ["b.test"] 1"#, r#"/etc/nginx/sites-enabled/c:2 ["c.test", "*.c.test"] 2"#]);
        let first = &found.servers[1].listens[0];
        assert!((first.port, first.default_server, first.http2) == (443, true, true) && first.ip.is_ipv6());
        assert_eq!(found.servers[0].listens, listen(&["80".into()]).into_iter().collect::<Vec<_>>());
        assert_eq!(found.includes, [Path::new("/etc/nginx/conf.d/*.conf"), Path::new("/etc/nginx/sites-enabled/*")]);
        assert_eq!(found.pid.as_deref(), Some(Path::new("/run/x.pid")));
    }

    #[test]
    fn ten_thousand_lines_are_read_and_a_loop_ends() {
        let many: String = (0..5000).map(|n| format!("server {{ listen 80;\n server_name s{n}.test; }}\n")).collect();
        let found = sites(&[("/etc/nginx/nginx.conf", &format!("http {{ {many} }}"))], None);
        assert_eq!((found.servers.len(), found.servers[4999].line), (5000, 9999));
        let host = machine(&[("/etc/nginx/nginx.conf", "include nginx.conf;")]);
        let error = Nginx::of_words("nginx", WORDS).sites(&host, None).unwrap().unwrap_err();
        assert!(error.contains("deeper than"), "{error}");
    }

    #[test]
    fn listens_of_every_form() {
        let port = |text: &str| listen(&[text.to_owned()]).map(|listen| format!("{} {}", listen.ip, listen.port));
        for (text, expected) in [
            ("8080", Some("0.0.0.0 8080")),
            ("*:81", Some("0.0.0.0 81")),
            ("localhost:82", Some("127.0.0.1 82")),
            ("192.0.2.7", Some("192.0.2.7 80")),
            ("[::]:443", Some(":: 443")),
            ("[::1]", Some("::1 80")),
            ("unix:/run/x", None),
        ] {
            assert_eq!(port(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn patterns_fit_as_a_shell_has_them() {
        for (pattern, name, fit) in
            [("*.conf", "a.conf", true), ("*.conf", "a.conf.bak", false), ("?x*", "axyz", true), ("a", "b", false), ("*", "", true)]
        {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }
}
