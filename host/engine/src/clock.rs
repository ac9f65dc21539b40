//! Time as text, without a calendar library: UTC only.

use std::time::{SystemTime, UNIX_EPOCH};

use godwit_model::{Digest, RunId};

/// The time now as RFC 3339 in UTC with milliseconds.
pub fn now_rfc3339() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (y, mo, d, h, mi, s) = civil(since.as_secs());
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{:03}Z", since.subsec_millis())
}

/// A new run's id: `yyyymmdd-hhmmss-xxxx`, where `xxxx` tells runs of one second apart.
pub fn run_id() -> RunId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (y, mo, d, h, mi, s) = civil(since.as_secs());
    let seed = format!("{}\0{}", since.as_nanos(), std::process::id());
    let digest = Digest::of(seed.as_bytes());
    RunId::new(format!("{y:04}{mo:02}{d:02}-{h:02}{mi:02}{s:02}-{}", &digest.as_str()[..4]))
}

/// Seconds since the epoch to year, month, day, hour, minute, second
/// (the days-to-civil algorithm of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms").
fn civil(seconds: u64) -> (u64, u64, u64, u64, u64, u64) {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    (year, month, day, rest / 3_600, rest % 3_600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn civil_dates() {
        assert_eq!(civil(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(civil(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(civil(1_763_636_399), (2025, 11, 20, 10, 59, 59));
    }
}
