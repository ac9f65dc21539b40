//! Pages of a bucket's objects and of their versions.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use godwit_model::capability::{ObjectInfo, ObjectVersion};
use godwit_model::{Error, Result};
use http::Method;

use crate::reads::{decode, plus_is_space};
use crate::store::{Call, Store, bare, patiently};
use crate::xml::{self, Seen};

/// Bytes of one page: a thousand keys of 1,024 bytes, each byte written as `%XX`, and what is told of them.
const MOST_PAGE: usize = 16 << 20;

/// One page of a listing.
pub(crate) struct Page {
    pub objects: Vec<ObjectInfo>,
    pub next: Option<String>,
    /// The keys are percent-encoded.
    pub encoded: bool,
}

/// One page of a listing of versions.
pub(crate) struct VersionPage {
    pub versions: Vec<ObjectVersion>,
    /// Key and version after which the next one begins.
    pub next: Option<(String, String)>,
}

/// Where a page begins.
pub(crate) enum Begin<'a> {
    First,
    /// The first key after this one.
    After(&'a str),
    /// As the page before it said.
    Token(&'a str),
}

impl Store {
    pub async fn list_page(&self, bucket: &str, prefix: &str, from: Begin<'_>) -> Result<Page> {
        let doing = format!("listing of bucket {bucket}");
        let document = patiently(|_| async {
            let mut call = Call::new(Method::GET, bucket, None);
            call.query = vec![("list-type", "2".to_owned()), ("encoding-type", "url".to_owned())];
            if !prefix.is_empty() {
                call.query.push(("prefix", prefix.to_owned()));
            }
            match from {
                Begin::First => {}
                Begin::After(key) => call.query.push(("start-after", key.to_owned())),
                Begin::Token(token) => call.query.push(("continuation-token", token.to_owned())),
            }
            self.document(call, &doing, MOST_PAGE).await
        })
        .await?;
        let mut page = Page { objects: Vec::with_capacity(1000), next: None, encoded: false };
        let (mut truncated, mut one) = (false, blank());
        xml::walk(&document, &["ListBucketResult"], |seen| match seen {
            Seen::Text { record: "", name, text } => match name {
                "IsTruncated" => truncated = text == "true",
                "NextContinuationToken" => page.next = Some(text),
                "EncodingType" => page.encoded = text == "url",
                _ => {}
            },
            Seen::Text { record: "Contents", name, text } => field(&mut one, name, text),
            Seen::End { record: "Contents" } => page.objects.push(std::mem::replace(&mut one, blank())),
            _ => {}
        })
        .map_err(|why| self.unreadable(&doing, &why))?;
        if !truncated {
            page.next = None;
        } else if page.next.is_none() {
            return Err(self.unreadable(&doing, "it says that there is more, but not where"));
        }
        Ok(page)
    }

    pub async fn version_page(
        &self,
        bucket: &str,
        prefix: &str,
        from: Option<&(String, String)>,
    ) -> Result<VersionPage> {
        let doing = format!("listing of the versions in bucket {bucket}");
        let document = patiently(|_| async {
            let mut call = Call::new(Method::GET, bucket, None);
            call.query = vec![("versions", String::new()), ("encoding-type", "url".to_owned())];
            if !prefix.is_empty() {
                call.query.push(("prefix", prefix.to_owned()));
            }
            if let Some((key, version)) = from {
                call.query.push(("key-marker", key.clone()));
                call.query.push(("version-id-marker", version.clone()));
            }
            self.document(call, &doing, MOST_PAGE).await
        })
        .await?;
        let none = || ObjectVersion { info: blank(), version: String::new(), latest: false, deleted: false };
        let (mut dated, mut one, mut at) = (Vec::with_capacity(1000), none(), 0);
        let (mut truncated, mut encoded, mut marker, mut key) = (false, false, None, None);
        xml::walk(&document, &["ListVersionsResult"], |seen| match seen {
            Seen::Text { record: "", name, text } => match name {
                "IsTruncated" => truncated = text == "true",
                "EncodingType" => encoded = text == "url",
                "NextVersionIdMarker" => marker = Some(text),
                "NextKeyMarker" => key = Some(text),
                _ => {}
            },
            Seen::Text { record: "Version" | "DeleteMarker", name, text } => match name {
                "VersionId" => one.version = text,
                "IsLatest" => one.latest = text == "true",
                name => {
                    if name == "LastModified" {
                        at = date(&text).map_or(0, |date| date.as_nanos());
                    }
                    field(&mut one.info, name, text);
                }
            },
            Seen::End { record: record @ ("Version" | "DeleteMarker") } => {
                one.deleted = record == "DeleteMarker";
                dated.push((at, std::mem::replace(&mut one, none())));
            }
            _ => {}
        })
        .map_err(|why| self.unreadable(&doing, &why))?;
        if encoded {
            self.decode_keys(bucket, dated.iter_mut().map(|(_, one)| &mut one.info.key)).await?;
            let plus = self.beliefs.plus.lock().await.unwrap_or(true);
            key = key.and_then(|key| decode(&key, plus));
        }
        // AWS mixes versions and markers, the newest first; others tell the markers of a page after its versions.
        dated.sort_by(|(at, one), (then, other)| {
            let newer = other.latest.cmp(&one.latest).then_with(|| then.cmp(at));
            one.info.key.cmp(&other.info.key).then(newer)
        });
        let versions = dated.into_iter().map(|(_, one)| one).collect();
        let next = match (truncated, key, marker) {
            (false, ..) => None,
            (true, Some(key), Some(marker)) => Some((key, marker)),
            (true, ..) => {
                return Err(self.unreadable(&doing, "it says that there is more, but not where"));
            }
        };
        Ok(VersionPage { versions, next })
    }

    /// All versions of one key, the oldest first.
    pub async fn versions_of(&self, bucket: &str, key: &str) -> Result<Vec<ObjectVersion>> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = self.version_page(bucket, key, from.as_ref()).await?;
            let passed = page.versions.last().is_some_and(|last| last.info.key.as_str() > key);
            found.extend(page.versions.into_iter().filter(|one| one.info.key == key));
            from = page.next;
            if passed || from.is_none() {
                found.reverse();
                return Ok(found);
            }
        }
    }

    /// Undoes `encoding-type=url`. Some stores write a space as `+` (as AWS does), others leave a `+` of the key as it
    /// is; where the vendor's habit isn't known, HEAD of both readings of the first such key tells.
    pub async fn decode_keys<'a>(
        &self,
        bucket: &str,
        keys: impl Iterator<Item = &'a mut String>,
    ) -> Result<()> {
        let mut plus = None;
        for key in keys {
            if !key.contains(['+', '%']) {
                continue;
            }
            if key.contains('+') && plus.is_none() {
                plus = Some(plus_is_space(self, bucket, key).await?);
            }
            *key = decode(key, plus.unwrap_or(true)).ok_or_else(|| {
                Error::failed(format!(
                    "connection `{}`: bucket {bucket}: the listed key `{key}` is not UTF-8",
                    self.endpoint.name
                ))
            })?;
        }
        Ok(())
    }

    fn unreadable(&self, doing: &str, why: &str) -> Error {
        Error::failed(format!(
            "connection `{}`: {doing}: the answer can't be read: {why}",
            self.endpoint.name
        ))
        .hint("check that `endpoint` is that of an S3 API, and that nothing in front of it alters answers")
    }
}

fn blank() -> ObjectInfo {
    ObjectInfo { key: String::new(), size: 0, etag: String::new(), modified: 0, storage_class: None }
}

fn field(object: &mut ObjectInfo, name: &str, text: String) {
    match name {
        "Key" => object.key = text,
        "Size" => object.size = text.parse().unwrap_or(0),
        "ETag" => object.etag = bare(&text),
        "LastModified" => {
            object.modified = date(&text).map_or(0, |date| date.secs());
        }
        "StorageClass" => object.storage_class = special_class(text),
        _ => {}
    }
}

fn date(text: &str) -> Option<DateTime> {
    DateTime::from_str(text, Format::DateTimeWithOffset).ok()
}

/// A storage class, unless it is the standard one.
pub(crate) fn special_class(class: String) -> Option<String> {
    (!class.is_empty() && class != "STANDARD").then_some(class)
}
