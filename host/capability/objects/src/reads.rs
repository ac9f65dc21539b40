//! What a guest may read: listings, heads, CORS rules, a presigned GET.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use godwit_model::capability::{
    Bucketed, Comparison, EndpointInfo, Listing, ObjectHead, ObjectInfo, ObjectPair, ObjectReads,
    ObjectVersion, Preflight, PreflightAsk, PresignedGet, SettingState, VersionListing,
};
use godwit_model::effect::BucketSetting;
use godwit_model::ids::hex;
use godwit_model::plugin::Grant;
use godwit_model::{Digest, Error, Json, Result};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use crate::Objects;
use crate::control::BucketState;
use crate::listing::{Begin, Page, VersionPage};
use crate::store::{Head, Store, patiently};

#[async_trait]
impl ObjectReads for Objects {
    fn endpoint(&self, grant: &Grant) -> Result<EndpointInfo> {
        let vendor = self.store(&grant.connection)?.endpoint.vendor;
        Ok(EndpointInfo {
            vendor: vendor.name.to_owned(),
            tags: vendor.tags,
            versions: vendor.versions,
            storage_classes: vendor.classes.is_none_or(|classes| classes.len() > 1),
            max_object: vendor.max_object,
            max_key: vendor.max_key,
            cors: !vendor.lacks_settings.contains(&"cors"),
            folds_unicode: vendor.folds_unicode,
            path_keys: vendor.path_keys,
        })
    }

    async fn list(
        &self,
        grant: &Grant,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Box<dyn Listing>> {
        let store = self.store(&grant.connection)?;
        let mut pages = Pages {
            store: store.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            coming: None,
            last: after.map(str::to_owned),
        };
        // The first page is fetched here, so that a missing bucket is told at once.
        let begin = after.map_or(Begin::First, Begin::After);
        let first = store.list_page(bucket, prefix, begin).await?;
        pages.coming = Some(tokio::spawn(async move { Ok(first) }));
        Ok(Box::new(pages))
    }

    async fn versions(&self, grant: &Grant, bucket: &str, prefix: &str) -> Result<Box<dyn VersionListing>> {
        let store = self.store(&grant.connection)?;
        let first = store.version_page(bucket, prefix, None).await?;
        Ok(Box::new(VersionPages {
            store: store.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            coming: Some(first),
        }))
    }

    async fn stat(&self, grant: &Grant, bucket: &str, keys: &[String]) -> Vec<Result<Option<ObjectInfo>>> {
        let store = match self.store(&grant.connection) {
            Ok(store) => store,
            Err(error) => return keys.iter().map(|_| Err(error.clone())).collect(),
        };
        let heads: Vec<_> = keys
            .iter()
            .map(|key| async move { Ok(store.head(bucket, key).await?.map(|head| info(key, head))) })
            .collect();
        futures::stream::iter(heads).buffered(store.endpoint.max_connections).collect().await
    }

    async fn compare(&self, pairs: &[ObjectPair], deep: bool) -> Vec<Result<Comparison>> {
        self.compare_pairs(pairs, deep).await
    }

    async fn setting(&self, grant: &Grant, bucket: &str, name: BucketSetting) -> Result<SettingState> {
        self.store(&grant.connection)?.setting(bucket, name).await
    }

    async fn cors_preflight(&self, grant: &Grant, at: &Bucketed, ask: &PreflightAsk) -> Result<Preflight> {
        self.store(&grant.connection)?.preflight(at, ask).await
    }

    async fn head(&self, grant: &Grant, at: &Bucketed) -> Result<Option<ObjectHead>> {
        let store = self.store(&grant.connection)?;
        Ok(store.head(&at.bucket, &at.key).await?.map(|head| ObjectHead {
            headers: head.kept.standard(),
            metadata: head.kept.user(),
            info: info(&at.key, head),
        }))
    }

    async fn bucket_exists(&self, grant: &Grant, bucket: &str) -> Result<bool> {
        let store = self.store(&grant.connection)?;
        match store.bucket(bucket).await? {
            BucketState::Usable => Ok(true),
            BucketState::Absent => Ok(false),
            BucketState::Forbidden => Err(forbidden(store, bucket)),
        }
    }

    async fn cors(&self, grant: &Grant, bucket: &str) -> Result<Option<Json>> {
        let rules = self.store(&grant.connection)?.cors(bucket).await?;
        rules
            .map(|rules| serde_json::to_value(rules.iter().map(|named| &named.rule).collect::<Vec<_>>()))
            .transpose()
            .map_err(|e| Error::host(format!("CORS rules of bucket {bucket} make no JSON: {e}")))
    }

    async fn presigned_get(&self, grant: &Grant, at: &Bucketed) -> Result<PresignedGet> {
        let store = self.store(&grant.connection)?;
        let doing = format!("presigned GET {}/{}", at.bucket, at.key);
        patiently(|_| async {
            let mut reply = store.presigned_get(&at.bucket, &at.key).await?;
            if matches!(reply.status, 429 | 500 | 502 | 503 | 504) {
                return Err(crate::fault::of_answer(&store.endpoint, &doing, reply.status, None, None));
            }
            let announced = reply.header("content-length").and_then(|len| len.parse::<u64>().ok());
            let (mut fold, mut bytes) = (Sha256::new(), 0);
            while let Some(mut chunk) = reply.chunk(&store.endpoint, &doing).await? {
                chunk.truncate(usize::try_from(FETCHED - bytes).unwrap_or(usize::MAX));
                fold.update(&chunk);
                bytes += chunk.len() as u64;
                if bytes == FETCHED {
                    bytes = announced.unwrap_or(bytes);
                    break;
                }
            }
            Ok(PresignedGet { status: reply.status, bytes, sha256: Digest::new(hex(&fold.finalize())) })
        })
        .await
    }
}

/// Bytes that are read of an object to see that it can be fetched: whether the rest comes, too, others have to say.
const FETCHED: u64 = 1 << 20;

/// A bucket that is somebody else's, or hidden from these credentials.
pub(crate) fn forbidden(store: &Store, bucket: &str) -> Error {
    Error::failed(format!(
        "connection `{}`: bucket {bucket} exists, but its owner lets these credentials do nothing there",
        store.endpoint.name
    ))
    .code("HTTP 403")
    .hint("check the bucket's name and the rights of the access key")
}

fn info(key: &str, head: Head) -> ObjectInfo {
    ObjectInfo {
        key: key.to_owned(),
        size: head.size,
        etag: head.etag,
        modified: head.modified,
        storage_class: head.storage_class,
    }
}

/// A listing of versions.
struct VersionPages {
    store: Arc<Store>,
    bucket: String,
    prefix: String,
    coming: Option<VersionPage>,
}

#[async_trait]
impl VersionListing for VersionPages {
    async fn next(&mut self) -> Result<Vec<ObjectVersion>> {
        while let Some(page) = self.coming.take() {
            if let Some(next) = &page.next {
                let next = self.store.version_page(&self.bucket, &self.prefix, Some(next)).await?;
                self.coming = Some(next);
            }
            if !page.versions.is_empty() {
                return Ok(page.versions);
            }
        }
        Ok(Vec::new())
    }
}

/// A listing, one page ahead of its reader.
struct Pages {
    store: Arc<Store>,
    bucket: String,
    prefix: String,
    coming: Option<JoinHandle<Result<Page>>>,
    last: Option<String>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(coming) = &self.coming {
            coming.abort();
        }
    }
}

