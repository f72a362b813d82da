//! Pure: STUN and TURN attributes (RFC 8489 §14, RFC 8656 §18): their numbers, and the values that are more than bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::message::{COOKIE, TransactionId};

pub const MAPPED_ADDRESS: u16 = 0x0001;
pub const USERNAME: u16 = 0x0006;
pub const MESSAGE_INTEGRITY: u16 = 0x0008;
pub const ERROR_CODE: u16 = 0x0009;
pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
pub const CHANNEL_NUMBER: u16 = 0x000C;
pub const LIFETIME: u16 = 0x000D;
pub const XOR_PEER_ADDRESS: u16 = 0x0012;
pub const DATA: u16 = 0x0013;
pub const REALM: u16 = 0x0014;
pub const NONCE: u16 = 0x0015;
pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
pub const EVEN_PORT: u16 = 0x0018;
pub const REQUESTED_TRANSPORT: u16 = 0x0019;
pub const DONT_FRAGMENT: u16 = 0x001A;
pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
pub const PASSWORD_ALGORITHM: u16 = 0x001D;
pub const USERHASH: u16 = 0x001E;
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub const RESERVATION_TOKEN: u16 = 0x0022;
pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
pub const SOFTWARE: u16 = 0x8022;
pub const FINGERPRINT: u16 = 0x8028;

/// Attributes up to here must be understood by whoever gets them (RFC 8489 §14).
pub const LAST_REQUIRED: u16 = 0x7FFF;

/// Comprehension-required attributes that a message may carry, whether its method uses them or not (RFC 8489 §6.3: known but unexpected ones are
/// ignored). What is missing here costs a request a 420 and an indication its life: DONT-FRAGMENT, since we set no DF, and what RFC 5780, 6062 and
/// 8016 add.
pub const UNDERSTOOD: [u16; 20] = [
    MAPPED_ADDRESS,
    USERNAME,
    MESSAGE_INTEGRITY,
    ERROR_CODE,
    UNKNOWN_ATTRIBUTES,
    CHANNEL_NUMBER,
    LIFETIME,
    XOR_PEER_ADDRESS,
    DATA,
    REALM,
    NONCE,
    XOR_RELAYED_ADDRESS,
    REQUESTED_ADDRESS_FAMILY,
    EVEN_PORT,
    RESERVATION_TOKEN,
    REQUESTED_TRANSPORT,
    MESSAGE_INTEGRITY_SHA256,
    PASSWORD_ALGORITHM,
    USERHASH,
    XOR_MAPPED_ADDRESS,
];

/// Protocol number of UDP in REQUESTED-TRANSPORT.
pub const UDP: u8 = 17;

/// An address family (RFC 8489 §14.1, RFC 8656 §18.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    /// From REQUESTED-ADDRESS-FAMILY or ADDITIONAL-ADDRESS-FAMILY: one byte and three reserved ones. `Err`: another length; `Ok(None)`: another family.
    pub fn decode(value: &[u8]) -> Result<Option<Self>, Malformed> {
        let [number, _, _, _] = value else { return Err(Malformed) };
        Ok(match number {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        })
    }

    pub fn encode(self) -> [u8; 4] {
        [self.number(), 0, 0, 0]
    }
}

/// A value that has not the length or form its attribute asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// An XOR-ed address on the wire: 8 bytes for IPv4, 20 for IPv6 (RFC 8489 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorAddress {
    bytes: [u8; 20],
    length: usize,
}

impl XorAddress {
    pub fn encode(address: SocketAddr, transaction: &TransactionId) -> Self {
        let mut bytes = [0; 20];
        let mask = mask(transaction);
        bytes[1] = Family::of(address.ip()).number();
        bytes[2..4].copy_from_slice(&(address.port() ^ port_mask()).to_be_bytes());
        let length = match address.ip() {
            IpAddr::V4(ip) => {
                bytes[4..8].copy_from_slice(&ip.octets());
                8
            }
            IpAddr::V6(ip) => {
                bytes[4..20].copy_from_slice(&ip.octets());
                20
            }
        };
        for (byte, mask) in bytes[4..length].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        Self { bytes, length }
    }

