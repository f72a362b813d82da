//! nginx in front of us: what stands around our site, whether there is room for it, and what the site may do without disturbing others.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::plan::Step;
use crate::config::{Config, HostName};
use crate::host::nginx::{Listen, Nginx, Server, Sites};
use crate::host::{Cmd, Host, HostError};
use crate::ui::{Exit, Failure};

/// How `nginx` is installed, by what the machine has: first the command that must be there.
const INSTALLERS: [(&str, &[&str]); 6] = [
    ("apt-get", &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "nginx"]),
    ("dnf", &["dnf", "install", "-y", "nginx"]),
    ("yum", &["yum", "install", "-y", "nginx"]),
    ("zypper", &["zypper", "--non-interactive", "install", "nginx"]),
    ("pacman", &["pacman", "-S", "--noconfirm", "nginx"]),
    ("apk", &["apk", "add", "nginx"]),
];
const INSTALL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(600);

/// The nginx of a machine, looked at with our own site left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Around {
    pub nginx: Nginx,
    pub running: bool,
    pub sites: Sites,
    /// Where our site stands or shall stand.
    pub path: PathBuf,
    /// What is there now.
    pub standing: Option<Vec<u8>>,
    /// What is wrong with its configuration as it stands, in its own words; empty: nothing.
    pub broken: Vec<String>,
}

/// What the site may say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub names: Vec<HostName>,
    pub default_server: bool,
    pub http2: bool,
    /// Sentences for a person.
    pub notes: Vec<String>,
}

impl Place {
    /// In an nginx without other sites.
    pub fn alone(names: &[HostName]) -> Self {
        let default_server = names.iter().any(|name| matches!(name, HostName::Ip(_)));
        Self { names: names.to_vec(), default_server, http2: true, notes: Vec::new() }
    }
}

/// The command that installs nginx here, as root; `None` when no package manager is known.
pub fn installer(host: &dyn Host) -> Option<Cmd> {
    let has = |program: &str| host.run(&Cmd::new(["sh", "-c", &format!("command -v {program}")])).is_ok();
    let (_, words) = INSTALLERS.iter().find(|(program, _)| has(program))?;
    Some(Cmd::new(words.iter().copied()).within(INSTALL_DEADLINE))
}

/// Fails where no folder for sites is included, or where its configuration cannot be read.
pub fn look(host: &dyn Host, nginx: Nginx, name: &str) -> Result<Around, Failure> {
    let broken = nginx.test(host).map_err(anyhow::Error::from)?.err().unwrap_or_default();
    Ok(Around { broken, ..look_without_test(host, nginx, name)? })
}

/// The same for who only wants to know what is there: nginx's own test wants root.
pub fn look_without_test(host: &dyn Host, nginx: Nginx, name: &str) -> Result<Around, Failure> {
    let world = |error: HostError| Failure::from(anyhow::Error::from(error));
    let read = |without: Option<&Path>| nginx.sites(host, without).map_err(world)?.map_err(|words| unreadable(&words));
    let path = site_path(host, &read(None)?, name).map_err(world)?.ok_or_else(|| no_folder(&nginx))?;
    let sites = read(Some(&path))?;
    let (running, standing) = (nginx.is_running(host, &sites).map_err(world)?, host.read(&path).map_err(world)?);
    Ok(Around { nginx, running, sites, path, standing, broken: Vec::new() })
}

/// The last folder that is included, and a name that comes last in it: whoever comes first is nginx's choice for those who name no site, and that
/// shall stay whoever it is now.
fn site_path(host: &dyn Host, sites: &Sites, name: &str) -> Result<Option<PathBuf>, HostError> {
    for pattern in sites.includes.iter().rev() {
        let takes_ours = pattern.file_name().is_some_and(|part| part == "*" || part == "*.conf");
        let folder = pattern.parent().unwrap_or_else(|| Path::new("/"));
        if takes_ours && host.entry(folder)?.is_some() {
            return Ok(Some(folder.join(format!("zz-{name}.conf"))));
        }
    }
    Ok(None)
}

impl Around {
    /// Refuses before anything is touched: nginx broken by somebody else, a file that is not ours in the place of our site.
    pub fn refuse(&self, known: bool) -> Result<(), Failure> {
        if !self.broken.is_empty() {
            let failure = Failure::new(Exit::Resource, "nginx's configuration is broken as it stands; nothing was touched");
            let failure = self.broken.iter().fold(failure, |failure, line| failure.detail(line));
            return Err(failure.hint(format!("mend it, then look again: {} -t", self.nginx.program)));
        }
        let ours = known || self.standing.as_ref().is_none_or(|bytes| bytes.starts_with(b"# Written by rtcctl"));
        if !ours {
            return Err(Failure::new(Exit::Resource, format!("a file that is not ours stands in the way: {}", self.path.display()))
                .hint("move it away, or choose another name: rtcctl up --set name=calls"));
        }
        Ok(())
    }

