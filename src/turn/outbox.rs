//! Gathers datagrams for one destination into a run that one system call sends. One run is open at a time: merged receives come flow by flow.
//!
//! ```text
//! received alone     | head room | payload |          header goes into the head room, nothing is copied
//! received merged    | payload | payload | payload |  header + payload are copied behind each other
//! ```

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::net::udp::{LARGEST_SEGMENT, RUN_BYTES};

/// Who sends: a listener or a relay socket, by its place in the shard's table.
pub(super) trait Sockets {
    /// Returns how many datagrams were lost.
    fn send(&self, socket: usize, to: SocketAddr, from: Option<IpAddr>, bytes: &[u8], segment: usize) -> usize;
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) socket: usize,
    pub(super) to: SocketAddr,
    /// Source address, on wildcard sockets.
    pub(super) from: Option<IpAddr>,
}

/// A payload inside a buffer, and whether the bytes around it are free.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) range: Range<usize>,
    /// [`crate::net::udp::HEADROOM`] bytes before and `TAILROOM` behind belong to it alone.
    pub(super) roomy: bool,
}

struct Run {
    target: Target,
    segment: usize,
    /// Where the only datagram lies in the receive buffer; `None`: all are in `gathered`.
    in_place: Option<Range<usize>>,
    /// A shorter datagram was added, which must be the last.
    ended: bool,
}

/// At most one open run; its bytes are bounded by [`RUN_BYTES`] and room for one oversized datagram.
pub(super) struct Outbox {
    run: Option<Run>,
    gathered: Vec<u8>,
    /// Datagrams the kernel did not take since the last look.
    lost: usize,
}

/// Segments in one send: the kernel's limit (`UDP_MAX_SEGMENTS`).
const MOST: usize = 64;

impl Outbox {
    pub(super) fn new() -> Self {
        Self { run: None, gathered: Vec::with_capacity(2 * RUN_BYTES), lost: 0 }
    }

    /// Adds `header`, the payload and `pad` zero bytes as one datagram. `buffer` must be the same one until the next [`Self::flush`].
    pub(super) fn push(&mut self, sockets: &impl Sockets, target: Target, header: &[u8], buffer: &mut [u8], payload: Payload, pad: usize) {
        let size = header.len() + payload.range.len() + pad;
        if !self.run.as_ref().is_some_and(|run| run.takes(target, size, self.gathered.len())) {
            self.flush(sockets, buffer);
            if payload.roomy {
                let start = payload.range.start - header.len();
                buffer[start..payload.range.start].copy_from_slice(header);
                buffer[payload.range.end..payload.range.end + pad].fill(0);
                self.run = Some(Run { target, segment: size, in_place: Some(start..start + size), ended: size == 0 });
                return;
            }
            self.run = Some(Run { target, segment: size, in_place: None, ended: size == 0 });
        }
        let run = self.run.as_mut().expect("set above when there was none");
        if let Some(first) = run.in_place.take() {
            self.gathered.extend_from_slice(&buffer[first]);
        }
        run.ended |= size < run.segment;
        self.gathered.extend_from_slice(header);
        self.gathered.extend_from_slice(&buffer[payload.range]);
        self.gathered.extend_from_slice(&[0; 4][..pad]);
    }

    /// Sends what is gathered. `buffer` is the one that was pushed from.
    pub(super) fn flush(&mut self, sockets: &impl Sockets, buffer: &[u8]) {
        let Some(run) = self.run.take() else { return };
        let Target { socket, to, from } = run.target;
        let bytes = run.in_place.map_or(&self.gathered[..], |range| &buffer[range]);
        self.lost += sockets.send(socket, to, from, bytes, run.segment);
        self.gathered.clear();
    }

    pub(super) fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }
}

