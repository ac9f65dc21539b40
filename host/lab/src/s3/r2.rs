//! What Cloudflare R2 lacks, refused as it refuses it (R2 documentation, "S3 API compatibility").

use s3s::dto::LifecycleRule;

use super::traffic::Request;

/// Operations that it answers with NotImplemented.
const OPERATIONS: [&str; 17] = [
    "GetObjectTagging",
    "PutObjectTagging",
    "DeleteObjectTagging",
    "GetBucketVersioning",
    "PutBucketVersioning",
    "ListObjectVersions",
    "GetBucketTagging",
    "PutBucketTagging",
    "DeleteBucketTagging",
    "GetBucketPolicy",
    "PutBucketPolicy",
    "DeleteBucketPolicy",
    "GetBucketAcl",
    "PutBucketAcl",
    "GetObjectAcl",
    "PutObjectAcl",
    "PutBucketEncryption",
];

const CLASSES: [&str; 2] = ["STANDARD", "STANDARD_IA"];

/// Why R2 refuses a request, if it does.
pub fn refuses(request: &Request) -> Option<String> {
    if OPERATIONS.contains(&request.operation) {
        return Some(format!("{} not implemented", request.operation));
    }
    let refused = |name: &str, value: &str| match name {
        "x-amz-tagging" | "x-amz-tagging-directive" => true,
        "x-amz-acl" => value != "private",
        "x-amz-storage-class" => !CLASSES.contains(&value),
        name => name.starts_with("x-amz-grant-") || name.starts_with("x-amz-object-lock-"),
    };
    let (name, value) = request.headers.iter().find(|(name, value)| refused(name, value))?;
    Some(format!("Header '{name}' with value '{value}' not implemented"))
}

/// Whether a rule moves objects to a class that R2 doesn't have.
pub fn moves_elsewhere(rule: &LifecycleRule) -> bool {
    let current = rule.transitions.iter().flatten().filter_map(|to| to.storage_class.as_ref());
    let former =
        rule.noncurrent_version_transitions.iter().flatten().filter_map(|to| to.storage_class.as_ref());
    current.chain(former).any(|class| !CLASSES.contains(&class.as_str()))
}
