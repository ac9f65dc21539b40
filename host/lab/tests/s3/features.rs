//! What services have or lack beyond the common: versions, tags, storage classes, checksums, settings of buckets, public
//! buckets, and R2's refusals.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketVersioningStatus, ChecksumAlgorithm,
    ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart, ExpirationStatus, LifecycleRule,
    LifecycleRuleFilter, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, StorageClass, Tag, Tagging,
    TaggingDirective, Transition, TransitionStorageClass, VersioningConfiguration,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use godwit_lab::s3::{S3Server, Versioning};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{MIB, code, raw, started};

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().expect("tag")
}

async fn put(client: &Client, key: &str, content: &str) -> Option<String> {
    let body = ByteStream::from(content.as_bytes().to_vec());
    let answer = client.put_object().bucket("bucket").key(key).body(body).send().await.expect("put");
    answer.version_id
}

async fn content(client: &Client, key: &str, version: Option<&str>) -> String {
    let get = client.get_object().bucket("bucket").key(key).set_version_id(version.map(str::to_owned));
    let got = get.send().await.unwrap_or_else(|error| panic!("{key} {version:?}: {error:?}"));
    String::from_utf8(got.body.collect().await.expect("body").to_vec()).expect("text")
}

#[tokio::test]
async fn versions_are_kept_marked_and_removed() {
    let (server, client) = started().await;
    assert_eq!(put(&client, "k", "before").await, None);
    let versioning = || client.get_bucket_versioning().bucket("bucket").send();
    assert_eq!(versioning().await.expect("read").status(), None);
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let set = client.put_bucket_versioning().bucket("bucket").versioning_configuration(enabled);
    set.send().await.expect("set");
    assert_eq!(versioning().await.expect("read").status(), Some(&BucketVersioningStatus::Enabled));

    let first = put(&client, "k", "first").await.expect("a version");
    let second = put(&client, "k", "second").await.expect("a version");
    put(&client, "other", "x").await.expect("a version");
    assert_eq!(content(&client, "k", None).await, "second");
    assert_eq!(content(&client, "k", Some(&first)).await, "first");
    assert_eq!(content(&client, "k", Some("null")).await, "before");
    let head = client.head_object().bucket("bucket").key("k").send().await.expect("head");
    assert_eq!(head.version_id(), Some(second.as_str()));
    let none = client.get_object().bucket("bucket").key("k").version_id("nobody's").send().await;
    assert_eq!(code(none), "NoSuchVersion");

    let gone = client.delete_object().bucket("bucket").key("k").send().await.expect("deleted");
    assert_eq!(gone.delete_marker(), Some(true));
    let marker = gone.version_id().expect("the marker's").to_owned();
    assert_eq!(code(client.get_object().bucket("bucket").key("k").send().await), "NoSuchKey");
    assert_eq!(server.keys("bucket"), ["other"]);

    // In pages of two, the newest of a key first.
    let (mut seen, mut at) = (Vec::new(), (None, None));
    loop {
        let list = client.list_object_versions().bucket("bucket").max_keys(2);
        let page = list.set_key_marker(at.0).set_version_id_marker(at.1).send().await.expect("page");
        let versions = page.versions().iter().map(|v| (v.key(), v.version_id(), v.is_latest(), false));
        let markers = page.delete_markers().iter().map(|m| (m.key(), m.version_id(), m.is_latest(), true));
        for (key, id, latest, marker) in markers.chain(versions) {
            let (key, id) = (key.expect("key").to_owned(), id.expect("id").to_owned());
            seen.push((key, id, latest == Some(true), marker));
        }
        at = (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    let ids: Vec<&str> = seen.iter().filter(|(key, ..)| key == "k").map(|(_, id, ..)| id.as_str()).collect();
    assert_eq!(ids, [marker.as_str(), &second, &first, "null"]);
    assert_eq!(seen[0], ("k".to_owned(), marker.clone(), true, true));
    assert_eq!(seen.iter().filter(|(_, _, latest, _)| *latest).count(), 2);
    assert_eq!(seen.len(), 5);

    let remove = |id: &str| client.delete_object().bucket("bucket").key("k").version_id(id).send();
    assert_eq!(remove(&marker).await.expect("removed").delete_marker(), Some(true));
    assert_eq!(content(&client, "k", None).await, "second");
    remove(&second).await.expect("removed");
    assert_eq!(content(&client, "k", None).await, "first");
    assert_eq!(server.versions("bucket").len(), 3);

    server.set_versioning("bucket", Versioning::Suspended).expect("set");
    assert_eq!(put(&client, "k", "suspended").await.as_deref(), Some("null"));
    assert_eq!(content(&client, "k", Some("null")).await, "suspended");
    assert_eq!(content(&client, "k", Some(&first)).await, "first");
    assert_eq!(server.versions("bucket").len(), 3, "null was replaced");
}

#[tokio::test]
async fn tags_and_storage_classes() {
    let (server, client) = started().await;
    let put = client.put_object().bucket("bucket").key("k").body(ByteStream::from_static(b"x"));
    put.tagging("team=a%20b&stage=").storage_class(StorageClass::StandardIa).send().await.expect("put");
    let tags = |key: &'static str| {
        let client = &client;
        async move {
            let answer = client.get_object_tagging().bucket("bucket").key(key).send().await.expect("tags");
            answer.tag_set().to_vec()
        }
    };
    assert_eq!(tags("k").await, [tag("team", "a b"), tag("stage", "")]);
    let got = client.get_object().bucket("bucket").key("k").send().await.expect("get");
    assert_eq!((got.tag_count(), got.storage_class()), (Some(2), Some(&StorageClass::StandardIa)));
    let list = client.list_objects_v2().bucket("bucket").send().await.expect("list");
    assert_eq!(list.contents()[0].storage_class().map(|class| class.as_str()), Some("STANDARD_IA"));

    let copy = |key: &str| client.copy_object().bucket("bucket").key(key).copy_source("bucket/k");
    copy("with").send().await.expect("copied");
    assert_eq!(tags("with").await.len(), 2);
    let other = copy("other").tagging("a=b").tagging_directive(TaggingDirective::Replace);
    other.send().await.expect("copied");
    assert_eq!(tags("other").await, [tag("a", "b")]);

    let etag = server.get("bucket", "k").expect("is there").etag;
    let set = Tagging::builder().tag_set(tag("only", "one")).build().expect("tagging");
    client.put_object_tagging().bucket("bucket").key("k").tagging(set).send().await.expect("set");
    let held = server.get("bucket", "k").expect("is there");
    assert_eq!((held.tags, held.etag), (vec![("only".to_owned(), "one".to_owned())], etag));
    client.delete_object_tagging().bucket("bucket").key("k").send().await.expect("deleted");
    assert!(tags("k").await.is_empty());

    let begun = client.create_multipart_upload().bucket("bucket").key("parts").tagging("p=q").send().await;
    let id = begun.expect("begun").upload_id().expect("id").to_owned();
    let part = client.upload_part().bucket("bucket").key("parts").upload_id(&id).part_number(1);
    let etag = part.body(ByteStream::from_static(b"x")).send().await.expect("part").e_tag;
    let part = CompletedPart::builder().part_number(1).set_e_tag(etag).build();
    let whole = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket("bucket").key("parts").upload_id(id);
    complete.multipart_upload(whole).send().await.expect("complete");
    assert_eq!(tags("parts").await, [tag("p", "q")]);
}

/// Of "123456789", as the catalogue of CRC algorithms has them, in base64.
const CRC32: &str = "y/Q5Jg==";
const CRC64NVME: &str = "rosUhgp5mIg=";

fn sha256(bytes: &[u8]) -> String {
    BASE64.encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn checksums_are_checked_kept_and_answered() {
    let (server, client) = started().await;
    let put = |content: &'static [u8]| {
        client.put_object().bucket("bucket").key("k").body(ByteStream::from_static(content))
    };
    let head = || client.head_object().bucket("bucket").key("k");
    let confirmed = put(b"123456789").checksum_crc32(CRC32).send().await.expect("put");
    assert_eq!(confirmed.checksum_crc32(), Some(CRC32));
    let asked = head().checksum_mode(ChecksumMode::Enabled).send().await.expect("head");
    assert_eq!(
        (asked.checksum_crc32(), asked.checksum_type()),
        (Some(CRC32), Some(&ChecksumType::FullObject))
    );
    let unasked = head().send().await.expect("head");
    assert_eq!((unasked.checksum_crc32(), unasked.checksum_type()), (None, None));

    put(b"123456789").checksum_crc64_nvme(CRC64NVME).send().await.expect("put");
    let get = client.get_object().bucket("bucket").key("k").checksum_mode(ChecksumMode::Enabled);
    let got = get.clone().send().await.expect("get");
    assert_eq!((got.checksum_crc64_nvme(), got.checksum_crc32()), (Some(CRC64NVME), None));
    let part = get.range("bytes=0-3").send().await.expect("get");
    assert_eq!(part.checksum_crc64_nvme(), None, "of a part it says nothing");

    let before = server.get("bucket", "k");
    for wrong in [put(b"12345678X").checksum_crc32(CRC32), put(b"12345678X").checksum_crc64_nvme(CRC64NVME)] {
        assert_eq!(code(wrong.send().await), "BadDigest");
    }
    let sums = [sha256(b"123456789"), sha256(b"other")];
    assert_eq!(code(put(b"123456789").checksum_sha256(&sums[1]).send().await), "BadDigest");
    assert_eq!(server.get("bucket", "k"), before);
    put(b"123456789").checksum_sha256(&sums[0]).send().await.expect("put");
}

#[tokio::test]
async fn checksums_of_uploads_in_parts() {
    let server = S3Server::builder().min_part_size(1).start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    let client = crate::client(&server);
    for algorithm in [ChecksumAlgorithm::Crc64Nvme, ChecksumAlgorithm::Sha256] {
        let of_whole = algorithm == ChecksumAlgorithm::Crc64Nvme;
        let begin = client.create_multipart_upload().bucket("bucket").key("k").checksum_algorithm(algorithm);
        let id = begin.send().await.expect("begun").upload_id().expect("id").to_owned();
        let (mut parts, mut sums) = (Vec::new(), Vec::new());
        for (number, bytes) in [(1, &b"12345"[..]), (2, b"6789")] {
            let sum = (!of_whole).then(|| sha256(bytes));
            let part = client.upload_part().bucket("bucket").key("k").upload_id(&id).part_number(number);
            let part = part.set_checksum_sha256(sum.clone()).body(ByteStream::from(bytes.to_vec()));
            let answer = part.send().await.expect("part");
            assert_eq!(answer.checksum_sha256(), sum.as_deref());
            sums.extend(Sha256::digest(bytes));
            let done = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
            parts.push(done.set_checksum_sha256(sum).build());
        }
        let listed =
            client.list_parts().bucket("bucket").key("k").upload_id(&id).send().await.expect("parts");
        assert_eq!(listed.parts()[1].checksum_sha256().is_some(), !of_whole);
        let complete = || {
            let whole = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
            client
                .complete_multipart_upload()
                .bucket("bucket")
                .key("k")
                .upload_id(&id)
                .multipart_upload(whole)
        };
        if of_whole {
            assert_eq!(code(complete().checksum_crc64_nvme("AAAAAAAAAAA=").send().await), "BadDigest");
        }
        let wanted = of_whole.then(|| CRC64NVME.to_owned());
        complete().set_checksum_crc64_nvme(wanted).send().await.expect("complete");
        let head = client.head_object().bucket("bucket").key("k").checksum_mode(ChecksumMode::Enabled);
        let head = head.send().await.expect("head");
        if of_whole {
            assert_eq!(head.checksum_crc64_nvme(), Some(CRC64NVME), "as of one PUT");
            assert_eq!(head.checksum_type(), Some(&ChecksumType::FullObject));
        } else {
            assert_eq!(head.checksum_sha256(), Some(format!("{}-2", sha256(&sums)).as_str()));
            assert_eq!(head.checksum_type(), Some(&ChecksumType::Composite));
        }
    }
    assert!(server.open_uploads().is_empty());
}

#[tokio::test]
async fn a_part_is_copied_from_an_object() {
    let (server, client) = started().await;
    server.put("bucket", "source", vec![9_u8; 6 * MIB], &[]).expect("put");
    let begun = client.create_multipart_upload().bucket("bucket").key("k").send().await.expect("begun");
    let id = begun.upload_id().expect("id");
    let mut parts = Vec::new();
    for (number, range) in [(1, "bytes=0-5242879"), (2, "bytes=5242880-6291455")] {
        let copy = client.upload_part_copy().bucket("bucket").key("k").upload_id(id).part_number(number);
        let copied = copy.copy_source("bucket/source").copy_source_range(range).send().await.expect("copied");
        let etag = copied.copy_part_result().and_then(|result| result.e_tag()).expect("etag").to_owned();
        parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket("bucket").key("k").upload_id(id);
    complete.multipart_upload(whole).send().await.expect("complete");
    let (source, copy) = (server.get("bucket", "source"), server.get("bucket", "k"));
    assert_eq!(source.expect("is there").bytes, copy.expect("is there").bytes);
}

fn lifecycle(class: Option<TransitionStorageClass>) -> BucketLifecycleConfiguration {
    let to = class.map(|class| Transition::builder().days(30).storage_class(class).build());
    let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(7).build();
    let rule = LifecycleRule::builder()
        .id("rule")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("old/").build())
        .abort_incomplete_multipart_upload(abort)
        .set_transitions(to.map(|to| vec![to]));
    BucketLifecycleConfiguration::builder().rules(rule.build().expect("rule")).build().expect("lifecycle")
}

#[tokio::test]
async fn settings_of_buckets_are_kept_and_answered() {
    let dir = tempfile::tempdir().expect("folder");
    let server = S3Server::builder().folder(dir.path()).start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    let client = crate::client(&server);
    assert_eq!(
        code(client.get_bucket_lifecycle_configuration().bucket("bucket").send().await),
        "NoSuchLifecycleConfiguration"
    );
    assert_eq!(code(client.get_bucket_tagging().bucket("bucket").send().await), "NoSuchTagSet");
    assert_eq!(code(client.get_bucket_policy().bucket("bucket").send().await), "NoSuchBucketPolicy");
    assert_eq!(
        code(client.get_bucket_encryption().bucket("bucket").send().await),
        "ServerSideEncryptionConfigurationNotFoundError"
    );

    let rules = lifecycle(Some(TransitionStorageClass::Glacier));
    let set = client.put_bucket_lifecycle_configuration().bucket("bucket");
    set.lifecycle_configuration(rules.clone()).send().await.expect("set");
    let tags = Tagging::builder().tag_set(tag("team", "a")).build().expect("tagging");
    client.put_bucket_tagging().bucket("bucket").tagging(tags).send().await.expect("set");
    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    client.put_bucket_policy().bucket("bucket").policy(policy).send().await.expect("set");
    let by = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256);
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(by.build().expect("default"))
        .build();
    let encryption = ServerSideEncryptionConfiguration::builder().rules(rule).build().expect("encryption");
    let set = client.put_bucket_encryption().bucket("bucket");
    set.server_side_encryption_configuration(encryption.clone()).send().await.expect("set");

    // A server that is started again on the folder has them.
    drop(server);
    let server = S3Server::builder().folder(dir.path()).start().await.expect("starts again");
    let client = crate::client(&server);
    let read = client.get_bucket_lifecycle_configuration().bucket("bucket").send().await.expect("read");
    assert_eq!(read.rules(), rules.rules());
    let read = client.get_bucket_tagging().bucket("bucket").send().await.expect("read");
    assert_eq!(read.tag_set(), [tag("team", "a")]);
    let read = client.get_bucket_policy().bucket("bucket").send().await.expect("read");
    assert_eq!(read.policy(), Some(policy));
    let read = client.get_bucket_encryption().bucket("bucket").send().await.expect("read");
    assert_eq!(read.server_side_encryption_configuration(), Some(&encryption));

    client.delete_bucket_lifecycle().bucket("bucket").send().await.expect("deleted");
    client.delete_bucket_tagging().bucket("bucket").send().await.expect("deleted");
    client.delete_bucket_policy().bucket("bucket").send().await.expect("deleted");
    client.delete_bucket_encryption().bucket("bucket").send().await.expect("deleted");
    let settings = server.settings("bucket").expect("is there");
    assert_eq!(settings, godwit_lab::s3::Settings::default());
}

