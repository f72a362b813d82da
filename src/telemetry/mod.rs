//! How the program is watched: logs, counters, and the status document that the admin socket hands out.

pub mod log;
pub mod metrics;
pub mod status;
