//! A store's folder: `BUCKET/bucket.json`, and per object `BUCKET/<sha256 of the key>.{bin,json}`, since a key is
//! an opaque string and no path. Open uploads and old versions are not
//! kept.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::{Bucket, Checksums, Settings, StoredObject, hex};

#[derive(Debug)]
pub struct Folder(PathBuf);

#[derive(Serialize, Deserialize)]
struct BucketRecord {
    created_ms: u64,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Serialize, Deserialize)]
struct ObjectRecord {
    key: String,
    headers: BTreeMap<String, String>,
    etag: String,
    modified_ms: u64,
    #[serde(default)]
    tags: Vec<(String, String)>,
    #[serde(default)]
    checksums: BTreeMap<String, String>,
    #[serde(default)]
    composite: bool,
}

impl Folder {
    /// Opens, or makes, a folder and reads the buckets in it.
    pub fn open(path: PathBuf) -> io::Result<(Self, BTreeMap<String, Bucket>)> {
        fs::create_dir_all(&path)?;
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let record: BucketRecord = match fs::read(entry.path().join("bucket.json")) {
                Ok(text) => serde_json::from_slice(&text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let created = from_ms(record.created_ms);
            let mut bucket = Bucket { created, settings: record.settings, ..Bucket::new() };
            for file in fs::read_dir(entry.path())? {
                let file = file?.path();
                if file.extension().is_none_or(|ext| ext != "json") || file.ends_with("bucket.json") {
                    continue;
                }
                let record: ObjectRecord = serde_json::from_slice(&fs::read(&file)?)?;
                let object = StoredObject {
                    bytes: Bytes::from(fs::read(file.with_extension("bin"))?),
                    headers: record.headers,
                    etag: record.etag,
                    modified: from_ms(record.modified_ms),
                    tags: record.tags,
                    checksums: Checksums { values: record.checksums, composite: record.composite },
                    version: None,
                };
                bucket.objects.insert(record.key, Arc::new(object));
            }
            buckets.insert(entry.file_name().to_string_lossy().into_owned(), bucket);
        }
        Ok((Self(path), buckets))
    }

    pub fn save_bucket(&self, name: &str, bucket: &Bucket) -> io::Result<()> {
        let dir = self.0.join(name);
        fs::create_dir_all(&dir)?;
        let record = BucketRecord { created_ms: ms(bucket.created), settings: bucket.settings.clone() };
        replace(&dir.join("bucket.json"), &serde_json::to_vec(&record)?)
    }

    pub fn remove_bucket(&self, name: &str) -> io::Result<()> {
        fs::remove_dir_all(self.0.join(name))
    }

    pub fn save_object(&self, bucket: &str, key: &str, object: &StoredObject) -> io::Result<()> {
        let file = self.file(bucket, key);
        let record = ObjectRecord {
            key: key.to_owned(),
            headers: object.headers.clone(),
            etag: object.etag.clone(),
            modified_ms: ms(object.modified),
            tags: object.tags.clone(),
            checksums: object.checksums.values.clone(),
            composite: object.checksums.composite,
        };
        replace(&file.with_extension("bin"), &object.bytes)?;
        replace(&file.with_extension("json"), &serde_json::to_vec(&record)?)
    }

    pub fn remove_object(&self, bucket: &str, key: &str) -> io::Result<()> {
        let file = self.file(bucket, key);
        for extension in ["json", "bin"] {
            match fs::remove_file(file.with_extension(extension)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.0.join(bucket).join(hex(&Sha256::digest(key)))
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)?;
    fs::rename(part, path)
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn from_ms(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}
