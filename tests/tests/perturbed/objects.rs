//! `s3-to-r2`: its copies change what the target lists.

use godwit_lab::s3::{Fault, S3Server};
use godwit_tests::process::Godwit;

use crate::{PROGRAM, cut_off, refused, resumed};

const OBJECTS: usize = 24;
/// An object that is never copied before the cut: the target is too busy for it.
const LAGGARD: &str = "dir/020";

/// Two stores: the source has a bucket of small objects, the target another's bucket.
struct Pair {
    source: S3Server,
    target: S3Server,
}

impl Pair {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async {
            let small_pages = || S3Server::builder().page_size(5);
            (small_pages().start().await.unwrap(), small_pages().start().await.unwrap())
        });
        source.create_bucket("data").unwrap();
        for number in 0..OBJECTS {
            source.put("data", &key(number), key(number).into_bytes(), &[]).unwrap();
        }
        target.create_bucket("data").unwrap();
        target.put("data", "elsewhere", b"a stranger's".to_vec(), &[]).unwrap();
        Self { source, target }
    }

    /// A run that was cut off; of the copies, at least that of the laggard was not made.
    fn cut_off(&self, moment: &str) -> (Godwit, String) {
        let godwit = Godwit::new(PROGRAM)
            .between(&self.source, &self.target)
            .env("GODWIT_INPUT_BUCKETS", r#"["data"]"#);
        self.target.inject(Fault::Unavailable { times: u32::MAX }.on("PutObject").key(LAGGARD));
        let run = cut_off(&godwit, moment, "minio-to-r2");
        self.target.clear_faults();
        assert!(self.target.get("data", LAGGARD).is_none(), "{moment}");
        (godwit, run)
    }

    /// The target has the source's objects, as they were at first, and the stranger's.
    fn assert_copied(&self, context: &str) {
        for key in (0..OBJECTS).map(key) {
            let there =
                self.target.get("data", &key).unwrap_or_else(|| panic!("{context}: {key} is missing"));
            assert_eq!(there.bytes, key.as_bytes(), "{context}: {key}");
        }
        assert_eq!(self.target.get("data", "elsewhere").unwrap().bytes, &b"a stranger's"[..], "{context}");
    }
}

fn key(number: usize) -> String {
    format!("dir/{number:03}")
}

/// While verdicts are taken, when they are taken and nothing is copied, and among the copies.
const MOMENTS: [&str; 5] =
    ["after:memo:1", "before:intend:1", "after:intend:1", "before:settle:1", "after:settle:9"];

#[test]
fn objects_come_at_the_source() {
    for moment in MOMENTS {
        let pair = Pair::start();
        let (godwit, run) = pair.cut_off(moment);
        // Before, among and behind what was listed.
        for key in ["aaa", "dir/003b", "zzz"] {
            pair.source.put("data", key, b"late".to_vec(), &[]).unwrap();
        }
        resumed(&godwit, &run, moment);
        pair.assert_copied(moment);
        let there = || ["aaa", "dir/003b", "zzz"].map(|key| pair.target.get("data", key).is_some());
        if moment == "after:memo:1" {
            assert_eq!(there(), [true; 3], "{moment}: nothing had been compared yet");
            continue;
        }
        // The verdicts stand: what came later is for another run, which copies just that.
        assert_eq!(there(), [false; 3], "{moment}");
        pair.target.forget_requests();
        godwit.ok(&["run", "minio-to-r2", "--yes"]);
        assert_eq!(there(), [true; 3], "{moment}");
        let requests = pair.target.requests();
        let mut written: Vec<_> = requests
            .iter()
            .filter(|request| request.writes())
            .filter_map(|request| request.key.as_deref())
            // The host's own, which is gone again.
            .filter(|key| !key.contains(".godwit-probe-"))
            .collect();
        written.sort_unstable();
        written.dedup();
        assert_eq!(written, ["aaa", "dir/003b", "zzz"], "{moment}");
    }
}

#[test]
fn an_object_changes_or_goes_at_the_source() {
    for moment in ["after:intend:1", "after:settle:9"] {
        for gone in [true, false] {
            let context = format!("{moment}, gone: {gone}");
            let pair = Pair::start();
            let (godwit, run) = pair.cut_off(moment);
            if gone {
                pair.source.remove("data", LAGGARD).unwrap();
            } else {
                pair.source.put("data", LAGGARD, b"changed".to_vec(), &[]).unwrap();
            }
            refused(&godwit, &run, &[LAGGARD], &context);
            assert!(pair.target.get("data", LAGGARD).is_none(), "{context}");
            pair.source.put("data", LAGGARD, LAGGARD.as_bytes().to_vec(), &[]).unwrap();
            resumed(&godwit, &run, &context);
            pair.assert_copied(&context);
        }
    }
}

#[test]
fn a_stranger_writes_to_the_target() {
    for moment in ["before:intend:1", "after:intend:1", "after:settle:9"] {
        let pair = Pair::start();
        let (godwit, run) = pair.cut_off(moment);
        pair.target.put("data", LAGGARD, b"a stranger's, too".to_vec(), &[]).unwrap();
        pair.target.put("data", "dir/elsewhere", b"in nobody's way".to_vec(), &[]).unwrap();
        refused(&godwit, &run, &[LAGGARD], moment);
        assert_eq!(pair.target.get("data", LAGGARD).unwrap().bytes, &b"a stranger's, too"[..], "{moment}");
        pair.target.remove("data", LAGGARD).unwrap();
        resumed(&godwit, &run, moment);
        pair.assert_copied(moment);
        // Undo takes the copies and leaves what is others'.
        godwit.ok(&["undo", &run, "--yes"]);
        assert_eq!(pair.target.keys("data"), ["dir/elsewhere", "elsewhere"], "{moment}");
    }
}

#[test]
fn a_stranger_takes_a_copy_away() {
    let pair = Pair::start();
    let (godwit, run) = pair.cut_off("after:settle:20");
    let there = pair.target.keys("data");
    // Of 23 copies, 20 are journalled: more than 3 of those that are there.
    let taken: Vec<&String> = there.iter().filter(|key| key.starts_with("dir/")).take(4).collect();
    for key in &taken {
        pair.target.remove("data", key).unwrap();
    }
    // What is journalled as done isn't done again, and isn't taken on trust either.
    let ran = refused(&godwit, &run, &["is missing"], "taken");
    assert!(taken.iter().any(|key| ran.stderr.contains(key.as_str())), "{ran}");
    godwit.ok(&["undo", &run, "--yes", "--discard-later-changes", "all"]);
    assert_eq!(pair.target.keys("data"), ["elsewhere"]);
}
