//! What comes to nothing is not tried for ever, however many series of attempts lie within each other.

use std::time::{Duration, Instant};

use godwit_lab::s3::Fault;

use super::common::*;
use super::lab::{HELD, Lab, original};

const SILENCE: Duration = Duration::from_millis(300);

/// A streamed PUT is tried again, and for each of its attempts the GET that feeds it.
#[tokio::test]
async fn series_within_series_have_one_bound() {
    let mut lab = Lab::new().await;
    lab.fill("streamed", &original("streamed"));
    let effect = lab.rig.copy("streamed");
    lab.rig.objects = Lab::objects(&lab.connections, SILENCE).unwrap();
    lab.rig.source.inject(Fault::HalfOpen { millis: None, times: 1000 }.on("GetObject"));
    let ledger = MemoryLedger::default();
    let begun = Instant::now();
    let error = lab.rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    assert!(error.is_retryable() && error.message.contains("streamed"), "{error}");
    let (first, took) = (lab.rig.source.seen("GetObject"), begun.elapsed());
    // Five silences from the first failure on; twenty-five would be possible.
    assert!((2..=8).contains(&first), "{first} attempts");
    assert!(took < 20 * SILENCE, "{took:?}");
    // The engine may try it again: once, then.
    let error = lab.rig.perform_with(&effect, &ledger, true).await.unwrap_err();
    assert!(error.message.contains("streamed"), "{error}");
    assert_eq!(lab.rig.source.seen("GetObject"), first + 1);
    lab.clear();
    lab.rig.perform_with(&effect, &ledger, true).await.unwrap();
    assert!(lab.rig.target.get("into", "streamed").unwrap().bytes == original("streamed"));
}

/// A large object whose parts need another attempt each takes as long as it takes: what arrives renews the patience.
#[tokio::test]
async fn what_arrives_renews_it() {
    let mut lab = Lab::new().await;
    let content = bytes(24 * HELD as usize);
    lab.fill("k", &content);
    let effect = lab.rig.copy("k");
    let silence = 2 * SILENCE;
    lab.rig.objects = Lab::objects(&lab.connections, silence).unwrap();
    // Four at a time: each part's GET is silent once.
    for part in 0..24u64 {
        let range = format!("bytes={}-{}", part * HELD, (part + 1) * HELD - 1);
        lab.rig
            .source
            .inject(Fault::HalfOpen { millis: None, times: 1 }.on("GetObject").header("range", range));
    }
    let begun = Instant::now();
    lab.rig.perform(&effect).await.unwrap();
    assert!(begun.elapsed() > 5 * silence, "the bound was not reached");
    assert!(lab.rig.target.get("into", "k").unwrap().bytes == content);
}
