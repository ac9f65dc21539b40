//! The compiled test guests of `tests/guests/programs`: one constant of bytes for each, named like its file in upper
//! case, and a macro over all names, so that a guest without a test doesn't compile.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