    /// Pure: decides from what other sites say.
    pub fn place(&self, config: &Config, names: &[HostName]) -> Result<Place, Failure> {
        let site = &config.site;
        let ports: Vec<u16> = std::iter::once(site.https_port).chain(site.http_port).collect();
        let mut place = Place { names: Vec::new(), default_server: false, http2: true, notes: Vec::new() };
        for (index, name) in names.iter().enumerate() {
            match self.claims(name, &ports) {
                None => place.names.push(name.clone()),
                // How this machine calls itself; nobody is sent a link to it.
                Some(_) if index > 0 && is_own_name(name) => {}
                Some((server, port)) => return Err(claimed(name, server, port)),
            }
        }
        let on_https = || {
            self.sites.servers.iter().flat_map(|server| server.listens.iter().map(move |l| (server, l))).filter(|(_, l)| l.port == site.https_port)
        };
        place.http2 = on_https().all(|(_, listen)| listen.http2);
        // A browser that dials an address names no site in its TLS hello.
        if names.iter().any(|name| matches!(name, HostName::Ip(ip) if !ip.is_loopback())) || matches!(names.first(), Some(HostName::Ip(_))) {
            if let Some((server, _)) = on_https().find(|(_, listen)| listen.default_server && shares(listen, &site.listen)) {
                return Err(not_default(server, site.https_port));
            }
            if let Some((server, _)) = on_https().find(|(_, listen)| shares(listen, &site.listen)) {
                place.notes.push(format!(
                    "visitors of port {} who name no site get this one from now on, not that of {}:{}",
                    site.https_port,
                    server.file.display(),
                    server.line
                ));
            }
            place.default_server = true;
        }
        Ok(place)
    }

    /// nginx takes an exact name before any pattern, and the first of two.
    fn claims(&self, name: &HostName, ports: &[u16]) -> Option<(&Server, u16)> {
        let name = name.in_url();
        let named = self.sites.servers.iter().filter(|server| server.names.contains(&name));
        named.flat_map(|server| server.listens.iter().map(move |listen| (server, listen.port))).find(|(_, port)| ports.contains(port))
    }

    /// Of these addresses those that nginx would give up with our site.
    pub fn alone(&self, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        addresses.into_iter().filter(|address| !self.is_used(address.port())).collect()
    }

    /// The step that takes our site away.
    pub fn unsite(&self, addresses: Vec<SocketAddr>) -> Step {
        Step::Unsite { path: self.path.clone(), nginx: self.nginx.clone(), running: self.running, ports: self.alone(addresses) }
    }

    /// Somebody else's site listens there, so the port stays nginx's without ours.
    pub fn is_used(&self, port: u16) -> bool {
        self.sites.servers.iter().flat_map(|server| &server.listens).any(|listen| listen.port == port)
    }
}

fn shares(listen: &Listen, ours: &[IpAddr]) -> bool {
    ours.contains(&listen.ip)
}

fn is_own_name(name: &HostName) -> bool {
    match name {
        HostName::Dns(name) => name == "localhost",
        HostName::Ip(ip) => ip.is_loopback(),
    }
}

fn claimed(name: &HostName, server: &Server, port: u16) -> Failure {
    let at = format!("{}:{}", server.file.display(), server.line);
    Failure::new(Exit::Resource, format!("another site of nginx answers to {name} on port {port}: {at}"))
        .hint(format!("take the name out of its server_name, or remove that file, then: rtcctl up ({at})"))
}

fn not_default(server: &Server, port: u16) -> Failure {
    let at = format!("{}:{}", server.file.display(), server.line);
    Failure::new(
        Exit::Resource,
        format!("browsers that dial an address would get the certificate of another site: {at} is nginx's default_server of port {port}"),
    )
    .hint("give the site a name: site.address = \"call.example.org\"")
    .hint(format!("or take default_server out of {at}"))
    .hint("or give the site another port: rtcctl up --set site.https_port=8443")
}

fn no_folder(nginx: &Nginx) -> Failure {
    Failure::new(Exit::Resource, format!("{} includes no folder for sites", nginx.conf.display()))
        .hint("add to its http block: include /etc/nginx/conf.d/*.conf;")
}

