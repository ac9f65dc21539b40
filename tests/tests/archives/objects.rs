//! Large objects in archives and scripts: ours by the stock tools, stock ones by us.

use super::*;

/// One without a byte, one with a hole, one of many pages that aren't text, and many small ones; owned, granted, commented.
const OBJECTS: &str = "
    SELECT lo_create(100000);
    SELECT lo_create(200000); SELECT lo_put(200000, 5000, 'after the hole'); SELECT lo_put(200000, 3, 'a');
    SELECT lo_from_bytea(3000000000, (SELECT string_agg(sha256(i::text::bytea), '') FROM generate_series(1, 9000) i));
    SELECT count(lo_from_bytea(400000 + i, i::text::bytea)) FROM generate_series(1, 1500) i;
    COMMENT ON LARGE OBJECT 200000 IS 'it''s sparse';
    CREATE TABLE holders (id int PRIMARY KEY, object oid);
    INSERT INTO holders VALUES (1, 100000), (2, 200000);";

const RIGHTS: &str = "
    GRANT SELECT ON LARGE OBJECT 100000 TO lo_reader;
    ALTER LARGE OBJECT 3000000000 OWNER TO lo_owner; GRANT UPDATE ON LARGE OBJECT 3000000000 TO lo_reader;
    DO $$ BEGIN FOR o IN 400001..400020 LOOP
        EXECUTE format('ALTER LARGE OBJECT %s OWNER TO lo_owner', o);
        EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO lo_reader', o); END LOOP; END $$;";

fn with_objects(majors: &[Major]) -> Bench {
    let bench = Bench::start(majors);
    for server in &bench.servers {
        server.psql(SOURCE_OF_ROLES, "CREATE ROLE lo_reader; CREATE ROLE lo_owner").unwrap();
    }
    bench.source().psql(SOURCE, OBJECTS).unwrap();
    bench.source().psql(SOURCE, RIGHTS).unwrap();
    bench
}

const SOURCE_OF_ROLES: &str = "postgres";

impl Bench {
    fn assert_same_objects(&self, server: &PgServer, database: &str, context: &str) {
        let lines = |server: &PgServer, database: &str| database::contents(server, database).join("\n");
        assert_alike(&lines(self.source(), SOURCE), &lines(server, database), context);
        assert_eq!(database::markers(server, database), "", "a marker is left: {context}");
    }
}

fn objects(server: &PgServer, database: &str) -> String {
    server.psql(database, "SELECT count(*) FROM pg_largeobject_metadata").unwrap()
}

#[test]
fn stock_tools_restore_our_large_objects() {
    let bench = with_objects(&[Major::V15, Major::V16, Major::V18]);
    let rights = json!({ "owners": true, "privileges": true });
    let dump = |with: Value| {
        let mut all = rights.clone();
        all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        bench.dump(&all)
    };
    let folder = dump(json!({ "path": "folder" }));
    dump(json!({ "path": "file.dump", "format": "custom" }));
    dump(json!({ "path": "plain.dump", "format": "custom", "compression": "none" }));
    dump(json!({ "path": "zstd", "compression": "zstd" }));
    dump(json!({ "path": "newest.dump", "format": "custom", "archive_version": "1.16" }));
    let script = dump(json!({ "path": "all.sql", "format": "plain", "clean": true, "if_exists": true }));
    let left: Vec<String> = std::fs::read_dir(bench.archive("folder"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("blob_"))
        .collect();
    assert!(
        left.contains(&"blobs.toc".to_owned()) && left.iter().all(|name| !name.contains("rows")),
        "{left:?}"
    );
    for server in &bench.servers {
        let major = server.major();
        for (archive, options, least) in [
            ("folder", &["-j2"][..], Major::V15),
            ("file.dump", &[], Major::V15),
            ("plain.dump", &["-j2"], Major::V15),
            ("newest.dump", &[], Major::V18),
        ] {
            if major < least {
                continue;
            }
            let database = format!("by_{}", archive.replace('.', "_"));
            bench.create(server, &database);
            pg_restore(major, &bench.archive(archive), server, &database, options);
            bench.assert_same_objects(server, &database, &format!("pg_restore {major} of {archive}"));
        }
        // Into nothing, and over what is there.
        bench.create(server, "scripted");
        for round in ["first", "again"] {
            let mut psql = tool(Major::V18, "psql");
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "--dbname"]);
            stock(psql.arg(server.url("scripted")).arg("-f").arg(bench.archive("all.sql")));
            bench.assert_same_objects(server, "scripted", &format!("psql into {major}, {round}"));
        }
    }
    // Ours, too; verified, undone.
    let server = bench.last();
    for archive in ["folder", "file.dump", "zstd"] {
        let database = format!("ours_{}", archive.replace('.', "_"));
        bench.create(server, &database);
        let mut with = rights.clone();
        with["path"] = json!(archive);
        let run = bench.restore(server, &database, &with);
        bench.assert_same_objects(server, &database, archive);
        bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);
        bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
        assert_eq!(objects(server, &database), "0");
    }
    // An altered byte is seen, and the archives go with their runs.
    bench.godwit.ok(&["verify", &folder]);
    let blob = bench.archive("folder/blob_200000.dat.gz");
    let whole = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, &whole[..whole.len() - 1]).unwrap();
    let verified = bench.godwit.run(&["verify", &folder]);
    assert_eq!(verified.code, Some(3), "{verified}");
    assert!(verified.stdout.contains("large objects"), "{verified}");
    bench.create(server, "never");
    bench.restore_recipe(server, "never", &json!({ "path": "folder" }));
    let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert!(refused.stderr.contains("blob_200000.dat.gz") && refused.stderr.contains("damaged"), "{refused}");
    std::fs::write(&blob, &whole).unwrap();
    for run in [folder, script] {
        bench.godwit.ok(&["undo", &run, "--yes"]);
    }
    assert!(!bench.archive("folder").exists() && !bench.archive("all.sql").exists());
}

#[test]
fn large_objects_of_stock_archives_are_restored() {
    for major in Major::EVERY {
        let bench = with_objects(&[major]);
        let server = bench.source();
        for (name, options) in forms(major) {
            if name == "directory-root" {
                continue;
            }
            pg_dump(major, server, SOURCE, &options, &bench.archive(name));
            let database = name.replace('-', "_");
            bench.create(server, &database);
            let with = json!({ "path": name, "owners": true, "privileges": true });
            let run = bench.restore(server, &database, &with);
            bench.assert_same_objects(server, &database, &format!("{major}: {name}"));
            if name == "custom" {
                bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);
                bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
                assert_eq!(objects(server, &database), "0");
            }
        }
        // Left out by name; and none go where some are.
        bench.create(server, "without");
        bench.restore(server, "without", &json!({ "path": "custom", "skip": ["BLOBS"] }));
        assert_eq!(objects(server, "without"), "0");
        bench.create(server, "taken");
        server.psql("taken", "SELECT lo_create(7)").unwrap();
        bench.restore_recipe(server, "taken", &json!({ "path": "custom" }));
        let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
        assert!(refused.stderr.contains("holds 1 large objects already"), "{refused}");
        assert_eq!(objects(server, "taken"), "1");
    }
}
