//! The face: parses words, prints answers, chooses the exit code. One file per command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::ui::{ColorChoice, Exit, Failure, Ui, UiOptions};

mod call;
mod cert;
mod config;
mod cx;
mod doctor;
mod down;
mod explain;
mod front;
mod generate;
mod init;
mod logs;
mod render;
mod serve;
mod status;
mod supervise;
mod trust;
mod up;

use cx::Cx;
pub use generate::completion_files;

/// Self-hosted 1:1 calls: one command, a link that works.
#[derive(Parser)]
#[command(
    name = "rtcctl",
    version,
    disable_help_subcommand = true,
    propagate_version = true,
    max_term_width = 80,
    arg_required_else_help = true,
    after_help = "Start with: rtcctl up"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The heading in every help text under which the flags stand that every command takes.
const GLOBAL: &str = "Everywhere";

#[derive(Args, Clone, Debug, Default)]
struct Global {
    /// The config file [default: ./rtcctl.toml, then the user's, then that of
    /// /etc/rtcctl, then the one `up` applied]
    #[arg(short, long, global = true, value_name = "FILE", env = "RTCCTL_CONFIG", hide_env_values = true, help_heading = GLOBAL)]
    config: Option<PathBuf>,
    /// Where certificates, secrets and releases are kept
    #[arg(long, global = true, value_name = "DIR", env = "RTCCTL_STATE", hide_env_values = true, help_heading = GLOBAL)]
    state: Option<PathBuf>,
    /// One JSON object on stdout instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Only data, warnings and errors
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    /// Answer every question with yes
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    yes: bool,
    /// Never ask; a question becomes an error that names the flag
    #[arg(long, global = true, help_heading = GLOBAL)]
    no_input: bool,
    /// How long to wait for a lock or a service, as "30s" [default: 30s]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask what cannot be found out, and write rtcctl.toml
    Init(init::InitArgs),
    /// Bring the stack up on this machine, prove it, and print the link
    Up(up::UpArgs),
    /// Stop it; with --purge remove everything `up` ever wrote
    Down(down::DownArgs),
    /// What is wrong, why, and which command mends it
    Doctor(doctor::DoctorArgs),
    /// The page of a check: what, why, how to confirm, how to mend
    Explain(explain::ExplainArgs),
    /// What is running: release, listeners, certificate, rooms
    Status(status::StatusArgs),
    /// What the service said
    Logs(logs::LogsArgs),
    /// Links that let people in: the right to open rooms
    #[command(subcommand)]
    Call(call::CallCommand),
    /// Issue, list and show certificates; hand out and trust the local CA
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// The resolved config, its check, its schema, an annotated example
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The files for nginx, systemd and compose, without touching the system
    Render(render::RenderArgs),
    /// The daemon in the foreground; what systemd runs
    Serve(serve::ServeArgs),
    /// Keeps `serve` alive where there is no systemd
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
    /// Completion script for a shell
    Completions(generate::CompletionsArgs),
    /// Man pages: to stdout, or one file per command into DIR
    Man(generate::ManArgs),
}

/// Parses the words, runs the command, says what went wrong.
pub fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let ui = Ui::new(UiOptions {
        color: cli.global.color,
        quiet: cli.global.quiet,
        verbose: cli.global.verbose > 0,
        json: cli.global.json,
        yes: cli.global.yes,
        no_input: cli.global.no_input,
    });
    let name = cli.command.name();
    let cx = Cx::new(ui.clone(), cli.global);
    match cli.command.run(&cx) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.fail(name, &failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// The clap tree, for completions, man pages and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

fn parse() -> Result<Cli, ExitCode> {
    let matches = Cli::command().try_get_matches();
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        let json = std::env::args_os().any(|word| word == "--json");
        if json && error.use_stderr() {
            Ui::new(UiOptions { json: true, ..UiOptions::default() }).fail("error", &usage(&error));
            return ExitCode::from(Exit::Usage as u8);
        }
        // Printing fails only when nobody reads.
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 })
    })
}

/// What clap found wrong, as one of our failures: its first paragraph is the message, its tips are hints.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    tips.fold(Failure::new(Exit::Usage, first), Failure::hint)
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Up(_) => "up",
            Self::Down(_) => "down",
            Self::Doctor(_) => "doctor",
            Self::Explain(_) => "explain",
            Self::Status(_) => "status",
            Self::Logs(_) => "logs",
            Self::Call(command) => command.name(),
            Self::Cert(command) => command.name(),
            Self::Config(command) => command.name(),
            Self::Render(_) => "render",
            Self::Serve(_) => "serve",
            Self::Supervise(_) => "supervise",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }

    fn run(self, cx: &Cx) -> Result<(), Failure> {
        match self {
            Self::Init(args) => init::run(cx, args),
            Self::Up(args) => up::run(cx, args),
            Self::Down(args) => down::run(cx, args),
            Self::Doctor(args) => doctor::run(cx, &args),
            Self::Explain(args) => explain::run(cx, &args),
            Self::Status(args) => status::run(cx, args),
            Self::Logs(args) => logs::run(cx, args),
            Self::Call(command) => call::run(cx, command),
            Self::Cert(command) => cert::run(cx, command),
            Self::Config(command) => config::run(cx, command),
            Self::Render(args) => render::run(cx, args),
            Self::Serve(args) => serve::run(cx, args),
            Self::Supervise(args) => supervise::run(cx, args),
            Self::Completions(args) => generate::completions(cx, args),
            Self::Man(args) => generate::man(cx, args),
        }
    }
}

/// `"30s"`, `"10m"`, `"1h"`: the same words as in the config.
fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::config::values::duration(text)
}
