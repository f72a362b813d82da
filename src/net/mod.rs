//! What `std::net` lacks: TCP listeners for one family, batched UDP, TLS configs with hot swap, the machine's addresses.

pub mod addr;
pub mod descriptors;
pub mod tcp;
pub mod tls;
pub mod udp;
