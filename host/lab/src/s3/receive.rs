//! Taking in a body: whole, of the length it declared, and of the digests that came with it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::StreamingBlob;
use s3s::{S3Result, TrailingHeaders, s3_error};

/// A body read to its end and found to be what its length and digests say.
pub struct Received {
    pub bytes: Bytes,
    pub md5: [u8; 16],
    /// The checksums that came with it and were found right, by the names of their headers.
    pub checksums: BTreeMap<String, String>,
}

/// The checksum headers of PutObject and UploadPart.
pub const CHECKSUMS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// Reads a body. Where it is to be discarded, what it leaves behind is zeros of its length.
pub async fn receive(
    body: Option<StreamingBlob>,
    declared: Option<i64>,
    content_md5: Option<&str>,
    headers: &HeaderMap,
    trailers: Option<&TrailingHeaders>,
    discard: bool,
) -> S3Result<Received> {
    let declared = declared.and_then(|n| usize::try_from(n).ok());
    let room = if discard { 0 } else { declared.unwrap_or(0).min(1 << 30) };
    let (mut bytes, mut len, mut md5) = (BytesMut::with_capacity(room), 0, Md5::new());
    // A checksum that comes in a trailer is announced in a header.
    let announced =
        headers.get("x-amz-trailer").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let announced = announced.unwrap_or_default();
    let mut hasher =
        hasher(|name| headers.contains_key(name) || announced.split(',').any(|word| word.trim() == name));
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| s3_error!(IncompleteBody, "the body ended early"))?;
            md5.update(&chunk);
            hasher.update(&chunk);
            len += chunk.len();
            if !discard {
                bytes.extend_from_slice(&chunk);
            }
        }
    }
    if declared.is_some_and(|declared| declared != len) {
        return Err(s3_error!(IncompleteBody));
    }
    let md5: [u8; 16] = md5.finalize().into();
    if content_md5.is_some_and(|sent| sent != BASE64.encode(md5)) {
        return Err(s3_error!(BadDigest, "Content-MD5 does not match the body"));
    }
    let mut checksums: BTreeMap<String, String> = BTreeMap::new();
    for name in CHECKSUMS {
        let value = headers.get(name).cloned().or_else(|| trailers?.read(|map| map.get(name).cloned())?);
        if let Some(value) = value {
            checksums.insert(name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
    let sums = finished(hasher);
    for (name, sent) in &checksums {
        let at = CHECKSUMS.iter().position(|known| known == name).unwrap_or_default();
        if sums[at].as_ref() != Some(sent) {
            return Err(s3_error!(BadDigest, "{name} does not match the body"));
        }
    }
    let bytes = if discard { zeros(len) } else { bytes.freeze() };
    Ok(Received { bytes, md5, checksums })
}

/// So many zeros, which take no memory: nobody has written to them.
pub fn zeros(len: usize) -> Bytes {
    const SHARED: usize = 64 << 20;
    static ZEROS: OnceLock<Bytes> = OnceLock::new();
    if len > SHARED {
        return Bytes::from(vec![0; len]);
    }
    ZEROS.get_or_init(|| Bytes::from(vec![0; SHARED])).slice(..len)
}

fn hasher(wanted: impl Fn(&str) -> bool) -> ChecksumHasher {
    ChecksumHasher {
        crc32: wanted(CHECKSUMS[0]).then(Default::default),
        crc32c: wanted(CHECKSUMS[1]).then(Default::default),
        crc64nvme: wanted(CHECKSUMS[2]).then(Default::default),
        sha1: wanted(CHECKSUMS[3]).then(Default::default),
        sha256: wanted(CHECKSUMS[4]).then(Default::default),
    }
}

/// In the order of [`CHECKSUMS`].
fn finished(hasher: ChecksumHasher) -> [Option<String>; 5] {
    let sum = hasher.finalize();
    [sum.checksum_crc32, sum.checksum_crc32c, sum.checksum_crc64nvme, sum.checksum_sha1, sum.checksum_sha256]
}

/// The value of a checksum header for a content; `None` for no such header.
pub fn checksum(name: &str, bytes: &[u8]) -> Option<String> {
    let mut hasher = hasher(|known| known == name);
    hasher.update(bytes);
    finished(hasher).into_iter().flatten().next()
}
