//! How we speak: stdout is data, stderr is talk; colour, quiet, JSON; steps as they happen; tables; questions; failures with a hint.
//!
//! Not for: knowing anything of ours. Only `cli` uses it to print; lower floors may return a [`Failure`].

pub mod failure;
pub mod progress;
pub(crate) mod qr;
mod question;
pub mod table;
mod voice;
mod wrap;

pub use failure::{Exit, Failure};
pub use question::Choice;
pub use voice::{ColorChoice, Ui, UiOptions, json_line};
