//! Where log lines go: stderr, as text for a person, a file or the journal, or as JSON; never more than one line per event.
//! Addresses, room ids and user names are logged at DEBUG or below only; that is up to the callers.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Characters of one value that are shown; what a client sends may be longer.
const MAX_VALUE: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("RTCCTL_LOG is not a filter: {0}")]
    Filter(String),
    #[error("RTCCTL_LOG_FORMAT is neither text nor json: {0}")]
    Format(String),
    #[error("a logger is already set")]
    Taken,
}

/// What was asked for on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// 0: INFO and above; 1: DEBUG; 2: everything.
    pub verbosity: u8,
    /// WARN and above, whatever `verbosity` says.
    pub quiet: bool,
    pub colour: bool,
}

/// Once per process. `RTCCTL_LOG` (`debug`, `rtcctl::turn=trace`) wins over what is `wanted`; `RTCCTL_LOG_FORMAT` is `text` or `json`.
pub fn init(wanted: Wanted) -> Result<(), InitError> {
    let env = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    let filter = filter(env("RTCCTL_LOG").as_deref(), wanted)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match env("RTCCTL_LOG_FORMAT").as_deref() {
        Some("json") => builder.json().flatten_event(true).with_span_list(false).try_init(),
        None | Some("text") => {
            let dress = if std::io::stderr().is_terminal() {
                Dress::Terminal { colour: wanted.colour }
            } else if env("JOURNAL_STREAM").is_some_and(|stream| is_stderr(&stream)) {
                Dress::Journal
            } else {
                Dress::File
            };
            builder.event_format(Line { dress }).try_init()
        }
        Some(other) => return Err(InitError::Format(other.to_owned())),
    };
    set.map_err(|_| InitError::Taken)
}

fn filter(from_env: Option<&str>, wanted: Wanted) -> Result<EnvFilter, InitError> {
    let default = match (wanted.quiet, wanted.verbosity) {
        (true, _) => "warn",
        (false, 0) => "warn,rtcctl=info",
        (false, 1) => "info,rtcctl=debug",
        (false, _) => "trace",
    };
    let chosen = from_env.unwrap_or(default);
    EnvFilter::builder().parse(chosen).map_err(|error| InitError::Filter(format!("{chosen} ({error})")))
}

/// `device:inode` of the journal's socket (systemd.exec(5)). A child whose stderr goes elsewhere inherits the variable all the same.
fn is_stderr(stream: &str) -> bool {
    nix::sys::stat::fstat(std::io::stderr()).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

/// What stands in front of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dress {
    /// The level in colour or not; a person watches, no time needed.
    Terminal { colour: bool },
    /// `<4>`: the journal reads the level from it and knows the time (sd-daemon(3)).
    Journal,
    /// Time and level: a file.
    File,
}

struct Line {
    dress: Dress,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        match self.dress {
            Dress::Terminal { colour: true } => write!(writer, "\x1b[{}m{level:>5}\x1b[0m ", sgr(level))?,
            Dress::Terminal { colour: false } => write!(writer, "{level:>5} ")?,
            Dress::Journal => write!(writer, "<{}>", syslog(level))?,
            Dress::File => write!(writer, "{} {level:>5} ", now())?,
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{}{}", fields.message, fields.rest)
    }
}

fn now() -> String {
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    time::OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

fn sgr(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "2",
    }
}

fn syslog(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The message, and ` key=value` for the rest, safe to print: whoever chose the bytes cannot forge a line or move the cursor.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = safe(&format!("{value:?}"));
        if field.name() == "message" {
            self.message = text;
        } else {
            let _ = write!(self.rest, " {}={text}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = safe(value);
        } else {
            let quote = if value.contains([' ', '=', '"']) { "\"" } else { "" };
            let _ = write!(self.rest, " {}={quote}{}{quote}", field.name(), safe(value).replace('"', "\\\""));
        }
    }
}

/// Control characters (C0, C1, line and paragraph separators, bidirectional overrides) escaped, and cut after [`MAX_VALUE`].
fn safe(text: &str) -> String {
    let unsafe_char =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let mut out = String::with_capacity(text.len().min(MAX_VALUE));
    for (index, c) in text.chars().enumerate() {
        if index == MAX_VALUE {
            out.push('…');
            break;
        }
        if unsafe_char(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use expect_test::expect;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn one_event_is_one_line_whatever_a_client_sent() {
        let forged = "anna\r\n<3>all is lost\x1b[2J\u{9b}31m";
        let lines = logged(Dress::Journal, || {
            tracing::info!(link = "https://192.0.2.1/", rooms = 3, "ready");
            tracing::warn!(user = forged, "refused {forged}");
            tracing::error!(reason = "two words", "stop\nnow");
        });
        expect![[r#"
            <6>ready link=https://192.0.2.1/ rooms=3
            <4>refused anna\r\n<3>all is lost\u{1b}[2J\u{9b}31m user="anna\r\n<3>all is lost\u{1b}[2J\u{9b}31m"
            <3>stop\nnow reason="two words"
        "#]]
        .assert_eq(&lines);
    }

    #[test]
    fn a_person_sees_the_level_and_a_file_the_time() {
        assert_eq!(logged(Dress::Terminal { colour: false }, || tracing::info!("ready")), " INFO ready\n");
        let line = logged(Dress::File, || tracing::warn!("odd"));
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 24, "{time}");
        assert_eq!(rest, " WARN odd\n");
    }

    #[test]
    fn long_values_are_cut() {
        let line = logged(Dress::Journal, || tracing::info!(value = "x".repeat(100_000), "long"));
        assert!(line.len() < 600, "{}", line.len());
        assert!(line.ends_with("…\n"));
    }

    #[test]
    fn the_environment_wins_and_nonsense_is_refused() {
        let level = |wanted: Wanted| filter(None, wanted).unwrap().max_level_hint();
        assert_eq!(filter(Some("rtcctl=debug"), Wanted { verbosity: 2, ..Wanted::default() }).unwrap().to_string(), "rtcctl=debug");
        assert_eq!(level(Wanted::default()), Some(LevelFilter::INFO));
        assert_eq!(level(Wanted { verbosity: 1, ..Wanted::default() }), Some(LevelFilter::DEBUG));
        assert_eq!(level(Wanted { verbosity: 2, quiet: true, colour: false }), Some(LevelFilter::WARN));
        assert!(filter(Some("rtcctl=loud"), Wanted::default()).is_err());
    }

    #[test]
    fn a_journal_that_is_not_our_stderr_gets_no_prefix() {
        let found = nix::sys::stat::fstat(io::stderr()).unwrap();
        assert!(is_stderr(&format!("{}:{}", found.st_dev, found.st_ino)));
        assert!(!is_stderr(&format!("{}:{}", found.st_dev, found.st_ino + 1)));
        assert!(!is_stderr(""));
    }

    fn logged(dress: Dress, work: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = tracing_subscriber::fmt::layer().event_format(Line { dress }).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
