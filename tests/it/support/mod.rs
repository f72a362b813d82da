//! What the tests share.

pub(crate) mod cable;
pub(crate) mod chrome;
pub(crate) mod cli;
pub(crate) mod lab;
pub(crate) mod nginx;
