//! Tags of objects, and what the S3 API says of versions.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, failed, length};
use super::listing::{encodes, listed};
use super::store::StoredObject;
use super::versions::Versioning;

impl Backend {
    pub fn tags(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let input = req.input;
        let object = self.version(&input.bucket, &input.key, input.version_id.as_deref())?;
        let tag =
            |(key, value): &(String, String)| Tag { key: Some(key.clone()), value: Some(value.clone()) };
        let tag_set = object.tags.iter().map(tag).collect();
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id: object.version.clone() }))
    }

    pub fn set_tags(
        &self,
        req: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let input = req.input;
        if input.tagging.tag_set.len() > 10 {
            return Err(s3_error!(InvalidTag, "Object tags cannot be greater than 10"));
        }
        let tags = input.tagging.tag_set.into_iter();
        let tags = tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
        let version_id = self.retag(&input.bucket, &input.key, input.version_id.as_deref(), tags)?;
        Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
    }

    pub fn delete_tags(
        &self,
        req: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let input = req.input;
        let version_id = self.retag(&input.bucket, &input.key, input.version_id.as_deref(), Vec::new())?;
        let output = DeleteObjectTaggingOutput { version_id };
        Ok(S3Response::with_status(output, http::StatusCode::NO_CONTENT))
    }

    /// Changes the tags of a version, and nothing else of it.
    fn retag(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        tags: Vec<(String, String)>,
    ) -> S3Result<Option<String>> {
        let object = self.version(bucket, key, id)?;
        let mut store = self.store();
        let current = store.object(bucket, key).is_some_and(|current| Arc::ptr_eq(current, &object));
        let object = Arc::new(StoredObject { tags, ..StoredObject::clone(&object) });
        let version = object.version.clone();
        if let (true, Some(folder)) = (current, &store.folder) {
            folder.save_object(bucket, key, &object).map_err(failed)?;
        }
        if let Some(held) = store.buckets.get_mut(bucket) {
            held.history.replace(key, &object);
            if current {
                held.objects.insert(key.to_owned(), object);
            }
        }
        Ok(version)
    }

    pub fn versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let held = self.with_bucket(&req.input.bucket, |bucket| bucket.history.versioning)?;
        let status = match held {
            // No status at all, as S3 says it.
            Versioning::Off => None,
            Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
            Versioning::Suspended => {
                Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED))
            }
        };
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() }))
    }

    pub fn set_versioning(
        &self,
        req: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let status = req.input.versioning_configuration.status;
        let versioning = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            _ => return Err(s3_error!(MalformedXML, "a status is Enabled or Suspended")),
        };
        let mut store = self.store();
        let held = store.buckets.get_mut(&req.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        held.history.versioning = versioning;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    pub fn list_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = req.input;
        if input.delimiter.as_ref().is_some_and(|text| !text.is_empty()) {
            return Err(s3_error!(NotImplemented, "versions by a delimiter"));
        }
        let limit = self.page_size(input.max_keys);
        let encode = encodes(input.encoding_type.as_ref());
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let (key_marker, id_marker) =
            (input.key_marker.as_deref().unwrap_or_default(), input.version_id_marker.as_deref());
        let store = self.store();
        let held = store.buckets.get(input.bucket.as_str()).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let all = held.history.listed(&held.objects);
        // Behind the marker's version; behind all versions of its key where it names none.
        let start = match id_marker.filter(|id| !id.is_empty()) {
            Some(id) => {
                let at = all.iter().position(|(key, version, _)| *key == key_marker && version.id == id);
                at.ok_or_else(|| s3_error!(InvalidArgument, "no such version-id-marker"))? + 1
            }
            None => all.partition_point(|(key, ..)| !key_marker.is_empty() && *key <= key_marker),
        };
        let mut rest = all[start..].iter().filter(|(key, ..)| key.starts_with(prefix)).peekable();
        let (mut versions, mut markers, mut last) = (Vec::new(), Vec::new(), None);
        while versions.len() + markers.len() < limit {
            let Some((key, version, latest)) = rest.next() else { break };
            last = Some((listed(key, encode), version.id.clone()));
            let (key, version_id) = (Some(listed(key, encode)), Some(version.id.clone()));
            let (is_latest, last_modified) = (Some(*latest), Some(version.modified.into()));
            match &version.object {
                None => markers.push(DeleteMarkerEntry {
                    key,
                    version_id,
                    is_latest,
                    last_modified,
                    ..DeleteMarkerEntry::default()
                }),
                Some(object) => versions.push(ObjectVersion {
                    key,
                    version_id,
                    is_latest,
                    last_modified,
                    e_tag: Some(ETag::Strong(object.etag.clone())),
                    size: Some(length(object.bytes.len())),
                    storage_class: Some(ObjectVersionStorageClass::from(object.storage_class().to_owned())),
                    ..ObjectVersion::default()
                }),
            }
        }
        let truncated = rest.peek().is_some();
        let next = last.filter(|_| truncated);
        Ok(S3Response::new(ListObjectVersionsOutput {
            is_truncated: Some(truncated),
            next_key_marker: next.as_ref().map(|(key, _)| key.clone()),
            next_version_id_marker: next.map(|(_, id)| id),
            versions: Some(versions),
            delete_markers: Some(markers),
            key_marker: input.key_marker,
            version_id_marker: input.version_id_marker,
            max_keys: i32::try_from(limit).ok(),
            name: Some(input.bucket),
            prefix: input.prefix,
            encoding_type: input.encoding_type,
            ..ListObjectVersionsOutput::default()
        }))
    }
}
