//! The S3 server, asked by the AWS SDK: opaque keys, listings, conditions, multipart, CORS, presigning; what a service may
//! have or lack besides; faults; listings that are made up.

mod faults;
mod features;
mod generated;

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, CorsConfiguration, CorsRule, Delete, EncodingType,
    ObjectIdentifier,
};
use godwit_lab::s3::{Fault, S3Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1 << 20;

fn client(server: &S3Server) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .region(Region::new(server.region().to_owned()))
        .credentials_provider(Credentials::new(server.access_key(), server.secret_key(), None, None, "lab"))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

async fn started() -> (S3Server, Client) {
    let server = S3Server::start().await.expect("server starts");
    server.create_bucket("bucket").expect("bucket");
    let client = client(&server);
    (server, client)
}

/// The S3 error code of a failed request.
fn code<T: std::fmt::Debug, E: ProvideErrorMetadata, R>(
    result: Result<T, aws_sdk_s3::error::SdkError<E, R>>,
) -> String {
    let error = result.expect_err("refused");
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("no answer").to_owned()
}

#[tokio::test]
async fn keys_are_opaque_and_headers_are_kept() {
    let (server, client) = started().await;
    let keys = [
        "/lead",
        "a//b",
        "a/../b",
        "a b+c%2F",
        "dir/",
        "e\u{301}",
        "\u{e9}",
        "plain",
        "q?x=1&y#z",
        "~!*'()",
        "😀",
    ];
    for key in keys {
        let put =
            client.put_object().bucket("bucket").key(key).body(ByteStream::from(key.as_bytes().to_vec()));
        put.content_type("image/jpeg")
            .cache_control("max-age=60")
            .content_disposition("inline")
            .content_language("de")
            .content_encoding("identity")
            .metadata("source", "lab")
            .send()
            .await
            .unwrap_or_else(|error| panic!("{key}: {error:?}"));
    }
    let mut sorted = keys.map(str::to_owned);
    sorted.sort();
    assert_eq!(server.keys("bucket"), sorted);
    for key in keys {
        let got = client.get_object().bucket("bucket").key(key).send().await.expect("get");
        assert_eq!(got.content_type(), Some("image/jpeg"));
        assert_eq!(got.cache_control(), Some("max-age=60"));
        assert_eq!(got.content_disposition(), Some("inline"));
        assert_eq!(got.content_language(), Some("de"));
        assert_eq!(got.content_encoding(), Some("identity"));
        assert_eq!(got.metadata().and_then(|map| map.get("source")).map(String::as_str), Some("lab"));
        assert_eq!(got.body.collect().await.expect("body").into_bytes(), key.as_bytes());
        let head = client.head_object().bucket("bucket").key(key).send().await.expect("head");
        assert_eq!(head.content_length(), i64::try_from(key.len()).ok());
    }
    let range =
        client.get_object().bucket("bucket").key("plain").range("bytes=1-2").send().await.expect("range");
    assert_eq!(range.content_range(), Some("bytes 1-2/5"));
    assert_eq!(range.body.collect().await.expect("body").into_bytes(), "la");
    assert_eq!(code(client.get_object().bucket("bucket").key("none").send().await), "NoSuchKey");
    assert_eq!(code(client.get_object().bucket("nowhere").key("k").send().await), "NoSuchBucket");
}

#[tokio::test]
async fn listings_come_in_pages_and_in_order() {
    let server = S3Server::builder().page_size(2).start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    for key in ["a b", "a+b", "d/1", "d/2", "d/e/3", "z"] {
        server.put("bucket", key, key, &[]).expect("put");
    }
    let client = client(&server);
    let (mut keys, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let list = client.list_objects_v2().bucket("bucket").encoding_type(EncodingType::Url);
        let page = list.set_continuation_token(token).send().await.expect("page");
        keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        pages += 1;
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(keys, ["a+b", "a%2Bb", "d/1", "d/2", "d/e/3", "z"]);

    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let list = client.list_objects_v2().bucket("bucket").delimiter("/").set_continuation_token(token);
        let page = list.send().await.expect("page");
        found.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        found.extend(page.common_prefixes().iter().filter_map(|group| group.prefix().map(str::to_owned)));
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    found.sort();
    assert_eq!(found, ["a b", "a+b", "d/", "z"]);
    let some =
        client.list_objects_v2().bucket("bucket").prefix("d/").start_after("d/1").send().await.expect("list");
    assert_eq!(some.key_count(), Some(2));

    let buckets = client.list_buckets().send().await.expect("buckets");
    assert_eq!(buckets.buckets()[0].name(), Some("bucket"));
    client.create_bucket().bucket("second").send().await.expect("made");
    assert_eq!(code(client.create_bucket().bucket("second").send().await), "BucketAlreadyOwnedByYou");
    client.head_bucket().bucket("second").send().await.expect("is there");
    client.delete_bucket().bucket("second").send().await.expect("gone");
    assert_eq!(code(client.delete_bucket().bucket("bucket").send().await), "BucketNotEmpty");
}

#[tokio::test]
async fn conditions_are_kept_unless_told_otherwise() {
    let (server, client) = started().await;
    let put = || client.put_object().bucket("bucket").key("k");
    let first = put().body(ByteStream::from_static(b"1")).if_none_match("*").send().await.expect("first");
    let etag = first.e_tag().expect("etag").to_owned();
    assert_eq!(etag, "\"c4ca4238a0b923820dcc509a6f75849b\"");
    assert_eq!(code(put().if_none_match("*").send().await), "PreconditionFailed");
    assert_eq!(code(put().if_match("\"other\"").send().await), "PreconditionFailed");
    put().if_match(&etag).body(ByteStream::from_static(b"2")).send().await.expect("matches");
    assert_eq!(
        code(client.get_object().bucket("bucket").key("k").if_match(&etag).send().await),
        "PreconditionFailed"
    );
    assert_eq!(
        code(client.delete_object().bucket("bucket").key("k").if_match(&etag).send().await),
        "PreconditionFailed"
    );
    assert_eq!(code(put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await), "BadDigest");
    server.inject(Fault::IgnoreConditions);
    put().if_none_match("*").body(ByteStream::from_static(b"3")).send().await.expect("ignored");
    assert_eq!(server.get("bucket", "k").expect("is there").bytes, "3");
}

#[tokio::test]
async fn uploads_in_parts() {
    let (server, client) = started().await;
    let begin =
        client.create_multipart_upload().bucket("bucket").key("big").content_type("x/y").metadata("a", "b");
    let id = begin.send().await.expect("begun").upload_id().expect("id").to_owned();
    assert_eq!(server.open_uploads(), std::slice::from_ref(&id));
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 * MIB), (2, 5 * MIB), (3, 7)] {
        let body = ByteStream::from(vec![u8::try_from(number).expect("small"); size]);
        let part =
            client.upload_part().bucket("bucket").key("big").upload_id(&id).part_number(number).body(body);
        let etag = part.send().await.expect("part").e_tag().expect("etag").to_owned();
        parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let listed =
        client.list_parts().bucket("bucket").key("big").upload_id(&id).max_parts(2).send().await.expect("l");
    assert_eq!((listed.parts().len(), listed.is_truncated()), (2, Some(true)));
    assert_eq!(listed.parts()[0].size(), i64::try_from(5 * MIB).ok());
    let uploads = client.list_multipart_uploads().bucket("bucket").send().await.expect("uploads");
    assert_eq!(uploads.uploads()[0].key(), Some("big"));

    let complete = |parts: Vec<CompletedPart>| {
        let upload = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        client.complete_multipart_upload().bucket("bucket").key("big").upload_id(&id).multipart_upload(upload)
    };
    let mut wrong = parts.clone();
    wrong.swap(0, 1);
    assert_eq!(code(complete(wrong).send().await), "InvalidPartOrder");
    // The answer is lost, the object is there.
    server.inject(Fault::LoseCompleteAnswer { times: 1 });
    assert_eq!(code(complete(parts.clone()).send().await), "no answer");
    let object = server.get("bucket", "big").expect("is there");
    assert_eq!(object.bytes.len(), 10 * MIB + 7);
    assert!(object.etag.ends_with("-3"));
    assert_eq!(object.headers.get("x-amz-meta-a").map(String::as_str), Some("b"));
    assert_eq!(code(complete(parts).send().await), "NoSuchUpload");

    let id = client.create_multipart_upload().bucket("bucket").key("x").send().await.expect("begun");
    let id = id.upload_id().expect("id");
    client.abort_multipart_upload().bucket("bucket").key("x").upload_id(id).send().await.expect("aborted");
    assert!(server.open_uploads().is_empty());
}

#[tokio::test]
async fn r2_wants_equal_parts() {
    let server =
        S3Server::builder().equal_parts().min_part_size(1).region("auto").start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    let client = client(&server);
    for (sizes, fits) in [([3, 3, 2], true), ([3, 2, 2], false), ([2, 2, 3], false)] {
        let begun = client.create_multipart_upload().bucket("bucket").key("k").send().await.expect("begun");
        let id = begun.upload_id().expect("id");
        let mut parts = Vec::new();
        for (number, size) in (1..).zip(sizes) {
            let part = client.upload_part().bucket("bucket").key("k").upload_id(id).part_number(number);
            let etag = part.body(ByteStream::from(vec![0; size])).send().await.expect("part");
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(etag.e_tag).build());
        }
        let upload = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = client.complete_multipart_upload().bucket("bucket").key("k").upload_id(id);
        assert_eq!(complete.multipart_upload(upload).send().await.is_ok(), fits, "{sizes:?}");
    }
}

