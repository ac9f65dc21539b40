//! The S3 operations over the store. A key is an opaque string: no path, no normalisation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::conditions::{Conditions, Treatment, copyable, readable};
use super::listing::{Page, encodes, listed, page, unhex};
use super::receive::receive;
use super::store::{Bucket as StoredBucket, Checksums, Store, StoredObject, hex, kept_headers, tags_of};

/// Bytes up to which an object is kept even where others are discarded.
const KEPT: i64 = 256;

/// The rules in which services differ.
#[derive(Debug, Clone)]
pub struct Rules {
    pub region: String,
    /// Entries of a listing's page at most, whatever the request asks for (AWS: 1000).
    pub page_size: usize,
    /// Of every part but the last (AWS: 5 MiB).
    pub min_part_size: usize,
    /// All parts but the last must be of one size (Cloudflare R2).
    pub equal_parts: bool,
    /// What R2 lacks is refused as it does.
    pub r2: bool,
    /// If-Match and If-None-Match of writing requests are ignored (Garage).
    pub ignores_conditions: bool,
    /// Of what is written, lengths and digests are kept, and the bytes are zeros.
    pub discards: bool,
    pub encrypts: bool,
    /// Writes are answered with a version's id though no versions are kept, and ids in requests are ignored (Garage).
    pub claims_versions: bool,
}

#[derive(Debug, Clone)]
pub struct Backend {
    pub store: Arc<Mutex<Store>>,
    pub rules: Rules,
}

impl Backend {
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// The object, or NoSuchBucket or NoSuchKey.
    pub fn object(&self, bucket: &str, key: &str) -> S3Result<Arc<StoredObject>> {
        let store = self.store();
        store.object(bucket, key).cloned().ok_or_else(|| match store.buckets.contains_key(bucket) {
            true => s3_error!(NoSuchKey),
            false => s3_error!(NoSuchBucket),
        })
    }

    /// One version of it, or NoSuchVersion; the current one without an id.
    pub fn version(&self, bucket: &str, key: &str, id: Option<&str>) -> S3Result<Arc<StoredObject>> {
        let Some(id) = id.filter(|_| !self.rules.claims_versions) else { return self.object(bucket, key) };
        let store = self.store();
        let held = store.buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let found = held.history.find(key, id, held.objects.get(key));
        let version = found.ok_or_else(|| s3_error!(NoSuchVersion))?;
        version.object.ok_or_else(|| s3_error!(MethodNotAllowed, "it is a delete marker"))
    }

    /// The version that a request is about, as far as this server minds it.
    fn named_version(&self, id: Option<String>) -> Option<String> {
        id.filter(|_| !self.rules.claims_versions)
    }

