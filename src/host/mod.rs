//! A machine to look at and to change: commands with deadlines, files that are whole or not there, and who holds which port.
//!
//! Not for: deciding what should be done to it (`deploy`), or what is wrong with it (`doctor`).

mod exec;
pub mod files;
mod local;
pub mod machine;
pub mod nginx;
pub mod ports;
pub mod script;

pub use exec::{Cmd, Entry, Host, HostError, Kind, Output, sha256};
pub use local::Local;
pub use machine::Machine;
