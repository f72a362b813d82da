#![doc = include_str!("README.md")]

// Floor 5: the face.
pub mod cli;
// Floor 4: the judge.
pub mod doctor;
// Floor 3: the three verbs.
pub mod deploy;
pub mod probe;
pub mod serve;
// Floor 2: the four engines; none knows another.
pub mod cert;
pub mod render;
pub mod signal;
pub mod turn;
// Floor 1: the vocabulary; none knows another.
pub mod config;
pub mod host;
pub mod net;
pub mod stun;
pub mod telemetry;
pub mod ui;
pub mod web;
