//! The certificates: a local CA and its leaves, the store they live in, and what is true about them.
//!
//! Not for: serving them (`net::tls`), trusting them on a device (`cert::trust` changes only this machine, when asked).

pub mod bundle;
pub mod local;
pub mod own;
pub mod profile;
pub mod renew;
pub mod selfsigned;
pub mod store;
pub mod trust;

pub use bundle::Bundle;
pub use local::{Ensured, LocalCa, ensure_every, ensure_local, local_ca};
pub use own::load_files;
pub use profile::mobileconfig;
pub use store::site_folder;
