//! Settings of a bucket that are one document each: read as the store writes them, sent as they are, put back as they
//! were.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use godwit_model::capability::{SettingState, StepScope};
use godwit_model::effect::{BucketSetting, Class, Done, Preparation, SetBucketSetting};
use godwit_model::{Error, ErrorKind, Json, Result};
use http::{HeaderValue, Method};
use md5::{Digest as _, Md5};
use serde_json::json;

use crate::Objects;
use crate::fault;
use crate::store::{Call, Payload, Store, ascii, patiently};

/// Bytes of a document: a policy may have 20 KiB, a lifecycle 1,000 rules.
const MOST: usize = 1 << 20;

const SUSPENDED: &str = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                         <Status>Suspended</Status></VersioningConfiguration>";

/// The root of a setting's document; a policy is JSON.
fn root(name: BucketSetting) -> Option<&'static str> {
    match name {
        BucketSetting::Lifecycle => Some("LifecycleConfiguration"),
        BucketSetting::Tagging => Some("Tagging"),
        BucketSetting::Policy => None,
        BucketSetting::Encryption => Some("ServerSideEncryptionConfiguration"),
        BucketSetting::Versioning => Some("VersioningConfiguration"),
    }
}

/// Whether this is a document of that setting, and not what a store answers that overlooks the question.
fn is_document(name: BucketSetting, text: &str) -> bool {
    match root(name) {
        None => serde_json::from_str::<Json>(text).is_ok_and(|json| json.is_object()),
        Some(root) => crate::xml::walk(text, &[root], |_| {}).is_ok(),
    }
}

/// Whether a document sets nothing.
fn is_blank(name: BucketSetting, text: &str) -> bool {
    name == BucketSetting::Versioning && fault::element(text, "Status").is_none_or(|status| status.is_empty())
}

/// Whether the state is the one that a missing document stands for: versions that were never kept can only be suspended.
pub(crate) fn same(name: BucketSetting, one: Option<&str>, other: Option<&str>) -> bool {
    let plain = |document: Option<&str>| {
        document
            .filter(|text| {
                name != BucketSetting::Versioning
                    || fault::element(text, "Status").is_some_and(|status| status == "Enabled")
            })
            .map(normal)
    };
    plain(one) == plain(other)
}

/// A document without what makes no difference: its declaration, its namespace, space between elements.
fn normal(document: &str) -> String {
    if let Ok(json) = serde_json::from_str::<Json>(document) {
        return json.to_string();
    }
    let mut out = String::with_capacity(document.len());
    let mut rest = document.trim();
    if rest.starts_with("<?") {
        rest = rest.split_once("?>").map_or(rest, |(_, rest)| rest);
    }
    let mut first = true;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').map_or(rest.len(), |end| at + end + 1);
        let (text, tag) = (&rest[..at], &rest[at..end]);
        if !text.trim().is_empty() {
            out.push_str(text);
        }
        match tag.split_once(' ') {
            Some((name, _)) if first => {
                out.push_str(name);
                out.push('>');
            }
            _ => out.push_str(tag),
        }
        first = false;
        rest = &rest[end..];
    }
    out
}

