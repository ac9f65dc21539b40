//! A target that went wrong behind everybody's back, put right through the binary.

use serde_json::json;

use crate::pair::{Pair, RUN, recipe};

#[test]
fn what_differs_is_shown_asked_about_and_copied_again() {
    let pair = Pair::start();
    let godwit = pair.fresh("app");
    godwit.ok(&RUN);
    pair.target
        .psql(
            "app",
            "UPDATE big SET body = '\\x00' WHERE id IN (5, 2999);
             UPDATE owners SET name = name || '!' WHERE id = 7;
             DELETE FROM big WHERE id BETWEEN 100 AND 110",
        )
        .unwrap();
    godwit.write("reading.json", recipe("postgres-verify", "read", json!({ "repair": true }), 5));
    let denied = godwit.run(&["run", "reading.json", "--yes"]);
    assert_eq!(denied.code, Some(4), "{denied}");
    assert!(denied.stderr.contains("\"access\": \"write\""), "{denied}");

    godwit.write("repair.json", recipe("postgres-verify", "write", json!({ "repair": true }), 5));
    let plan = godwit.ok(&["plan", "repair.json"]);
    assert!(plan.stdout.contains("DELETE FROM ONLY public.big WHERE"), "{plan}");
    assert!(plan.stdout.contains("2 destroy"), "{plan}");
    // Killed in its middle, it goes on with what it has decided.
    let killed = godwit.killed_at("after:settle:2", &["run", "repair.json", "--yes"]);
    assert_eq!(killed.code, None, "{killed}");
    godwit.resume_newest("a repair that was killed");
    pair.assert_copied("app", "repaired");
    let (run, _) = godwit.newest_run().unwrap();
    let refused = godwit.run(&["undo", &run, "--yes"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("--keep-irreversible"), "{refused}");
}