#[tokio::test]
async fn objects_are_copied_and_deleted_in_the_server() {
    let (server, client) = started().await;
    server.put("bucket", "a b", "content", &[("content-type", "text/css")]).expect("put");
    let copy = client.copy_object().bucket("bucket").key("copy").copy_source("bucket/a%20b");
    copy.send().await.expect("copied");
    let object = server.get("bucket", "copy").expect("is there");
    assert_eq!(
        (object.bytes.as_ref(), object.headers["content-type"].as_str()),
        (&b"content"[..], "text/css")
    );
    let gone = ["a b", "copy", "never"].map(|key| ObjectIdentifier::builder().key(key).build().expect("key"));
    let delete = Delete::builder().set_objects(Some(gone.to_vec())).build().expect("delete");
    let answer = client.delete_objects().bucket("bucket").delete(delete).send().await.expect("deleted");
    assert_eq!((answer.deleted().len(), answer.errors().len()), (3, 0));
    assert!(server.keys("bucket").is_empty());
    client.delete_object().bucket("bucket").key("never").send().await.expect("S3 does not mind");
}

/// One HTTP exchange without the SDK.
async fn raw(server: &S3Server, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.expect("connects");
    let text = format!("{request}\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", server.port());
    stream.write_all(text.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("reads");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn cors_and_presigned_urls() {
    let (server, client) = started().await;
    server.put("bucket", "k", "content", &[]).expect("put");
    assert_eq!(code(client.get_bucket_cors().bucket("bucket").send().await), "NoSuchCORSConfiguration");
    let rule = CorsRule::builder()
        .allowed_origins("https://app.example.com")
        .allowed_methods("GET")
        .allowed_methods("HEAD")
        .allowed_headers("*")
        .max_age_seconds(3000)
        .build()
        .expect("rule");
    let configuration = CorsConfiguration::builder().cors_rules(rule.clone()).build().expect("configuration");
    client.put_bucket_cors().bucket("bucket").cors_configuration(configuration).send().await.expect("set");
    let read = client.get_bucket_cors().bucket("bucket").send().await.expect("read");
    assert_eq!(read.cors_rules(), [rule]);
    let ask = |method: &str| {
        format!(
            "OPTIONS /bucket/k HTTP/1.1\r\nOrigin: https://app.example.com\r\nAccess-Control-Request-Method: {method}"
        )
    };
    let allowed = raw(&server, &ask("GET")).await;
    assert!(
        allowed.starts_with("HTTP/1.1 200") && allowed.contains("access-control-max-age: 3000"),
        "{allowed}"
    );
    assert!(raw(&server, &ask("PUT")).await.starts_with("HTTP/1.1 403"));

    let soon = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    let url = client.get_object().bucket("bucket").key("k").presigned(soon).await.expect("presigned");
    let path = url.uri().strip_prefix(&server.endpoint()).expect("our endpoint");
    let answer = raw(&server, &format!("GET {path} HTTP/1.1")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("content"), "{answer}");
    let forged = path.replace("/bucket/k?", "/bucket/other?");
    assert!(raw(&server, &format!("GET {forged} HTTP/1.1")).await.starts_with("HTTP/1.1 403"));
    assert!(raw(&server, "GET /bucket/k HTTP/1.1").await.starts_with("HTTP/1.1 403"));
    assert!(server.requests().iter().all(|seen| !seen.query.contains("X-Amz-Signature")));
    client.delete_bucket_cors().bucket("bucket").send().await.expect("deleted");
    assert!(server.cors("bucket").is_none());
}

#[tokio::test]
async fn a_folder_keeps_objects() {
    let dir = tempfile::tempdir().expect("folder");
    let server = S3Server::builder().folder(dir.path()).start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    server.put("bucket", "a//../b", "content", &[("Content-Type", "x/y")]).expect("put");
    server.put("bucket", "gone", "", &[]).expect("put");
    server.remove("bucket", "gone").expect("removed");
    let before = server.get("bucket", "a//../b").expect("is there");
    drop(server);
    let server = S3Server::builder().folder(dir.path()).start().await.expect("starts again");
    assert_eq!(server.keys("bucket"), ["a//../b"]);
    let after = server.get("bucket", "a//../b").expect("is there");
    assert_eq!((after.bytes, after.headers, after.etag), (before.bytes, before.headers, before.etag));
}
