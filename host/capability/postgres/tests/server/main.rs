//! The capability on real servers, 16 and 18.

#[path = "../support/mod.rs"]
mod support;

mod archiving;
mod connecting;
mod copying;
mod encrypting;
mod executing;
mod reading;
mod resuming;
mod undoing;
