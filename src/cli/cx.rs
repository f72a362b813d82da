//! What every command is handed: how to speak, where the config and the state are.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::Global;
use crate::config::{self, Config, LoadError, Loaded, Paths, Problem, Search};
use crate::ui::{Exit, Failure, Ui};

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
    pub(super) fn config_with(&self, set: &[String]) -> Result<Config, Failure> {
        self.load(set).map(|loaded| loaded.config)
    }

    /// The config with the origin of every value.
    pub(super) fn load(&self, set: &[String]) -> Result<Loaded, Failure> {
        self.try_load(set)?.map_err(|error| self.load_failure(error))
    }

    /// The same for whoever looks at what is wrong with it. Fails only when there is no current directory.
    pub(super) fn try_load(&self, set: &[String]) -> Result<Result<Loaded, LoadError>, Failure> {
        let working_directory = std::env::current_dir().map_err(|e| Failure::new(Exit::Resource, format!("find the current directory: {e}")))?;
        let search = Search {
            explicit: self.global.config.clone(),
            state: self.global.state.clone(),
            set: set.to_vec(),
            environment: std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect(),
            working_directory,
            is_root: nix::unistd::geteuid().is_root(),
        };
        Ok(config::load(&search))
    }

    /// Problems of the config as one failure (exit 2), laid out as a report.
    pub(super) fn problems(&self, problems: &[Problem], sources: &[config::file::Source]) -> Failure {
        let message = match problems {
            [problem] => problem.message.clone(),
            _ => format!("{} problems in the config", problems.len()),
        };
        let style = config::report::Style { colour: self.ui.colour(), unicode: self.ui.unicode() };
        let fields = problems.iter().map(|problem| config::report::fields(problem, sources)).collect::<Vec<_>>();
        let mut failure = Failure::new(Exit::Usage, message).field("problems", fields);
        failure.report = Some(config::report::render(problems, sources, style));
        failure
    }

    pub(super) fn load_failure(&self, error: LoadError) -> Failure {
        match error {
            LoadError::Wrong { problems, written } => self.problems(&problems, &written.sources),
            LoadError::Read { ref path, error: ref cause } => match cause.kind() {
                ErrorKind::NotFound => Failure::new(Exit::Usage, format!("no such config file: {}", path.display()))
                    .hint(format!("write one: rtcctl config example > {}", path.display())),
                ErrorKind::PermissionDenied => {
                    Failure::new(Exit::Resource, error.to_string()).hint("run it as the owner of the file, or name another with --config")
                }
                ErrorKind::InvalidData => Failure::new(Exit::Usage, error.to_string()),
                _ => Failure::new(Exit::Resource, error.to_string()),
            },
        }
    }

    pub(super) fn paths(&self, config: &Config) -> Paths {
        let env = |key: &str| std::env::var(key).ok();
        Paths::of(self.global.state.as_deref(), &config.name, nix::unistd::geteuid().is_root(), &env)
    }

    /// For those who start or stop something: the unit and the supervisor run in another directory.
    pub(super) fn absolute_paths(&self, config: &Config) -> Result<Paths, Failure> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Failure::new(Exit::Resource, format!("find {}: {e}", path.display())));
        let paths = self.paths(config);
        Ok(Paths { state: absolute(&paths.state)?, run: absolute(&paths.run)? })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.global.timeout.unwrap_or(Duration::from_secs(30))
    }
}
