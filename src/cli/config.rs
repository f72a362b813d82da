//! `rtcctl config`: the resolved config, its check, its schema, the annotated example.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::cx::Cx;
use crate::config::defaults::{self, KEYS};
use crate::config::{Loaded, report, schema};
use crate::host::Machine;
use crate::ui::{Exit, Failure};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// The resolved config as TOML
    Show(ShowArgs),
    /// Is the config right? Every problem at once, with line and hint
    Check,
    /// The JSON schema of rtcctl.toml, for editors
    Schema,
    /// An annotated rtcctl.toml with every key and its default
    Example,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// Behind each key where its value comes from: default, file and line, variable
    #[arg(long)]
    origin: bool,
}

impl ConfigCommand {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Show(_) => "config.show",
            Self::Check => "config.check",
            Self::Schema => "config.schema",
            Self::Example => "config.example",
        }
    }
}

pub(super) fn run(cx: &Cx, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show(args) => show(cx, &args),
        ConfigCommand::Check => check(cx),
        ConfigCommand::Schema => print_schema(cx),
        ConfigCommand::Example if cx.ui.is_json() => cx.ui.out_json("config.example", &serde_json::json!({ "example": schema::example() })),
        ConfigCommand::Example => cx.ui.out_raw(schema::example().as_bytes()),
    }
}

fn show(cx: &Cx, args: &ShowArgs) -> Result<(), Failure> {
    let loaded = cx.load(&[])?;
    if cx.ui.is_json() {
        #[derive(Serialize)]
        struct Shown {
            file: Option<std::path::PathBuf>,
            config: toml::Table,
            #[serde(skip_serializing_if = "Option::is_none")]
            origin: Option<BTreeMap<String, String>>,
        }
        let config = loaded.config.to_toml().parse().map_err(|e| Failure::new(Exit::Resource, format!("read our own TOML: {e}")))?;
        let origin = args.origin.then(|| written_keys().map(|path| (path.clone(), origin_of(&loaded, &path))).collect());
        return cx.ui.out_json("config.show", &Shown { file: loaded.file, config, origin });
    }
    let text = if args.origin { loaded.config.to_toml_with(|path| Some(origin_of(&loaded, path))) } else { loaded.config.to_toml() };
    cx.ui.out_raw(text.as_bytes())
}

fn check(cx: &Cx) -> Result<(), Failure> {
    let loaded = cx.load(&[])?;
    let machine = Machine::look().map_err(|e| Failure::new(Exit::Resource, format!("list this machine's addresses: {e}")))?;
    let problems = loaded.check_machine(&machine.addresses);
    if !problems.is_empty() {
        return Err(cx.problems(&problems, &loaded.written.sources));
    }
    let keys = loaded.written.items.len();
    let set = if keys == 1 { "1 key is set".to_owned() } else { format!("{keys} keys are set") };
    if cx.ui.is_json() {
        return cx.ui.out_json("config.check", &serde_json::json!({ "ok": true, "file": loaded.file, "keys_set": keys }));
    }
    cx.ui.out(match &loaded.file {
        Some(file) => format!("{}: ok, {set}, the rest are defaults", file.display()),
        None => format!("no rtcctl.toml: ok, {set}, the rest are defaults"),
    })
}

fn print_schema(cx: &Cx) -> Result<(), Failure> {
    // A schema file has one form, and it is JSON already.
    let text = serde_json::to_string_pretty(&schema::schema()).map_err(|e| Failure::new(Exit::Resource, format!("write JSON: {e}")))?;
    cx.ui.out(text)
}

fn origin_of(loaded: &Loaded, path: &str) -> String {
    loaded.written.source_of(path).map_or_else(|| "default".to_owned(), |(source, place)| report::origin(source, place))
}

fn written_keys() -> impl Iterator<Item = String> {
    KEYS.iter().filter(|key| !defaults::find_section(key.section).is_some_and(|section| section.repeated)).map(defaults::Key::path)
}
