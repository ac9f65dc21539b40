//! Parts of archives and scripts: sections, patterns, and what is in the way dropped first.

use super::*;

#[test]
fn a_script_may_drop_first_what_it_makes() {
    let bench = Bench::with_every_kind(&[Major::V16]);
    let server = bench.source();
    bench.dump(&json!({ "path": "all.sql", "format": "plain", "clean": true, "if_exists": true }));
    bench.dump(&json!({ "path": "strict.sql", "format": "plain", "clean": true, "schema_only": true }));
    bench.create(server, "scripted");
    let run = |script: &str| {
        let mut psql = tool(Major::V18, "psql");
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-o",
            "/dev/null",
            "--dbname",
            &server.url("scripted"),
            "-f",
        ]);
        psql.env("PGOPTIONS", "-c client_min_messages=warning").arg(bench.archive(script)).output().unwrap()
    };
    let strict = run("strict.sql");
    let said = String::from_utf8_lossy(&strict.stderr);
    assert!(!strict.status.success() && said.contains("does not exist"), "{said}");
    for round in ["into nothing", "over what is there"] {
        let output = run("all.sql");
        let head: String =
            std::fs::read_to_string(bench.archive("all.sql")).unwrap().chars().take(8000).collect();
        assert!(output.status.success(), "{round}: {}\n{head}", String::from_utf8_lossy(&output.stderr));
        bench.assert_like_source(server, "scripted", round);
    }
    assert!(run("strict.sql").status.success(), "all of it is there now");
    bench.godwit.write("dump.json", dump_recipe(&json!({ "path": "x", "clean": true })));
    let refused = bench.godwit.run(&["run", "dump.json", "--yes"]);
    assert!(refused.stderr.contains("it takes `format` `plain`"), "{refused}");
}

#[test]
fn an_archive_is_restored_by_sections_and_over_what_is_there() {
    let bench = Bench::with_every_kind(&[Major::V16, Major::V18]);
    let (source, server) = (bench.source(), bench.last());
    pg_dump(Major::V16, source, SOURCE, &["-Fd", "--no-owner"], &bench.archive("stock"));
    bench.create(server, "whole");
    for section in ["pre-data", "data", "post-data"] {
        bench.restore(server, "whole", &json!({ "path": "stock", "sections": [section] }));
    }
    bench.assert_like_source(server, "whole", "section by section");

    // Something else is there by now, under the same names.
    server
        .psql(
            "whole",
            "ALTER TABLE app.users ADD COLUMN other int; CREATE TABLE app.mine (a int); INSERT INTO app.mine VALUES (7);
             DROP MATERIALIZED VIEW app.totals CASCADE",
        )
        .unwrap();
    bench.restore_recipe(server, "whole", &json!({ "path": "stock" }));
    let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert!(refused.stderr.contains("isn't empty") && refused.stderr.contains("`clean`"), "{refused}");
    bench.restore_recipe(server, "whole", &json!({ "path": "stock", "clean": true }));
    let plan = bench.godwit.ok(&["plan", "restore.json", "--env-file", "target.env"]);
    assert!(plan.stdout.contains("nothing brings it back") && plan.stdout.contains("! "), "{plan}");
    let run = bench.restore(server, "whole", &json!({ "path": "stock", "clean": true }));
    assert_eq!(server.psql("whole", "SELECT a FROM app.mine").unwrap(), "7");
    server.psql("whole", "DROP TABLE app.mine").unwrap();
    bench.assert_like_source(server, "whole", "over what was there");
    let undo = bench.godwit.run(&["undo", &run, "--plan", "--env-file", "target.env"]);
    assert!(undo.stdout.contains("can't be undone: the plugin knows no way back"), "{undo}");

    // Into a schema that has no keys yet, and then the keys.
    bench.create(server, "later");
    bench.restore(server, "later", &json!({ "path": "stock", "sections": ["pre-data"] }));
    bench.restore(server, "later", &json!({ "path": "stock", "sections": ["data", "post-data"] }));
    bench.assert_like_source(server, "later", "rows and keys at once");
}

