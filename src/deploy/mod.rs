//! Make a machine be what the config says: facts, plan, apply with undo, releases, the lock, and the supervisor where there is no systemd.

pub mod supervisor;
