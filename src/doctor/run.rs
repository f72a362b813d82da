//! Runs rows: each as soon as what it needs has held, side by side, with a deadline. A row that panics says so and harms no other.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::check::{Check, Fault, Finding, Verdict};
use super::evidence::Evidence;

/// Of one row; everything a row waits for ends earlier by itself.
const ROW_DEADLINE: Duration = Duration::from_secs(8);

/// Which rows are wanted. Nothing named means all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub only: Vec<&'static str>,
    pub without: Vec<&'static str>,
}

impl Selection {
    /// The rows that run, in the order of the table: those that are named with everything they need.
    fn of<'a>(&self, table: &'a [Check], is_foreign: bool) -> Vec<&'a Check> {
        let mut wanted: BTreeSet<&str> = self.only.iter().copied().collect();
        while let Some(more) =
            table.iter().filter(|check| wanted.contains(check.id)).flat_map(|check| check.needs).find(|need| !wanted.contains(*need))
        {
            wanted.insert(more);
        }
        let is_wanted = |check: &&Check| self.only.is_empty() || wanted.contains(check.id);
        let fits = |check: &&Check| check.foreign || !is_foreign;
        table.iter().filter(is_wanted).filter(fits).filter(|check| !self.without.contains(&check.id)).collect()
    }
}

/// One finding per row, in the order of the table.
pub async fn run(table: &'static [Check], selection: &Selection, evidence: Arc<Evidence>) -> Vec<Finding> {
    run_within(ROW_DEADLINE, table, selection, evidence).await
}

async fn run_within(deadline: Duration, table: &'static [Check], selection: &Selection, evidence: Arc<Evidence>) -> Vec<Finding> {
    let rows = selection.of(table, evidence.is_foreign());
    let mut done: BTreeMap<&str, Finding> = BTreeMap::new();
    let mut waiting = rows.clone();
    let mut running = JoinSet::new();
    let mut started = BTreeMap::new();
    let untimely = untimely(&rows, &evidence).await;
    loop {
        waiting.retain(|check| {
            // A need that was not selected, or does not exist for this target, holds nothing up.
            let open = check.needs.iter().any(|need| rows.iter().any(|row| row.id == *need) && !done.contains_key(need));
            if open {
                return true;
            }
            match untimely.get(check.id).cloned().or_else(|| held_up(check, &done)) {
                Some(verdict) => drop(done.insert(check.id, Finding::new(check, verdict, Duration::ZERO))),
                None => {
                    let handle = running.spawn(look(check, Arc::clone(&evidence), deadline));
                    started.insert(handle.id(), *check);
                }
            }
            false
        });
        match running.join_next_with_id().await {
            Some(Ok((_, (check, verdict, took)))) => drop(done.insert(check.id, Finding::new(check, verdict, took))),
            Some(Err(error)) => {
                if let Some(check) = started.get(&error.id()) {
                    done.insert(check.id, Finding::new(check, broken(error), Duration::ZERO));
                }
            }
            // Rows that were just decided without running may have freed others.
            None if waiting.is_empty() => break,
            None => {}
        }
    }
    rows.iter().filter_map(|check| done.remove(check.id)).collect()
}

