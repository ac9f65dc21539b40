//! Comparing objects: by size, by a digest that both sides offer, or by reading both.

use futures::StreamExt as _;
use godwit_model::capability::{Bucketed, Comparison, Likeness, ObjectPair};
use godwit_model::{Error, Result};

use crate::Objects;
use crate::source::{Digests, Source, Wanted, is_md5};
use crate::store::{Head, Store};
use crate::undo::AT_ONCE;

/// Pairs that are read on both sides at once.
const READ_AT_ONCE: usize = 4;

impl Objects {
    pub(crate) async fn compare_pairs(&self, pairs: &[ObjectPair], deep: bool) -> Vec<Result<Comparison>> {
        let at_once = if deep { READ_AT_ONCE } else { AT_ONCE };
        let comparisons: Vec<_> = pairs.iter().map(|pair| self.compare_pair(pair, deep)).collect();
        futures::stream::iter(comparisons).buffered(at_once).collect().await
    }

    async fn compare_pair(&self, pair: &ObjectPair, deep: bool) -> Result<Comparison> {
        let (left, right) = (self.store(&pair.left.0.connection)?, self.store(&pair.right.0.connection)?);
        let (at_left, at_right) = (&pair.left.1, &pair.right.1);
        let heads = futures::future::try_join(
            left.head(&at_left.bucket, &at_left.key),
            right.head(&at_right.bucket, &at_right.key),
        );
        let (one, other) = match heads.await? {
            (Some(one), Some(other)) => (one, other),
            (None, None) => {
                return Err(Error::missing(format!(
                    "neither {}/{} nor {}/{} is there",
                    at_left.bucket, at_left.key, at_right.bucket, at_right.key
                )));
            }
            (one, _) => {
                let likeness = if one.is_none() { Likeness::MissingLeft } else { Likeness::MissingRight };
                return Ok(Comparison { likeness, by: "size".into(), detail: None });
            }
        };
        if one.size != other.size {
            return Ok(verdict(false, "size", &one.size.to_string(), &other.size.to_string()));
        }
        if !deep && let Some(comparison) = by_digest((left, &one), (right, &other)) {
            return Ok(comparison);
        }
        let (one, other) =
            futures::future::try_join(read(left, at_left, &one), read(right, at_right, &other)).await?;
        let (one, other) = (one.sha256_hex(), other.sha256_hex());
        let sums = (format!("SHA-256 {one}"), format!("SHA-256 {other}"));
        Ok(verdict(one == other, "content", &sums.0, &sums.1))
    }
}

async fn read(store: &Store, at: &Bucketed, head: &Head) -> Result<Digests> {
    let source =
        Source { store, bucket: &at.bucket, key: &at.key, version: None, size: head.size, etag: &head.etag };
    source.digests(Wanted::SHA256).await
}

fn verdict(same: bool, by: &str, one: &str, other: &str) -> Comparison {
    Comparison {
        likeness: if same { Likeness::Same } else { Likeness::Differs },
        by: by.to_owned(),
        detail: (!same).then(|| format!("{one} and {other}")),
    }
}

/// By what both sides tell of the content; `None` where they tell nothing that compares.
fn by_digest(one: (&Store, &Head), other: (&Store, &Head)) -> Option<Comparison> {
    let speaks = |(store, head): (&Store, &Head)| {
        store.endpoint.vendor.md5_etags && !head.opaque_etag && is_md5(&head.etag)
    };
    if speaks(one) && speaks(other) {
        let (left, right) = (&one.1.etag, &other.1.etag);
        return Some(verdict(left.eq_ignore_ascii_case(right), "md5", left, right));
    }
    for left in &one.1.checksums {
        if let Some(right) = other.1.checksums.iter().find(|right| right.algorithm == left.algorithm) {
            return Some(verdict(
                left.value == right.value,
                left.algorithm.name(),
                &left.value,
                &right.value,
            ));
        }
    }
    // Equal digests of parts' digests mean equal parts; different ones may come from other sizes of parts.
    let joins = |(store, head): (&Store, &Head)| {
        store.endpoint.vendor.joined_etags && !head.opaque_etag && is_joined(&head.etag)
    };
    (joins(one) && joins(other) && one.1.etag == other.1.etag)
        .then(|| verdict(true, "md5-of-parts", &one.1.etag, &other.1.etag))
}

/// Whether this ETag can be the MD5 of parts' MD5s.
fn is_joined(etag: &str) -> bool {
    etag.split_once('-').is_some_and(|(md5, parts)| is_md5(md5) && parts.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_etags_are_told_apart() {
        assert!(is_joined("900150983cd24fb0d6963f7d28e17f72-3"));
        assert!(!is_joined("900150983cd24fb0d6963f7d28e17f72") && !is_joined("x-3"));
    }
}
