//! Pure: what a person changed, as a unified diff.

use std::fmt::Write as _;

/// Lines shown around a change.
const CONTEXT: usize = 3;
/// Of either text; longer ones are not compared line by line. The files that we write have a hundred.
const MAX_LINES: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Keep,
    Remove,
    Add,
}

/// Empty when both are the same. `before` and `after` are what the texts are called.
pub fn unified(before: (&str, &str), after: (&str, &str)) -> String {
    if before.1 == after.1 {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (before.1.lines().collect(), after.1.lines().collect());
    let head = format!("--- {}\n+++ {}\n", before.0, after.0);
    if old.len().max(new.len()) > MAX_LINES {
        return format!("{head}too long to compare: {} lines and {} lines\n", old.len(), new.len());
    }
    let edits = edits(&old, &new);
    let mut text = head;
    let changed: Vec<usize> = (0..edits.len()).filter(|index| edits[*index].0 != Edit::Keep).collect();
    let mut next = 0;
    while next < changed.len() {
        let first = changed[next];
        while next + 1 < changed.len() && changed[next + 1] - changed[next] <= 2 * CONTEXT {
            next += 1;
        }
        hunk(&mut text, &edits[first.saturating_sub(CONTEXT)..(changed[next] + CONTEXT + 1).min(edits.len())]);
        next += 1;
    }
    if changed.is_empty() {
        text.push_str("they differ at the end of the last line only\n");
    }
    text
}

/// Each with its place in both texts, from 1.
type Placed<'a> = (Edit, &'a str, usize, usize);

fn hunk(text: &mut String, edits: &[Placed<'_>]) {
    let count = |not: Edit| edits.iter().filter(|edit| edit.0 != not).count();
    let (_, _, old, new) = edits[0];
    let _ = writeln!(text, "@@ -{old},{} +{new},{} @@", count(Edit::Add), count(Edit::Remove));
    for (edit, line, ..) in edits {
        let mark = match edit {
            Edit::Keep => ' ',
            Edit::Remove => '-',
            Edit::Add => '+',
        };
        let _ = writeln!(text, "{mark}{line}");
    }
}

/// The longest common subsequence stays.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Placed<'a>> {
    let mut common = vec![vec![0_u16; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut edits) = (0, 0, Vec::with_capacity(old.len().max(new.len())));
    while i < old.len() || j < new.len() {
        let at = (i + 1, j + 1);
        if i < old.len() && j < new.len() && old[i] == new[j] {
            edits.push((Edit::Keep, old[i], at.0, at.1));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            edits.push((Edit::Remove, old[i], at.0, at.1));
            i += 1;
        } else {
            edits.push((Edit::Add, new[j], at.0, at.1));
            j += 1;
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::unified;

    fn check(before: &str, after: &str, expected: Expect) {
        expected.assert_eq(&unified(("before", before), ("after", after)));
    }

    #[test]
    fn the_same_is_nothing() {
        check("a\nb\n", "a\nb\n", expect![""]);
    }

    #[test]
    fn changes_far_apart_are_shown_apart() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("2\n3\n", "2\n").replace("18\n", "18\neighteen and a half\n");
        check(
            &old,
            &new,
            expect![[r#"
                --- before
                +++ after
                @@ -1,6 +1,5 @@
                 1
                 2
                -3
                 4
                 5
                 6
                @@ -16,5 +15,6 @@
                 16
                 17
                 18
                +eighteen and a half
                 19
                 20
            "#]],
        );
    }

    #[test]
    fn from_nothing_and_to_nothing() {
        check(
            "",
            "a\n",
            expect![[r#"
            --- before
            +++ after
            @@ -1,0 +1,1 @@
            +a
        "#]],
        );
        check(
            "a",
            "a\n",
            expect![[r#"
            --- before
            +++ after
            they differ at the end of the last line only
        "#]],
        );
    }

    #[test]
    fn a_huge_file_is_not_compared() {
        let huge = "x\n".repeat(3000);
        check(
            &huge,
            "",
            expect![[r#"
            --- before
            +++ after
            too long to compare: 3000 lines and 0 lines
        "#]],
        );
    }
}
