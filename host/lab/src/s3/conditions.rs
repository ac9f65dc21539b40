//! If-Match and If-None-Match, of writing and of reading requests.

use std::time::Duration;

use s3s::dto::ETagCondition;
use s3s::{S3Result, s3_error};

/// What a request is to be treated by, put into its extensions at the door.
#[derive(Debug, Clone, Copy, Default)]
pub struct Treatment {
    pub ignore_conditions: bool,
    /// Objects that were written so shortly ago aren't listed.
    pub hide_newer: Option<Duration>,
    /// A continuation token gives the first page again.
    pub repeat_page: bool,
}

/// If-Match and If-None-Match of a writing request (S3 user guide, "Conditional requests").
pub struct Conditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
}

impl Conditions {
    pub fn of(
        extensions: &http::Extensions,
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> Self {
        if extensions.get::<Treatment>().is_some_and(|treatment| treatment.ignore_conditions) {
            return Self { if_match: None, if_none_match: None };
        }
        Self { if_match, if_none_match }
    }

    /// `held` is the ETag of what lies under the key.
    pub fn check(&self, held: Option<&str>) -> S3Result<()> {
        if let Some(condition) = &self.if_match {
            let held = held.ok_or_else(|| s3_error!(NoSuchKey))?;
            if !names(condition, held) {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        match (&self.if_none_match, held) {
            (Some(condition), Some(held)) if names(condition, held) => Err(s3_error!(PreconditionFailed)),
            _ => Ok(()),
        }
    }
}

fn names(condition: &ETagCondition, etag: &str) -> bool {
    condition.is_any() || condition.as_etag().is_some_and(|wanted| wanted.value() == etag)
}

/// If-Match and If-None-Match of a reading request (RFC 9110, 13.1).
pub fn readable(
    etag: &str,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    if if_match.is_some_and(|condition| !names(condition, etag)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(|condition| names(condition, etag)) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

pub fn copyable(
    etag: &str,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    readable(etag, if_match, if_none_match).map_err(|_| s3_error!(PreconditionFailed))
}
