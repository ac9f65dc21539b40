//! What goes with an object beside its headers: storage class and tags, as far as the target has them.

use godwit_model::{ErrorKind, Result};
use http::Method;

use crate::endpoint::encode;
use crate::fault;
use crate::guarded::Sink;
use crate::http::Turn;
use crate::kept::{Kept, TAGGING};
use crate::source::Source;
use crate::store::{Call, Store, ascii, patiently};
use crate::xml::{self, Seen};

/// Ten tags of 128 and 256 characters, in XML.
const MOST_TAGS: usize = 64 << 10;

impl Sink<'_> {
    /// Headers of the source with what the sink makes of class and tags. `told` says that the answer which `kept` comes
    /// from tells how many tags there are: GET does (S3 API, `x-amz-tagging-count`), HEAD not everywhere.
    pub async fn dressed(&self, mut kept: Kept, source: &Source<'_>, told: bool) -> Result<Kept> {
        let vendor = self.store.endpoint.vendor;
        if let Some(wanted) = self.class {
            let class = vendor.class_for(wanted);
            if class != wanted {
                kept.remark(format!(
                    "{} has no storage class {wanted}: the object goes to {class}",
                    vendor.name
                ));
            }
            if class != "STANDARD" {
                kept.set("x-amz-storage-class", ascii(class)?);
            }
        }
        if !self.tags || !vendor.tags || self.store.beliefs.refuses_tags() {
            if kept.tags > 0 {
                kept.remark(format!("{} tags of the object are not carried over", kept.tags));
            }
        } else if (kept.tags > 0 || !told) && source.store.endpoint.vendor.tags {
            match source.store.tags(source.bucket, source.key, source.version).await? {
                None => kept.remark("the source doesn't tell the object's tags".to_owned()),
                Some(tags) if tags.is_empty() => {}
                Some(tags) => kept.set(TAGGING, ascii(&tags)?),
            }
        }
        Ok(kept)
    }
}

impl Store {
    /// The object's tags as a query string, which is how they are sent; `None` where the store tells none.
    pub async fn tags(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<Option<String>> {
        let doing = format!("tags of {bucket}/{key}");
        let answer = patiently(|_| async {
            let mut call = Call::new(Method::GET, bucket, Some(key));
            call.query.push(("tagging", String::new()));
            if let Some(version) = version {
                call.query.push(("versionId", version.to_owned()));
            }
            // The object's own GET may be under way, with a permit.
            call.turn = Turn::Rides;
            self.document(call, &doing, MOST_TAGS).await
        });
        let document = match answer.await {
            Err(error) if fault::is_not_implemented(&error) => return Ok(None),
            Err(error) if error.kind == ErrorKind::Missing && error.code.as_deref() != Some("NoSuchKey") => {
                return Ok(Some(String::new()));
            }
            other => other?,
        };
        let (mut tags, mut name, mut value) = (Vec::new(), String::new(), String::new());
        xml::walk(&document, &["Tagging", "TagSet"], |seen| match seen {
            Seen::Text { record: "Tag", name: "Key", text } => name = text,
            Seen::Text { record: "Tag", name: "Value", text } => value = text,
            Seen::End { record: "Tag" } => {
                tags.push(format!("{}={}", encode(&name, false), encode(&value, false)));
                value.clear();
            }
            _ => {}
        })
        .map_err(|why| {
            godwit_model::Error::failed(format!(
                "connection `{}`: {doing}: the answer can't be read: {why}",
                self.endpoint.name
            ))
        })?;
        Ok(Some(tags.join("&")))
    }
}
