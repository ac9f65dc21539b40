//! The capability on real servers, 16 and 18.

#[path = "../support/mod.rs"]
mod support;

mod archiving;
mod copying;
mod encrypting;
mod executing;
mod large_objects;
mod gating;
mod reading;
mod resuming;
mod undoing;
