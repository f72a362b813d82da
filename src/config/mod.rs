//! What the user meant: `rtcctl.toml`, environment and flags become one [`Config`] or a list of every problem.
//!
//! `file` is the config as written, `model` as meant; `resolve` is the one road between them, `load` feeds it, `write` goes back.
//!
//! Not for: anything that looks at the machine. Names and addresses of the machine are handed in.

pub mod defaults;
pub mod file;
pub mod load;
pub mod model;
pub mod names;
pub mod paths;
mod read;
pub mod report;
mod resolve;
pub mod schema;
pub mod starter;
pub mod values;
mod write;

pub use file::Problem;
pub use load::{LoadError, Loaded, Search, load};
pub use model::Config;
pub use names::SiteNames;
pub use paths::Paths;
pub use resolve::{check_machine, resolve};
pub use values::{HostName, PortRange, Prefix, Secret};