impl Run {
    fn takes(&self, target: Target, size: usize, gathered: usize) -> bool {
        let so_far = gathered.max(self.segment);
        self.target == target
            && !self.ended
            && size <= self.segment
            && size > 0
            && self.segment <= LARGEST_SEGMENT
            && so_far + size <= RUN_BYTES
            && so_far < MOST * self.segment
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Wire(RefCell<Vec<(usize, Vec<u8>, usize)>>);

    impl Sockets for Wire {
        fn send(&self, socket: usize, _: SocketAddr, _: Option<IpAddr>, bytes: &[u8], segment: usize) -> usize {
            self.0.borrow_mut().push((socket, bytes.to_vec(), segment));
            0
        }
    }

    fn target(socket: usize) -> Target {
        Target { socket, to: "192.0.2.1:9".parse().unwrap(), from: None }
    }

    fn roomy(range: Range<usize>) -> Payload {
        Payload { range, roomy: true }
    }

    fn packed(range: Range<usize>) -> Payload {
        Payload { range, roomy: false }
    }

    #[test]
    fn merged_payloads_become_one_run_with_headers_between() {
        let (wire, mut out, mut buffer) = (Wire::default(), Outbox::new(), *b"....aaaabbbbcc");
        for range in [4..8, 8..12, 12..14] {
            out.push(&wire, target(1), b"HH", &mut buffer, packed(range), 0);
        }
        out.flush(&wire, &buffer);
        assert_eq!(wire.0.take(), [(1, b"HHaaaaHHbbbbHHcc".to_vec(), 6)]);
    }

    #[test]
    fn a_short_datagram_ends_a_run_and_a_long_one_begins_another() {
        let (wire, mut out, mut buffer) = (Wire::default(), Outbox::new(), *b"aaaabbccccddddd");
        for range in [0..4, 4..6, 6..10, 10..15] {
            out.push(&wire, target(1), b"", &mut buffer, packed(range), 0);
        }
        out.flush(&wire, &buffer);
        assert_eq!(wire.0.take(), [(1, b"aaaabb".to_vec(), 4), (1, b"cccc".to_vec(), 4), (1, b"ddddd".to_vec(), 5)]);
    }

    #[test]
    fn alone_it_is_written_in_place_and_copied_only_when_company_comes() {
        let (wire, mut out, mut buffer) = (Wire::default(), Outbox::new(), *b"....aaa~....bbb~....ccc~");
        out.push(&wire, target(1), b"1234", &mut buffer, roomy(4..7), 1);
        assert!(out.gathered.is_empty());
        out.push(&wire, target(1), b"5678", &mut buffer, roomy(12..15), 1);
        out.push(&wire, target(2), b"", &mut buffer, roomy(20..23), 1);
        out.flush(&wire, &buffer);
        assert_eq!(wire.0.take(), [(1, b"1234aaa\x005678bbb\x00".to_vec(), 8), (2, b"ccc\x00".to_vec(), 4)]);
    }

    #[test]
    fn runs_stay_within_what_one_call_can_carry() {
        let (wire, mut out, mut buffer) = (Wire::default(), Outbox::new(), vec![7; 3000]);
        let capacity = out.gathered.capacity();
        for _ in 0..150 {
            out.push(&wire, target(1), b"", &mut buffer, packed(0..1200), 0);
        }
        for _ in 0..2 {
            out.push(&wire, target(1), b"", &mut buffer, packed(0..3000), 0);
        }
        out.push(&wire, target(1), b"", &mut buffer, packed(0..0), 0);
        out.push(&wire, target(1), b"", &mut buffer, packed(0..0), 0);
        for _ in 0..100 {
            out.push(&wire, target(1), b"", &mut buffer, packed(0..10), 0);
        }
        out.flush(&wire, &buffer);
        let sent: Vec<(usize, usize)> = wire.0.take().iter().map(|(_, bytes, segment)| (bytes.len(), *segment)).collect();
        let expect = [(64_800, 1200), (64_800, 1200), (50_400, 1200), (3000, 3000), (3000, 3000), (0, 0), (0, 0), (640, 10), (360, 10)];
        assert_eq!(sent, expect);
        assert_eq!(out.gathered.capacity(), capacity, "never grows");
    }
}
