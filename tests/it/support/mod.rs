//! What the tests share.

pub(crate) mod chrome;
pub(crate) mod cli;
