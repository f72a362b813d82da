//! Pure: deadlines by key, earliest first; one per key, moved and cancelled at will.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Holds as many entries as there are keys: one per allocation.
#[derive(Debug)]
pub struct Timers<K> {
    order: BTreeSet<(Instant, K)>,
    at: HashMap<K, Instant>,
}

impl<K: Copy + Eq + Hash + Ord> Timers<K> {
    pub fn new() -> Self {
        Self { order: BTreeSet::new(), at: HashMap::new() }
    }

    pub fn set(&mut self, key: K, at: Instant) {
        self.cancel(key);
        self.at.insert(key, at);
        self.order.insert((at, key));
    }

    pub fn cancel(&mut self, key: K) {
        if let Some(at) = self.at.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out one key whose time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (_, key) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.cancel(key);
        Some(key)
    }
}

impl<K: Copy + Eq + Hash + Ord> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn earliest_first_and_only_when_due() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut timers = Timers::new();
        timers.set('b', second(2));
        timers.set('a', second(3));
        timers.set('c', second(1));
        timers.set('a', second(2));
        timers.cancel('c');
        timers.cancel('x');
        assert_eq!(timers.next(), Some(second(2)));
        assert_eq!(timers.pop_due(second(1)), None);
        assert_eq!([timers.pop_due(second(2)), timers.pop_due(second(2)), timers.pop_due(second(9))], [Some('a'), Some('b'), None]);
        assert_eq!((timers.next(), timers.at.len()), (None, 0));
    }
}
