//! Archives in other encodings than UTF-8, restored where the server converts, and refused where nothing can.

use super::*;

/// Names, texts and rows with a word in them.
const SCHEMA: &str = "SET client_encoding = 'UTF8';
    CREATE SCHEMA \"s_WORD\";
    CREATE TYPE \"s_WORD\".kind AS ENUM ('WORD', 'other');
    CREATE TABLE \"s_WORD\".\"t_WORD\" (id int PRIMARY KEY, \"c_WORD\" text DEFAULT 'WORD' NOT NULL, k \"s_WORD\".kind, b bytea);
    COMMENT ON TABLE \"s_WORD\".\"t_WORD\" IS 'of; WORD\\';
    CREATE INDEX \"i_WORD\" ON \"s_WORD\".\"t_WORD\" (\"c_WORD\") WHERE \"c_WORD\" <> 'WORD;';
    CREATE FUNCTION \"s_WORD\".f() RETURNS text LANGUAGE sql AS $WORD$ SELECT 'WORD;'::text $WORD$;
    CREATE VIEW \"s_WORD\".v AS SELECT 'WORD'::text AS \"v_WORD\", count(*) AS n FROM \"s_WORD\".\"t_WORD\";
    INSERT INTO \"s_WORD\".\"t_WORD\"
        SELECT i, repeat('WORD', i) || E'\\t\\\\' || chr(10), 'WORD', '\\xe900ff' FROM generate_series(1, 200) i;
    CREATE TABLE plain (id int PRIMARY KEY, t text);
    INSERT INTO plain VALUES (1, 'WORD'), (2, NULL);
    SELECT lo_from_bytea(4711, '\\x00e95cff'); COMMENT ON LARGE OBJECT 4711 IS 'WORD';";

fn create(server: &PgServer, name: &str, encoding: &str) {
    let sql = format!(
        "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C' LOCALE_PROVIDER libc"
    );
    server.psql("postgres", &sql).unwrap();
}

/// Schema, rows and large objects, all of it in UTF-8.
fn held(server: &PgServer, database: &str, word: &str) -> String {
    let sql =
        "SET client_encoding = 'UTF8'; COPY (SELECT * FROM \"s_WORD\".\"t_WORD\" ORDER BY id) TO STDOUT;
        COPY (SELECT * FROM plain ORDER BY id) TO STDOUT; SELECT \"s_WORD\".f();
        SELECT oid, md5(lo_get(oid)), obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata";
    let rows = server.psql(database, &sql.replace("WORD", word)).unwrap();
    let options = ["--schema-only", "--encoding=UTF8", "--no-owner", "--no-privileges"];
    database::dump_with(server, database, &options) + "\n" + &rows
}

impl Bench {
    /// Runs `postgres-restore`, which refuses; the target stays as it is.
    fn refused(&self, server: &PgServer, database: &str, with: &Value, words: &[&str]) {
        self.restore_recipe(server, database, with);
        let ran = self.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
        assert!(matches!(ran.code, Some(1 | 2)), "{with}: {ran}");
        for word in words {
            assert!(ran.stderr.contains(word), "{with}: `{word}` isn't said: {ran}");
        }
        self.assert_empty(server, database, &with.to_string());
    }
}

