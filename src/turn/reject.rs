//! Pure: the errors a request can be answered with (RFC 8489 §14.8, RFC 8656 §19).

/// An error answer by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reject(u16);

pub(super) const BAD_REQUEST: Reject = Reject(400);
pub(super) const UNAUTHORIZED: Reject = Reject(401);
pub(super) const FORBIDDEN: Reject = Reject(403);
pub(super) const UNKNOWN_ATTRIBUTE: Reject = Reject(420);
pub(super) const ALLOCATION_MISMATCH: Reject = Reject(437);
pub(super) const STALE_NONCE: Reject = Reject(438);
pub(super) const FAMILY_NOT_SUPPORTED: Reject = Reject(440);
pub(super) const WRONG_CREDENTIALS: Reject = Reject(441);
pub(super) const TRANSPORT_NOT_SUPPORTED: Reject = Reject(442);
pub(super) const FAMILY_MISMATCH: Reject = Reject(443);
pub(super) const QUOTA_REACHED: Reject = Reject(486);
pub(super) const NO_CAPACITY: Reject = Reject(508);

impl Reject {
    pub(super) fn code(self) -> u16 {
        self.0
    }

    pub(super) fn reason(self) -> &'static str {
        match self.0 {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            420 => "Unknown Attribute",
            437 => "Allocation Mismatch",
            438 => "Stale Nonce",
            440 => "Address Family not Supported",
            441 => "Wrong Credentials",
            442 => "Unsupported Transport Protocol",
            443 => "Peer Address Family Mismatch",
            486 => "Allocation Quota Reached",
            _ => "Insufficient Capacity",
        }
    }
}
