//! What is known of the makers of S3 endpoints, as data: one row each.
//!
//! A row says where to start and what to say; whether an endpoint honours a condition is found out at the first write
//! (see `guarded`), whatever its row claims.

/// One maker's habits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Vendor {
    /// The name for the setting `vendor`.
    pub name: &'static str,
    /// Ends of host names by which it is known.
    pub hosts: &'static [&'static str],
    pub region: &'static str,
    /// The ETag of an object put whole is its MD5 and that of a multipart one the MD5 of its parts' MD5s
    /// (S3 API, "Object": it isn't where SSE-KMS encrypts).
    pub md5_etags: bool,
    /// Honours `If-None-Match` on CompleteMultipartUpload.
    pub conditional_complete: bool,
    /// Known to ignore `If-None-Match` and `If-Match` on a PUT; nothing is gained by asking.
    pub ignores_conditions: bool,
    /// Keeps versions where the bucket is told to.
    pub versions: bool,
    /// A new bucket wants its region as LocationConstraint, unless it is `us-east-1`.
    pub location_constraint: bool,
    /// Lists `a+b` where encoding was asked for and the key is `a b` (S3 API, ListObjectsV2 `encoding-type`);
    /// `None`: to be found out.
    pub plus_is_space: Option<bool>,
    /// Said where a bucket can't be made.
    pub bucket_hint: &'static str,
}

const GENERIC_BUCKET_HINT: &str =
    "create the bucket by the store's own tools, or give credentials that may create one";

/// Where nothing better is known, the last row counts.
pub(crate) static VENDORS: &[Vendor] = &[
    Vendor {
        name: "aws",
        hosts: &[".amazonaws.com", ".amazonaws.com.cn"],
        region: "us-east-1",
        md5_etags: true,
        conditional_complete: true,
        ignores_conditions: false,
        versions: true,
        location_constraint: true,
        plus_is_space: Some(true),
        bucket_hint: GENERIC_BUCKET_HINT,
    },
    Vendor {
        name: "r2",
        hosts: &[".r2.cloudflarestorage.com"],
        region: "auto",
        md5_etags: true,
        conditional_complete: false,
        ignores_conditions: false,
        versions: false,
        location_constraint: false,
        plus_is_space: Some(true),
        bucket_hint: "create the bucket in the Cloudflare dashboard, or give an API token with `Admin Read & Write`",
    },
    Vendor {
        name: "minio",
        hosts: &[],
        region: "us-east-1",
        md5_etags: true,
        conditional_complete: true,
        ignores_conditions: false,
        versions: true,
        location_constraint: false,
        plus_is_space: Some(true),
        bucket_hint: GENERIC_BUCKET_HINT,
    },
    Vendor {
        name: "garage",
        hosts: &[],
        region: "garage",
        md5_etags: false,
        conditional_complete: false,
        ignores_conditions: true,
        versions: false,
        location_constraint: false,
        plus_is_space: None,
        bucket_hint: "create the bucket by `garage bucket create` and allow the key to use it",
    },
    Vendor {
        name: "generic",
        hosts: &[],
        region: "us-east-1",
        md5_etags: true,
        conditional_complete: false,
        ignores_conditions: false,
        versions: true,
        location_constraint: false,
        plus_is_space: None,
        bucket_hint: GENERIC_BUCKET_HINT,
    },
];

/// The row with this name.
pub(crate) fn named(name: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.name == name)
}

/// The row that knows this host; the generic one otherwise.
pub(crate) fn of_host(host: &str) -> &'static Vendor {
    VENDORS
        .iter()
        .find(|vendor| vendor.hosts.iter().any(|end| host.ends_with(end)))
        .unwrap_or(&VENDORS[VENDORS.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_find_their_row() {
        assert_eq!(of_host("0123.r2.cloudflarestorage.com").name, "r2");
        assert_eq!(of_host("s3.eu-central-1.amazonaws.com").name, "aws");
        assert_eq!(of_host("storage.example.com").name, "generic");
        assert!(named("minio").is_some() && named("nobody").is_none());
    }
}