/// Rows that mean nothing as long as nothing is meant to run.
async fn untimely(rows: &[&'static Check], evidence: &Evidence) -> BTreeMap<&'static str, Verdict> {
    let mut untimely = BTreeMap::new();
    for check in rows {
        if !evidence.is_time_for(check.when).await {
            untimely.insert(check.id, Verdict::Skip(evidence.why_not_live().await.to_owned()));
        }
    }
    untimely
}

fn held_up(check: &Check, done: &BTreeMap<&str, Finding>) -> Option<Verdict> {
    let need = check.needs.iter().find(|need| done.get(*need).is_some_and(|finding| finding.blocks))?;
    // The row at the root of it, not the one in between.
    let mut root = *need;
    while let Some(next) =
        done.get(root).filter(|finding| finding.status == super::check::Status::Skip).and_then(|finding| finding.because.as_deref())
    {
        let Some((id, _)) = done.get_key_value(next) else { break };
        root = id;
    }
    done.get(root).map(|finding| Verdict::Waits(finding.id))
}

async fn look(check: &'static Check, evidence: Arc<Evidence>, deadline: Duration) -> (&'static Check, Verdict, Duration) {
    let started = Instant::now();
    let late = || Fault::new(format!("no result within {deadline:?}")).hint("run it alone with --check, on a machine with less to do").unknown();
    let verdict = tokio::time::timeout(deadline, (check.look)(evidence)).await.unwrap_or_else(|_| late());
    (check, verdict, started.elapsed())
}

fn broken(error: tokio::task::JoinError) -> Verdict {
    let why = error.try_into_panic().map_or_else(|_| "it was cancelled".to_owned(), |panic| words(&*panic));
    Fault::new(format!("the check itself broke: {why}")).hint("report it as a bug of rtcctl, with the output of rtcctl doctor --json").unknown()
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{Looking, Status, Vantage, When};
    use crate::doctor::subject::{Subject, Target};

    const fn row(id: &'static str, needs: &'static [&'static str], look: fn(Arc<Evidence>) -> Looking) -> Check {
        Check { id, title: "", vantage: Vantage::Both, foreign: true, when: When::Always, needs, look }
    }

    static TABLE: [Check; 8] = [
        row("a.late", &["a.fails"], |_| Box::pin(async { panic!("must not run") })),
        row("a.later", &["a.late"], |_| Box::pin(async { panic!("must not run") })),
        row("a.fails", &[], |_| Box::pin(async { Fault::new("broken").fail() })),
        row("a.panics", &[], |_| Box::pin(async { panic!("at the disco") })),
        row("a.warns", &[], |_| Box::pin(async { Fault::new("odd").warn() })),
        row("a.skips", &[], |_| Box::pin(async { Verdict::Skip("not here".into()) })),
        row("a.fine", &["a.warns", "a.skips"], |_| Box::pin(async { Verdict::Pass })),
        row("a.hangs", &[], |_| Box::pin(std::future::pending())),
    ];

    fn evidence() -> Arc<Evidence> {
        Arc::new(Evidence::new(Subject::Foreign(Target::parse("turn:192.0.2.1").unwrap()), None))
    }

    async fn findings(selection: Selection) -> BTreeMap<&'static str, (Status, Option<String>)> {
        run_within(Duration::from_millis(200), &TABLE, &selection, evidence()).await.into_iter().map(|f| (f.id, (f.status, f.because))).collect()
    }

    #[tokio::test]
    async fn needs_hold_up_and_nothing_else_does() {
        let found = findings(Selection::default()).await;
        assert_eq!(found.len(), TABLE.len());
        assert_eq!(found["a.late"], (Status::Skip, Some("a.fails".into())));
        assert_eq!(found["a.later"], (Status::Skip, Some("a.fails".into())), "the root is named, not the step in between");
        assert_eq!(found["a.fine"], (Status::Pass, None));
        assert_eq!(found["a.panics"], (Status::Unknown, Some("the check itself broke: at the disco".into())));
        assert_eq!(found["a.hangs"], (Status::Unknown, Some("no result within 200ms".into())));
    }

    #[tokio::test]
    async fn a_row_brings_what_it_needs_and_a_skipped_need_holds_nothing_up() {
        let only = Selection { only: vec!["a.fine"], without: Vec::new() };
        assert_eq!(findings(only).await.into_keys().collect::<Vec<_>>(), ["a.fine", "a.skips", "a.warns"]);
        let without = Selection { only: vec!["a.fine"], without: vec!["a.warns"] };
        assert_eq!(findings(without).await["a.fine"].0, Status::Pass);
    }
}
