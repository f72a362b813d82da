//! What `std::net` lacks: batched UDP, TLS configs with hot swap, which addresses are public.

pub mod tls;
