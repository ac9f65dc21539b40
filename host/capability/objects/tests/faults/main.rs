//! Requests, answers and bodies that go wrong × an effect, its resume, and the reads by which it is verified: the target
//! ends right, or an error names the object or the bucket. Once all is well again, the work goes on to its end.
//!
//! What the plugin makes of listings that go wrong is in `tests/tests/objects.rs`.

mod buckets;
#[path = "../common/mod.rs"]
mod common;
mod copies;
mod lab;
mod patience;
mod reads;
mod rows;
mod versions;