#[test]
fn what_a_server_can_convert_is_restored() {
    let bench = Bench::start(&[Major::V15, Major::V16, Major::V18]);
    let [oldest, older, newest] = [0, 1, 2].map(|at| &bench.servers[at]);
    // Characters of Shift JIS end with bytes that are backslashes and bars in ASCII.
    let cases = [
        (oldest, "LATIN1", "LATIN1", "été¿"),
        (older, "LATIN2", "LATIN2", "łódź"),
        (newest, "EUC_JP", "EUC_JP", "日本ソ表"),
        (older, "EUC_JP", "SJIS", "日本ソ表"),
        (newest, "UTF8", "LATIN1", "été¿"),
        (newest, "UTF8", "GB18030", "中文\u{1f600}"),
    ];
    for (number, (server, of_database, of_archive, word)) in cases.into_iter().enumerate() {
        let source = format!("source_{number}");
        create(server, &source, of_database);
        server.psql(&source, &SCHEMA.replace("WORD", word)).unwrap();
        let expected = held(server, &source, word);
        for (form, options) in [("folder", "-Fd"), ("file", "-Fc")] {
            let name = format!("{form}_{number}");
            let mut options = vec![options];
            let encoding = format!("--encoding={of_archive}");
            if of_archive != of_database {
                options.push(&encoding);
            }
            pg_dump(server.major(), server, &source, &options, &bench.archive(&name));
            for (to, into) in [(newest, "UTF8"), (server, of_database)] {
                let target = format!("{form}_{number}_in_{}", into.to_lowercase());
                if database::client("psql")
                    .args(["-d", &to.url(&target), "-c", ""])
                    .output()
                    .unwrap()
                    .status
                    .success()
                {
                    continue;
                }
                let context = format!("{of_archive} of {of_database}, {form}, into {into}");
                create(to, &target, into);
                let run = bench.restore(to, &target, &json!({ "path": name }));
                assert_alike(&expected, &held(to, &target, word), &context);
                assert_eq!(database::markers(to, &target), "", "{context}");
                bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);
                if form == "folder" {
                    continue;
                }
                // The evidence is that of the archive's bytes: one row with another character is found.
                let change =
                    format!("SET client_encoding = 'UTF8'; UPDATE plain SET t = t || '{word}' WHERE id = 1");
                to.psql(&target, &change).unwrap();
                let verified = bench.godwit.run(&["verify", &run, "--env-file", "target.env"]);
                assert_eq!(verified.code, Some(3), "{context}: {verified}");
                assert!(verified.stdout.contains("public.plain"), "{context}: {verified}");
                bench.take_back(&run, to, &target, &context);
            }
        }
        // The rows alone, into what is there.
        let target = format!("rows_{number}");
        create(newest, &target, "UTF8");
        pg_restore(
            newest.major(),
            &bench.archive(&format!("file_{number}")),
            newest,
            &target,
            &["--schema-only"],
        );
        newest.psql(&target, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata").unwrap();
        bench.restore(newest, &target, &json!({ "path": format!("file_{number}"), "data_only": true }));
        let rows = "SET client_encoding = 'UTF8'; SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM \"s_WORD\".\"t_WORD\" t";
        let rows = rows.replace("WORD", word);
        let utf8 = format!("file_{number}_in_utf8");
        bench.restore(newest, &utf8, &json!({ "path": format!("file_{number}") }));
        assert_eq!(newest.psql(&target, &rows).unwrap(), newest.psql(&utf8, &rows).unwrap(), "{of_archive}");
    }
}

#[test]
fn what_nothing_can_convert_is_refused_before_anything_is_touched() {
    let bench = Bench::start(&[Major::V16]);
    let server = bench.source();
    create(server, "latin", "LATIN1");
    server.psql("latin", &SCHEMA.replace("WORD", "été")).unwrap();
    for (name, encoding) in [("in_latin2", "LATIN2"), ("in_ascii", "SQL_ASCII"), ("in_utf8", "UTF8")] {
        create(server, name, encoding);
    }
    pg_dump(Major::V16, server, "latin", &["-Fc"], &bench.archive("latin"));
    let with = json!({ "path": "latin" });
    bench.refused(
        server,
        "in_latin2",
        &with,
        &["LATIN1", "LATIN2", "knows no conversion", "pg_dump -E UTF8"],
    );
    bench.refused(server, "in_ascii", &with, &["LATIN1", "SQL_ASCII", "nothing is converted"]);

    // An archive that says something else than it is.
    let whole = std::fs::read(bench.archive("latin")).unwrap();
    let at = whole.windows(8).position(|window| window == b"'LATIN1'").unwrap();
    for (said, words) in [
        (b"'EUC_JP'", &["EUC_JP", "can't be read as that", "invalid byte sequence"][..]),
        (b"'NOWORD'", &["NOWORD", "the target's server can't read"]),
        (b"'UTF8'  ", &["isn't UTF-8", "damaged"]),
    ] {
        let mut other = whole.clone();
        other[at..at + 8].copy_from_slice(said);
        std::fs::write(bench.archive("other"), &other).unwrap();
        bench.refused(server, "in_utf8", &json!({ "path": "other" }), words);
    }

    // A transform would read bytes of one encoding as another's.
    bench.restore_recipe(server, "in_utf8", &with);
    let mut recipe: Value = serde_json::from_str(&bench.godwit.read("restore.json")).unwrap();
    let rules = json!({ "public.plain": { "t": { "mask": "partial", "keep_start": 1, "with": "*" } } });
    recipe["steps"][0]["transforms"] = json!([{
        "plugin": "mask-columns", "labels": ["public.plain"], "with": { "key": "an example key of no worth", "tables": rules }
    }]);
    bench.godwit.write("restore.json", recipe.to_string());
    let ran = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.stderr.contains("rows are in LATIN1, and transforms read UTF-8"), "{ran}");
    bench.assert_empty(server, "in_utf8", "a transform");
}

