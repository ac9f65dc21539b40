//! What an endpoint's refusal, or its silence, means: class, cause, next step.
//!
//! Classes come from HTTP status and S3 error code (S3 API, "Error responses"), never from message text.

use std::error::Error as StdError;
use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use godwit_model::{Error, ErrorKind, Fault};

use crate::endpoint::Endpoint;

/// Codes by which a class is told where the status alone says something else: code, class, hint.
static CODES: &[(&str, ErrorKind, Option<&str>)] = &[
    ("SlowDown", ErrorKind::Unavailable, None),
    ("ServiceUnavailable", ErrorKind::Unavailable, None),
    ("InternalError", ErrorKind::Unavailable, None),
    ("RequestTimeout", ErrorKind::Unavailable, None),
    ("OperationAborted", ErrorKind::Unavailable, None),
    ("ConditionalRequestConflict", ErrorKind::Unavailable, None),
    // The bytes were damaged or cut on the way: they are sent again.
    ("BadDigest", ErrorKind::Unavailable, None),
    ("IncompleteBody", ErrorKind::Unavailable, None),
    ("XAmzContentSHA256Mismatch", ErrorKind::Unavailable, None),
    ("PreconditionFailed", ErrorKind::Conflict, None),
    ("BucketNotEmpty", ErrorKind::Conflict, None),
    (
        "BucketAlreadyExists",
        ErrorKind::Conflict,
        Some("choose another name: this one belongs to somebody else"),
    ),
    ("NoSuchBucket", ErrorKind::Missing, Some("check the bucket's name, or let the recipe create it")),
    ("NoSuchKey", ErrorKind::Missing, None),
    ("NoSuchUpload", ErrorKind::Missing, None),
    ("NoSuchVersion", ErrorKind::Missing, None),
    ("NoSuchCORSConfiguration", ErrorKind::Missing, None),
    ("InvalidAccessKeyId", ErrorKind::Failed, Some("check `access_key_id` of the connection")),
    (
        "SignatureDoesNotMatch",
        ErrorKind::Failed,
        Some("check `secret_access_key` and `region` of the connection"),
    ),
    ("ExpiredToken", ErrorKind::Failed, Some("get new temporary credentials and resume the run")),
    ("RequestTimeTooSkewed", ErrorKind::Failed, Some("set this machine's clock")),
    ("AuthorizationHeaderMalformed", ErrorKind::Failed, Some("check `region` of the connection")),
    (
        "PermanentRedirect",
        ErrorKind::Failed,
        Some("check `endpoint` and `region`: the bucket lives elsewhere"),
    ),
    ("AccessDenied", ErrorKind::Failed, Some("give the access key the right to do this, or use another one")),
    ("NotImplemented", ErrorKind::Failed, Some("the store doesn't offer this operation")),
    ("EntityTooLarge", ErrorKind::Failed, Some("the store doesn't take objects or parts of this size")),
];

/// The class of an answer that isn't a success.
fn class(status: u16, code: Option<&str>) -> (ErrorKind, Option<&'static str>) {
    if let Some((_, kind, hint)) = code.and_then(|code| CODES.iter().find(|row| row.0 == code)) {
        return (*kind, *hint);
    }
    match status {
        408 | 429 | 500 | 502 | 503 | 504 => (ErrorKind::Unavailable, None),
        404 => (ErrorKind::Missing, None),
        409 | 412 => (ErrorKind::Conflict, None),
        401 | 403 => {
            (ErrorKind::Failed, Some("check the connection's credentials and what they are allowed to do"))
        }
        301 | 307 => (ErrorKind::Failed, Some("check `endpoint` and `region`: the bucket lives elsewhere")),
        501 => (ErrorKind::Failed, Some("the store doesn't offer this operation")),
        _ => (ErrorKind::Failed, None),
    }
}

