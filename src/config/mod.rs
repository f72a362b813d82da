//! What the user meant: `rtcctl.toml`, environment and flags become one [`Config`] or a list of every problem.
//!
//! Not for: anything that looks at the machine. Names and addresses of the machine are handed in.

pub mod model;
pub mod names;
pub mod paths;
pub mod values;

pub use model::Config;
pub use names::SiteNames;
pub use paths::Paths;
pub use values::{HostName, PortRange, Prefix, Secret};
