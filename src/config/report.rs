//! Pure: problems of the config laid out for people: what, where, the source line, why, and a hint.

use super::file::{Origin, Place, Problem, Source};

/// How the report may look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub colour: bool,
    pub unicode: bool,
}

/// One block per problem, a blank line between them.
pub fn render(problems: &[Problem], sources: &[Source], style: Style) -> String {
    problems.iter().map(|problem| block(problem, sources, style)).collect::<Vec<_>>().join("\n")
}

/// `rtcctl.toml:6:1`, `RTCCTL_TURN__PORTS:1:1` or `--set:1:1`; lines and columns count from 1, columns in characters.
pub fn position(source: &Source, place: &Place) -> String {
    let spot = Spot::of(source, place);
    format!("{}:{}:{}", source_name(source), spot.line, spot.column)
}

/// The short form for `config show --origin`: `rtcctl.toml:6`, the variable, or `--set`.
pub fn origin(source: &Source, place: &Place) -> String {
    match &source.origin {
        Origin::File(path) => format!("{}:{}", path.display(), Spot::of(source, place).line),
        Origin::Env(variable) => variable.clone(),
        Origin::Flag => "--set".to_owned(),
    }
}

/// The place of a problem as fields, for JSON: file (or variable or flag), line, column.
pub fn fields(problem: &Problem, sources: &[Source]) -> serde_json::Value {
    let mut fields = serde_json::json!({ "message": problem.message, "hint": problem.hint });
    if let Some(place) = &problem.place {
        let source = &sources[place.source];
        let spot = Spot::of(source, place);
        fields["source"] = source_name(source).into();
        fields["line"] = spot.line.into();
        fields["column"] = spot.column.into();
    }
    fields
}

fn source_name(source: &Source) -> String {
    match &source.origin {
        Origin::File(path) => path.display().to_string(),
        Origin::Env(variable) => variable.clone(),
        Origin::Flag => "--set".to_owned(),
    }
}

/// ```text
/// error: unknown key `prots`
///    ┌─ rtcctl.toml:6:1
///  6 │ prots = [3478]
///    │ ^^^^^ expected one of ports, tls_ports, relay_ports
/// hint: did you mean `ports`?
/// ```
fn block(problem: &Problem, sources: &[Source], style: Style) -> String {
    let paint = |sgr: &str, text: &str| if style.colour { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() };
    let (corner, bar) = if style.unicode { ("┌─", "│") } else { ("-->", "|") };
    let mut text = format!("{} {}\n", paint("31", "error:"), visible(&problem.message));
    if let Some(place) = &problem.place {
        let source = &sources[place.source];
        let spot = Spot::of(source, place);
        let number = spot.line.to_string();
        let margin = " ".repeat(number.len() + 2);
        text.push_str(&format!("{margin}{} {}\n", paint("36", corner), position(source, place)));
        text.push_str(&format!(" {} {} {}\n", paint("36", &number), paint("36", bar), spot.shown));
        let carets = format!("{}{} {}", " ".repeat(spot.indent), "^".repeat(spot.width), problem.label);
        text.push_str(&format!("{margin}{} {}\n", paint("36", bar), paint("31", carets.trim_end())));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("{} {}\n", paint("36", "hint:"), visible(hint)));
    }
    text
}

/// A place in a text as people see it.
struct Spot {
    line: usize,
    column: usize,
    /// The line with tabs and control characters made visible as blanks.
    shown: String,
    /// Columns on the screen before the place, and below it.
    indent: usize,
    width: usize,
}

impl Spot {
    fn of(source: &Source, place: &Place) -> Self {
        let text = &source.text;
        let start = floor(text, place.start);
        let end = floor(text, place.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let columns = |part: &str| dialoguer::console::measure_text_width(&visible(part));
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            shown: visible(text[line_start..line_end].trim_end()),
            indent: columns(&text[line_start..start]),
            width: columns(&text[start..end.min(line_end)]).max(1),
        }
    }
}

/// The nearest character boundary at or before `index`.
fn floor(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A file must not steer the terminal of whoever reads its errors.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
