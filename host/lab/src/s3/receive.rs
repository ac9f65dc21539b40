//! Taking in a body: whole, of the length it declared, and of the digests that came with it.

use std::collections::BTreeMap;

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

pub async fn receive(
    body: Option<StreamingBlob>,
    declared: Option<i64>,
    content_md5: Option<&str>,
    headers: &HeaderMap,
    trailers: Option<&TrailingHeaders>,
) -> S3Result<Received> {
    let declared = declared.and_then(|n| usize::try_from(n).ok());
    let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0).min(1 << 30));
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| s3_error!(IncompleteBody, "the body ended early"))?;
            bytes.extend_from_slice(&chunk);
        }
    }
    if declared.is_some_and(|declared| declared != bytes.len()) {
        return Err(s3_error!(IncompleteBody));
    }
    let bytes = bytes.freeze();
    let md5: [u8; 16] = Md5::digest(&bytes).into();
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
    for (name, sent) in &checksums {
        if checksum(name, &bytes).as_ref() != Some(sent) {
            return Err(s3_error!(BadDigest, "{name} does not match the body"));
        }
    }
    Ok(Received { bytes, md5, checksums })
}

/// The value of a checksum header for a content; `None` for no such header.
pub fn checksum(name: &str, bytes: &[u8]) -> Option<String> {
    let is = |at: usize| name == CHECKSUMS[at];
    let mut hasher = ChecksumHasher {
        crc32: is(0).then(Default::default),
        crc32c: is(1).then(Default::default),
        crc64nvme: is(2).then(Default::default),
        sha1: is(3).then(Default::default),
        sha256: is(4).then(Default::default),
    };
    hasher.update(bytes);
    let sum = hasher.finalize();
    sum.checksum_crc32
        .or(sum.checksum_crc32c)
        .or(sum.checksum_crc64nvme)
        .or(sum.checksum_sha1)
        .or(sum.checksum_sha256)
}
