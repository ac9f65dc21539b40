//! What listings tell of two objects, and which objects belong to a sample.

use godwit_sdk::prelude::*;

/// Whether two objects hold the same content, as far as listings tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alike {
    Same,
    Different,
    /// As large, with ETags that don't compare: parts of other sizes, encryption, a store with ETags of its own.
    Unknown,
}

/// Equal ETags are equal content. Two ETags that are both MD5 digests of a whole content compare it.
pub fn alike(source: &ObjectInfo, target: &ObjectInfo) -> Alike {
    let md5 = |etag: &str| etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    if source.size != target.size {
        Alike::Different
    } else if !source.etag.is_empty() && source.etag == target.etag {
        Alike::Same
    } else if md5(&source.etag) && md5(&target.etag) {
        Alike::Different
    } else {
        Alike::Unknown
    }
}

/// Whether a key belongs to the sample: FNV-1a of its bytes, so that the same keys are chosen again.
pub fn sampled(key: &str, percent: u8) -> bool {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) % 100 < u64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_compared_by_size_and_etag() {
        let (a, b) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        let object = |size, etag: &str| ObjectInfo {
            key: "k".into(),
            size,
            etag: etag.into(),
            modified: 0,
            storage_class: None,
        };
        for (source, target, expected) in [
            (object(1, a), object(1, a), Alike::Same),
            (object(1, a), object(2, a), Alike::Different),
            (object(1, a), object(1, b), Alike::Different),
            (object(1, a), object(1, "0123456789abcdef0123456789abcdef-3"), Alike::Unknown),
            (object(1, "x-2"), object(1, "x-2"), Alike::Same),
            (object(1, ""), object(1, ""), Alike::Unknown),
        ] {
            assert_eq!(alike(&source, &target), expected, "{source:?} {target:?}");
        }
    }

    #[test]
    fn a_sample_is_about_as_large_as_asked_for_and_always_the_same() {
        let keys: Vec<String> = (0..10_000).map(|number| format!("datasets/{number}.jpg")).collect();
        for percent in [1u8, 10, 50] {
            let count = keys.iter().filter(|key| sampled(key, percent)).count();
            let expected = 100 * usize::from(percent);
            assert!(count.abs_diff(expected) < expected / 3 + 30, "{percent}: {count}");
        }
        assert!(keys.iter().all(|key| sampled(key, 100)));
    }
}
