//! What `std::net` lacks: batched UDP, TLS configs with hot swap.

pub mod tls;
pub mod udp;
