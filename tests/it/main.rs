//! One test binary, so that support code is compiled once.

mod support;

mod browser;
mod cert;
mod cli;
mod config;
mod deploy;
mod serve;
mod signal;
mod tidy;
mod turn;
