//! Pure: the systemd unit of the service, with its sandbox.

use std::path::Path;

use minijinja::context;

use super::engine::{RenderError, fill};

const TEMPLATE: &str = include_str!("../../templates/systemd/rtcctl.service");

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Unit, unit};

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
    fn a_hostile_path_is_refused() {
        assert!(unit(&Unit { state: Path::new("/srv/x\nExecStartPre=/bin/evil"), ..usual() }).is_err());
    }
}
