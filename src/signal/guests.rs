//! Pure: which addresses took a seat lately. Where only hosts open rooms, a client that asks for relay credentials before it has joined (iOS does)
//! is known by its address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::rate::subscriber;

/// A client fetches its credentials right after joining.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Beyond it newcomers are not remembered until older ones are forgotten.
const MAX: usize = 8192;

#[derive(Default)]
pub(super) struct Guests {
    until: HashMap<IpAddr, Instant>,
}

impl Guests {
    pub(super) fn sat_down(&mut self, now: Instant, address: IpAddr) {
        if self.until.len() >= MAX {
            self.until.retain(|_, until| *until > now);
        }
        let address = subscriber(address);
        if self.until.len() < MAX || self.until.contains_key(&address) {
            self.until.insert(address, now + REMEMBERED);
        }
    }

    pub(super) fn contains(&self, now: Instant, address: IpAddr) -> bool {
        self.until.get(&subscriber(address)).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_known_for_a_minute_and_a_stranger_never() {
        let (now, mut guests) = (Instant::now(), Guests::default());
        guests.sat_down(now, "192.0.2.1".parse().unwrap());
        let known = |text: &str, after: u64| guests.contains(now + Duration::from_secs(after), text.parse().unwrap());
        assert!(known("192.0.2.1", 59) && known("::ffff:192.0.2.1", 0));
        assert!(!known("192.0.2.1", 60) && !known("192.0.2.2", 0));
    }

    #[test]
    fn the_table_is_bounded_and_recovers() {
        let (now, mut guests) = (Instant::now(), Guests::default());
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..MAX + 5 {
            guests.sat_down(now, address(n));
        }
        assert_eq!((guests.until.len(), guests.contains(now, address(MAX))), (MAX, false));
        let later = now + REMEMBERED;
        guests.sat_down(later, address(MAX));
        assert_eq!((guests.until.len(), guests.contains(later, address(MAX))), (1, true));
    }
}