#[test]
fn bytes_that_nobody_knows_the_encoding_of_are_taken_where_they_fit() {
    let bench = Bench::start(&[Major::V16, Major::V18]);
    let (server, newest) = (bench.source(), bench.last());
    create(server, "ascii", "SQL_ASCII");
    let schema = "CREATE TABLE raw (id int PRIMARY KEY, t text DEFAULT 'fünf');
        INSERT INTO raw VALUES (1, E'\\351t\\351'), (2, 'plain'), (3, 'ünï'); SELECT lo_from_bytea(7, '\\xe9');";
    server.psql("ascii", schema).unwrap();
    let dump = |name: &str| {
        pg_dump(Major::V16, server, "ascii", &["-Fc"], &bench.archive(&format!("{name}_stock")));
        bench.godwit.write("dump.json", dump_recipe(&json!({ "path": format!("{name}_ours") })));
        let url = server.url("ascii");
        let ran = bench.godwit.run_with(&[("GODWIT_INPUT_SOURCE_URL", &url)], &["run", "dump.json", "--yes"]);
        assert_eq!(ran.code, Some(0), "{ran}");
    };
    let bytes = "SELECT string_agg(id || ' ' || encode(convert_to(t, getdatabaseencoding()), 'hex'), ',' ORDER BY id) FROM raw";
    dump("raw");
    for whose in ["stock", "ours"] {
        let path = format!("raw_{whose}");
        let with = json!({ "path": path });
        // As they are.
        let raw = format!("raw_{whose}");
        create(newest, &raw, "SQL_ASCII");
        let run = bench.restore(newest, &raw, &with);
        assert_eq!(newest.psql(&raw, bytes).unwrap(), server.psql("ascii", bytes).unwrap(), "{whose}");
        let default = "INSERT INTO raw VALUES (9); SELECT encode(convert_to(t, 'SQL_ASCII'), 'hex') FROM raw WHERE id = 9";
        assert_eq!(newest.psql(&raw, default).unwrap(), "66c3bc6e66", "{whose}");
        bench.take_back(&run, newest, &raw, whose);

        // As characters of the target, for which é is one byte, and ü two.
        let latin = format!("latin_{whose}");
        create(newest, &latin, "LATIN1");
        let run = bench.restore(newest, &latin, &with);
        assert_eq!(newest.psql(&latin, bytes).unwrap(), server.psql("ascii", bytes).unwrap(), "{whose}");
        let seen =
            newest.psql(&latin, "SET client_encoding = 'UTF8'; SELECT t FROM raw WHERE id = 1").unwrap();
        assert_eq!(seen, "été", "{whose}");
        bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);

        // Where the target's encoding is another one, its server says which bytes it won't take.
        let utf8 = format!("utf8_{whose}");
        create(newest, &utf8, "UTF8");
        bench.restore_recipe(newest, &utf8, &with);
        let ran = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
        assert_eq!(ran.code, Some(1), "{ran}");
        for word in ["load of public.raw", "22021", "0xe9", "the encoding that they are in"] {
            assert!(ran.stderr.contains(word), "`{word}` isn't said: {ran}");
        }
        let (run, _) = bench.godwit.newest_run().unwrap();
        bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
        bench.assert_empty(newest, &utf8, whose);
    }

    server.psql("ascii", "DELETE FROM raw WHERE id = 1").unwrap();
    dump("good");
    for whose in ["stock", "ours"] {
        let database = format!("utf8_{whose}");
        let run = bench.restore(newest, &database, &json!({ "path": format!("good_{whose}") }));
        assert_eq!(newest.psql(&database, bytes).unwrap(), server.psql("ascii", bytes).unwrap(), "{whose}");
        bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);
    }

    // A statement is sent in UTF-8: what it can't say is named, and can be left out.
    server.psql("ascii", "COMMENT ON TABLE raw IS E'\\351'").unwrap();
    pg_dump(Major::V16, server, "ascii", &["-Fd"], &bench.archive("said"));
    create(newest, "said", "SQL_ASCII");
    let words = ["COMMENT public.TABLE raw", "the definition holds bytes that aren't UTF-8"];
    bench.refused(newest, "said", &json!({ "path": "said" }), &words);
    bench.restore(newest, "said", &json!({ "path": "said", "skip": ["COMMENT: TABLE raw"] }));
    assert_eq!(newest.psql("said", bytes).unwrap(), server.psql("ascii", bytes).unwrap());
    create(newest, "said_latin", "LATIN1");
    bench.restore(newest, "said_latin", &json!({ "path": "said" }));
    let comment = "SET client_encoding = 'UTF8'; SELECT obj_description('raw'::regclass)";
    assert_eq!(newest.psql("said_latin", comment).unwrap(), "é");
}
