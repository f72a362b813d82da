//! Pure: how often one address, or one socket, may ask. Token buckets in a table of bounded size.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses a table remembers; beyond it strangers share one bucket until old entries have refilled.
const MAX_ADDRESSES: usize = 16_384;

/// So many at once, then one more for every `refill`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) refill: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// When the bucket is full again: the one number that is needed.
    full_at: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// `Err`: not now; how long to wait.
    pub(super) fn take(&mut self, now: Instant, rate: Rate) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + rate.refill;
        let deepest = now + rate.refill * rate.burst;
        if full_at > deepest {
            return Err(full_at - deepest);
        }
        self.full_at = full_at;
        Ok(())
    }
}

/// One bucket per address; an IPv6 client is its /64, which is what one subscriber has.
pub(super) struct Table {
    rate: Rate,
    buckets: HashMap<IpAddr, Bucket>,
    strangers: Option<Bucket>,
    swept: Option<Instant>,
}

impl Table {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new(), strangers: None, swept: None }
    }

    pub(super) fn take(&mut self, now: Instant, address: IpAddr) -> Result<(), Duration> {
        let address = subscriber(address);
        if !self.buckets.contains_key(&address) && self.buckets.len() >= MAX_ADDRESSES {
            self.sweep(now);
        }
        let bucket = if self.buckets.len() < MAX_ADDRESSES || self.buckets.contains_key(&address) {
            self.buckets.entry(address).or_insert_with(|| Bucket::new(now))
        } else {
            self.strangers.get_or_insert_with(|| Bucket::new(now))
        };
        bucket.take(now, self.rate)
    }

    /// Forgets who has a full bucket; at most once a second, because it walks the table.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|at| now >= at + Duration::from_secs(1)) {
            self.buckets.retain(|_, bucket| bucket.full_at > now);
            self.swept = Some(now);
        }
    }
}

/// Counts what each address holds at the same time.
pub(super) struct Holders {
    max: u32,
    held: HashMap<IpAddr, u32>,
}

impl Holders {
    pub(super) fn new(max: u32) -> Self {
        Self { max, held: HashMap::new() }
    }

    /// `false`: this address holds all it may. Bounded by what is held: an entry goes with its last one.
    pub(super) fn hold(&mut self, address: IpAddr) -> bool {
        let held = self.held.entry(subscriber(address)).or_default();
        let free = *held < self.max;
        *held += u32::from(free);
        free
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        let address = subscriber(address);
        if let Some(held) = self.held.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&address);
            }
        }
    }
}

/// Whom an address belongs to: an IPv6 client has a /64.
pub(super) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, refill: Duration::from_millis(100) };

    #[test]
    fn a_burst_then_one_per_refill() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        for _ in 0..3 {
            bucket.take(now, RATE).unwrap();
        }
        assert_eq!(bucket.take(now, RATE), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(now + Duration::from_millis(60), RATE), Err(Duration::from_millis(40)), "a refused one costs nothing");
        bucket.take(now + Duration::from_millis(100), RATE).unwrap();
        assert!(bucket.take(now + Duration::from_millis(100), RATE).is_err());
        for _ in 0..3 {
            bucket.take(now + Duration::from_secs(60), RATE).unwrap();
        }
        assert!(bucket.take(now + Duration::from_secs(60), RATE).is_err(), "no more than the burst is saved up");
    }

    #[test]
    fn addresses_do_not_pay_for_each_other_but_a_subnet_is_one() {
        let now = Instant::now();
        let mut table = Table::new(RATE);
        let mut drain = |text: &str| (0..9).filter(|_| table.take(now, text.parse().unwrap()).is_ok()).count();
        assert_eq!((drain("192.0.2.1"), drain("192.0.2.2"), drain("::ffff:192.0.2.1")), (3, 3, 0));
        assert_eq!((drain("2001:db8::1"), drain("2001:db8::2"), drain("2001:db8:0:1::1")), (3, 0, 3));
    }

    #[test]
    fn the_table_is_bounded_and_recovers() {
        let now = Instant::now();
        let mut table = Table::new(RATE);
        let address = |n: usize| IpAddr::from((n as u32).to_be_bytes());
        for n in 0..MAX_ADDRESSES {
            table.take(now, address(n)).unwrap();
        }
        let strangers = (0..9).filter(|n| table.take(now, address(MAX_ADDRESSES + n)).is_ok()).count();
        assert_eq!((strangers, table.buckets.len()), (3, MAX_ADDRESSES), "they share");
        let later = now + Duration::from_secs(2);
        table.take(later, address(MAX_ADDRESSES)).unwrap();
        assert_eq!(table.buckets.len(), 1);
    }

    #[test]
    fn what_is_released_is_forgotten() {
        let mut holders = Holders::new(2);
        let one = "192.0.2.1".parse().unwrap();
        assert_eq!((holders.hold(one), holders.hold(one), holders.hold(one)), (true, true, false));
        holders.release(one);
        assert!(holders.hold(one));
        holders.release(one);
        holders.release(one);
        holders.release(one);
        assert!(holders.held.is_empty());
    }
}
