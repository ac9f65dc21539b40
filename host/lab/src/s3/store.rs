//! What the S3 server holds: buckets, objects under opaque keys, uploads in parts. In memory; written through to
//! a folder where the server has one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use md5::{Digest, Md5};
use s3s::dto::CORSRule;

use super::folder::Folder;

/// An object as it lies in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    pub bytes: Bytes,
    /// Names in lower case: `content-type`, `cache-control`, …, user metadata as `x-amz-meta-…`.
    pub headers: BTreeMap<String, String>,
    /// Without quotes: the MD5 of the content, or `md5-n` of an upload in n parts.
    pub etag: String,
    pub modified: SystemTime,
}

impl StoredObject {
    pub fn new(bytes: Bytes, headers: BTreeMap<String, String>) -> Self {
        let etag = hex(&Md5::digest(&bytes));
        Self { bytes, headers, etag, modified: SystemTime::now() }
    }

    pub fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            // Both were headers of a request once, or were given by a test that wants them refused here.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
            {
                map.insert(name, value);
            }
        }
        map
    }
}

/// The headers of a PUT that an S3 service keeps and gives back (S3 API, PutObject). `aws-chunked` is the
/// transport's and is not kept.
pub fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    const KEPT: [&str; 8] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
    ];
    let mut kept = BTreeMap::new();
    for (name, value) in headers {
        if !KEPT.contains(&name.as_str()) && !name.as_str().starts_with("x-amz-meta-") {
            continue;
        }
        let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == http::header::CONTENT_ENCODING {
            let codings = text.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked");
            text = codings.collect::<Vec<_>>().join(", ");
            if text.is_empty() {
                continue;
            }
        }
        // S3 joins metadata of one name by commas.
        kept.entry(name.as_str().to_owned())
            .and_modify(|held: &mut String| {
                held.push(',');
                held.push_str(&text);
            })
            .or_insert(text);
    }
    kept
}

#[derive(Debug)]
pub struct Bucket {
    pub created: SystemTime,
    /// Ordered by the bytes of the key, as S3 lists them.
    pub objects: BTreeMap<String, Arc<StoredObject>>,
    pub cors: Option<Vec<CORSRule>>,
}

impl Bucket {
    pub fn new() -> Self {
        Self { created: SystemTime::now(), objects: BTreeMap::new(), cors: None }
    }
}

#[derive(Debug, Clone)]
pub struct Part {
    pub bytes: Bytes,
    pub md5: [u8; 16],
    pub modified: SystemTime,
}

#[derive(Debug)]
pub struct Upload {
    pub bucket: String,
    pub key: String,
    pub headers: BTreeMap<String, String>,
    pub initiated: SystemTime,
    pub parts: BTreeMap<i32, Part>,
}

#[derive(Debug, Default)]
pub struct Store {
    pub buckets: BTreeMap<String, Bucket>,
    /// By upload id.
    pub uploads: BTreeMap<String, Upload>,
    counter: u64,
    pub folder: Option<Folder>,
}

impl Store {
    /// An id no other upload of this server has.
    pub fn next_upload_id(&mut self) -> String {
        self.counter += 1;
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("upload-{:08}-{:x}", self.counter, started.as_nanos())
    }

    pub fn create_bucket(&mut self, name: &str) -> std::io::Result<()> {
        let bucket = self.buckets.entry(name.to_owned()).or_insert_with(Bucket::new);
        self.folder.as_ref().map_or(Ok(()), |folder| folder.save_bucket(name, bucket))
    }

    pub fn remove_bucket(&mut self, name: &str) -> std::io::Result<()> {
        self.buckets.remove(name);
        self.uploads.retain(|_, upload| upload.bucket != name);
        self.folder.as_ref().map_or(Ok(()), |folder| folder.remove_bucket(name))
    }

    pub fn set_cors(&mut self, name: &str, rules: Option<Vec<CORSRule>>) -> std::io::Result<()> {
        let Some(bucket) = self.buckets.get_mut(name) else { return Ok(()) };
        bucket.cors = rules;
        self.folder.as_ref().map_or(Ok(()), |folder| folder.save_bucket(name, bucket))
    }

    /// Stores under a bucket that exists; the caller has looked.
    pub fn put(&mut self, bucket: &str, key: &str, object: StoredObject) -> std::io::Result<()> {
        if let Some(folder) = &self.folder {
            folder.save_object(bucket, key, &object)?;
        }
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.objects.insert(key.to_owned(), Arc::new(object));
        }
        Ok(())
    }

    pub fn delete(&mut self, bucket: &str, key: &str) -> std::io::Result<()> {
        if let Some(folder) = &self.folder {
            folder.remove_object(bucket, key)?;
        }
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.objects.remove(key);
        }
        Ok(())
    }

    pub fn object(&self, bucket: &str, key: &str) -> Option<&Arc<StoredObject>> {
        self.buckets.get(bucket)?.objects.get(key)
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transport_coding_is_not_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", HeaderValue::from_static("aws-chunked, gzip"));
        headers.insert("x-amz-meta-a", HeaderValue::from_static("1"));
        headers.append("x-amz-meta-a", HeaderValue::from_static("2"));
        headers.insert("x-amz-date", HeaderValue::from_static("now"));
        let kept = kept_headers(&headers);
        let expected = [("content-encoding", "gzip"), ("x-amz-meta-a", "1,2")];
        assert_eq!(kept, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        headers.insert("content-encoding", HeaderValue::from_static("aws-chunked"));
        assert!(!kept_headers(&headers).contains_key("content-encoding"));
    }
}
