//! What `std::net` lacks: batched UDP, TLS configs with hot swap, the machine's addresses.

pub mod addr;
pub mod tls;
pub mod udp;
