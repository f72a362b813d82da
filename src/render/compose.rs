//! Pure: a compose file for those who keep their services in containers.

use std::path::Path;

use minijinja::context;

use super::engine::{RenderError, fill};

const TEMPLATE: &str = include_str!("../../templates/compose/compose.yaml");

/// What the container depends on.
#[derive(Clone, Copy, Debug)]
pub struct Compose<'a> {
    pub name: &'a str,
    /// Files of the operator's own that the service reads.
    pub mounts: &'a [&'a Path],
    /// A port below 1024 is listened on.
    pub low_ports: bool,
}

/// The bytes of `compose.yaml`. Refuses paths with control characters.
pub fn compose(compose: &Compose<'_>) -> Result<String, RenderError> {
    let mounts: Vec<_> = compose.mounts.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    fill("compose/compose.yaml", TEMPLATE, context! { name => compose.name, mounts => mounts, low_ports => compose.low_ports })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Compose, compose};

    #[test]
    fn hardened_and_on_the_hosts_network() {
        let text = compose(&Compose { name: "calls", mounts: &[], low_ports: true }).unwrap();
        for line in ["network_mode: host", "read_only: true", "- no-new-privileges:true", "- NET_BIND_SERVICE", "name: \"calls\""] {
            assert!(text.lines().any(|found| found.trim() == line), "{line}: {text}");
        }
        let high = compose(&Compose { name: "calls", mounts: &[], low_ports: false }).unwrap();
        assert!(!high.contains("cap_add"), "{high}");
    }

    #[test]
    fn own_files_are_mounted_and_cannot_become_variables() {
        let text = compose(&Compose { name: "calls", mounts: &[Path::new("/etc/$HOME/a \"b\".pem")], low_ports: false }).unwrap();
        assert!(text.contains(r#"- "/etc/$$HOME/a \"b\".pem:/etc/$$HOME/a \"b\".pem:ro""#), "{text}");
        assert!(compose(&Compose { name: "calls", mounts: &[Path::new("/a\nb")], low_ports: false }).is_err());
    }
}
