//! Pure: how many connections stand open, in total and per address, and who must wait outside.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of all clients together. A browser in a call holds one or two.
const TOTAL: usize = 4096;
/// Connections of one address (an IPv6 network of 64 bits counts as one): an office behind one address fits, a single client cannot take all.
const PER_ADDRESS: usize = 256;

/// Hands out seats; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    inner: Arc<Mutex<Taken>>,
    total: usize,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// Bounded by the total: an entry leaves with its last seat.
    by_address: HashMap<IpAddr, usize>,
}

/// Held by a connection for as long as its socket lives.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    address: IpAddr,
}

impl Seats {
    /// At most a quarter of the descriptors: the relay's connections take half, and the rest is for relayed addresses and the admin socket.
    pub(super) fn within(descriptors: usize) -> Self {
        let total = TOTAL.min(descriptors / 4);
        Self::new(total, PER_ADDRESS.min(total / 4 * 3))
    }

    pub(super) fn new(total: usize, per_address: usize) -> Self {
        Self { inner: Arc::default(), total, per_address }
    }

    /// `None`: full.
    pub(super) fn take(&self, client: IpAddr) -> Option<Seat> {
        let address = network(client);
        let mut taken = self.lock();
        let own = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.total >= self.total || own >= self.per_address {
            return None;
        }
        taken.total += 1;
        taken.by_address.insert(address, own + 1);
        Some(Seat { seats: self.clone(), address })
    }

    /// For a connection of a proxy: many clients come from its address, so only the total is looked at. `None`: full.
    pub(super) fn take_for_proxy(&self, proxy: IpAddr) -> Option<Seat> {
        let address = network(proxy);
        let mut taken = self.lock();
        if taken.total >= self.total {
            return None;
        }
        taken.total += 1;
        *taken.by_address.entry(address).or_default() += 1;
        Some(Seat { seats: self.clone(), address })
    }

    pub(super) fn taken(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.total -= 1;
        if let Some(own) = taken.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, also when mapped into IPv6, or an IPv6 /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_seat() {
        let seats = Seats::new(3, 2);
        let [anna, bert] = ["192.0.2.1", "192.0.2.2"].map(|a| a.parse().unwrap());
        let held: Vec<_> = (0..2).map(|_| seats.take(anna).expect("free")).collect();
        assert!(seats.take(anna).is_none());
        assert!(seats.take("::ffff:192.0.2.1".parse().unwrap()).is_none(), "the mapped form is the same client");
        let other = seats.take(bert).expect("free for others");
        assert!(seats.take("192.0.2.3".parse().unwrap()).is_none(), "full");
        drop((held, other));
        assert_eq!(seats.taken(), 0);
        assert!(seats.lock().by_address.is_empty());
        assert!(seats.take(anna).is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let seats = Seats::new(9, 1);
        let _held = seats.take("2001:db8:0:1::1".parse().unwrap()).expect("free");
        assert!(seats.take("2001:db8:0:1:ffff::2".parse().unwrap()).is_none());
        assert!(seats.take("2001:db8:0:2::1".parse().unwrap()).is_some());
    }

    #[test]
    fn few_descriptors_are_never_all_taken_by_connections() {
        let seats = Seats::within(1024);
        let floods = (1..=5).flat_map(|host| std::iter::repeat_n(format!("192.0.2.{host}"), 250));
        let held: Vec<_> = floods.filter_map(|client| seats.take(client.parse().unwrap())).collect();
        assert_eq!(held.len(), 256);
        assert_eq!(
            held.iter().filter(|seat| seat.address == "192.0.2.1".parse::<IpAddr>().unwrap()).count(),
            192,
            "one client leaves room for others"
        );
        assert_eq!((Seats::within(1 << 20).total, Seats::within(1 << 20).per_address), (TOTAL, PER_ADDRESS));
    }
}
