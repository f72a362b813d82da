//! Pure: the config as written: which keys hold which values, and where each was written: in a file, the environment or a flag.
//! Reads TOML without believing it: unknown keys are collected, not fatal.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::defaults::{self, KEYS, Key, SECTIONS};

/// Something wrong with what was written. `message` names the key; `label` stands below the source line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    pub place: Option<Place>,
    pub label: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>, place: Option<Place>) -> Self {
        Self { message: message.into(), place, label: String::new(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

/// Bytes of one of the sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index into [`Written::sources`].
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// A text that values came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub origin: Origin,
    pub text: String,
    /// Relative paths in it start here.
    pub base: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// The variable.
    Env(String),
    /// `--set`
    Flag,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub value: Value,
    pub place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Item>),
    /// Nothing that a key could hold: how to call it.
    Other(&'static str),
}

impl Value {
    /// For messages: what was found instead.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Text(_) => "a word in quotes",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a point",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Other(what) => what,
        }
    }
}

/// Everything that was written, the stronger over the weaker, and what was wrong already.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub sources: Vec<Source>,
    /// By path, `site.https_port`; entries of repeated sections as `hosts.0.ssh`.
    pub items: BTreeMap<String, Item>,
    /// Where each entry of a repeated section begins, by section.
    pub entries: BTreeMap<String, Vec<Place>>,
    pub problems: Vec<Problem>,
}

impl Written {
    /// A whole file. Call it first: what comes later wins.
    pub fn add_file(&mut self, path: PathBuf, text: String, base: PathBuf) {
        let source = self.sources.len();
        self.sources.push(Source { origin: Origin::File(path), text: text.clone(), base });
        let (table, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            // What a broken line meant is anybody's guess: only the syntax is reported.
            for error in errors {
                let place = error.span().map(|span| place(source, &span));
                self.problems.push(Problem::new(format!("not TOML: {}", first_line(error.message())), place));
            }
            return;
        }
        for (name, value) in table.into_inner() {
            self.add_top(source, &name, value);
        }
    }

    /// `RTCCTL_TURN__PORTS=[5349]`: any other variable is none of ours.
    pub fn add_variable(&mut self, variable: &str, text: &str, base: PathBuf) {
        let Some(words) = variable.strip_prefix("RTCCTL_") else { return };
        if words != "NAME" && !words.contains("__") {
            return;
        }
        let path = words.replace("__", ".").to_ascii_lowercase();
        self.add_overlay(Origin::Env(variable.to_owned()), &path, text, 0, text, base);
    }

    /// `--set turn.ports=[5349]`
    pub fn add_flag(&mut self, assignment: &str, base: PathBuf) {
        let Some((path, text)) = assignment.split_once('=') else {
            let at = self.push_source(Origin::Flag, assignment, base);
            let problem = Problem::new(format!("not an assignment: {assignment}"), Some(place(at, &(0..assignment.len()))));
            self.problems.push(problem.hint("write it as --set site.https_port=8443"));
            return;
        };
        self.add_overlay(Origin::Flag, path.trim(), text.trim(), path.len() + 1, assignment, base);
    }

    /// Where the value of a key came from; `None`: the default.
    pub fn source_of(&self, path: &str) -> Option<(&Source, &Place)> {
        let place = self.items.get(path)?.place.as_ref()?;
        Some((&self.sources[place.source], place))
    }

    fn push_source(&mut self, origin: Origin, text: &str, base: PathBuf) -> usize {
        self.sources.push(Source { origin, text: text.to_owned(), base });
        self.sources.len() - 1
    }

    fn add_overlay(&mut self, origin: Origin, path: &str, text: &str, offset: usize, whole: &str, base: PathBuf) {
        let source = self.push_source(origin, whole, base);
        let at = Place { source, start: offset.min(whole.len()), end: whole.len() };
        let section = path.rsplit_once('.').map_or("", |(section, _)| section);
        let repeated = defaults::find_section(section).is_some_and(|section| section.repeated);
        match defaults::find(path) {
            Some(_) if repeated => self.problems.push(Problem::new(format!("{path}: only a file can hold [[{section}]]"), Some(at))),
            Some(key) => {
                let value = overlay_value(key, text, source);
                self.items.insert(path.to_owned(), Item { value, place: Some(at) });
            }
            None => {
                let whole_text = Place { start: 0, ..at };
                self.problems.push(unknown_key(path, Some(whole_text)));
            }
        }
    }

