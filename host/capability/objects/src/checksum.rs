//! Checksums of the S3 API beside ETags ("Checking object integrity").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use godwit_model::{Error, Result};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

/// What a store may keep of an object, the cheapest to compute first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Algorithm {
    Crc64Nvme,
    Crc32C,
    Crc32,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Crc64Nvme, Self::Crc32C, Self::Crc32, Self::Sha256];

    pub fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32C => "crc32c",
            Self::Crc32 => "crc32",
            Self::Sha256 => "sha256",
        }
    }

    pub fn header(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Crc32C => "x-amz-checksum-crc32c",
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Crc32C => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Sha256 => None,
        }
    }

    /// A sum as the header has it.
    fn written(self, sum: u64) -> String {
        match self {
            Self::Crc64Nvme => BASE64.encode(sum.to_be_bytes()),
            _ => BASE64.encode(&sum.to_be_bytes()[4..]),
        }
    }
}

/// A checksum of a whole object: algorithm and value in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    pub algorithm: Algorithm,
    pub value: String,
}

impl Checksum {
    /// What was read has this one; it has to be what the source tells of the object `label`.
    pub fn must_be(&self, told: &Self, label: &str) -> Result<()> {
        if self == told {
            return Ok(());
        }
        let (name, read, told) = (told.algorithm.name(), &self.value, &told.value);
        Err(Error::failed(format!(
            "{label}: what was read hasn't the {name} that the source tells ({read}, not {told})"
        ))
        .code("Checksum")
        .hint("start a new run; if it happens again, the object is damaged at the source or on the way"))
    }
}

/// Those of the whole object that an answer tells. One made of the parts' checksums (`…-3`) is none of the content's.
pub(crate) fn whole(headers: &HeaderMap) -> Vec<Checksum> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("x-amz-checksum-type").is_some_and(|kind| !kind.eq_ignore_ascii_case("FULL_OBJECT")) {
        return Vec::new();
    }
    Algorithm::ALL
        .into_iter()
        .filter_map(|algorithm| Some((algorithm, text(algorithm.header())?)))
        .filter(|(_, value)| !value.contains('-'))
        .map(|(algorithm, value)| Checksum { algorithm, value: value.to_owned() })
        .collect()
}

/// A CRC folded while bytes pass.
#[derive(Clone)]
pub(crate) struct CrcFold {
    algorithm: Algorithm,
    state: Crc,
}

impl CrcFold {
    /// `None` for what is no CRC.
    pub fn new(algorithm: Algorithm) -> Option<Self> {
        Some(Self { algorithm, state: Crc::new(algorithm.crc()?) })
    }

    /// That of these bytes.
    pub fn crc64(bytes: &[u8]) -> Checksum {
        let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
        Checksum { algorithm: Algorithm::Crc64Nvme, value: Algorithm::Crc64Nvme.written(sum) }
    }

    pub fn push(&mut self, chunk: &[u8]) {
        self.state.update(chunk);
    }

    pub fn finish(&self) -> Checksum {
        Checksum { algorithm: self.algorithm, value: self.algorithm.written(self.state.finalize()) }
    }
}

/// The CRC of parts one after the other: each one's checksum and length in bytes. `None` where they don't fit together.
pub(crate) fn joined(parts: &[(Checksum, u64)]) -> Option<Checksum> {
    let algorithm = parts.first()?.0.algorithm;
    let crc = algorithm.crc()?;
    let mut sum: Option<u64> = None;
    for (part, len) in parts {
        if part.algorithm != algorithm {
            return None;
        }
        let bytes = BASE64.decode(&part.value).ok()?;
        let value = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        sum = Some(match sum {
            None => value,
            Some(before) => crc_fast::checksum_combine(crc, before, value, *len),
        });
    }
    Some(Checksum { algorithm, value: algorithm.written(sum?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the CRC catalogue, over `123456789`.
    #[test]
    fn sums_are_those_of_the_catalogue_and_join() {
        for (algorithm, expected) in [
            (Algorithm::Crc64Nvme, BASE64.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes())),
            (Algorithm::Crc32C, BASE64.encode(0xe306_9283_u32.to_be_bytes())),
            (Algorithm::Crc32, BASE64.encode(0xcbf4_3926_u32.to_be_bytes())),
        ] {
            let of = |bytes: &[u8]| {
                let mut fold = CrcFold::new(algorithm).unwrap();
                fold.push(bytes);
                fold.finish()
            };
            assert_eq!(of(b"123456789").value, expected);
            let parts = [(of(b"1234"), 4), (of(b"56789"), 5)];
            assert_eq!(joined(&parts).unwrap().value, expected);
        }
    }

    #[test]
    fn a_checksum_of_checksums_is_not_the_objects() {
        let of = |value: &str, kind: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-checksum-crc32c", value.parse().unwrap());
            if let Some(kind) = kind {
                headers.insert("x-amz-checksum-type", kind.parse().unwrap());
            }
            whole(&headers).len()
        };
        assert_eq!(of("yZRlqg==", None), 1);
        assert_eq!(of("yZRlqg==", Some("FULL_OBJECT")), 1);
        assert_eq!((of("yZRlqg==-3", None), of("yZRlqg==", Some("COMPOSITE"))), (0, 0));
    }
}