#[tokio::test]
async fn anybody_reads_a_public_bucket_and_nobody_writes_it() {
    let (server, _) = started().await;
    server.put("bucket", "k", "content", &[]).expect("put");
    assert!(raw(&server, "GET /bucket/k HTTP/1.1").await.starts_with("HTTP/1.1 403"));
    server.make_public("bucket").expect("made public");
    let answer = raw(&server, "GET /bucket/k HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("content"), "{answer}");
    assert!(raw(&server, "GET /bucket?list-type=2 HTTP/1.1").await.contains("<Key>k</Key>"));
    assert!(raw(&server, "DELETE /bucket/k HTTP/1.1").await.starts_with("HTTP/1.1 403"));
    assert!(raw(&server, "PUT /bucket/x HTTP/1.1\r\nContent-Length: 0").await.starts_with("HTTP/1.1 403"));
    assert!(raw(&server, "GET / HTTP/1.1").await.starts_with("HTTP/1.1 403"));
    assert_eq!(server.keys("bucket"), ["k"]);
}

#[tokio::test]
async fn a_presigned_put_writes() {
    let (server, client) = started().await;
    let soon = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    let url = client.put_object().bucket("bucket").key("a b").content_type("x/y").presigned(soon).await;
    let url = url.expect("presigned");
    let path = url.uri().strip_prefix(&server.endpoint()).expect("our endpoint").to_owned();
    let send = |path: String| {
        let port = server.port();
        async move {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
            let text = format!(
                "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: x/y\r\nContent-Length: 7\r\n\
                 Connection: close\r\n\r\ncontent"
            );
            stream.write_all(text.as_bytes()).await.expect("writes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("reads");
            answer
        }
    };
    let refused = send(path.replace("/bucket/a", "/bucket/b")).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let answer = send(path).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let held = server.get("bucket", "a b").expect("is there");
    assert_eq!((held.bytes.as_ref(), held.headers["content-type"].as_str()), (&b"content"[..], "x/y"));
}

#[tokio::test]
async fn r2_lacks_what_it_lacks() {
    let server = S3Server::builder().r2().start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    assert_eq!(server.region(), "auto");
    let client = crate::client(&server);
    put(&client, "k", "x").await;
    let body = || ByteStream::from_static(b"x");
    let tagged = client.put_object().bucket("bucket").key("t").tagging("a=b").body(body());
    assert_eq!(code(tagged.send().await), "NotImplemented");
    let cold =
        client.put_object().bucket("bucket").key("t").storage_class(StorageClass::Glacier).body(body());
    assert_eq!(code(cold.send().await), "NotImplemented");
    let cool = client.put_object().bucket("bucket").key("ia").storage_class(StorageClass::StandardIa);
    cool.body(body()).send().await.expect("it has this one");
    assert_eq!(code(client.get_object_tagging().bucket("bucket").key("k").send().await), "NotImplemented");
    assert_eq!(code(client.get_bucket_versioning().bucket("bucket").send().await), "NotImplemented");
    assert_eq!(code(client.list_object_versions().bucket("bucket").send().await), "NotImplemented");
    assert_eq!(code(client.get_bucket_policy().bucket("bucket").send().await), "NotImplemented");
    let acl = client.put_object_acl().bucket("bucket").key("k").acl("public-read".into());
    assert_eq!(code(acl.send().await), "NotImplemented");
    assert_eq!(server.keys("bucket"), ["ia", "k"]);

    let set = |rules| {
        client.put_bucket_lifecycle_configuration().bucket("bucket").lifecycle_configuration(rules).send()
    };
    assert_eq!(code(set(lifecycle(Some(TransitionStorageClass::Glacier))).await), "NotImplemented");
    set(lifecycle(None)).await.expect("it expires and aborts");
}

#[tokio::test]
async fn conditions_are_ignored_where_a_server_was_told_to() {
    let server = S3Server::builder().ignores_conditions().start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    server.put("bucket", "k", "old", &[]).expect("put");
    let client = crate::client(&server);
    let put = client.put_object().bucket("bucket").key("k").if_none_match("*");
    put.body(ByteStream::from_static(b"new")).send().await.expect("ignored");
    assert_eq!(server.get("bucket", "k").expect("is there").bytes, "new");
    let get = client.get_object().bucket("bucket").key("k").if_match("\"other\"");
    assert_eq!(code(get.send().await), "PreconditionFailed", "of reading requests they count");
}
