//! The relay's core by RFC section: server and clients as values, in virtual time, over a network that loses packets when told to.

mod allocate;
mod authentication;
mod binding;
mod channels;
mod hostile;
mod loss;
mod pair;
mod peers;
mod permissions;
mod refresh;
