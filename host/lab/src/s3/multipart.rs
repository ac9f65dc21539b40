//! Uploads in parts (S3 user guide, "Uploading and copying objects using multipart upload").

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, failed, length};
use super::conditions::{Conditions, copyable};
use super::listing::{encodes, listed};
use super::receive::{CHECKSUMS, Received, checksum};
use super::store::{Checksums, Part as StoredPart, Store, StoredObject, Upload, hex, kept_headers, tags_of};

impl Backend {
    pub fn begin_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut store = self.store();
        let S3Request { input, headers, .. } = req;
        if !store.buckets.contains_key(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let id = store.next_upload_id();
        let checksum = asked_checksum(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            headers: kept_headers(&headers),
            tags: tags_of(&headers),
            checksum,
            initiated: SystemTime::now(),
            parts: BTreeMap::new(),
        };
        store.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: checksum.map(|(_, composite)| kind(composite)),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub fn copy_part(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = &req.input;
        let source = self.copy_source(&input.copy_source)?;
        copyable(
            &source.etag,
            input.copy_source_if_match.as_ref(),
            input.copy_source_if_none_match.as_ref(),
        )?;
        let bytes = match &input.copy_source_range {
            None => source.bytes.clone(),
            Some(text) => {
                let range =
                    Range::parse(text).map_err(|_| s3_error!(InvalidArgument, "x-amz-copy-source-range"))?;
                let part = range.check(source.bytes.len() as u64).map_err(|_| s3_error!(InvalidRange))?;
                source.bytes.slice(part.start as usize..part.end as usize)
            }
        };
        let md5 = Md5::digest(&bytes).into();
        let asked = self.store().upload(&input.upload_id, &input.bucket, &input.key)?.checksum;
        let checksums = asked.and_then(|(name, _)| Some((name.to_owned(), checksum(name, &bytes)?)));
        let checksums = checksums.into_iter().collect();
        self.store_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
            Received { bytes, md5, checksums },
        )?;
        let result = CopyPartResult {
            e_tag: Some(ETag::Strong(hex(&md5))),
            last_modified: Some(SystemTime::now().into()),
            ..CopyPartResult::default()
        };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..UploadPartCopyOutput::default()
        }))
    }

    pub fn parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let limit = self.page_size(input.max_parts);
        let store = self.store();
        let upload = store.upload(&input.upload_id, &input.bucket, &input.key)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let mut rest = upload.parts.range(marker.saturating_add(1)..);
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let parts = page.iter().map(|(number, part)| Part {
            part_number: Some(**number),
            e_tag: Some(ETag::Strong(hex(&part.md5))),
            size: Some(length(part.bytes.len())),
            last_modified: Some(part.modified.into()),
            checksum_crc32: part.checksums.get(CHECKSUMS[0]).cloned(),
            checksum_crc32c: part.checksums.get(CHECKSUMS[1]).cloned(),
            checksum_crc64nvme: part.checksums.get(CHECKSUMS[2]).cloned(),
            checksum_sha1: part.checksums.get(CHECKSUMS[3]).cloned(),
            checksum_sha256: part.checksums.get(CHECKSUMS[4]).cloned(),
        });
        Ok(S3Response::new(ListPartsOutput {
            parts: Some(parts.collect()),
            is_truncated: Some(rest.next().is_some()),
            next_part_number_marker: page.last().map(|(number, _)| **number),
            part_number_marker: Some(marker),
            max_parts: i32::try_from(limit).ok(),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            ..ListPartsOutput::default()
        }))
    }

    pub fn uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        let limit = self.page_size(input.max_uploads);
        let encode = encodes(input.encoding_type.as_ref());
        let store = self.store();
        if !store.buckets.contains_key(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let after = (
            input.key_marker.as_deref().unwrap_or_default(),
            input.upload_id_marker.as_deref().unwrap_or_default(),
        );
        let mut open: Vec<(&str, &str, SystemTime)> = store
            .uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == input.bucket && upload.key.starts_with(prefix))
            .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload.initiated))
            // Without an id, the marker's key is past as a whole (S3 API, ListMultipartUploads).
            .filter(|(key, id, _)| {
                *key > after.0 || (*key == after.0 && !after.1.is_empty() && *id > after.1)
            })
            .collect();
        open.sort_unstable();
        let truncated = open.len() > limit;
        open.truncate(limit);
        let uploads = open.iter().map(|(key, id, initiated)| MultipartUpload {
            key: Some(listed(key, encode)),
            upload_id: Some((*id).to_owned()),
            initiated: Some((*initiated).into()),
            ..MultipartUpload::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            is_truncated: Some(truncated),
            next_key_marker: open.last().filter(|_| truncated).map(|(key, ..)| listed(key, encode)),
            next_upload_id_marker: open.last().filter(|_| truncated).map(|(_, id, _)| (*id).to_owned()),
            bucket: Some(input.bucket),
            prefix: input.prefix,
            encoding_type: input.encoding_type,
            ..ListMultipartUploadsOutput::default()
        }))
    }

    pub fn complete_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let conditions =
            Conditions::of(&req.extensions, req.input.if_match.take(), req.input.if_none_match.take());
        let input = req.input;
        let listed = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut store = self.store();
        let upload = store.upload(&input.upload_id, &input.bucket, &input.key)?;
        let (chosen, digests) = self.chosen_parts(upload, &listed)?;
        let parts: Vec<&Bytes> = chosen.iter().map(|part| &part.bytes).collect();
        let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        if input.mpu_object_size.is_some_and(|size| size != length(bytes.len())) {
            return Err(s3_error!(InvalidRequest, "x-amz-mp-object-size is not the size of the parts"));
        }
        let etag = format!("{}-{}", hex(&Md5::digest(&digests)), parts.len());
        let bytes = bytes.freeze();
        let checksums = joined(upload, &chosen, &bytes);
        let given = [
            &input.checksum_crc32,
            &input.checksum_crc32c,
            &input.checksum_crc64nvme,
            &input.checksum_sha1,
            &input.checksum_sha256,
        ];
        for (name, given) in CHECKSUMS.into_iter().zip(given) {
            // What the uploader says of the whole has to be so, also where nothing was asked for at the beginning.
            let right = || checksums.values.get(name).cloned().or_else(|| checksum(name, &bytes));
            if given.is_some() && *given != right() {
                return Err(s3_error!(BadDigest, "{name} does not match the parts"));
            }
        }
        let of = |at: usize| checksums.values.get(CHECKSUMS[at]).cloned();
        let output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            e_tag: Some(ETag::Strong(etag.clone())),
            checksum_crc32: of(0),
            checksum_crc32c: of(1),
            checksum_crc64nvme: of(2),
            checksum_sha1: of(3),
            checksum_sha256: of(4),
            checksum_type: (!checksums.values.is_empty()).then(|| kind(checksums.composite)),
            ..CompleteMultipartUploadOutput::default()
        };
        let object = StoredObject {
            bytes,
            headers: upload.headers.clone(),
            etag,
            modified: SystemTime::now(),
            tags: upload.tags.clone(),
            checksums,
            version: None,
        };
        conditions.check(store.object(&input.bucket, &input.key).map(|held| held.etag.as_str()))?;
        let version_id = store.put(&input.bucket, &input.key, object).map_err(failed)?;
        store.uploads.remove(&input.upload_id);
        Ok(S3Response::new(CompleteMultipartUploadOutput { version_id, ..output }))
    }

    pub fn abort_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let mut store = self.store();
        store.upload(&req.input.upload_id, &req.input.bucket, &req.input.key)?;
        store.uploads.remove(&req.input.upload_id);
        Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), http::StatusCode::NO_CONTENT))
    }

    pub fn store_part(
        &self,
        id: &str,
        bucket: &str,
        key: &str,
        number: i32,
        received: Received,
    ) -> S3Result<()> {
        if !(1..=10_000).contains(&number) {
            return Err(s3_error!(InvalidArgument, "part numbers go from 1 to 10000"));
        }
        let mut store = self.store();
        store.upload(id, bucket, key)?;
        let Received { bytes, md5, checksums } = received;
        let part = StoredPart { bytes, md5, checksums, modified: SystemTime::now() };
        if let Some(upload) = store.uploads.get_mut(id) {
            upload.parts.insert(number, part);
        }
        Ok(())
    }

    /// The parts that a completion lists, and their MD5 digests in a row; or why they can't be joined.
    fn chosen_parts<'u>(
        &self,
        upload: &'u Upload,
        listed: &[CompletedPart],
    ) -> S3Result<(Vec<&'u StoredPart>, Vec<u8>)> {
        if listed.is_empty() {
            return Err(s3_error!(MalformedXML, "no parts"));
        }
        let (mut parts, mut digests, mut last) = (Vec::new(), Vec::new(), 0);
        for CompletedPart { part_number, e_tag, .. } in listed {
            let number = part_number.ok_or_else(|| s3_error!(MalformedXML))?;
            if number <= last {
                return Err(s3_error!(InvalidPartOrder));
            }
            last = number;
            let part = upload.parts.get(&number).ok_or_else(|| s3_error!(InvalidPart))?;
            if e_tag.as_ref().is_none_or(|etag| etag.value() != hex(&part.md5)) {
                return Err(s3_error!(InvalidPart));
            }
            parts.push(part);
            digests.extend_from_slice(&part.md5);
        }
        let whole = &parts[..parts.len() - 1];
        if whole.iter().any(|part| part.bytes.len() < self.rules.min_part_size) {
            return Err(s3_error!(EntityTooSmall));
        }
        if self.rules.equal_parts {
            let size = parts[0].bytes.len();
            let last_fits = parts.last().is_some_and(|part| part.bytes.len() <= size);
            if whole.iter().any(|part| part.bytes.len() != size) || !last_fits {
                return Err(s3_error!(InvalidPart, "All non-trailing parts must have the same length."));
            }
        }
        Ok((parts, digests))
    }
}

