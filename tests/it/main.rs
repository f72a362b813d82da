//! One test binary, so that support code is compiled once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

mod support;

mod browser;
mod cert;
mod cli;
mod config;
mod deploy;
mod doctor;
mod hosts;
mod init;
mod network;
mod nginx;
mod probe;
mod readme;
mod relay;
mod serve;
mod signal;
mod tidy;
mod turn;