/// An answer that isn't a success. `doing` names operation and thing.
pub(crate) fn of_answer(
    endpoint: &Endpoint,
    doing: &str,
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
) -> Error {
    let (kind, hint) = class(status, code);
    let mut text = format!("connection `{}`: {doing}: the store answered {status}", endpoint.name);
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        text.push_str(": ");
        text.push_str(&endpoint.masked(message.trim_end_matches('.')));
    }
    let error = Error::new(kind, Fault::Remote, text)
        .code(code.map_or_else(|| format!("HTTP {status}"), str::to_owned));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// No answer: the connection could not be made, broke, or stayed silent.
pub(crate) fn of_transport(endpoint: &Endpoint, doing: &str, error: &(dyn StdError + 'static)) -> Error {
    let mut innermost: &(dyn StdError + 'static) = error;
    let mut tls = false;
    let mut link = Some(error);
    while let Some(cause) = link {
        innermost = cause;
        tls |= cause.is::<rustls::Error>();
        link = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        };
    }
    let text = format!("connection `{}`: {doing}: {innermost}", endpoint.name);
    if tls {
        return Error::failed(text)
            .code("TLS")
            .hint("check the certificate of the endpoint, and its host name");
    }
    Error::unavailable(text)
        .hint(format!("check that {}://{} can be reached", endpoint.scheme, endpoint.authority))
}

/// An error of the SDK, which speaks for the control plane.
pub(crate) fn of_sdk<E>(endpoint: &Endpoint, doing: &str, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + RequestId + StdError + Send + Sync + 'static,
{
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    match (&error, status) {
        (SdkError::ServiceError(_), Some(status)) => {
            of_answer(endpoint, doing, status, error.code(), error.message())
        }
        // The answer broke off or wasn't XML; asking again may help.
        (SdkError::ResponseError(_), Some(status)) if status >= 400 => {
            of_answer(endpoint, doing, status, None, None)
        }
        (SdkError::ConstructionFailure(_), _) => {
            let mut text = String::new();
            let mut link: Option<&dyn StdError> = error.source();
            while let Some(cause) = link {
                text = cause.to_string();
                link = cause.source();
            }
            Error::invalid(format!("connection `{}`: {doing}: {text}", endpoint.name))
        }
        _ => of_transport(endpoint, doing, &error),
    }
}

/// The text of the first element with this name in an error document or another small answer.
pub(crate) fn element(xml: &str, name: &str) -> Option<String> {
    let start = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let end = start + xml[start..].find(&format!("</{name}>"))?;
    let text = &xml[start..end];
    Some(
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&"),
    )
}

/// Whether the store said that it doesn't know the operation.
pub(crate) fn is_not_implemented(error: &Error) -> bool {
    matches!(error.code.as_deref(), Some("NotImplemented" | "HTTP 501" | "MethodNotAllowed" | "HTTP 405"))
}

/// Whether another write of the same key stood in the way, at the same moment (S3 API, "Conditional requests").
pub(crate) fn is_concurrent_write(error: &Error) -> bool {
    error.code.as_deref() == Some("ConditionalRequestConflict")
}

/// Whether the store refused something that a request says, as it refuses headers that it doesn't know.
pub(crate) fn is_refused_argument(error: &Error) -> bool {
    matches!(error.code.as_deref(), Some("InvalidArgument" | "InvalidRequest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_code_and_status() {
        assert_eq!(class(503, None).0, ErrorKind::Unavailable);
        assert_eq!(class(400, Some("RequestTimeout")).0, ErrorKind::Unavailable);
        assert_eq!(class(400, Some("BadDigest")).0, ErrorKind::Unavailable);
        assert_eq!(class(404, Some("NoSuchBucket")).0, ErrorKind::Missing);
        assert_eq!(class(412, None).0, ErrorKind::Conflict);
        assert_eq!(class(403, Some("SignatureDoesNotMatch")).0, ErrorKind::Failed);
        assert_eq!(class(418, None).0, ErrorKind::Failed);
    }

    #[test]
    fn elements_are_found_and_unescaped() {
        let xml = "<Error><Code>NoSuchKey</Code><Message>a &lt;b&gt; &amp;amp; c</Message></Error>";
        assert_eq!(element(xml, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(element(xml, "Message").as_deref(), Some("a <b> &amp; c"));
        assert_eq!(element(xml, "UploadId"), None);
    }
}