/// The header of the checksum that an upload is begun with, and whether it is made of the parts' (S3 API,
/// CreateMultipartUpload: CRC64NVME is of the whole, the others of the parts unless asked otherwise).
fn asked_checksum(
    algorithm: Option<&ChecksumAlgorithm>,
    of: Option<&ChecksumType>,
) -> S3Result<Option<(&'static str, bool)>> {
    let Some(algorithm) = algorithm else { return Ok(None) };
    let name = format!("x-amz-checksum-{}", algorithm.as_str().to_ascii_lowercase());
    let at = CHECKSUMS.iter().position(|known| *known == name);
    let at = at.ok_or_else(|| s3_error!(InvalidRequest, "x-amz-checksum-algorithm"))?;
    let whole = match of {
        Some(of) => of.as_str() == ChecksumType::FULL_OBJECT,
        None => at == 2,
    };
    // Only a CRC can be joined from those of the parts, and CRC64NVME is always.
    if (whole && at > 2) || (!whole && at == 2) {
        return Err(s3_error!(InvalidRequest, "the checksum type isn't one of this algorithm"));
    }
    Ok(Some((CHECKSUMS[at], !whole)))
}

/// The checksum of a joined object, where one was asked for.
fn joined(upload: &Upload, parts: &[&StoredPart], bytes: &Bytes) -> Checksums {
    let Some((name, composite)) = upload.checksum else { return Checksums::default() };
    let value = if composite {
        let raw = |part: &&StoredPart| {
            let text = part.checksums.get(name).cloned().or_else(|| checksum(name, &part.bytes));
            BASE64.decode(text.unwrap_or_default()).unwrap_or_default()
        };
        let all: Vec<u8> = parts.iter().flat_map(raw).collect();
        checksum(name, &all).map(|sum| format!("{sum}-{}", parts.len()))
    } else {
        checksum(name, bytes)
    };
    let values = value.map(|value| (name.to_owned(), value)).into_iter().collect();
    Checksums { values, composite }
}

fn kind(composite: bool) -> ChecksumType {
    ChecksumType::from_static(if composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT })
}

impl Store {
    /// The upload of this id, bucket and key, or NoSuchUpload.
    pub fn upload(&self, id: &str, bucket: &str, key: &str) -> S3Result<&Upload> {
        let found = self.uploads.get(id).filter(|upload| upload.bucket == bucket && upload.key == key);
        found.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}
