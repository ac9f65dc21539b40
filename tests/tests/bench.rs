//! Whether everything that `cargo xtask bench plugin` measures can be measured. What it costs is not asserted.

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
