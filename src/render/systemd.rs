//! Pure: the systemd unit of the service, with its sandbox.

use std::path::Path;

use minijinja::context;

use super::engine::{RenderError, fill};

const TEMPLATE: &str = include_str!("../../templates/systemd/rtcctl.service");

const PROXY_PATH: &str = include_str!("../../templates/systemd/proxy.path");
const PROXY_SERVICE: &str = include_str!("../../templates/systemd/proxy.service");

/// What the unit depends on.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// Without `.service`.
    pub name: &'a str,
    /// Name of the user and of its group.
    pub user: &'a str,
    pub state: &'a Path,
    pub run: &'a Path,
    /// A port below 1024 is listened on.
    pub low_ports: bool,
}

/// The bytes of the unit file. Refuses paths with control characters.
pub fn unit(unit: &Unit<'_>) -> Result<String, RenderError> {
    // systemd makes and removes what stands directly under /run, with the right owner.
    let runtime_directory = unit.run.strip_prefix("/run").ok().map(Path::to_string_lossy).filter(|name| !name.is_empty() && !name.contains('/'));
    let values = context! {
        name => unit.name,
        user => unit.user,
        state => unit.state.to_string_lossy(),
        current => unit.state.join("current").to_string_lossy(),
        run => unit.run.to_string_lossy(),
        runtime_directory => runtime_directory,
        low_ports => unit.low_ports,
    };
    fill("systemd/rtcctl.service", TEMPLATE, values)
}

/// The units that let nginx take a new certificate, which the service itself, having no such right, could not: `.path` and `.service`.
pub fn proxy_units(name: &str, certificate_mark: &Path, nginx: &str) -> Result<[String; 2], RenderError> {
    let values = || context! { name => name, certificate => certificate_mark.to_string_lossy(), nginx => nginx };
    Ok([fill("systemd/proxy.path", PROXY_PATH, values())?, fill("systemd/proxy.service", PROXY_SERVICE, values())?])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Unit, proxy_units, unit};

    fn usual() -> Unit<'static> {
        Unit { name: "rtcctl", user: "rtcctl", state: Path::new("/var/lib/rtcctl"), run: Path::new("/run/rtcctl"), low_ports: true }
    }

    fn lines(text: &str, key: &str) -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned)).collect()
    }

    #[test]
    fn usual_place() {
        let text = unit(&usual()).unwrap();
        let serve = r#""/var/lib/rtcctl/current/rtcctl" serve --config "/var/lib/rtcctl/current/rtcctl.toml" --state "/var/lib/rtcctl""#;
        assert_eq!(lines(&text, "ExecStart"), [serve]);
        assert_eq!(lines(&text, "Environment"), [r#""RTCCTL_RUN=/run/rtcctl""#]);
        assert_eq!(lines(&text, "ReadWritePaths"), [r#""/var/lib/rtcctl/certs" "/var/lib/rtcctl/ca""#]);
        assert_eq!(lines(&text, "RuntimeDirectory"), ["rtcctl"]);
        assert_eq!(lines(&text, "CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE"]);
        assert!(!text.contains("\n\n\n") && text.ends_with("multi-user.target\n"));
    }

    #[test]
    fn chosen_place_and_high_ports() {
        let text = unit(&Unit { state: Path::new("/srv/my calls"), run: Path::new("/srv/my calls/run"), low_ports: false, ..usual() }).unwrap();
        assert_eq!(lines(&text, "ReadWritePaths"), [r#""/srv/my calls/certs" "/srv/my calls/ca""#, r#""/srv/my calls/run""#]);
        assert!(lines(&text, "RuntimeDirectory").is_empty());
        assert_eq!(lines(&text, "CapabilityBoundingSet"), [""]);
    }

    #[test]
    fn a_new_certificate_reloads_nginx_and_a_broken_configuration_does_not() {
        let [path, service] = proxy_units("rtcctl", Path::new("/run/rtcctl/certificate"), "nginx").unwrap();
        assert_eq!(lines(&path, "PathChanged"), ["/run/rtcctl/certificate"]);
        assert_eq!(lines(&service, "ExecCondition"), [r#""nginx" -t -q"#]);
        assert_eq!(lines(&service, "ExecStart"), [r#""nginx" -s reload"#]);
        assert!(proxy_units("rtcctl", Path::new("/run/x\nUnit=evil.service"), "nginx").is_err());
    }

    #[test]
    fn a_hostile_path_is_refused() {
        assert!(unit(&Unit { state: Path::new("/srv/x\nExecStartPre=/bin/evil"), ..usual() }).is_err());
    }
}