    pub fn with_bucket<T>(&self, name: &str, read: impl FnOnce(&StoredBucket) -> T) -> S3Result<T> {
        self.store().buckets.get(name).map(read).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    /// Checks the conditions and stores, under one lock.
    fn put(
        &self,
        bucket: &str,
        key: &str,
        object: StoredObject,
        conditions: &Conditions,
    ) -> S3Result<Option<String>> {
        let mut store = self.store();
        if !store.buckets.contains_key(bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        conditions.check(store.object(bucket, key).map(|held| held.etag.as_str()))?;
        let version = store.put(bucket, key, object).map_err(failed)?;
        Ok(version.or_else(|| self.rules.claims_versions.then(|| store.next_upload_id())))
    }

    fn list(
        &self,
        input: &ListObjectsV2Input,
        after: Option<&str>,
        treatment: Option<&Treatment>,
    ) -> S3Result<Page> {
        let limit = self.page_size(input.max_keys);
        let hidden = treatment.and_then(|treatment| SystemTime::now().checked_sub(treatment.hide_newer?));
        self.with_bucket(&input.bucket, |bucket| page(&bucket.objects, input, after, limit, hidden))
    }

    /// Entries of a page: what was asked for (1000 unless said), within our own bound.
    pub fn page_size(&self, asked: Option<i32>) -> usize {
        asked.and_then(|n| usize::try_from(n).ok()).unwrap_or(1000).min(self.rules.page_size)
    }
}

#[async_trait]
impl S3 for Backend {
    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let store = self.store();
        let buckets = store.buckets.iter().map(|(name, bucket)| Bucket {
            name: Some(name.clone()),
            creation_date: Some(bucket.created.into()),
            ..Bucket::default()
        });
        let buckets = Some(buckets.collect());
        Ok(S3Response::new(ListBucketsOutput { buckets, ..ListBucketsOutput::default() }))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.with_bucket(&req.input.bucket, |_| ())?;
        let bucket_region = Some(self.rules.region.clone());
        Ok(S3Response::new(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = req.input.bucket;
        let mut store = self.store();
        if store.buckets.contains_key(&name) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        store.create_bucket(&name).map_err(failed)?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let mut store = self.store();
        let bucket = store.buckets.get(&req.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        if !bucket.objects.is_empty() || !bucket.history.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        store.remove_bucket(&req.input.bucket).map_err(failed)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.with_bucket(&req.input.bucket, |_| ())?;
        let location_constraint = Some(BucketLocationConstraint::from(self.rules.region.clone()));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.versioning(req)
    }

    async fn put_bucket_versioning(
        &self,
        req: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        self.set_versioning(req)
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.list_versions(req)
    }

    async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        self.tags(req)
    }

    async fn put_object_tagging(
        &self,
        req: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        self.set_tags(req)
    }

    async fn delete_object_tagging(
        &self,
        req: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        self.delete_tags(req)
    }

    async fn get_bucket_cors(
        &self,
        req: S3Request<GetBucketCorsInput>,
    ) -> S3Result<S3Response<GetBucketCorsOutput>> {
        self.bucket_cors(req)
    }

    async fn put_bucket_cors(
        &self,
        req: S3Request<PutBucketCorsInput>,
    ) -> S3Result<S3Response<PutBucketCorsOutput>> {
        self.set_bucket_cors(req)
    }

    async fn delete_bucket_cors(
        &self,
        req: S3Request<DeleteBucketCorsInput>,
    ) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
        self.delete_cors(req)
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        self.lifecycle(req)
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        self.set_lifecycle(req)
    }

    async fn delete_bucket_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
        self.delete_lifecycle(req)
    }

    async fn get_bucket_tagging(
        &self,
        req: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        self.bucket_tags(req)
    }

    async fn put_bucket_tagging(
        &self,
        req: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<S3Response<PutBucketTaggingOutput>> {
        self.set_bucket_tags(req)
    }

    async fn delete_bucket_tagging(
        &self,
        req: S3Request<DeleteBucketTaggingInput>,
    ) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
        self.delete_bucket_tags(req)
    }

    async fn get_bucket_policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        self.policy(req)
    }

    async fn put_bucket_policy(
        &self,
        req: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        self.set_policy(req)
    }

