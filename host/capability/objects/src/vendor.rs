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
    /// What stands before the region in host names that tell it; the end is one of `hosts`.
    pub region_after: Option<&'static str>,
    /// The ETag of an object put whole is its MD5 (S3 API, "Object": it isn't where SSE-KMS encrypts).
    pub md5_etags: bool,
    /// The ETag of an object put in parts is the MD5 of the parts' MD5s, `-`, and their number.
    pub joined_etags: bool,
    /// Takes and tells `x-amz-checksum-…` ("Checking object integrity").
    pub checksums: bool,
    /// Refuses requests that name a checksum; others take no notice of what they don't know.
    pub refuses_checksums: bool,
    /// Honours `If-None-Match` on CompleteMultipartUpload.
    pub conditional_complete: bool,
    /// Known to ignore `If-None-Match` and `If-Match` on a PUT; nothing is gained by asking.
    pub ignores_conditions: bool,
    /// Keeps versions where the bucket is told to.
    pub versions: bool,
    /// Objects may have tags.
    pub tags: bool,
    /// Settings of a bucket that it doesn't take, by their names in a query (S3 API), CORS rules among them, versions and
    /// tags apart.
    pub lacks_settings: &'static [&'static str],
    /// The storage classes it takes; `None`: whatever its administrator named so.
    pub classes: Option<&'static [&'static str]>,
    /// A listing may lack what was written a moment ago, or have what was deleted.
    pub listing_lags: bool,
    /// Sends what was stored with `content-encoding: gzip` decoded to whoever doesn't say that he takes gzip.
    pub decodes_gzip: bool,
    /// Bytes of the largest object.
    pub max_object: u64,
    /// Bytes of the longest key.
    pub max_key: u32,
    /// Keys that differ in their Unicode form alone (UAX 15) are one key.
    pub folds_unicode: bool,
    /// Keys are paths of a file system: no empty part, none that is `.` or `..` or has more than 255 bytes, no key that is
    /// another one's folder.
    pub path_keys: bool,
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

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Where nothing better is known, the last row counts, and other rows begin with it.
const GENERIC: Vendor = Vendor {
    name: "generic",
    hosts: &[],
    region: "us-east-1",
    region_after: None,
    md5_etags: true,
    joined_etags: true,
    checksums: false,
    refuses_checksums: false,
    conditional_complete: false,
    ignores_conditions: false,
    versions: true,
    tags: true,
    lacks_settings: &[],
    classes: None,
    // Unknown, so not relied on.
    listing_lags: true,
    decodes_gzip: false,
    max_object: 5 * TIB,
    max_key: 1024,
    folds_unicode: false,
    path_keys: false,
    location_constraint: false,
    plus_is_space: None,
    bucket_hint: GENERIC_BUCKET_HINT,
};