#[test]
fn what_an_archive_holds_is_chosen_by_patterns() {
    let bench = Bench::start(&[Major::V16]);
    let server = bench.source();
    server
        .psql(
            SOURCE,
            "CREATE SCHEMA audit; CREATE SCHEMA shop; CREATE EXTENSION vector;
             CREATE TABLE audit.log (a int); CREATE TABLE shop.item (a int PRIMARY KEY); CREATE TABLE shop.big (a int);
             INSERT INTO audit.log VALUES (1); INSERT INTO shop.item VALUES (1); INSERT INTO shop.big VALUES (1)",
        )
        .unwrap();
    let chosen = json!({
        "schemas": { "exclude": ["audit"] }, "table_data": { "exclude": ["shop.big"] }, "extensions": { "exclude": ["vector"] }
    });
    let with = |path: &str, more: &Value| {
        let mut with = more.clone();
        with["path"] = json!(path);
        with
    };
    let there =
        "SELECT string_agg(n.nspname || '.' || c.relname, ' ' ORDER BY 1) FROM pg_class c JOIN pg_namespace n
        ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname IN ('audit', 'shop', 'public')";
    let assert_chosen = |database: &str| {
        assert_eq!(server.psql(database, there).unwrap(), "shop.big shop.item", "{database}");
        assert_eq!(server.psql(database, "SELECT count(*) FROM shop.big").unwrap(), "0", "{database}");
        assert_eq!(server.psql(database, "SELECT count(*) FROM shop.item").unwrap(), "1", "{database}");
        let extensions = "SELECT count(*) FROM pg_extension WHERE extname = 'vector'";
        assert_eq!(server.psql(database, extensions).unwrap(), "0", "{database}");
        assert_eq!(
            server.psql(database, "SELECT count(*) FROM pg_namespace WHERE nspname = 'audit'").unwrap(),
            "0"
        );
    };
    bench.dump(&with("chosen", &chosen));
    bench.create(server, "by_dump");
    pg_restore(Major::V16, &bench.archive("chosen"), server, "by_dump", &[]);
    assert_chosen("by_dump");

    bench.dump(&json!({ "path": "all" }));
    bench.create(server, "by_restore");
    bench.restore(server, "by_restore", &with("all", &chosen));
    assert_chosen("by_restore");

    bench.dump(&json!({ "path": "rows", "sections": ["data"] }));
    let list = stock(tool(Major::V16, "pg_restore").arg("-l").arg(bench.archive("rows")));
    assert!(list.contains("TABLE DATA shop item") && !list.contains(" TABLE shop item"), "{list}");
    let idle =
        json!({ "path": "all", "schemas": { "include": ["shp"] }, "extensions": { "exclude": ["x"] } });
    bench.restore_recipe(server, "by_restore", &idle);
    let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert!(
        refused.stderr.contains("schemas `shp`") && refused.stderr.contains("extensions `x`"),
        "{refused}"
    );
}

#[test]
fn one_file_is_restored_in_parallel_by_the_stock_tools_and_by_us() {
    let bench = Bench::with_every_kind(&[Major::V16, Major::V18]);
    let server = bench.last();
    for (name, compression, version) in
        [("gzip", "gzip", "1.14"), ("none", "none", "1.14"), ("zstd", "zstd", "1.16"), ("lz4", "lz4", "1.15")]
    {
        let path = format!("{name}.dump");
        let run = bench.dump(&json!({
            "path": path, "format": "custom", "compression": compression, "archive_version": version
        }));
        let files = std::fs::read_dir(bench.godwit.path("archives")).unwrap();
        let files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(files, std::slice::from_ref(&path), "the parts are gone");
        // Which compressions the wheel's tools have is the builder's choice; gzip and none they all have.
        if matches!(name, "gzip" | "none") {
            let database = format!("stock_{name}");
            bench.create(server, &database);
            pg_restore(Major::V18, &bench.archive(&path), server, &database, &["-j2"]);
            bench.assert_like_source(server, &database, &format!("pg_restore -j2 of {name}"));
        }
        let database = format!("ours_{name}");
        bench.create(server, &database);
        bench.restore(server, &database, &json!({ "path": path }));
        bench.assert_like_source(server, &database, &format!("our own, {name}"));
        bench.godwit.ok(&["verify", &run]);
        bench.godwit.ok(&["undo", &run, "--yes"]);
        assert!(!bench.archive(&path).exists());
    }
}

#[test]
fn an_archive_that_was_cut_off_is_refused_before_anything_is_touched() {
    let bench = Bench::start(&[Major::V16]);
    let server = bench.source();
    server
        .psql(
            SOURCE,
            "CREATE TABLE public.a (t text); CREATE TABLE public.z (t text);
             INSERT INTO public.a VALUES ('first'); INSERT INTO public.z SELECT md5(i::text) FROM generate_series(1, 20000) i",
        )
        .unwrap();
    bench.create(server, "untouched");
    for compression in ["none", "gzip", "lz4", "zstd"] {
        bench.dump(&json!({ "path": compression, "compression": compression }));
        let of = |end: &str| {
            let files =
                std::fs::read_dir(bench.archive(compression)).unwrap().map(|file| file.unwrap().path());
            let mut files: Vec<_> = files.filter(|file| file.to_string_lossy().contains(end)).collect();
            files.sort_by_key(|file| std::fs::metadata(file).unwrap().len());
            files.pop().unwrap()
        };
        let largest = of(".dat");
        let whole = std::fs::read(&largest).unwrap();
        for left in [whole.len() - 1, whole.len() / 2, 3] {
            std::fs::write(&largest, &whole[..left]).unwrap();
            bench.restore_recipe(server, "untouched", &json!({ "path": compression }));
            let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
            assert!(refused.stderr.contains("is damaged"), "{compression}, {left} bytes: {refused}");
            assert!(refused.stderr.contains("public.z"), "{refused}");
            bench.assert_empty(server, "untouched", compression);
        }
        std::fs::remove_file(&largest).unwrap();
        let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
        assert!(refused.stderr.contains("with the rows of TABLE DATA public.z is missing"), "{refused}");
        std::fs::write(&largest, &whole).unwrap();
    }
    bench.restore(server, "untouched", &json!({ "path": "zstd" }));
    assert_eq!(server.psql("untouched", "SELECT count(*) FROM public.z").unwrap(), "20000");
}