    async fn delete_bucket_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        self.delete_policy(req)
    }

    async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        self.encryption(req)
    }

    async fn put_bucket_encryption(
        &self,
        req: S3Request<PutBucketEncryptionInput>,
    ) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
        self.set_encryption(req)
    }

    async fn delete_bucket_encryption(
        &self,
        req: S3Request<DeleteBucketEncryptionInput>,
    ) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
        self.delete_encryption(req)
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let marker = req.input.marker.clone();
        let input = ListObjectsV2Input::from(req.input);
        let page =
            self.list(&input, marker.as_deref().filter(|text| !text.is_empty()), req.extensions.get())?;
        let encode = encodes(input.encoding_type.as_ref());
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: input.prefix,
            marker,
            max_keys: input.max_keys,
            is_truncated: Some(page.truncated),
            next_marker: page.last.filter(|_| page.truncated).map(|last| listed(&last, encode)),
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let S3Request { input, extensions, .. } = req;
        let treatment = extensions.get::<Treatment>();
        let token = input.continuation_token.as_deref().filter(|text| !text.is_empty());
        let from_token = token
            .map(|token| {
                unhex(token).ok_or_else(|| s3_error!(InvalidArgument, "not a continuation token of ours"))
            })
            .transpose()?;
        let after = from_token.as_deref().or(input.start_after.as_deref().filter(|text| !text.is_empty()));
        // Whoever asks for the next page gets the first one once more.
        let again = token.is_some() && treatment.is_some_and(|treatment| treatment.repeat_page);
        let page = self.list(&input, after.filter(|_| !again), treatment)?;
        let encode = encodes(input.encoding_type.as_ref());
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix.map(|prefix| listed(&prefix, encode)),
            max_keys: Some(input.max_keys.unwrap_or(1000)),
            key_count: i32::try_from(page.contents.len() + page.prefixes.len()).ok(),
            is_truncated: Some(page.truncated),
            next_continuation_token: page.last.filter(|_| page.truncated).map(|last| hex(last.as_bytes())),
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            continuation_token: input.continuation_token,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            start_after: input.start_after.map(|key| listed(&key, encode)),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let object = self.version(&input.bucket, &input.key, input.version_id.as_deref())?;
        readable(&object.etag, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let whole = object.bytes.len();
        let (bytes, content_range) = match input.range {
            None => (object.bytes.clone(), None),
            Some(range) => {
                let part = range.check(whole as u64).map_err(|_| s3_error!(InvalidRange))?;
                // Within the object, whose length is a usize.
                let (start, end) = (part.start as usize, part.end as usize);
                (object.bytes.slice(start..end), Some(format!("bytes {start}-{}/{whole}", end - 1)))
            }
        };
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(length(bytes.len())),
            content_range,
            body: Some(StreamingBlob::from(s3s::Body::from(bytes))),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.into()),
            ..GetObjectOutput::default()
        };
        // The checksums of a whole object say nothing about a part of it.
        let mut headers = answered(&object, input.checksum_mode.as_ref().filter(|_| input.range.is_none()));
        // The parameters of presigned URLs that name the answer's headers.
        let overrides = [
            ("cache-control", input.response_cache_control),
            ("content-disposition", input.response_content_disposition),
            ("content-encoding", input.response_content_encoding),
            ("content-language", input.response_content_language),
            ("content-type", input.response_content_type),
        ];
        for (name, value) in overrides {
            if let Some(value) = value.and_then(|text| text.parse().ok()) {
                headers.insert(name, value);
            }
        }
        Ok(S3Response::with_headers(output, headers))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.version(&req.input.bucket, &req.input.key, req.input.version_id.as_deref())?;
        readable(&object.etag, req.input.if_match.as_ref(), req.input.if_none_match.as_ref())?;
        let output = HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(length(object.bytes.len())),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.into()),
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, answered(&object, req.input.checksum_mode.as_ref())))
    }

    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let conditions =
            Conditions::of(&req.extensions, req.input.if_match.take(), req.input.if_none_match.take());
        let body = req.input.body.take();
        let (input, headers) = (&req.input, &req.headers);
        let received = receive(
            body,
            input.content_length,
            input.content_md5.as_deref(),
            headers,
            req.trailing_headers.as_ref(),
            self.rules.discards && input.content_length.is_none_or(|length| length > KEPT),
        )
        .await?;
        let etag = hex(&received.md5);
        let object = StoredObject {
            bytes: received.bytes,
            headers: kept_headers(headers),
            etag: etag.clone(),
            modified: SystemTime::now(),
            tags: tags_of(headers),
            checksums: Checksums { values: received.checksums, composite: false },
            version: None,
        };
        let confirmed = object.checksums.headers();
        let version_id = self.put(&input.bucket, &input.key, object, &conditions)?;
        let output =
            PutObjectOutput { e_tag: Some(ETag::Strong(etag)), version_id, ..PutObjectOutput::default() };
        Ok(S3Response::with_headers(output, confirmed))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = &req.input;
        let source = self.copy_source(&input.copy_source)?;
        copyable(
            &source.etag,
            input.copy_source_if_match.as_ref(),
            input.copy_source_if_none_match.as_ref(),
        )?;
        let replace = input
            .metadata_directive
            .as_ref()
            .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        let headers = if replace { kept_headers(&req.headers) } else { source.headers.clone() };
        let retag = input.tagging_directive.as_ref().is_some_and(|d| d.as_str() == TaggingDirective::REPLACE);
        let mut object = StoredObject::new(source.bytes.clone(), headers);
        object.tags = if retag { tags_of(&req.headers) } else { source.tags.clone() };
        if let Some(class) = req.headers.get("x-amz-storage-class") {
            let class = String::from_utf8_lossy(class.as_bytes()).into_owned();
            object.headers.insert("x-amz-storage-class".to_owned(), class);
        }
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.into()),
            ..CopyObjectResult::default()
        };
        let free = Conditions { if_match: None, if_none_match: None };
        let version_id = self.put(&input.bucket, &input.key, object, &free)?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            version_id,
            ..CopyObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        mut req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let conditions = Conditions::of(&req.extensions, req.input.if_match.take(), None);
        let (bucket, key) = (&req.input.bucket, &req.input.key);
        let mut store = self.store();
        if !store.buckets.contains_key(bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        conditions.check(store.object(bucket, key).map(|held| held.etag.as_str()))?;
        let (delete_marker, version_id) = match &self.named_version(req.input.version_id.take()) {
            Some(id) => {
                let marker = store.delete_version(bucket, key, id).map_err(failed)?;
                (marker.filter(|was| *was), Some(id.clone()))
            }
            None => {
                let marker = store.delete(bucket, key).map_err(failed)?;
                (marker.as_ref().map(|_| true), marker)
            }
        };
        let output = DeleteObjectOutput { delete_marker, version_id, ..DeleteObjectOutput::default() };
        Ok(S3Response::with_status(output, http::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = &req.input.bucket;
        let mut store = self.store();
        if !store.buckets.contains_key(bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        if req.input.delete.objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "more than 1000 keys"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for ObjectIdentifier { key, e_tag, version_id, .. } in req.input.delete.objects {
            let held = store.object(bucket, &key).map(|object| object.etag.clone());
            if e_tag.as_ref().is_some_and(|wanted| held.as_deref() != Some(wanted.value())) {
                let code = Some("PreconditionFailed".to_owned());
                errors.push(Error { key: Some(key), code, ..Error::default() });
                continue;
            }
            let mut entry = DeletedObject { key: Some(key.clone()), ..DeletedObject::default() };
            match self.named_version(version_id) {
                Some(id) => {
                    let marker = store.delete_version(bucket, &key, &id).map_err(failed)?;
                    entry.delete_marker = marker.filter(|was| *was);
                    entry.version_id = Some(id);
                }
                None => {
                    entry.delete_marker_version_id = store.delete(bucket, &key).map_err(failed)?;
                    entry.delete_marker = entry.delete_marker_version_id.as_ref().map(|_| true);
                }
            }
            deleted.push(entry);
        }
        let quiet = req.input.delete.quiet.unwrap_or(false);
        let deleted = if quiet { None } else { Some(deleted) };
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted,
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin_upload(req)
    }

    async fn upload_part(
        &self,
        mut req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let body = req.input.body.take();
        let input = &req.input;
        self.store().upload(&input.upload_id, &input.bucket, &input.key)?;
        let trailers = req.trailing_headers.as_ref();
        let received = receive(
            body,
            input.content_length,
            input.content_md5.as_deref(),
            &req.headers,
            trailers,
            self.rules.discards,
        )
        .await?;
        let etag = hex(&received.md5);
        let confirmed = Checksums { values: received.checksums.clone(), composite: false }.headers();
        self.store_part(&input.upload_id, &input.bucket, &input.key, input.part_number, received)?;
        let output = UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..UploadPartOutput::default() };
        Ok(S3Response::with_headers(output, confirmed))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.copy_part(req)
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.parts(req)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.uploads(req)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete_upload(req)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort_upload(req)
    }
}

impl Backend {
    pub fn copy_source(&self, source: &CopySource) -> S3Result<Arc<StoredObject>> {
        match source {
            CopySource::Bucket { bucket, key, version_id } => {
                self.version(bucket, key, version_id.as_deref())
            }
            _ => Err(s3_error!(NotImplemented, "access points")),
        }
    }
}

/// The headers that an object is answered with: its own, version, number of tags, and checksums where they are asked for.
fn answered(object: &StoredObject, mode: Option<&ChecksumMode>) -> http::HeaderMap {
    let mut headers = object.header_map();
    if let Some(version) = object.version.as_ref().and_then(|id| id.parse().ok()) {
        headers.insert("x-amz-version-id", version);
    }
    if !object.tags.is_empty() {
        headers.insert("x-amz-tagging-count", object.tags.len().into());
    }
    if mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED) {
        headers.extend(object.checksums.headers());
    }
    headers
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A length in memory as S3 says it.
pub fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

pub fn failed(error: std::io::Error) -> s3s::S3Error {
    s3s::S3Error::internal_error(error)
}
