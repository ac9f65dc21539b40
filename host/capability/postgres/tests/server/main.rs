//! The capability on real servers, 16 and 18.

#[path = "../support/mod.rs"]
mod support;

mod archiving;
mod connecting;
mod copying;
mod encodings;
mod encrypting;
mod executing;
mod gating;
mod large_objects;
mod reading;
mod resuming;
mod undoing;
