//! `rtcctl explain`: the offline page of a check.

use clap::Args;
use serde::Serialize;

use super::cx::Cx;
use crate::doctor::{self, CHECKS};
use crate::ui::table::{Align, Table, terminal_width};
use crate::ui::{Exit, Failure};

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// The id of a check, as "cert.name" [default: list them]
    #[arg(value_name = "ID")]
    id: Option<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    id: &'a str,
    title: &'a str,
    needs: &'a [&'a str],
    /// Markdown.
    page: String,
}

pub(super) fn run(cx: &Cx, args: &ExplainArgs) -> Result<(), Failure> {
    let Some(id) = &args.id else { return list(cx) };
    let check = doctor::find(id).ok_or_else(|| unknown(id))?;
    let page = doctor::page(check.id).ok_or_else(|| unknown(id))?;
    if cx.ui.is_json() {
        return cx.ui.out_json("explain", &Page { id: check.id, title: check.title, needs: check.needs, page });
    }
    cx.ui.out(page.trim_end())
}

/// Every check with what holds when it passes.
pub(super) fn list(cx: &Cx) -> Result<(), Failure> {
    if cx.ui.is_json() {
        let row = |check: &doctor::Check| serde_json::json!({ "id": check.id, "title": check.title, "vantage": check.vantage, "foreign": check.foreign, "needs": check.needs });
        return cx.ui.out_json("doctor.list", &serde_json::json!({ "checks": CHECKS.iter().map(row).collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&[("check", Align::Left), ("holds when", Align::Left)]);
    let mut sorted: Vec<_> = CHECKS.iter().collect();
    sorted.sort_by_key(|check| family(check.id));
    for check in sorted {
        table.row([check.id.to_owned(), check.title.to_owned()]);
    }
    cx.ui.out(table.lines(terminal_width()).join("\n"))
}

pub(super) fn unknown(id: &str) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("no such check: {id}"));
    match doctor::nearest(id) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("see them all: rtcctl doctor --list"),
    }
}

/// `cert` of `cert.name`
pub(super) fn family(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}