    fn add_top(&mut self, source: usize, name: &Spanned<std::borrow::Cow<'_, str>>, value: Spanned<DeValue<'_>>) {
        let at = place(source, &name.span());
        let key_name = name.get_ref().as_ref();
        let Some(section) = defaults::find_section(key_name) else {
            match defaults::find(key_name) {
                Some(_) => self.insert(source, key_name.to_owned(), &value),
                None if value.get_ref().is_table() => self.problems.push(unknown_section(key_name, at)),
                None => self.problems.push(unknown_key(key_name, Some(at))),
            }
            return;
        };
        match value.into_inner() {
            DeValue::Table(table) if !section.repeated => self.add_section(source, section.name, section.name, table),
            DeValue::Array(entries) if section.repeated && entries.iter().all(|entry| entry.get_ref().is_table()) => {
                for (index, entry) in entries.into_iter().enumerate() {
                    self.entries.entry(section.name.to_owned()).or_default().push(place(source, &entry.span()));
                    if let DeValue::Table(table) = entry.into_inner() {
                        self.add_section(source, section.name, &format!("{}.{index}", section.name), table);
                    }
                }
            }
            other => {
                let brackets = if section.repeated { format!("[[{key_name}]]") } else { format!("[{key_name}]") };
                let problem = Problem::new(format!("{key_name}: a section was expected, not {}", other.type_str()), Some(at));
                self.problems.push(problem.hint(format!("write {brackets} and its keys below")));
            }
        }
    }

    fn add_section(&mut self, source: usize, section: &str, prefix: &str, table: DeTable<'_>) {
        for (name, value) in table {
            if defaults::find(&format!("{section}.{}", name.get_ref())).is_some() {
                self.insert(source, format!("{prefix}.{}", name.get_ref()), &value);
            } else {
                self.problems.push(unknown_key(&format!("{section}.{}", name.get_ref()), Some(place(source, &name.span()))));
            }
        }
    }

    fn insert(&mut self, source: usize, path: String, value: &Spanned<DeValue<'_>>) {
        self.items.insert(path, item(source, value));
    }
}

/// The default of a key as an item without a place.
pub fn default_item(key: &Key) -> Item {
    let parsed = DeValue::parse(key.default).expect("every default is TOML: a test parses them all");
    without_place(item(0, &parsed))
}

fn without_place(item: Item) -> Item {
    let value = match item.value {
        Value::List(items) => Value::List(items.into_iter().map(without_place).collect()),
        other => other,
    };
    Item { value, place: None }
}

/// Quotes may be left out where only a word can stand; else it is TOML, and what is no TOML is a word.
fn overlay_value(key: &Key, text: &str, source: usize) -> Value {
    let parsed = DeValue::parse(text).ok().map(|value| without_place(item(source, &value)).value);
    match parsed {
        Some(value @ Value::Text(_)) => value,
        Some(value) if !key.kind.is_quoted() => value,
        Some(value @ Value::List(_)) => value,
        _ => Value::Text(text.to_owned()),
    }
}

fn item(source: usize, value: &Spanned<DeValue<'_>>) -> Item {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Other("a number beyond 64 bits"), Value::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Other("a number beyond 64 bits"), Value::Float),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(items.iter().map(|inner| item(source, inner)).collect()),
        DeValue::Table(_) => Value::Other("a table"),
    };
    Item { value: converted, place: Some(place(source, &value.span())) }
}

fn place(source: usize, span: &Range<usize>) -> Place {
    Place { source, start: span.start, end: span.end }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn unknown_key(path: &str, place: Option<Place>) -> Problem {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    if !section.is_empty() && defaults::find_section(section).is_none() {
        return unknown_section(section, place.unwrap_or(Place { source: 0, start: 0, end: 0 }));
    }
    let siblings: Vec<&str> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    let shown = if section.is_empty() { "name, or a section".to_owned() } else { nearest(name, &siblings) };
    let problem = Problem::new(format!("unknown key `{name}`"), place).label(format!("expected one of {shown}"));
    if let Some(other) = KEYS.iter().find(|key| key.name == name) {
        let home = if other.section.is_empty() { "to the top, before every section".to_owned() } else { format!("into [{}]", other.section) };
        return problem.hint(format!("`{name}` belongs {home}"));
    }
    match closest(name, siblings.into_iter()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("rtcctl config example shows every key"),
    }
}

fn unknown_section(name: &str, place: Place) -> Problem {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    let problem = Problem::new(format!("unknown section `{name}`"), Some(place)).label(format!("expected one of {}", names.join(", ")));
    match closest(name, names.into_iter()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("rtcctl config example shows every section"),
    }
}

/// The few candidates that are most like `word`.
fn nearest(word: &str, candidates: &[&str]) -> String {
    const SHOWN: usize = 4;
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|candidate| strsim::damerau_levenshtein(word, candidate));
    let more = if sorted.len() > SHOWN { ", …" } else { "" };
    sorted.truncate(SHOWN);
    format!("{}{more}", sorted.join(", "))
}

/// The candidate that a person most likely meant, if any is near enough.
pub fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let (distance, best) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + best.len() / 4).then_some(best)
}
