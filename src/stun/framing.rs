//! Pure: cuts a byte stream into STUN messages and ChannelData (RFC 8656 §3.7, §12.5), however it was split on the way.
//!
//! ```text
//! 00.. STUN         20 + length              (length is a multiple of four)
//! 0100 ChannelData  4 + length, padded to four
//! else              cannot be re-synchronised: close
//! ```

use super::{channel, message};

/// The largest frame there is: a header and a 16-bit length.
pub const MAX_FRAME: usize = message::HEADER + 0xFFFF;

/// What came is neither STUN nor ChannelData; the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither STUN nor ChannelData")]
pub struct NotTurn;

/// Holds what has arrived and is not yet a whole frame. It grows with what was received, never with what was claimed; drained after every `push` it
/// stays below [`MAX_FRAME`] plus one read.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
}

impl Framer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.shrink_to(MAX_FRAME);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, ChannelData without its padding. Call until `None` after every `push`.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, NotTurn> {
        let pending = &self.buffer[self.start..];
        let Some((frame, wire)) = measure(pending)? else { return Ok(None) };
        if pending.len() < wire {
            return Ok(None);
        }
        let begin = self.start;
        self.start += wire;
        Ok(Some(&self.buffer[begin..begin + frame]))
    }

    /// Bytes that wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

/// Length of the frame that begins here, without and with padding; `None` while that cannot be told.
fn measure(bytes: &[u8]) -> Result<Option<(usize, usize)>, NotTurn> {
    let Some(first) = bytes.first() else { return Ok(None) };
    match first >> 4 {
        0..=3 => {
            let Some(header) = bytes.first_chunk::<8>() else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            if header[4..] != message::COOKIE.to_be_bytes() || !length.is_multiple_of(4) {
                return Err(NotTurn);
            }
            Ok(Some((message::HEADER + length, message::HEADER + length)))
        }
        4 => {
            let Some(header) = bytes.first_chunk::<4>() else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            Ok(Some((channel::HEADER + length, channel::HEADER + length.next_multiple_of(4))))
        }
        _ => Err(NotTurn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    const CHANNEL: [u8; 8] = [0x40, 1, 0, 1, b'x', 0, 0, 0];

    #[test]
    fn any_split_gives_the_same_frames() {
        let stream: Vec<u8> = [&BINDING[..], &CHANNEL, &BINDING, &[0x40, 2, 0, 0], &CHANNEL].concat();
        for chunk in 1..=stream.len() {
            let mut framer = Framer::new();
            let mut frames = Vec::new();
            for piece in stream.chunks(chunk) {
                framer.push(piece);
                while let Some(frame) = framer.next_frame().unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, [&BINDING[..], &CHANNEL[..5], &BINDING, &[0x40, 2, 0, 0], &CHANNEL[..5]], "in pieces of {chunk}");
            assert_eq!(framer.pending(), 0);
        }
    }

    #[test]
    fn what_is_not_turn_is_told_early() {
        for hello in
            [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"SSH-2.0", b"PROXY TCP4", &[0x80], &[0xFF, 0], &[0, 1, 0, 2, 0x21, 0x12, 0xA4, 0x42]]
        {
            let mut framer = Framer::new();
            framer.push(hello);
            assert_eq!(framer.next_frame(), Err(NotTurn), "{hello:?}");
        }
    }

    #[test]
    fn a_claimed_length_reserves_nothing() {
        let mut framer = Framer::new();
        framer.push(&[0x40, 0, 0xFF, 0xFF]);
        assert_eq!(framer.next_frame(), Ok(None));
        assert!(framer.buffer.capacity() < 64);
    }
}
