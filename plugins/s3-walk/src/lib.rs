//! What guests know of two buckets side by side: which keys take part and what they are called on the other side, both
//! listings as one stream in the order of the keys, what listings tell of two objects, and verdicts page by page.

mod filter;
mod glob;
mod listed;
mod mapping;
mod named;
mod pages;
mod walk;

use godwit_sdk::prelude::*;

pub use filter::{Choice, Filter};
pub use glob::Glob;
pub use listed::{Alike, alike, sampled};
pub use mapping::{Mapping, NewName, Rename, check_scope};
pub use named::{Named, SHOWN};
pub use pages::{Page, Pages};
pub use walk::{Pair, Walk};

/// Slot of the side whose keys count.
pub const SOURCE: &str = "source";
/// Slot of the other side.
pub const TARGET: &str = "target";

/// An object's place behind a slot.
pub fn location(slot: &str, bucket: &str, key: String) -> Location {
    Location { slot: slot.to_owned(), bucket: bucket.to_owned(), key }
}

/// Seconds since the Unix epoch when the step was first called: ages are taken from then, so that a resumed call chooses
/// the same objects.
pub fn now<H: Host>(host: &H) -> Result<i64> {
    host.memo("now", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX)))
    })
}