/// Parts are sent as every row allows: from 5 MiB on, at most 10,000, all but the last of one size (which R2 insists
/// on), so that no row has to say so. ACLs are never sent: R2 and Garage have none, Backblaze ("S3-compatible API") has
/// those of buckets alone, and AWS's newer buckets refuse them.
pub(crate) static VENDORS: &[Vendor] = &[
    Vendor {
        name: "aws",
        hosts: &[".amazonaws.com", ".amazonaws.com.cn"],
        // User guide, "Checking object integrity in Amazon S3": full-object CRCs, SHA-256 of an object put whole.
        checksums: true,
        // User guide, "How to prevent object overwrites with conditional writes".
        conditional_complete: true,
        // API reference, PutObject, `x-amz-storage-class`. (`OUTPOSTS`, `SNOW` and `EXPRESS_ONEZONE` belong to buckets of
        // their own.)
        classes: Some(&[
            "STANDARD",
            "REDUCED_REDUNDANCY",
            "STANDARD_IA",
            "ONEZONE_IA",
            "INTELLIGENT_TIERING",
            "GLACIER_IR",
            "GLACIER",
            "DEEP_ARCHIVE",
        ]),
        // User guide, "Amazon S3 data consistency model".
        listing_lags: false,
        // User guide, "Amazon S3 multipart upload limits": 10,000 parts of 5 GiB.
        max_object: 10_000 * 5 * GIB,
        location_constraint: true,
        plus_is_space: Some(true),
        ..GENERIC
    },
    Vendor {
        name: "r2",
        hosts: &[".r2.cloudflarestorage.com"],
        region: "auto",
        // "S3 API compatibility": no versioning, no object tagging, no ACLs; conditions on PutObject. Of
        // CompleteMultipartUpload the table says nothing, and release notes say that a failed condition ends the upload.
        versions: false,
        tags: false,
        // The same page, bucket-level operations: the encryption is told and can't be set.
        lacks_settings: &["policy", "encryption"],
        // "Storage classes".
        classes: Some(&["STANDARD", "STANDARD_IA"]),
        // "Consistency model".
        listing_lags: false,
        // "Transparent decompression" of gzip and brotli.
        decodes_gzip: true,
        // "Limits": 5 TiB less 5 GiB for an object, 1,024 bytes for a key.
        max_object: 5 * TIB - 5 * GIB,
        // "Unicode interoperability": the same key in forms C and D is one object, listed as it was last written.
        folds_unicode: true,
        plus_is_space: Some(true),
        bucket_hint: "create the bucket in the Cloudflare dashboard, or give an API token with `Admin Read & Write`",
        ..GENERIC
    },
    Vendor {
        name: "minio",
        // "Object checksums": the same headers as AWS.
        checksums: true,
        conditional_complete: true,
        // "Storage classes": these two; others are refused.
        classes: Some(&["STANDARD", "REDUCED_REDUNDANCY"]),
        // "Strictly consistent read-after-write and list-after-write".
        listing_lags: false,
        // `cmd/api-router.go`, `rejectedBucketAPIs`: 501 to PutBucketCors. The server has one list of origins for all
        // buckets. (AIStor, its commercial heir, has rules of buckets, says "CORS configuration": `generic` is the row for it.)
        lacks_settings: &["cors"],
        // "Thresholds and limits"; its "Conflicting objects" and "Path separators", and `cmd/object-api-utils.go`,
        // `IsValidObjectPrefix`.
        max_object: 50 * TIB,
        path_keys: true,
        plus_is_space: Some(true),
        ..GENERIC
    },
    Vendor {
        name: "garage",
        region: "garage",
        // `src/api/s3/checksum.rs` since 1.0.0; CRC-64/NVME since 2.0.0.
        checksums: true,
        // "S3 compatibility status": no conditional writes, no versioning, no tags, one storage class.
        ignores_conditions: true,
        versions: false,
        tags: false,
        lacks_settings: &["policy", "encryption"],
        classes: Some(&["STANDARD"]),
        // "consistency_mode": read-after-write, listings included, in the default mode.
        listing_lags: false,
        // "db_engine": LMDB, the default, holds keys of 479 bytes.
        max_key: 479,
        plus_is_space: Some(false),
        bucket_hint: "create the bucket by `garage bucket create` and allow the key to use it",
        ..GENERIC
    },
    Vendor {
        name: "backblaze",
        hosts: &[".backblazeb2.com"],
        region: "us-west-004",
        region_after: Some("s3."),
        // "S3-compatible API": every bucket keeps versions, no object tagging, one storage class.
        tags: false,
        classes: Some(&["STANDARD"]),
        // 501 by a maintainer's report.
        ignores_conditions: true,
        // Until 2025 at least, `x-amz-checksum-…` and `x-amz-checksum-mode` were answered by 400.
        refuses_checksums: true,
        // "Files": 10 TB, names of 1,024 bytes.
        max_object: 10_000_000_000_000,
        ..GENERIC
    },
    Vendor {
        name: "ceph",
        region: "default",
        // Since Tentacle; older ones take no notice.
        conditional_complete: true,
        // "Ceph object gateway S3 API": tags and versions; storage classes are the zone's own.
        plus_is_space: Some(false),
        listing_lags: false,
        ..GENERIC
    },
    Vendor {
        name: "gcs",
        hosts: &["storage.googleapis.com"],
        region: "auto",
        // "XML API": generations in place of S3's versions, no tags; the ETag of a multipart upload is none of its
        // parts' digests, and preconditions are headers of its own (`x-goog-if-generation-match`).
        joined_etags: false,
        // "Request preconditions": ETags are for reads alone.
        ignores_conditions: true,
        // By reports: a PUT with one is refused by `ExcessHeaderValues`, the joining of parts by 412.
        refuses_checksums: true,
        versions: false,
        tags: false,
        classes: Some(&["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"]),
        // "Transcoding of gzip-compressed files".
        decodes_gzip: true,
        // "Cloud Storage consistency".
        listing_lags: false,
        ..GENERIC
    },
    Vendor {
        name: "wasabi",
        hosts: &[".wasabisys.com"],
        region_after: Some("s3."),
        // "Wasabi S3 API": one storage class. Of conditions, checksums and consistency it says nothing, so that they are
        // found out, and its listings not relied on.
        classes: Some(&["STANDARD"]),
        ..GENERIC
    },
    Vendor {
        name: "digitalocean",
        hosts: &[".digitaloceanspaces.com"],
        region_after: Some(""),
        // "Spaces S3 compatibility": no object tagging, no encryption of buckets; the class is the bucket's.
        tags: false,
        lacks_settings: &["encryption"],
        classes: Some(&["STANDARD"]),
        ..GENERIC
    },
    GENERIC,
];