    pub fn decode(value: &[u8], transaction: &TransactionId) -> Result<SocketAddr, Malformed> {
        let (head, address) = value.split_first_chunk::<4>().ok_or(Malformed)?;
        let port = u16::from_be_bytes([head[2], head[3]]) ^ port_mask();
        let mask = mask(transaction);
        let ip: IpAddr = match head[1] {
            1 => {
                let mut octets: [u8; 4] = address.try_into().map_err(|_| Malformed)?;
                octets.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
                Ipv4Addr::from(octets).into()
            }
            2 => {
                let mut octets: [u8; 16] = address.try_into().map_err(|_| Malformed)?;
                octets.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
                Ipv6Addr::from(octets).into()
            }
            _ => return Err(Malformed),
        };
        Ok(SocketAddr::new(ip, port))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn port_mask() -> u16 {
    (COOKIE >> 16) as u16
}

fn mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    mask
}

/// ERROR-CODE (RFC 8489 §14.8): class and number in two bytes, then the reason.
pub fn decode_error(value: &[u8]) -> Result<(u16, &str), Malformed> {
    let (head, reason) = value.split_first_chunk::<4>().ok_or(Malformed)?;
    let (class, number) = (u16::from(head[2] & 7), u16::from(head[3]));
    if !(3..=6).contains(&class) || number > 99 {
        return Err(Malformed);
    }
    Ok((class * 100 + number, std::str::from_utf8(reason).map_err(|_| Malformed)?))
}

/// The four bytes before the reason phrase; `leading` is the first of them, the family in ADDRESS-ERROR-CODE (RFC 8656 §18.12).
pub fn encode_error(code: u16, leading: u8) -> [u8; 4] {
    [leading, 0, (code / 100) as u8, (code % 100) as u8]
}

/// LIFETIME: seconds.
pub fn decode_u32(value: &[u8]) -> Result<u32, Malformed> {
    value.try_into().map(u32::from_be_bytes).map_err(|_| Malformed)
}

/// CHANNEL-NUMBER: the number, and two bytes that mean nothing.
pub fn decode_channel(value: &[u8]) -> Result<u16, Malformed> {
    let [high, low, _, _] = value else { return Err(Malformed) };
    Ok(u16::from_be_bytes([*high, *low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    #[test]
    fn addresses_survive_both_ways() {
        for text in ["0.0.0.0:0", "192.0.2.1:32853", "255.255.255.255:65535", "[::]:1", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let address: SocketAddr = text.parse().unwrap();
            let wire = XorAddress::encode(address, &TRANSACTION);
            assert_eq!(XorAddress::decode(wire.as_bytes(), &TRANSACTION), Ok(address));
        }
    }

    #[test]
    fn address_of_the_vectors() {
        // RFC 5769 §2.2
        let wire = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(XorAddress::decode(&wire, &TRANSACTION), Ok("192.0.2.1:32853".parse().unwrap()));
        assert_eq!(XorAddress::encode("192.0.2.1:32853".parse().unwrap(), &TRANSACTION).as_bytes(), wire);
    }

    #[test]
    fn addresses_of_a_wrong_length_or_family_are_refused() {
        let whole = XorAddress::encode("[2001:db8::1]:9".parse().unwrap(), &TRANSACTION);
        for length in 0..20 {
            assert_eq!(XorAddress::decode(&whole.as_bytes()[..length], &TRANSACTION), Err(Malformed), "{length}");
        }
        for family in [0, 3, 255] {
            assert_eq!(XorAddress::decode(&[0, family, 1, 2, 3, 4, 5, 6], &TRANSACTION), Err(Malformed));
        }
        assert_eq!(XorAddress::decode(&[0, 1, 1, 2, 3, 4, 5, 6, 7], &TRANSACTION), Err(Malformed));
    }

    #[test]
    fn error_codes() {
        assert_eq!(decode_error(&[0, 0, 4, 38, b's']), Ok((438, "s")));
        assert_eq!(decode_error(&encode_error(508, 0)), Ok((508, "")));
        for wrong in [&[0, 0, 4][..], &[0, 0, 2, 0], &[0, 0, 7, 0], &[0, 0, 4, 100], &[0, 0, 4, 0, 0xFF]] {
            assert_eq!(decode_error(wrong), Err(Malformed), "{wrong:?}");
        }
    }
}
