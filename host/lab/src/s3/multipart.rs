//! Uploads in parts (S3 user guide, "Uploading and copying objects using multipart upload").

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, failed, length};
use super::conditions::{Conditions, copyable};
use super::listing::{encodes, listed};
use super::receive::Received;
use super::store::{Part as StoredPart, Store, StoredObject, Upload, hex, kept_headers};

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
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            headers: kept_headers(&headers),
            initiated: SystemTime::now(),
            parts: BTreeMap::new(),
        };
        store.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
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
        self.store_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
            Received { bytes, md5 },
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
            ..Part::default()
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
        let (parts, digests) = self.chosen_parts(upload, &listed)?;
        let mut bytes = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        if input.mpu_object_size.is_some_and(|size| size != length(bytes.len())) {
            return Err(s3_error!(InvalidRequest, "x-amz-mp-object-size is not the size of the parts"));
        }
        let etag = format!("{}-{}", hex(&Md5::digest(&digests)), parts.len());
        let object = StoredObject {
            bytes: bytes.freeze(),
            headers: upload.headers.clone(),
            etag: etag.clone(),
            modified: SystemTime::now(),
        };
        conditions.check(store.object(&input.bucket, &input.key).map(|held| held.etag.as_str()))?;
        store.put(&input.bucket, &input.key, object).map_err(failed)?;
        store.uploads.remove(&input.upload_id);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
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
        let part = StoredPart { bytes: received.bytes, md5: received.md5, modified: SystemTime::now() };
        if let Some(upload) = store.uploads.get_mut(id) {
            upload.parts.insert(number, part);
        }
        Ok(())
    }

    /// The parts that a completion lists, and their MD5 digests in a row; or why they can't be joined.
    fn chosen_parts(&self, upload: &Upload, listed: &[CompletedPart]) -> S3Result<(Vec<Bytes>, Vec<u8>)> {
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
            parts.push(part.bytes.clone());
            digests.extend_from_slice(&part.md5);
        }
        let (_, whole) = parts.split_last().unwrap_or((&EMPTY, &[]));
        if whole.iter().any(|part| part.len() < self.rules.min_part_size) {
            return Err(s3_error!(EntityTooSmall));
        }
        if self.rules.equal_parts {
            let size = parts[0].len();
            let last_fits = parts.last().is_some_and(|part| part.len() <= size);
            if whole.iter().any(|part| part.len() != size) || !last_fits {
                return Err(s3_error!(InvalidPart, "All non-trailing parts must have the same length."));
            }
        }
        Ok((parts, digests))
    }
}

static EMPTY: Bytes = Bytes::new();

impl Store {
    /// The upload of this id, bucket and key, or NoSuchUpload.
    pub fn upload(&self, id: &str, bucket: &str, key: &str) -> S3Result<&Upload> {
        let found = self.uploads.get(id).filter(|upload| upload.bucket == bucket && upload.key == key);
        found.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}