/// Storage classes by how soon and how often their objects are read.
const FREQUENT: &[&str] = &["STANDARD", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE"];
const SELDOM: &[&str] = &["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "NEARLINE", "COLDLINE"];
const ARCHIVED: &[&str] = &["GLACIER", "DEEP_ARCHIVE", "ARCHIVE"];

impl Vendor {
    /// The class that comes nearest to the one that is wanted: the next one that is as seldom read, else the next one that
    /// is read more often, so that nothing becomes harder to read than it was.
    pub fn class_for<'a>(&self, wanted: &'a str) -> &'a str {
        let Some(classes) = self.classes else { return wanted };
        if classes.contains(&wanted) {
            return wanted;
        }
        let families = [ARCHIVED, SELDOM, FREQUENT];
        let from = families.iter().position(|family| family.contains(&wanted)).unwrap_or(2);
        families[from..]
            .iter()
            .flat_map(|family| family.iter())
            .copied()
            .find(|class| classes.contains(class))
            .unwrap_or("STANDARD")
    }

    /// The region that a host's name tells.
    pub fn region_in<'a>(&self, host: &'a str) -> Option<&'a str> {
        let after = self.region_after?;
        let end = self.hosts.iter().find(|end| host.ends_with(*end))?;
        let region = host.strip_suffix(end)?.strip_prefix(after)?;
        (!region.is_empty() && !region.contains('.')).then_some(region)
    }
}

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
        assert_eq!(of_host("s3.us-west-004.backblazeb2.com").name, "backblaze");
        assert_eq!(of_host("storage.googleapis.com").name, "gcs");
        assert!(named("minio").is_some() && named("nobody").is_none());
    }

    #[test]
    fn hosts_tell_regions_where_they_have_them() {
        let region = |host: &'static str| of_host(host).region_in(host);
        assert_eq!(region("s3.eu-central-003.backblazeb2.com"), Some("eu-central-003"));
        assert_eq!(region("s3.eu-central-1.wasabisys.com"), Some("eu-central-1"));
        assert_eq!(region("s3.wasabisys.com"), None);
        assert_eq!(region("fra1.digitaloceanspaces.com"), Some("fra1"));
        assert_eq!(region("0123.r2.cloudflarestorage.com"), None);
    }

    #[test]
    fn classes_are_kept_or_become_the_nearest() {
        let class = |vendor: &str, wanted: &'static str| named(vendor).unwrap().class_for(wanted);
        assert_eq!(class("aws", "GLACIER_IR"), "GLACIER_IR");
        assert_eq!(class("r2", "GLACIER"), "STANDARD_IA");
        assert_eq!(class("r2", "ONEZONE_IA"), "STANDARD_IA");
        assert_eq!(class("gcs", "DEEP_ARCHIVE"), "ARCHIVE");
        assert_eq!(class("gcs", "STANDARD_IA"), "NEARLINE");
        assert_eq!(class("minio", "INTELLIGENT_TIERING"), "STANDARD");
        assert_eq!(class("garage", "DEEP_ARCHIVE"), "STANDARD");
        assert_eq!(class("ceph", "COLD_HDD"), "COLD_HDD");
        assert_eq!(class("aws", "COLD_HDD"), "STANDARD");
    }
}
