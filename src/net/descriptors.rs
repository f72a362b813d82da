//! How many descriptors this process may hold: every connection and every relayed address takes one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than all limits of ours together need.
const ENOUGH: u64 = 65_536;

/// Raises the soft limit, which is 1024 on most systems for the sake of old programs that use `select`, as far as it goes without privilege.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(ENOUGH)
    {
        // Refused only by a sandbox; then the limits below follow what there is.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH), hard);
    }
}

/// The soft limit.
pub fn limit() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}
