//! Make a machine be what the config says: facts, plan, apply with undo, releases, the lock, and the supervisor where there is no systemd.
//!
//! Not for: certificates and the daemon itself. What is deployed is a binary with its config; this room never links to what it deploys.

pub mod apply;
pub mod facts;
pub mod history;
pub mod lock;
pub mod manifest;
pub mod ours;
pub mod plan;
pub mod ports;
pub mod proxy;
pub mod purge;
pub mod release;
pub mod service;
pub mod state;
pub mod supervisor;
