//! What goes wrong on purpose.

use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use godwit_lab::s3::{Fault, S3Server};

use crate::{MIB, code, started};

async fn get(client: &Client, key: &str) -> GetObjectOutput {
    client.get_object().bucket("bucket").key(key).send().await.expect("headers come")
}

#[tokio::test]
async fn faults_are_acted_out() {
    let (server, client) = started().await;
    let body = || ByteStream::from(vec![7; MIB]);
    let put = || client.put_object().bucket("bucket").key("k").body(body());
    server.inject(Fault::Unavailable { times: 1 }.on("PutObject"));
    assert_eq!(code(put().send().await), "SlowDown");
    server.inject(Fault::ResetConnection { after_bytes: 1000, times: 1 }.on("PutObject"));
    assert_eq!(code(put().send().await), "no answer");
    assert!(server.get("bucket", "k").is_none(), "a cut request has no effect");
    server.inject(Fault::WrongEtag);
    let etag = put().send().await.expect("put").e_tag().expect("etag").to_owned();
    server.clear_faults();
    assert_ne!(etag.trim_matches('"'), server.get("bucket", "k").expect("is there").etag);

    for fault in [
        Fault::TruncateBody { after_bytes: 5000, times: 1 },
        Fault::ResetConnection { after_bytes: 5000, times: 1 },
    ] {
        server.inject(fault.key("k"));
        let got = client.get_object().bucket("bucket").key("k").send().await.expect("headers come");
        assert_eq!(got.content_length(), i64::try_from(MIB).ok());
        assert!(got.body.collect().await.is_err(), "{fault:?}");
    }
    let got = client.get_object().bucket("bucket").key("k").send().await.expect("all is well again");
    assert_eq!(got.body.collect().await.expect("whole").into_bytes().len(), MIB);
    let seen = server.requests();
    assert_eq!(seen.iter().filter(|request| request.operation == "PutObject").count(), 3);
    assert_eq!(seen.iter().filter(|request| !request.writes()).count(), 3);
    assert!(seen.iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn bursts_have_their_codes_and_no_effect() {
    let (server, client) = started().await;
    for (fault, expected) in [
        (Fault::TooManyRequests { times: 2 }, "TooManyRequests"),
        (Fault::InternalError { times: 2 }, "InternalError"),
        (Fault::Unavailable { times: 2 }, "SlowDown"),
    ] {
        let put = || client.put_object().bucket("bucket").key("k").body(ByteStream::from_static(b"x"));
        server.inject(fault.on("PutObject"));
        for _ in 0..2 {
            assert_eq!(code(put().send().await), expected);
            assert!(server.keys("bucket").is_empty(), "{expected}");
        }
        put().send().await.expect("the burst is over");
        server.remove("bucket", "k").expect("removed");
    }
}

#[tokio::test]
async fn checksums_that_are_wrong_in_the_answer() {
    let (server, client) = started().await;
    let put = || {
        let body = ByteStream::from_static(b"123456789");
        client.put_object().bucket("bucket").key("k").body(body).checksum_crc32("y/Q5Jg==")
    };
    let right = put().send().await.expect("put").checksum_crc32().expect("confirmed").to_owned();
    assert_eq!(right, "y/Q5Jg==");
    server.inject(Fault::WrongChecksum);
    let wrong = put().send().await.expect("put").checksum_crc32().expect("confirmed").to_owned();
    assert_ne!(right, wrong);
    assert_eq!(right.len(), wrong.len());
    let head = client.head_object().bucket("bucket").key("k").checksum_mode(ChecksumMode::Enabled);
    assert_eq!(head.send().await.expect("head").checksum_crc32(), Some(wrong.as_str()));
    server.clear_faults();
    let head = client.head_object().bucket("bucket").key("k").checksum_mode(ChecksumMode::Enabled);
    assert_eq!(head.send().await.expect("head").checksum_crc32(), Some(right.as_str()));
}

#[tokio::test]
async fn a_listing_lags_behind() {
    let (server, client) = started().await;
    server.inject(Fault::StaleListing { millis: 400 });
    server.put("bucket", "new", "x", &[]).expect("put");
    let count = || async {
        let page = client.list_objects_v2().bucket("bucket").send().await.expect("page");
        page.contents().len()
    };
    assert_eq!(count().await, 0);
    client.head_object().bucket("bucket").key("new").send().await.expect("it is there nevertheless");
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn silence_after_the_request_was_read() {
    let (server, client) = started().await;
    let put = || client.put_object().bucket("bucket").key("k").body(ByteStream::from(vec![1; MIB]));
    server.inject(Fault::HalfOpen { millis: Some(300), times: 1 }.on("PutObject"));
    let began = Instant::now();
    assert_eq!(code(put().send().await), "no answer");
    assert!(began.elapsed() >= Duration::from_millis(300));
    server.inject(Fault::HalfOpen { millis: None, times: 1 }.on("PutObject"));
    let waited = tokio::time::timeout(Duration::from_millis(600), put().send()).await;
    assert!(waited.is_err(), "it was answered");
    assert!(server.keys("bucket").is_empty(), "it had an effect");
    put().send().await.expect("others are answered");
}

#[tokio::test]
async fn gzip_comes_decoded_without_its_length() {
    let (server, client) = started().await;
    // `printf hello | gzip -n`
    let zipped: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0,
        0, 0,
    ];
    server.put("bucket", "zipped", zipped.to_vec(), &[("content-encoding", "gzip")]).expect("put");
    server.put("bucket", "plain", "hello", &[]).expect("put");
    let got = get(&client, "zipped").await;
    assert_eq!((got.content_encoding(), got.content_length()), (Some("gzip"), Some(25)));
    server.inject(Fault::DecodeGzip);
    let got = get(&client, "zipped").await;
    assert_eq!((got.content_encoding(), got.content_length()), (None, None));
    assert_eq!(
        got.e_tag().map(|etag| etag.trim_matches('"').to_owned()),
        server.get("bucket", "zipped").map(|o| o.etag)
    );
    assert_eq!(got.body.collect().await.expect("body").into_bytes(), "hello");
    assert_eq!(get(&client, "plain").await.content_length(), Some(5), "what isn't gzip stays as it is");
}

#[tokio::test]
async fn an_object_changes_before_and_during_its_reading() {
    let (server, client) = started().await;
    let content = vec![7_u8; MIB];
    server.put("bucket", "k", content.clone(), &[("content-type", "x/y")]).expect("put");
    let listed = server.get("bucket", "k").expect("is there").etag;
    server.inject(Fault::ChangeBefore { times: 1 });
    let wanted = client.get_object().bucket("bucket").key("k").if_match(format!("\"{listed}\""));
    assert_eq!(code(wanted.send().await), "PreconditionFailed");
    let changed = server.get("bucket", "k").expect("is there");
    assert_ne!(changed.etag, listed);
    assert_eq!((changed.bytes.len(), changed.headers["content-type"].as_str()), (MIB, "x/y"));

    for after_bytes in [1000, 1 << 30] {
        let before = server.get("bucket", "k").expect("is there");
        server.inject(Fault::ChangeDuring { after_bytes, times: 1 });
        let got = get(&client, "k").await;
        let etag = got.e_tag().expect("etag").trim_matches('"').to_owned();
        let body = got.body.collect().await.expect("body").into_bytes();
        assert_eq!((&etag, &body), (&before.etag, &before.bytes), "the answer is of one content");
        assert_ne!(server.get("bucket", "k").expect("is there").etag, etag, "after {after_bytes}");
    }
}

#[tokio::test]
async fn pages_that_repeat_and_tokens_that_are_refused() {
    let server = S3Server::builder().page_size(2).start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    for key in ["a", "b", "c", "d", "e"] {
        server.put("bucket", key, key, &[]).expect("put");
    }
    let client = crate::client(&server);
    server.inject(Fault::RepeatPage { times: 1 });
    let (mut keys, mut token) = (Vec::new(), None);
    loop {
        let page = client.list_objects_v2().bucket("bucket").set_continuation_token(token).send().await;
        let page = page.expect("page");
        keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "a", "b", "c", "d", "e"]);

    server.inject(Fault::RefuseToken { times: 1 });
    let first = client.list_objects_v2().bucket("bucket").send().await.expect("a first page has no token");
    let next = || {
        client
            .list_objects_v2()
            .bucket("bucket")
            .set_continuation_token(first.next_continuation_token.clone())
    };
    assert_eq!(code(next().send().await), "InvalidArgument");
    next().send().await.expect("once only");
    let seen = server.requests().iter().filter(|request| request.operation == "ListObjectsV2").count();
    assert_eq!(seen, 7);
}
