//! Pure: what a release is, how the next one is called, and which old ones may go.

use serde::{Deserialize, Serialize};

/// How many releases are kept, the running one included.
pub const KEEP: usize = 5;

/// `releases/N/release.json`: written last, so that a folder without it is not a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub number: u64,
    /// Of the program that made it.
    pub version: String,
    /// SHA-256 in hex of the binary, the resolved config, and the unit where there is one.
    pub binary: String,
    pub config: String,
    pub unit: Option<String>,
    /// Seconds since the epoch.
    pub made: u64,
}

impl Release {
    /// The same bytes, whatever the number and the time.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.binary, &self.config, &self.unit) == (&other.binary, &other.config, &other.unit)
    }
}

/// The number after the highest that was ever seen, so that a number never means two things.
pub fn next(existing: &[u64], current: Option<u64>) -> u64 {
    existing.iter().copied().chain(current).max().unwrap_or(0) + 1
}

/// The oldest ones beyond [`KEEP`]; never the current one.
pub fn to_prune(existing: &[u64], current: u64) -> Vec<u64> {
    let mut others: Vec<u64> = existing.iter().copied().filter(|number| *number != current).collect();
    others.sort_unstable();
    others.truncate(others.len().saturating_sub(KEEP - 1));
    others
}

#[cfg(test)]
mod tests {
    use super::{next, to_prune};

    #[test]
    fn numbers_only_grow() {
        assert_eq!(next(&[], None), 1);
        assert_eq!(next(&[3, 9, 4], Some(4)), 10);
        assert_eq!(next(&[], Some(7)), 8);
    }

    #[test]
    fn the_current_one_stays_however_old() {
        assert_eq!(to_prune(&[1, 2, 3, 4, 5, 6, 7], 2), [1, 3]);
        assert_eq!(to_prune(&[1, 2, 3, 4, 5], 5), [0; 0]);
        assert_eq!(to_prune(&[1, 2, 3, 4, 5, 6], 6), [1]);
    }
}
