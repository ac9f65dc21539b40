//! Tablespaces: mapped, or left behind and said so, by copies, archives and scripts.

use super::*;

const TABLES: &str = "
    CREATE TABLE plain (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
    CREATE TABLE placed (id int GENERATED ALWAYS AS IDENTITY, name text, a int,
        CONSTRAINT placed_pkey PRIMARY KEY (id) WITH (fillfactor = 70) USING INDEX TABLESPACE slow DEFERRABLE)
        WITH (fillfactor = 50) TABLESPACE fast;
    CREATE INDEX placed_some ON placed (name) TABLESPACE fast WHERE a > 0;
    CREATE MATERIALIZED VIEW placed_view TABLESPACE fast AS SELECT count(*) FROM placed;
    CREATE TABLE parts (id int NOT NULL) PARTITION BY RANGE (id) TABLESPACE fast;
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20) TABLESPACE pg_default;
    CREATE INDEX parts_id ON parts (id) TABLESPACE slow;
    INSERT INTO plain (name) VALUES ('a'); INSERT INTO placed (name, a) VALUES ('b', 1); INSERT INTO parts VALUES (1), (11);";

/// What lies elsewhere than its database.
const PLACES: &str = "SELECT c.relname, t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace \
                      WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname COLLATE \"C\"";

fn make(server: &PgServer, names: &[&str]) {
    // From the next session on: a folder within the server's own.
    server.psql("postgres", "ALTER ROLE CURRENT_USER SET allow_in_place_tablespaces = on").unwrap();
    for name in names {
        server.psql("postgres", &format!("CREATE TABLESPACE {name} LOCATION ''")).unwrap();
    }
}

fn copy_recipe(server: &PgServer, database: &str, with: &Value) -> String {
    json!({
        "godwit": "1", "name": "copy",
        "inputs": { "source_url": { "type": "url" }, "target_url": { "type": "url", "default": server.url(database) } },
        "connections": {
            "source": { "kind": "postgres", "url": "${inputs.source_url}" },
            "target": { "kind": "postgres", "url": "${inputs.target_url}" }
        },
        "steps": [{
            "id": "copy", "plugin": "postgres-copy",
            "grant": {
                "source": { "connection": "source", "access": "read" },
                "target": { "connection": "target", "access": "write" }
            },
            "with": with
        }]
    })
    .to_string()
    .replace(&format!(",\"default\":{}", json!(server.url(database))), ",\"env\":\"TARGET_URL\"")
}

#[test]
fn what_lies_in_a_tablespace_goes_to_the_one_that_stands_for_it() {
    let bench = Bench::start(&[Major::V15, Major::V18]);
    let (source, server) = (bench.source(), bench.last());
    make(source, &["fast", "slow"]);
    make(server, &["ssd", "slow"]);
    source.psql(SOURCE, TABLES).unwrap();
    let before = source.psql(SOURCE, PLACES).unwrap();
    assert!(before.contains("placed_pkey|slow") && before.contains("parts|fast"), "{before}");
    let mapped = before.replace("|fast", "|ssd");
    let map = json!({ "fast": "ssd", "slow": "slow" });
    let copy = |database: &str, with: &Value| {
        bench.godwit.write("copy.json", copy_recipe(server, database, with));
        bench.godwit.write("target.env", format!("TARGET_URL={}\n", server.url(database)));
        bench.godwit.run(&["run", "copy.json", "--yes", "--env-file", "target.env"])
    };
    let places = |database: &str| server.psql(database, PLACES).unwrap();

    bench.create(server, "copied");
    let ran = copy("copied", &json!({ "tablespaces": map }));
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(places("copied"), mapped);
    // What has moved since is found.
    let (run, _) = bench.godwit.newest_run().unwrap();
    bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);
    server.psql("copied", "ALTER INDEX placed_some SET TABLESPACE slow").unwrap();
    let verified = bench.godwit.run(&["verify", &run, "--env-file", "target.env"]);
    assert!(verified.code == Some(3) && verified.stdout.contains("in tablespace ssd"), "{verified}");

    // Left behind, it is said.
    bench.create(server, "dropped");
    let ran = copy("dropped", &json!({ "tablespaces": { "slow": "slow" } }));
    assert_eq!(ran.code, Some(0), "{ran}");
    let expected: Vec<&str> = before.lines().filter(|line| line.ends_with("|slow")).collect();
    assert_eq!(places("dropped").lines().collect::<Vec<_>>(), expected);
    let (run, _) = bench.godwit.newest_run().unwrap();
    let report = bench.godwit.json(&["report", &run, "--json"]).to_string();
    assert!(report.contains("tablespace fast") && report.contains("stays behind"), "{report}");

    for (with, words) in [
        (json!({ "tablespaces": { "fast": "nowhere" } }), "tablespace nowhere is missing in the target"),
        (json!({ "tablespaces": { "other": "ssd" } }), "nothing lies in: other"),
    ] {
        bench.create(server, "refused");
        let refused = copy("refused", &with);
        assert!(refused.code != Some(0) && refused.stderr.contains(words), "{refused}");
        bench.assert_empty(server, "refused", words);
        server.psql("postgres", "DROP DATABASE refused").unwrap();
    }

    // By archives, ours and the stock tools' to and fro, and by a script.
    bench.dump(&json!({ "path": "mapped", "tablespaces": map }));
    bench.dump(&json!({ "path": "kept.dump", "format": "custom", "tablespaces": { "fast": "fast", "slow": "slow" } }));
    bench.dump(&json!({ "path": "mapped.sql", "format": "plain", "tablespaces": map }));
    bench.create(server, "stock");
    pg_restore(Major::V18, &bench.archive("mapped"), server, "stock", &[]);
    // A setting takes the sequences of identity columns along, there as with pg_dump's own.
    let tables =
        |text: &str| text.lines().filter(|l| !l.contains("_seq|")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(tables(&places("stock")), tables(&mapped));
    bench.create(server, "scripted");
    let mut psql = tool(Major::V18, "psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "--dbname", &server.url("scripted")]);
    stock(psql.arg("-f").arg(bench.archive("mapped.sql")));
    assert_eq!(tables(&places("scripted")), tables(&mapped));
    pg_dump(Major::V15, source, SOURCE, &["-Fd", "--no-owner"], &bench.archive("theirs"));
    for archive in ["kept.dump", "theirs"] {
        let database = format!("ours_{}", archive.replace('.', "_"));
        bench.create(server, &database);
        bench.restore(server, &database, &json!({ "path": archive, "tablespaces": map }));
        assert_eq!(places(&database), mapped, "{archive}");
    }
    bench.create(server, "without");
    bench.restore(server, "without", &json!({ "path": "theirs" }));
    assert_eq!(places("without"), "");
}
