//! Pure: problems of the config laid out for people: what, where, the source line, why, and a hint.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, ThemeCharacters, ThemeStyles};

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

/// One problem in miette's form: the sentence, the source line with its mark, the hint.
fn block(problem: &Problem, sources: &[Source], style: Style) -> String {
    let mut report = MietteDiagnostic::new(visible(&problem.message));
    report.help = problem.hint.as_deref().map(visible);
    let shown = problem.place.as_ref().map(|place| {
        let source = &sources[place.source];
        let start = floor(&source.text, place.start);
        let length = floor(&source.text, place.end).max(start) - start;
        let label = Some(visible(&problem.label)).filter(|label| !label.is_empty());
        report.labels = Some(vec![LabeledSpan::new(label, start, length)]);
        NamedSource::new(source_name(source), blanked(&source.text))
    });
    let theme = match (style.unicode, style.colour) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, colour) => {
            let styles = if colour { ThemeStyles::ansi() } else { ThemeStyles::none() };
            GraphicalTheme { characters: ThemeCharacters::ascii(), styles }
        }
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_context_lines(1).with_width(80);
    let report = match shown {
        Some(source) => Report::from(report).with_source_code(source),
        None => Report::from(report),
    };
    let mut text = String::new();
    handler.render_report(&mut text, report.as_ref()).expect("writing to a string cannot fail");
    text.trim_start_matches('\n').to_owned()
}

/// A place in a text as people see it.
struct Spot {
    line: usize,
    column: usize,
}

impl Spot {
    fn of(source: &Source, place: &Place) -> Self {
        let text = &source.text;
        let start = floor(text, place.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: text[..start].matches('\n').count() + 1, column: text[line_start..start].chars().count() + 1 }
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

/// The same as [`visible`], byte for byte as long and with its lines, so that places still fit.
fn blanked(text: &str) -> String {
    let blank = |c: char| if c.is_control() && c != '\n' && c != '\t' { " ".repeat(c.len_utf8()) } else { c.to_string() };
    text.chars().map(blank).collect()
}
