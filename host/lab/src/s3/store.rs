//! What the S3 server holds: buckets, objects under opaque keys, uploads in parts. In memory; written through to
//! a folder where the server has one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use md5::{Digest, Md5};
use s3s::dto::{CORSRule, LifecycleRule, ServerSideEncryptionConfiguration, Tag};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::versions::History;

/// An object as it lies in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    pub bytes: Bytes,
    /// Names in lower case: `content-type`, `cache-control`, …, user metadata as `x-amz-meta-…`.
    pub headers: BTreeMap<String, String>,
    /// Without quotes: the MD5 of the content, or `md5-n` of an upload in n parts.
    pub etag: String,
    pub modified: SystemTime,
    pub tags: Vec<(String, String)>,
    pub checksums: Checksums,
    /// Where the bucket keeps versions, or kept them once; `null` for what was written while it didn't.
    pub version: Option<String>,
}

/// The checksums that came with an object, by the names of their headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums {
    pub values: BTreeMap<String, String>,
    /// Made of the parts' checksums instead of the whole content (S3 user guide, "Checking object integrity").
    pub composite: bool,
}

impl Checksums {
    /// As they are answered where they are asked for.
    pub fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.values {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                map.insert(name, value);
            }
        }
        if !map.is_empty() {
            let kind = if self.composite { "COMPOSITE" } else { "FULL_OBJECT" };
            map.insert("x-amz-checksum-type", HeaderValue::from_static(kind));
        }
        map
    }
}

impl StoredObject {
    pub fn new(bytes: Bytes, headers: BTreeMap<String, String>) -> Self {
        let etag = hex(&Md5::digest(&bytes));
        let (tags, checksums) = (Vec::new(), Checksums::default());
        Self { bytes, headers, etag, modified: SystemTime::now(), tags, checksums, version: None }
    }

    /// Of another content of the same length, or of one byte where it was empty.
    pub fn changed(&self) -> Self {
        let mut bytes = self.bytes.to_vec();
        match bytes.last_mut() {
            Some(last) => *last = !*last,
            None => bytes.push(b'x'),
        }
        Self { tags: self.tags.clone(), ..Self::new(bytes.into(), self.headers.clone()) }
    }

    /// `STANDARD` where none was named.
    pub fn storage_class(&self) -> &str {
        self.headers.get("x-amz-storage-class").map_or("STANDARD", String::as_str)
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

/// The tags of an `x-amz-tagging` header: form-encoded pairs.
pub fn tags_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = headers.get("x-amz-tagging").map(|value| String::from_utf8_lossy(value.as_bytes()));
    tag_pairs(&text.unwrap_or_default())
}

pub fn tag_pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let plain = |text: &str| super::traffic::decoded(&text.replace('+', " "));
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (plain(key), plain(value))
        })
        .collect()
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

/// What a bucket can be told besides its objects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub cors: Option<Vec<CORSRule>>,
    #[serde(default)]
    pub lifecycle: Option<Vec<LifecycleRule>>,
    #[serde(default)]
    pub tags: Option<Vec<Tag>>,
    #[serde(default)]
    pub policy: Option<String>,
    #[serde(default)]
    pub encryption: Option<ServerSideEncryptionConfiguration>,
    /// Anybody may read it.
    #[serde(default)]
    pub public: bool,
}

#[derive(Debug)]
pub struct Bucket {
    pub created: SystemTime,
    /// The current ones. Ordered by the bytes of the key, as S3 lists them.
    pub objects: BTreeMap<String, Arc<StoredObject>>,
    pub settings: Settings,
    pub history: History,
}

impl Bucket {
    pub fn new() -> Self {
        Self {
            created: SystemTime::now(),
            objects: BTreeMap::new(),
            settings: Settings::default(),
            history: History::default(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Part {
    pub bytes: Bytes,
    pub md5: [u8; 16],
    pub checksums: BTreeMap<String, String>,
    pub modified: SystemTime,
}

#[derive(Debug)]
pub struct Upload {
    pub bucket: String,
    pub key: String,
    pub headers: BTreeMap<String, String>,
    pub tags: Vec<(String, String)>,
    /// The header of the checksum that was asked for, and whether it is made of the parts'.
    pub checksum: Option<(&'static str, bool)>,
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

    /// Changes the settings of a bucket that exists; the caller has looked.
    pub fn set(&mut self, name: &str, change: impl FnOnce(&mut Settings)) -> std::io::Result<()> {
        let Some(bucket) = self.buckets.get_mut(name) else { return Ok(()) };
        change(&mut bucket.settings);
        self.folder.as_ref().map_or(Ok(()), |folder| folder.save_bucket(name, bucket))
    }

    /// Stores under a bucket that exists; the caller has looked. The version's id, where the bucket keeps versions.
    pub fn put(
        &mut self,
        bucket: &str,
        key: &str,
        mut object: StoredObject,
    ) -> std::io::Result<Option<String>> {
        let Some(held) = self.buckets.get_mut(bucket) else { return Ok(None) };
        object.version = held.history.next_id();
        let version = object.version.clone();
        if let Some(folder) = &self.folder {
            folder.save_object(bucket, key, &object)?;
        }
        let object = Arc::new(object);
        let former = held.objects.insert(key.to_owned(), Arc::clone(&object));
        held.history.wrote(key, former, object);
        Ok(version)
    }

    /// Takes an object out of sight; where the bucket keeps versions, a marker covers it, whose id this gives.
    pub fn delete(&mut self, bucket: &str, key: &str) -> std::io::Result<Option<String>> {
        if let Some(folder) = &self.folder {
            folder.remove_object(bucket, key)?;
        }
        let Some(held) = self.buckets.get_mut(bucket) else { return Ok(None) };
        let former = held.objects.remove(key);
        Ok(held.history.deleted(key, former))
    }

    /// Takes one version away for good; says whether it was a marker, or `None` where there was none.
    pub fn delete_version(&mut self, bucket: &str, key: &str, id: &str) -> std::io::Result<Option<bool>> {
        let Some(held) = self.buckets.get_mut(bucket) else { return Ok(None) };
        let removed = held.history.remove(key, id, held.objects.get(key));
        let Some((was_marker, current)) = removed else { return Ok(None) };
        match (&current, &self.folder) {
            (Some(object), Some(folder)) => folder.save_object(bucket, key, object)?,
            (None, Some(folder)) => folder.remove_object(bucket, key)?,
            _ => {}
        }
        match current {
            Some(object) => held.objects.insert(key.to_owned(), object),
            None => held.objects.remove(key),
        };
        Ok(Some(was_marker))
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
