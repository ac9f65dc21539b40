//! Whether everything that `cargo xtask bench plugin` and `bench objects` measure can be measured. What it costs is not
//! asserted.

use godwit_tests::bench::objects::{self, Own, Place, Set};
use godwit_tests::bench::{Effort, SECTIONS, report};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_measured() {
    let text = report(PROGRAM, Effort::GLANCE, &SECTIONS).await;
    for line in [
        "upper case",
        "mask-columns, hash",
        "guest → host, context.granted",
        "host → guest, pipe.push",
        "godwit check copy-postgres, warm",
        "postgres-copy from the cache: first call ended",
        "copy-postgres, 10 tables of 20 rows",
        "minio-to-r2, 5 objects",
    ] {
        assert!(text.lines().any(|written| written.contains(line)), "{line} is missing:\n{text}");
    }
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let calls: Vec<&str> = text.lines().filter(|line| line.contains(" calls; somebody waited")).collect();
    assert!(calls.len() == 2 && calls.iter().all(|line| !line.trim().starts_with("0 calls")), "{text}");
}

/// Each way moves the same bytes on both servers, or this fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ways_of_copying_objects_can_be_measured() {
    let own = Own {
        godwit: PROGRAM,
        raw_put: env!("CARGO_BIN_EXE_raw-put"),
        server: env!("CARGO_BIN_EXE_s3-server"),
    };
    let measured = objects::report(own, objects::Effort::GLANCE, &Place::ALL, &Set::ALL).await;
    measured.unwrap_or_else(|why| panic!("{why}"));
}
