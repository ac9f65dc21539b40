//! Who may do what: the holder of the keys everything, anybody else may read a bucket that was made public.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use super::backend::lock;
use super::store::Store;

pub struct Access(pub Arc<Mutex<Store>>);

/// What anybody may do with a public bucket.
const READING: [&str; 5] = ["GetObject", "HeadObject", "ListObjects", "ListObjectsV2", "HeadBucket"];

#[async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_some() {
            return Ok(());
        }
        let bucket = match cx.s3_path() {
            S3Path::Root => None,
            S3Path::Bucket { bucket } | S3Path::Object { bucket, .. } => Some(bucket.as_ref()),
        };
        let public = bucket
            .and_then(|name: &str| lock(&self.0).buckets.get(name).map(|held| held.settings.public))
            .unwrap_or(false);
        if public && READING.contains(&cx.s3_op().name()) {
            return Ok(());
        }
        Err(s3_error!(AccessDenied, "Signature is required"))
    }
}
