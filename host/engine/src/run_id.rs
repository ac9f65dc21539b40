//! Ids of runs.

use std::time::{SystemTime, UNIX_EPOCH};

use godwit_model::{Digest, RunId, clock};

/// A new run's id: `yyyymmdd-hhmmss-xxxx`, where `xxxx` tells runs of one second apart.
pub fn run_id() -> RunId {
    let digits: String = clock::now().chars().filter(char::is_ascii_digit).take(14).collect();
    let (date, time) = digits.split_at(8);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let digest = Digest::of(format!("{nanos}\0{}", std::process::id()).as_bytes());
    RunId::new(format!("{date}-{time}-{}", &digest.as_str()[..4]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_begins_with_its_second() {
        let (before, id) = (godwit_model::clock::now(), super::run_id());
        assert_eq!(id.as_str().len(), "20261120-102600-0a1b".len(), "{id}");
        assert_eq!(&id.as_str()[..4], &before[..4]);
    }
}
