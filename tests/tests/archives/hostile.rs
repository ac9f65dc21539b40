//! A plugin that loads large objects from where nobody let it.

use godwit_test_guests::FORGED_OBJECTS;

use super::*;

#[test]
fn large_objects_come_from_what_was_granted_alone() {
    let bench = Bench::start(&[Major::V16]);
    let server = bench.source();
    let godwit = &bench.godwit;
    godwit.write("forged.wasm", FORGED_OBJECTS);
    godwit.write("outside/blobs.toc", "1 blob_1.dat\n");
    godwit.write("outside/blob_1.dat", "a secret");
    godwit.write("elsewhere/blobs.toc", "1 blob_1.dat\n");
    godwit.write("elsewhere/blob_1.dat", "a secret");
    godwit.write("archives/blobs.toc", "2 blob_2.dat\n");
    godwit.write("archives/blob_2.dat", "no secret");
    godwit.write("archives/crooked.toc", "1 ../outside/blob_1.dat\n");
    let recipe = |how: &str| {
        json!({
            "godwit": "1", "name": "forged",
            "inputs": { "source_url": { "type": "url" } },
            "connections": {
                "target": { "kind": "postgres", "url": "${inputs.source_url}" },
                "archives": { "kind": "dir", "path": "archives" },
                // Known to the recipe, and granted to nobody.
                "elsewhere": { "kind": "dir", "path": "elsewhere" }
            },
            "steps": [{
                "id": "forge", "plugin": "./forged.wasm", "with": { "how": how },
                "grant": {
                    "files": { "connection": "archives", "access": "write" },
                    "db": { "connection": "target", "access": "write" }
                }
            }]
        })
        .to_string()
    };
    let objects = || {
        server
            .psql(
                SOURCE,
                "SELECT string_agg(convert_from(lo_get(oid), 'UTF8'), ',') FROM pg_largeobject_metadata",
            )
            .unwrap()
    };
    for (how, word) in [
        ("source", "no grant for slot `someone-elses`"),
        ("further source", "no grant for slot `someone-elses`"),
        ("further kind", "slot `db` of step `forge` is a postgres connection"),
        ("sink", "no grant for slot `someone-elses`"),
        ("kind of sink", "slot `files` of step `forge` is a dir connection"),
        ("outside", "../outside/blobs.toc"),
        ("further outside", "../outside/blobs.toc"),
        ("absolute", "/etc/passwd"),
        ("block outside", "../outside/blobs.toc"),
        ("listed outside", "names no file"),
    ] {
        godwit.write("forged.json", recipe(how));
        let ran = godwit.run(&["run", "forged.json", "--yes"]);
        assert!(!matches!(ran.code, Some(0) | None), "{how}: {ran}");
        assert!(ran.stderr.contains(word), "{how}: `{word}` isn't said: {ran}");
        assert!(!format!("{ran}").contains("a secret"), "{how}: {ran}");
        assert_eq!(objects(), "", "{how}");
        if let Some((run, status)) = godwit.newest_run()
            && status != "done"
            && status != "undone"
        {
            godwit.ok(&["undo", &run, "--yes"]);
        }
    }
    // The same plugin, where it keeps to what it has.
    godwit.write("forged.json", recipe("honest"));
    godwit.ok(&["run", "forged.json", "--yes"]);
    assert_eq!(objects(), "no secret");
}
