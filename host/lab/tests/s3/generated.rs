//! Listings of millions that nobody stores, and bytes that nobody keeps.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use godwit_lab::s3::{Generated, S3Server};

use crate::{code, raw};

#[tokio::test]
async fn all_pages_add_up_and_objects_are_what_was_listed() {
    let server = S3Server::start().await.expect("starts");
    let made = Generated::new(2500).differs_every(100).missing_every(1000);
    server.generate("many", made.clone()).expect("made");
    let client = crate::client(&server);
    let (mut found, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = client.list_objects_v2().bucket("many").set_continuation_token(token).send().await;
        let page = page.expect("page");
        for object in page.contents() {
            let of = |text: Option<&str>| text.expect("is there").to_owned();
            found.push((of(object.key()), of(object.e_tag()), object.size().expect("size")));
        }
        pages += 1;
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!((pages, found.len()), (3, 2497));
    let mut keys: Vec<&String> = found.iter().map(|(key, ..)| key).collect();
    keys.dedup();
    assert!(keys.is_sorted() && keys.len() == 2497);
    for (key, etag, size) in [&found[0], &found[99], &found[2496]] {
        let got = client.get_object().bucket("many").key(key).send().await.expect("get");
        assert_eq!((got.e_tag(), got.content_length()), (Some(etag.as_str()), Some(*size)));
        let head = client.head_object().bucket("many").key(key).send().await.expect("head");
        assert_eq!((head.e_tag(), head.content_length()), (Some(etag.as_str()), Some(*size)));
        let number = key.rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("a number");
        let content = made.content(number).expect("is there");
        assert_eq!(got.body.collect().await.expect("body").to_vec(), content);
    }
    let missing = client.get_object().bucket("many").key(Generated::key(1000)).send().await;
    assert_eq!(code(missing), "NoSuchKey");
    let stale = client.get_object().bucket("many").key(Generated::key(1)).if_match("\"other\"").send().await;
    assert_eq!(code(stale), "PreconditionFailed");

    let list = client.list_objects_v2().bucket("many").prefix("generated-00000000123");
    let some = list.send().await.expect("list");
    assert_eq!((some.contents().len(), some.is_truncated()), (10, Some(false)));
    let list = client.list_objects_v2().bucket("many").start_after(Generated::key(2489)).max_keys(3);
    let some = list.send().await.expect("list");
    let keys: Vec<&str> = some.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, [2490, 2491, 2492].map(Generated::key));
    let refused = client.list_objects_v2().bucket("many").continuation_token("no hex").send().await;
    assert_eq!(code(refused), "InvalidArgument");
}

/// What a page costs doesn't grow with the bucket.
#[tokio::test]
async fn a_page_in_the_middle_of_ten_million_comes_at_once() {
    let server = S3Server::start().await.expect("starts");
    server.generate("many", Generated::new(10_000_000)).expect("made");
    let began = std::time::Instant::now();
    for number in [0, 4_999_999, 9_998_999] {
        let after = Generated::key(number);
        let page = raw(&server, &format!("GET /many?list-type=2&start-after={after} HTTP/1.1")).await;
        assert_eq!(page.matches("<Key>").count(), 1000, "after {after}");
        assert!(page.contains(&Generated::key(number + 1)) && page.contains(&Generated::key(number + 1000)));
        assert_eq!(page.contains("<IsTruncated>true"), number != 9_998_999);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_discarded_keeps_its_length_and_digest() {
    let server = S3Server::builder().discards().min_part_size(1).start().await.expect("starts");
    server.create_bucket("bucket").expect("bucket");
    let client = crate::client(&server);
    let body = || ByteStream::from_static(b"123456789");
    let put = client.put_object().bucket("bucket").key("k").body(body()).send().await.expect("put");
    assert_eq!(put.e_tag(), Some("\"25f9e794323b453885f5181f1b624d0b\""));
    let wrong = client.put_object().bucket("bucket").key("w").body(body()).checksum_crc32("AAAAAA==");
    assert_eq!(code(wrong.send().await), "BadDigest");
    assert_eq!(
        server.get("bucket", "k").expect("is there").bytes,
        b"123456789".as_slice(),
        "small ones are kept"
    );
    let larger = client.put_object().bucket("bucket").key("l").body(ByteStream::from(vec![7; 300]));
    larger.send().await.expect("put");
    assert_eq!(server.get("bucket", "l").expect("is there").bytes, [0; 300].as_slice());

    let begun = client.create_multipart_upload().bucket("bucket").key("big").send().await.expect("begun");
    let id = begun.upload_id().expect("id");
    let mut parts = Vec::new();
    for number in [1, 2] {
        let part = client.upload_part().bucket("bucket").key("big").upload_id(id).part_number(number);
        let etag = part.body(body()).send().await.expect("part").e_tag;
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
    }
    let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket("bucket").key("big").upload_id(id);
    complete.multipart_upload(whole).send().await.expect("complete");
    let held = server.get("bucket", "big").expect("is there");
    assert!(held.bytes.len() == 18 && held.etag.ends_with("-2"), "{}", held.etag);
}