fn unreadable(words: &str) -> Failure {
    Failure::new(Exit::Resource, format!("nginx's configuration cannot be read: {words}")).hint("see what nginx says of it: nginx -t")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Around, installer, look};
    use crate::config::{Config, HostName};
    use crate::host::Host as _;
    use crate::host::nginx::Nginx;
    use crate::host::script::Script;

    const MAIN: &str = "http { include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*; }";

    fn machine(main: &str, sites: &[(&str, &str)]) -> Script {
        let host = Script::new(|cmd| match cmd.argv.join(" ").as_str() {
            "sh -c command -v dnf" => Ok(String::new()),
            words if words.starts_with("sh -c") => Err((1, String::new())),
            words if words.contains("-t") && words.contains("broken") => Err((1, "nginx: [emerg] x".into())),
            _ => Ok(String::new()),
        });
        for folder in ["/etc", "/etc/nginx", "/etc/nginx/conf.d", "/etc/nginx/sites-enabled"] {
            host.make_dir(Path::new(folder), 0o755).unwrap();
        }
        host.write(Path::new("/etc/nginx/nginx.conf"), main.as_bytes(), 0o644).unwrap();
        for (path, text) in sites {
            host.write(Path::new(path), text.as_bytes(), 0o644).unwrap();
        }
        host
    }

    fn around(sites: &[(&str, &str)]) -> Around {
        let host = machine(MAIN, sites);
        let nginx = Nginx::find(&host).unwrap().unwrap();
        look(&host, nginx, "rtcctl").unwrap()
    }

    fn names(words: &[&str]) -> Vec<HostName> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn ours_comes_last_of_all() {
        let found = around(&[("/etc/nginx/sites-enabled/zz-rtcctl.conf", "server { server_name call.test; }")]);
        assert_eq!(found.path, Path::new("/etc/nginx/sites-enabled/zz-rtcctl.conf"));
        assert!(found.sites.servers.is_empty() && found.standing.is_some());
        let host = machine("http { include mime.types; }", &[]);
        let nginx = Nginx::find(&host).unwrap().unwrap();
        assert_eq!(look(&host, nginx, "rtcctl").unwrap_err().message, "/etc/nginx/nginx.conf includes no folder for sites");
    }

    #[test]
    fn a_name_of_another_site_is_not_taken() {
        let found = around(&[("/etc/nginx/sites-enabled/a", "server {\n listen 443 ssl;\n server_name CALL.test localhost *.x.test;\n}")]);
        let failure = found.place(&Config::default(), &names(&["call.test"])).unwrap_err();
        assert_eq!(failure.message, "another site of nginx answers to call.test on port 443: /etc/nginx/sites-enabled/a:1");
        let place = found.place(&Config::default(), &names(&["a.x.test", "localhost"])).unwrap();
        assert_eq!((place.names, place.default_server, place.http2), (names(&["a.x.test"]), false, false));
        let mut elsewhere = Config::default();
        elsewhere.site.https_port = 8443;
        assert!(found.place(&elsewhere, &names(&["call.test"])).unwrap().http2);
    }

    #[test]
    fn an_address_needs_the_default_place() {
        let free = around(&[("/etc/nginx/sites-enabled/a", "server { listen 443 ssl http2; listen 80 default_server; server_name a.test; }")]);
        let place = free.place(&Config::default(), &names(&["192.0.2.7"])).unwrap();
        assert!(place.default_server && place.http2 && place.notes[0].contains("sites-enabled/a:1"), "{place:?}");
        let taken = around(&[("/etc/nginx/sites-enabled/a", "server { listen 443 ssl default_server; server_name a.test; }")]);
        let failure = taken.place(&Config::default(), &names(&["192.0.2.7"])).unwrap_err();
        assert!(failure.message.contains("/etc/nginx/sites-enabled/a:1 is nginx's default_server of port 443"), "{}", failure.message);
        assert!(!taken.place(&Config::default(), &names(&["call.test"])).unwrap().default_server);
    }

    #[test]
    fn a_file_of_somebody_elses_is_left_alone() {
        let foreign = around(&[("/etc/nginx/sites-enabled/zz-rtcctl.conf", "server { }")]);
        assert!(foreign.refuse(false).unwrap_err().message.starts_with("a file that is not ours"));
        foreign.refuse(true).unwrap();
        around(&[("/etc/nginx/sites-enabled/zz-rtcctl.conf", "# Written by rtcctl for rtcctl; x")]).refuse(false).unwrap();
        let broken = Around { broken: vec!["[emerg] x".into()], ..foreign };
        assert_eq!(broken.refuse(true).unwrap_err().details, ["[emerg] x"]);
    }

    #[test]
    fn the_package_manager_that_is_there_installs_it() {
        assert_eq!(installer(&machine(MAIN, &[])).unwrap().to_string(), "dnf install -y nginx");
        assert!(installer(&Script::new(|_| Err((127, String::new())))).is_none());
    }
}
