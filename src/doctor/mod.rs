//! The judge: what is wrong, why, and which command mends it. A check is a row: what it needs, where it can look, and a function from
//! [`Evidence`] to a [`Verdict`]. Evidence is gathered once, however many rows ask for it.
//!
//! Not for: mending. A remedy is data; commands in it are those that people can run.

pub mod check;
mod checks;
mod evidence;
mod firewall;
mod leaf;
mod pages;
mod run;
mod subject;

pub use check::{Check, Finding, Remedy, Status, Summary, Vantage, Way};
pub use checks::CHECKS;
pub use evidence::Evidence;
pub use pages::page;
pub use run::{Selection, run};
pub use subject::{Own, Subject, Target, Wrong, wrong};

/// The row with this id.
pub fn find(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.id == id)
}

/// The id that was probably meant.
pub fn nearest(id: &str) -> Option<&'static str> {
    let scored = CHECKS.iter().map(|check| (strsim::jaro_winkler(id, check.id), check.id));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, id)| id)
}
