//! Garage as the lab starts it: buckets by its admin API and by the S3 API, objects, and an end with the value.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::primitives::ByteStream;
use godwit_lab::Garage;

fn client(server: &Garage) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .region(Region::new(server.region().to_owned()))
        .credentials_provider(Credentials::new(server.access_key(), server.secret_key(), None, None, "lab"))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

#[tokio::test]
async fn buckets_and_objects_and_no_process_left() {
    let server = Garage::start().await.expect("Garage starts");
    server.create_bucket("by-admin").await.expect("made");
    let client = client(&server);
    client.create_bucket().bucket("by-key").send().await.expect("made by the key");
    let listed = client.list_buckets().send().await.expect("listed");
    let mut names: Vec<&str> = listed.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["by-admin", "by-key"]);
    for bucket in names {
        let body = ByteStream::from_static(b"content");
        let put = client.put_object().bucket(bucket).key("a b+c/ü").content_type("x/y").body(body);
        put.send().await.unwrap_or_else(|error| panic!("{bucket}: {error:?}"));
        let got = client.get_object().bucket(bucket).key("a b+c/ü").send().await.expect("get");
        assert_eq!(got.content_type(), Some("x/y"));
        assert_eq!(got.body.collect().await.expect("body").into_bytes(), "content");
    }
    let refused = server.remove_bucket("by-admin").await.expect_err("it isn't empty").to_string();
    assert!(refused.contains("DeleteBucket"), "{refused}");
    client.delete_object().bucket("by-admin").key("a b+c/ü").send().await.expect("deleted");
    server.remove_bucket("by-admin").await.expect("removed");

    let proc = format!("/proc/{}", server.pid());
    assert!(std::path::Path::new(&proc).exists());
    drop(server);
    assert!(!std::path::Path::new(&proc).exists(), "the server outlived its value");
}

#[tokio::test]
async fn several_run_side_by_side() {
    let (one, other) = tokio::join!(Garage::start(), Garage::start());
    let (one, other) = (one.expect("starts"), other.expect("starts"));
    assert_ne!(one.endpoint(), other.endpoint());
    one.create_bucket("bucket").await.expect("made");
    let seen = client(&other).list_buckets().send().await.expect("listed");
    assert!(seen.buckets().is_empty());
}