impl Store {
    pub async fn setting(&self, bucket: &str, name: BucketSetting) -> Result<SettingState> {
        if self.endpoint.vendor.lacks_settings.contains(&name.name()) {
            let vendor = self.endpoint.vendor.name;
            return Ok(SettingState::Unsupported(format!("{vendor} buckets take no {}", name.name())));
        }
        let doing = format!("{} of bucket {bucket}", name.name());
        let answer = patiently(|_| async {
            let mut call = Call::new(Method::GET, bucket, None);
            call.query.push((name.name(), String::new()));
            self.document(call, &doing, MOST).await
        });
        match answer.await {
            Ok(text) if !is_document(name, &text) => Ok(SettingState::Unsupported(format!(
                "connection `{}`: the store answers the question for the {doing} with something else",
                self.endpoint.name
            ))),
            Ok(text) if is_blank(name, &text) => Ok(SettingState::Absent),
            Ok(text) => Ok(SettingState::Document(text)),
            Err(error) if fault::is_not_implemented(&error) => Ok(SettingState::Unsupported(error.message)),
            // Each setting has a code of its own for "there is none" (S3 API, "List of error codes").
            Err(error)
                if error.kind == ErrorKind::Missing && error.code.as_deref() != Some("NoSuchBucket") =>
            {
                Ok(SettingState::Absent)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets a setting, or takes it away.
    pub async fn set_setting(&self, bucket: &str, name: BucketSetting, document: Option<&str>) -> Result<()> {
        let document = match (name, document) {
            // It can't be taken away, only stopped (S3 API, PutBucketVersioning).
            (BucketSetting::Versioning, None) => Some(SUSPENDED),
            (_, document) => document,
        };
        let result = patiently(|_| async {
            let Some(document) = document else {
                let mut call = Call::new(Method::DELETE, bucket, None);
                call.query.push((name.name(), String::new()));
                return match self.ask(call).await {
                    Err(error)
                        if error.kind == ErrorKind::Missing
                            && error.code.as_deref() != Some("NoSuchBucket") =>
                    {
                        Ok(())
                    }
                    other => other.map(|_| ()),
                };
            };
            let mut call = Call::new(Method::PUT, bucket, None);
            call.query.push((name.name(), String::new()));
            let kind = if root(name).is_some() { "application/xml" } else { "application/json" };
            call.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
            call.headers.insert("content-md5", ascii(&BASE64.encode(Md5::digest(document.as_bytes())))?);
            call.payload = Payload::held(Bytes::copy_from_slice(document.as_bytes()));
            self.ask(call).await.map(|_| ())
        })
        .await;
        if name == BucketSetting::Versioning {
            self.versioning.lock().await.remove(bucket);
        }
        result.map_err(|error| match fault::is_not_implemented(&error) {
            true => error.hint(format!("leave the {} out: the store has no such setting", name.name())),
            false => error.context(format!("setting the {} of bucket {bucket}", name.name())),
        })
    }

    /// The document that is there now; `None` for none, and for a bucket that isn't there.
    pub async fn document_of(&self, bucket: &str, name: BucketSetting) -> Result<Option<String>> {
        match self.setting(bucket, name).await {
            Ok(SettingState::Document(text)) => Ok(Some(text)),
            Ok(SettingState::Absent | SettingState::Unsupported(_)) => Ok(None),
            Err(error) if error.kind == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Objects {
    pub(crate) async fn prepare_setting(
        &self,
        scope: &StepScope,
        action: &SetBucketSetting,
    ) -> Result<Preparation> {
        let store = self.store_of(scope, &action.slot)?;
        let (name, bucket) = (action.name.name(), &action.bucket);
        if let Some(document) = &action.document
            && !is_document(action.name, document)
        {
            return Err(Error::invalid(format!(
                "the {name} for bucket {bucket} is no {} document",
                root(action.name).unwrap_or("JSON")
            )));
        }
        let before = match store.setting(bucket, action.name).await {
            Ok(SettingState::Document(text)) => Some(text),
            Ok(SettingState::Absent) => None,
            Ok(SettingState::Unsupported(why)) => {
                return Err(Error::failed(why).hint(format!(
                    "leave the {name} of bucket {bucket} out: the store has no such setting"
                )));
            }
            // The bucket may be one that an earlier effect is yet to make.
            Err(error) if error.kind == ErrorKind::Missing => None,
            Err(error) => return Err(error),
        };
        let title = match &action.document {
            Some(_) => format!("set the {name} of bucket {bucket}"),
            None => format!("remove the {name} of bucket {bucket}"),
        };
        let mut details = action.document.iter().map(|document| one_line(document)).collect::<Vec<_>>();
        match &before {
            None => details.push("the bucket has none now".to_owned()),
            Some(document) => details.push(format!("now: {}", one_line(document))),
        }
        Ok(Preparation {
            details,
            before: json!({ "document": before }),
            ..crate::preparation(Class::Changes, title)
        })
    }

    pub(crate) async fn set_setting(&self, scope: &StepScope, action: &SetBucketSetting) -> Result<Done> {
        let store = self.store_of(scope, &action.slot)?;
        store.set_setting(&action.bucket, action.name, action.document.as_deref()).await?;
        // A store writes documents in its own way: what it says now is what undo compares with.
        let now = store.document_of(&action.bucket, action.name).await?;
        Ok(Done {
            result: json!({ "set": action.document.is_some() }),
            evidence: None,
            fingerprint: json!({ "document": now }),
            notes: Vec::new(),
        })
    }
}

fn one_line(document: &str) -> String {
    normal(document).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_from_other_answers() {
        assert!(is_document(BucketSetting::Tagging, "<Tagging><TagSet></TagSet></Tagging>"));
        assert!(!is_document(BucketSetting::Tagging, "<ListBucketResult></ListBucketResult>"));
        assert!(is_document(BucketSetting::Policy, "{\"Version\":\"2012-10-17\"}"));
        assert!(!is_document(BucketSetting::Policy, "<Error/>"));
        assert!(is_blank(BucketSetting::Versioning, "<VersioningConfiguration/>"));
        assert!(!is_blank(BucketSetting::Versioning, SUSPENDED));
    }

    #[test]
    fn documents_are_compared_by_what_they_say() {
        let plain = "<Tagging><TagSet><Tag><Key>a b</Key></Tag></TagSet></Tagging>";
        let spaced = "<?xml version=\"1.0\"?>\n<Tagging xmlns=\"http://s3.example.com/\">\n <TagSet><Tag><Key>a b</Key></Tag>\n</TagSet></Tagging>";
        assert!(same(BucketSetting::Tagging, Some(plain), Some(spaced)));
        assert!(!same(BucketSetting::Tagging, Some(plain), Some(&plain.replace("a b", "ab"))));
        assert!(same(BucketSetting::Versioning, None, Some(SUSPENDED)));
        assert!(!same(BucketSetting::Versioning, None, Some(&SUSPENDED.replace("Suspended", "Enabled"))));
        assert!(same(BucketSetting::Policy, Some("{\"a\": 1}"), Some("{\"a\":1}")));
    }
}
