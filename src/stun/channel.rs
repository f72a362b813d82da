//! Pure: the ChannelData header (RFC 8656 §12.4): channel number, length, payload.

/// Bytes before the payload.
pub const HEADER: usize = 4;

/// Numbers a client may bind (RFC 8656 §12); the rest of what begins with bits 01 is reserved.
pub const NUMBERS: std::ops::RangeInclusive<u16> = 0x4000..=0x4FFF;

/// Splits a datagram into channel and payload. `None`: not ChannelData, or its length runs past the end. Bytes behind the payload are padding.
pub fn parse(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = datagram.split_first_chunk::<HEADER>()?;
    let number = u16::from_be_bytes([header[0], header[1]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    Some((number, rest.get(..length)?)).filter(|(number, _)| NUMBERS.contains(number))
}

/// The header for a payload of this many bytes.
pub fn header(number: u16, length: u16) -> [u8; HEADER] {
    let ([n0, n1], [l0, l1]) = (number.to_be_bytes(), length.to_be_bytes());
    [n0, n1, l0, l1]
}

/// Zero bytes that follow a payload on a stream.
pub fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_writes() {
        let mut datagram = header(0x4ABC, 3).to_vec();
        datagram.extend(b"abc");
        assert_eq!(parse(&datagram), Some((0x4ABC, &b"abc"[..])));
        datagram.push(0);
        assert_eq!(parse(&datagram), Some((0x4ABC, &b"abc"[..])), "padding is not relayed");
        assert_eq!(parse(&header(0x4000, 0)), Some((0x4000, &b""[..])));
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        for datagram in [&[][..], &[0x40], &[0x40, 0, 0], &[0x40, 0, 0, 1], &[0x50, 0, 0, 0], &[0x3F, 0xFF, 0, 0], &[0x7F, 0, 0, 0], &[0xFF, 0, 0, 0]]
        {
            assert_eq!(parse(datagram), None, "{datagram:?}");
        }
    }

    #[test]
    fn pads_to_four() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(padding), [0, 3, 2, 1, 0, 3]);
    }
}
