//! What every command is handed: how to speak, where the config and the state are.

use std::time::Duration;

use super::Global;
use crate::config::{Config, Paths};
use crate::ui::{Failure, Ui};

pub(super) struct Cx {
    pub(super) ui: Ui,
    pub(super) global: Global,
}

impl Cx {
    pub(super) fn new(ui: Ui, global: Global) -> Self {
        Self { ui, global }
    }

    /// The resolved config, or every problem at once (exit 2).
    pub(super) fn config(&self) -> Result<Config, Failure> {
        self.config_with(&[])
    }

    /// The same with `KEY=VALUE` overrides from `--set`, which win over everything.
    pub(super) fn config_with(&self, _set: &[String]) -> Result<Config, Failure> {
        unimplemented!()
    }

    pub(super) fn paths(&self, config: &Config) -> Paths {
        let env = |key: &str| std::env::var(key).ok();
        Paths::of(self.global.state.as_deref(), &config.name, nix::unistd::geteuid().is_root(), &env)
    }

    pub(super) fn timeout(&self) -> Duration {
        self.global.timeout.unwrap_or(Duration::from_secs(30))
    }
}
