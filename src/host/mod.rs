//! A machine to look at and to run commands on.

pub mod files;
pub mod machine;

pub use machine::Machine;
