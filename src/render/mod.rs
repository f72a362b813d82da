//! Config to files: what rtcctl writes onto a machine, as data. The templates under `templates/` are part of the binary.
//!
//! Not for: writing anything (`deploy` does).

pub mod compose;
pub mod diff;
mod engine;
pub mod nginx;
pub mod other;
pub mod systemd;

pub use engine::RenderError;
