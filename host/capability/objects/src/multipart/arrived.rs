//! The parts of an upload as the journal has them, and the object that they make.

use godwit_model::capability::Part;
use godwit_model::ids::hex;
use godwit_model::{Error, Result};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use crate::checksum::{Checksum, joined};
use crate::source::{is_md5, unhex};

/// A part's range: first and last byte.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Span {
    pub first: u64,
    pub last: u64,
}

impl Span {
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// A part that has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrived {
    pub etag: String,
    /// Of the algorithm in which the source tells one of the whole object, else CRC-64/NVME. `None` for what the store
    /// copied by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc: Option<Checksum>,
    /// The store gave no digest of it: only its length is known to be right.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

pub(super) fn number(index: u32) -> Result<i32> {
    i32::try_from(index + 1).map_err(|_| Error::host("too many parts"))
}

pub(super) fn span(part: &Part) -> Result<Span> {
    serde_json::from_value(part.range.clone())
        .map_err(|e| Error::host(format!("the journal's range of part {} can't be read: {e}", part.index)))
}

pub(super) fn arrived(part: &Part) -> Result<Option<Arrived>> {
    part.outcome
        .clone()
        .map(serde_json::from_value)
        .transpose()
        .map_err(|e| Error::host(format!("the journal's note of part {} can't be read: {e}", part.index)))
}

/// The ETag of an object that AWS, R2 and MinIO join from these parts: the MD5 of the parts' MD5s, which are their ETags,
/// and their number.
pub(super) fn joined_etag(arrived: &[Arrived]) -> Option<String> {
    let mut fold = Md5::new();
    for part in arrived {
        fold.update(unhex(&part.etag).filter(|_| is_md5(&part.etag))?);
    }
    Some(format!("{}-{}", hex(&fold.finalize()), arrived.len()))
}

/// The CRC of the object that these parts make, all of one size but the last; `None` where one lacks its own.
pub(super) fn joined_crc(arrived: &[Arrived], part: u64, size: u64) -> Option<Checksum> {
    let parts: Option<Vec<_>> = arrived
        .iter()
        .enumerate()
        .map(|(index, arrived)| {
            Some((arrived.crc.clone()?, part.min(size.checked_sub(index as u64 * part)?)))
        })
        .collect();
    joined(&parts?)
}

/// `<algorithm>:<value>` of the CRC; empty for what a store copied by itself, which was never seen.
pub(super) fn digest(arrived: &[Arrived], part: u64, size: u64) -> String {
    joined_crc(arrived, part, size)
        .map(|crc| format!("{}:{}", crc.algorithm.name(), crc.value))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Held;

    #[test]
    fn the_joined_etag_is_that_of_the_parts() {
        let part = |text: &[u8]| {
            let held = Held::new(text.to_vec().into());
            Arrived { etag: hex(&held.own_md5()), crc: Some(held.crc64().clone()), unproven: false }
        };
        let expected = hex(&Md5::digest([Md5::digest(b"a"), Md5::digest(b"b")].concat()));
        assert_eq!(joined_etag(&[part(b"a"), part(b"b")]).unwrap(), format!("{expected}-2"));
        let whole = Held::new(b"ab".to_vec().into());
        assert_eq!(digest(&[part(b"a"), part(b"b")], 1, 2), format!("crc64nvme:{}", whole.crc64().value));
        assert_eq!(joined_etag(&[Arrived { etag: "odd".into(), crc: None, unproven: false }]), None);
    }
}