#[async_trait]
impl Listing for Pages {
    async fn next(&mut self) -> Result<Vec<ObjectInfo>> {
        loop {
            let Some(coming) = self.coming.take() else { return Ok(Vec::new()) };
            let page = coming.await.map_err(|e| Error::host(format!("a listing was cut off: {e}")))??;
            if let Some(token) = page.next {
                let (store, bucket, prefix) = (self.store.clone(), self.bucket.clone(), self.prefix.clone());
                self.coming = Some(tokio::spawn(async move {
                    store.list_page(&bucket, &prefix, Begin::Token(&token)).await
                }));
            }
            let mut objects = page.objects;
            if page.encoded {
                self.store.decode_keys(&self.bucket, objects.iter_mut().map(|one| &mut one.key)).await?;
            }
            // How far this page reaches: to its last key, or to the end.
            let (after, upto) = (self.last.clone(), objects.last().map(|last| last.key.clone()));
            let upto = upto.filter(|_| self.coming.is_some());
            for object in &objects {
                if self.last.as_ref().is_some_and(|last| *last >= object.key) {
                    return Err(Error::failed(format!(
                        "connection `{}`: the listing of bucket {} isn't in the order of the keys' bytes: {} comes after {}",
                        self.store.endpoint.name,
                        self.bucket,
                        object.key,
                        self.last.as_deref().unwrap_or_default()
                    )));
                }
                self.last = Some(object.key.clone());
            }
            if !self.store.endpoint.vendor.listing_lags && (upto.is_some() || self.coming.is_none()) {
                let keys = objects.iter().map(|object| object.key.as_str());
                let (after, upto) = (after.as_deref(), upto.as_deref());
                self.store.sights.listed(&self.bucket, &self.prefix, after, upto, keys);
            }
            if !objects.is_empty() {
                return Ok(objects);
            }
        }
    }
}

/// Whether a `+` in an encoded listing is a space.
pub(crate) async fn plus_is_space(store: &Store, bucket: &str, listed: &str) -> Result<bool> {
    let mut known = store.beliefs.plus.lock().await;
    if let Some(known) = *known {
        return Ok(known);
    }
    let (Some(space), Some(literal)) = (decode(listed, true), decode(listed, false)) else { return Ok(true) };
    let found = (store.head(bucket, &space).await?.is_some(), store.head(bucket, &literal).await?.is_some());
    match found {
        (true, false) => *known = Some(true),
        (false, true) => *known = Some(false),
        // Both are there, or neither is any more: this key decides nothing.
        _ => return Ok(true),
    }
    Ok(found.0)
}

/// A key of a listing under `encoding-type=url`; `None` when it isn't UTF-8.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match code {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' && plus_is_space { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn listed_keys_are_decoded_byte_for_byte() {
        assert_eq!(decode("a%2Bb+c%2F%2f%25", true).as_deref(), Some("a+b c//%"));
        assert_eq!(decode("a+b%20c", false).as_deref(), Some("a+b c"));
        assert_eq!(decode("%C3%BC/u%CC%88", true).as_deref(), Some("ü/u\u{308}"));
        assert_eq!(decode("100%", true).as_deref(), Some("100%"));
        assert_eq!(decode("%ff", true), None);
    }
}
