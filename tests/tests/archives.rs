//! `postgres-dump` and `postgres-restore` end to end: our archives and scripts by the stock tools, stock archives by us.

#[path = "archives/encodings.rs"]
mod encodings;
#[path = "archives/hostile.rs"]
mod hostile;
#[path = "archives/objects.rs"]
mod objects;
#[path = "archives/options.rs"]
mod options;
#[path = "archives/places.rs"]
mod places;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::{kinds, sample};
use godwit_tests::database;
use godwit_tests::process::Godwit;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");
const SOURCE: &str = "source";

/// Servers of some majors, the first of which holds the source, and a `godwit` in a folder with `archives` in it.
struct Bench {
    runtime: tokio::runtime::Runtime,
    servers: Vec<PgServer>,
    godwit: Godwit,
    /// Databases that oracles were made in.
    oracles: AtomicUsize,
}

impl Bench {
    fn start(majors: &[Major]) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut servers = Vec::new();
        for major in majors {
            servers.push(runtime.block_on(PgServer::start(*major)).unwrap());
        }
        runtime.block_on(servers[0].create_database(SOURCE)).unwrap();
        let godwit = Godwit::new(PROGRAM).env("GODWIT_INPUT_SOURCE_URL", &servers[0].url(SOURCE));
        std::fs::create_dir(godwit.path("archives")).unwrap();
        Self { runtime, servers, godwit, oracles: AtomicUsize::new(0) }
    }

    /// With every kind of object in the source, and vectors where every server has them.
    fn with_every_kind(majors: &[Major]) -> Self {
        let bench = Self::start(majors);
        let have_vectors = !majors.iter().any(|major| matches!(major, Major::V15 | Major::V17));
        bench.source().psql(SOURCE, &kinds::every(have_vectors)).unwrap();
        bench
    }

    /// With the labelling application in the source.
    fn with_sample(majors: &[Major]) -> Self {
        let bench = Self::start(majors);
        bench.runtime.block_on(sample::fill_database(&bench.source().url(SOURCE))).unwrap();
        bench
    }

    fn source(&self) -> &PgServer {
        &self.servers[0]
    }

    fn last(&self) -> &PgServer {
        self.servers.last().unwrap()
    }

    fn create(&self, server: &PgServer, name: &str) {
        self.runtime.block_on(server.create_database(name)).unwrap();
    }

    fn archive(&self, name: &str) -> std::path::PathBuf {
        self.godwit.path("archives").join(name)
    }

    /// Runs `postgres-dump` with these params; the run's id.
    fn dump(&self, with: &Value) -> String {
        self.godwit.write("dump.json", dump_recipe(with));
        self.godwit.ok(&["run", "dump.json", "--yes"]);
        self.done()
    }

    fn restore_recipe(&self, server: &PgServer, database: &str, with: &Value) {
        let recipe = json!({
            "godwit": "1", "name": "restore",
            "inputs": { "target_url": { "type": "url", "default": server.url(database) } },
            "connections": {
                "target": { "kind": "postgres", "url": "${inputs.target_url}" },
                "archives": { "kind": "dir", "path": "archives" }
            },
            "steps": [{
                "id": "restore", "plugin": "postgres-restore",
                "grant": {
                    "archive": { "connection": "archives", "access": "read" },
                    "target": { "connection": "target", "access": "write" }
                },
                "with": with
            }]
        });
        let mut recipe = recipe;
        recipe["inputs"]["target_url"] = json!({ "type": "url", "env": "TARGET_URL" });
        self.godwit.write("restore.json", recipe.to_string());
        self.godwit.write("target.env", format!("TARGET_URL={}\n", server.url(database)));
    }

    /// Runs `postgres-restore` with these params; the run's id.
    fn restore(&self, server: &PgServer, database: &str, with: &Value) -> String {
        self.restore_recipe(server, database, with);
        self.godwit.ok(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
        self.done()
    }

    fn done(&self) -> String {
        let (run, status) = self.godwit.newest_run().unwrap();
        assert_eq!(status, "done");
        run
    }

    /// What the stock tools of the server's major make of the source's schema there: it words some expressions anew when it
    /// reads them in again, and newer tools write what an older server can't read.
    fn oracle(&self, server: &PgServer, name: &str) -> String {
        self.create(server, name);
        let mut dump = tool(server.major(), "pg_dump");
        dump.args(["--schema-only", "--no-owner", "--no-privileges", "--dbname", &self.source().url(SOURCE)]);
        server.psql(name, &stock(&mut dump)).unwrap();
        database::dump(server, name)
    }

    /// Schema, rows and sequences are those of the source, as far as the stock tools would have it.
    fn assert_like_source(&self, server: &PgServer, database: &str, context: &str) {
        let oracle = format!("oracle_of_{database}_{}", self.oracles.fetch_add(1, Ordering::Relaxed));
        let oracle = self.oracle(server, &oracle);
        assert_alike(&oracle, &database::dump(server, database), context);
        let lines = |server: &PgServer, database: &str| database::contents(server, database).join("\n");
        assert_alike(&lines(self.source(), SOURCE), &lines(server, database), context);
        assert_eq!(database::markers(server, database), "", "a marker is left: {context}");
    }

    /// Undoes a run whatever has changed since; nothing of it is left.
    fn take_back(&self, run: &str, server: &PgServer, database: &str, context: &str) {
        self.godwit.ok(&["undo", run, "--yes", "--discard-later-changes", "all", "--env-file", "target.env"]);
        self.assert_empty(server, database, context);
    }

    fn assert_empty(&self, server: &PgServer, database: &str, context: &str) {
        assert_eq!(database::objects(server, database), Vec::<String>::new(), "{context}");
    }
}

/// Compares two texts line by line and shows the first differences.
fn assert_alike(left: &str, right: &str, context: &str) {
    if left == right {
        return;
    }
    let (a, b): (Vec<_>, Vec<_>) = (left.lines().collect(), right.lines().collect());
    let only = |one: &[&str], other: &[&str]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).take(20).map(|line| (*line).to_owned()).collect()
    };
    panic!("{context}\nonly expected: {:#?}\nonly found: {:#?}", only(&a, &b), only(&b, &a));
}

fn dump_recipe(with: &Value) -> String {
    json!({
        "godwit": "1", "name": "dump",
        "inputs": { "source_url": { "type": "url" } },
        "connections": {
            "source": { "kind": "postgres", "url": "${inputs.source_url}" },
            "archives": { "kind": "dir", "path": "archives" }
        },
        "steps": [{
            "id": "dump", "plugin": "postgres-dump",
            "grant": {
                "source": { "connection": "source", "access": "read" },
                "archive": { "connection": "archives", "access": "write" }
            },
            "with": with
        }]
    })
    .to_string()
}

fn tool(major: Major, program: &str) -> Command {
    Command::new(major.bin_dir().unwrap().join(program))
}

/// What a stock tool prints; it has to end well and without a warning.
fn stock(command: &mut Command) -> String {
    let output = command.output().expect("the tool can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{command:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn pg_restore(major: Major, archive: &Path, server: &PgServer, database: &str, options: &[&str]) {
    let mut command = tool(major, "pg_restore");
    command.args(["--exit-on-error", "--dbname", &server.url(database)]).args(options).arg(archive);
    stock(&mut command);
}

fn pg_dump(major: Major, server: &PgServer, database: &str, options: &[&str], to: &Path) {
    let mut command = tool(major, "pg_dump");
    command.args(["--dbname", &server.url(database), "--file"]).arg(to).args(options);
    stock(&mut command);
}

#[test]
fn stock_pg_restore_lists_and_restores_our_archive() {
    let bench = Bench::with_every_kind(&[Major::V15, Major::V16, Major::V18]);
    bench.dump(&json!({ "path": "all" }));
    let archive = bench.archive("all");
    for server in &bench.servers {
        let major = server.major();
        let list = stock(tool(major, "pg_restore").arg("-l").arg(&archive));
        for line in [
            "SCHEMA - app ",
            "TYPE app mood ",
            "DOMAIN app email ",
            "TABLE app users ",
            "TABLE ATTACH app events_2024 ",
            "TABLE DATA app users ",
            "SEQUENCE app tickets ",
            "SEQUENCE OWNED BY app users_serial_no_seq ",
            "SEQUENCE SET app users_id_seq ",
            "DEFAULT app loop a ",
            "CONSTRAINT app users users_pkey ",
            "CHECK CONSTRAINT app users new_rule ",
            "FK CONSTRAINT app projects projects_owner_fkey ",
            "INDEX app users_lower ",
            "INDEX ATTACH app events_2023_pkey ",
            "FUNCTION app add(",
            "PROCEDURE app work(",
            "AGGREGATE app total(",
            "VIEW app active ",
            "RULE app cycle_view _RETURN",
            "MATERIALIZED VIEW app totals ",
            "MATERIALIZED VIEW DATA app totals ",
            "TRIGGER app users users_touch ",
            "POLICY app users own_rows ",
            "ROW SECURITY app users ",
            "STATISTICS app users_stats ",
            "COMMENT app TABLE users ",
            "COMMENT app COLUMN users.email ",
            "COLLATION app plain ",
        ] {
            assert!(list.contains(line), "`{line}` is not listed by {major}:\n{list}");
        }
        for (database, options) in [("serial", &[][..]), ("parallel", &["-j2"])] {
            bench.create(server, database);
            pg_restore(major, &archive, server, database, options);
            bench.assert_like_source(server, database, &format!("pg_restore {major} {options:?}"));
        }
    }
    // Once more over what is there.
    for server in &bench.servers {
        for (database, options) in [("serial", &["--clean"][..]), ("parallel", &["--clean", "--if-exists"])] {
            let before = (database::dump(server, database), database::contents(server, database));
            pg_restore(server.major(), &archive, server, database, options);
            let after = (database::dump(server, database), database::contents(server, database));
            assert_alike(&before.0, &after.0, &format!("{options:?}"));
            assert_eq!(before.1, after.1, "{options:?}");
        }
    }
    // By sections, and a table alone.
    let server = bench.last();
    bench.create(server, "sections");
    for section in ["pre-data", "data", "post-data"] {
        pg_restore(Major::V18, &archive, server, "sections", &["--section", section]);
    }
    bench.assert_like_source(server, "sections", "pg_restore --section");
    bench.create(server, "one");
    server.psql("one", "CREATE SCHEMA app").unwrap();
    pg_restore(Major::V18, &archive, server, "one", &["-t", "animals", "-n", "app"]);
    assert_eq!(server.psql("one", "SELECT count(*) FROM app.animals").unwrap(), "2");
}

#[test]
fn psql_runs_our_script() {
    let bench = Bench::with_every_kind(&[Major::V16, Major::V18]);
    let run = bench.dump(&json!({ "path": "all.sql", "format": "plain" }));
    let files: Vec<_> = std::fs::read_dir(bench.godwit.path("archives")).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    for server in &bench.servers {
        bench.create(server, "scripted");
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
        stock(psql.arg(bench.archive("all.sql")));
        bench.assert_like_source(server, "scripted", &format!("psql into {}", server.major()));
    }
    bench.godwit.ok(&["verify", &run]);
    bench.godwit.ok(&["undo", &run, "--yes"]);
    assert!(!bench.archive("all.sql").exists());
}

#[test]
fn an_archive_is_verified_and_undone() {
    let bench = Bench::with_sample(&[Major::V16]);
    let plan = {
        bench.godwit.write("dump.json", dump_recipe(&json!({ "path": "nightly/one" })));
        bench.godwit.ok(&["plan", "dump.json"])
    };
    assert!(plan.stdout.contains("image_metadata"), "{plan}");
    assert!(!bench.archive("nightly").exists(), "a plan writes nothing");
    let run = bench.dump(&json!({ "path": "nightly/one" }));
    let report = bench.godwit.json(&["report", &run, "--json"]);
    let expected: i64 = sample::ROW_COUNTS.iter().map(|(_, rows)| rows).sum();
    let outputs = &report["steps"][0]["outputs"];
    assert_eq!(outputs["rows"], json!(expected), "{report}");

    // What is there already is in the way of another run, and stays.
    bench.godwit.write("again.json", dump_recipe(&json!({ "path": "nightly/one" })));
    let again = bench.godwit.run(&["run", "again.json", "--yes"]);
    assert_eq!(again.code, Some(1), "{again}");
    assert!(again.stderr.contains("nightly/one"), "{again}");
    bench.godwit.ok(&["verify", &run]);

    let toc = bench.archive("nightly/one/toc.dat");
    let whole = std::fs::read(&toc).unwrap();
    std::fs::write(&toc, &whole[1..]).unwrap();
    let verified = bench.godwit.run(&["verify", &run]);
    assert_eq!(verified.code, Some(3), "{verified}");
    assert!(verified.stdout.contains("table of contents"), "{verified}");
    std::fs::write(&toc, &whole).unwrap();
    bench.godwit.ok(&["undo", &run, "--yes"]);
    assert!(!bench.archive("nightly/one").exists());
}

#[test]
fn parts_of_a_database_are_dumped() {
    let bench = Bench::with_every_kind(&[Major::V16, Major::V18]);
    let server = bench.last();
    bench.dump(&json!({ "path": "schema", "schema_only": true, "archive_version": "1.16" }));
    assert_eq!(std::fs::read_dir(bench.archive("schema")).unwrap().count(), 1, "the toc alone");
    bench.create(server, "parts");
    pg_restore(Major::V18, &bench.archive("schema"), server, "parts", &[]);
    let oracle = bench.oracle(server, "oracle");
    assert_alike(&oracle, &database::dump(server, "parts"), "schema only");
    // The rows go into that schema. Its triggers would refuse them, and so does a rule that older rows break.
    server.psql("parts", "ALTER TABLE app.users DROP CONSTRAINT new_rule").unwrap();
    for compression in ["none", "zstd", "lz4"] {
        let with = json!({ "path": compression, "data_only": true, "compression": compression });
        bench.dump(&with);
    }
    pg_restore(Major::V18, &bench.archive("none"), server, "parts", &["--data-only", "--disable-triggers"]);
    assert_alike(
        &database::contents(bench.source(), SOURCE).join("\n"),
        &database::contents(server, "parts").join("\n"),
        "data only",
    );
    let with = json!({ "path": "some", "tables": { "include": ["app.animals", "app.dogs"] } });
    bench.dump(&with);
    let list = stock(tool(Major::V16, "pg_restore").arg("-l").arg(bench.archive("some")));
    assert!(list.contains("TABLE DATA app dogs") && !list.contains("TABLE app users"), "{list}");
}

/// Stock archives in every form that the tools of a major can write.
fn forms(major: Major) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut forms = vec![
        ("custom", vec!["-Fc"]),
        ("custom-plain", vec!["-Fc", "-Z0"]),
        ("directory", vec!["-Fd"]),
        ("directory-plain", vec!["-Fd", "-Z0", "-j2"]),
        // Rows of partitions that go through their root, and a database to be created.
        ("directory-root", vec!["-Fd", "--load-via-partition-root", "--create"]),
    ];
    if major >= Major::V16 {
        for (name, options) in [
            ("custom-zstd", vec!["-Fc", "-Z", "zstd"]),
            ("directory-zstd", vec!["-Fd", "-Z", "zstd"]),
            ("custom-lz4", vec!["-Fc", "-Z", "lz4"]),
            ("directory-lz4", vec!["-Fd", "-Z", "lz4"]),
        ] {
            let method = options[2];
            // How a build was configured is no secret: it says so, in these words.
            let probe =
                tool(major, "pg_dump").args(["-Fc", "-Z", method, "--dbname", "none"]).output().unwrap();
            let said = String::from_utf8_lossy(&probe.stderr);
            if !said.contains("does not support compression") {
                forms.push((name, options));
            }
        }
    }
    forms
}

#[test]
fn stock_archives_are_restored() {
    for major in [Major::V16, Major::V17, Major::V18] {
        let bench = Bench::with_every_kind(&[major]);
        let server = bench.source();
        for (name, options) in forms(major) {
            let options: Vec<&str> = options.into_iter().chain(["--no-owner"]).collect();
            pg_dump(major, server, SOURCE, &options, &bench.archive(name));
            let database = name.replace('-', "_");
            bench.create(server, &database);
            let run = bench.restore(server, &database, &json!({ "path": name }));
            bench.assert_like_source(server, &database, &format!("{major}: {name}"));
            bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);
            if ["custom", "directory", "directory-root"].contains(&name) {
                bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
                bench.assert_empty(server, &database, name);
            }
        }
    }
}

/// Of every kind of object, by our own archive and by a stock one.
#[test]
fn owners_and_privileges_are_restored_and_taken_back() {
    let bench = Bench::start(&[Major::V18]);
    let server = bench.source();
    for role in kinds::ROLES {
        server.psql("postgres", &format!("CREATE ROLE {role}")).unwrap();
    }
    server.psql(SOURCE, &kinds::all(Major::V18, Major::V18)).unwrap();
    server.psql(SOURCE, kinds::RIGHTS).unwrap();
    let rights = json!({ "owners": true, "privileges": true });
    let with = |path: &str| {
        let mut with = rights.clone();
        with["path"] = path.into();
        with
    };
    bench.dump(&with("ours"));
    pg_dump(Major::V18, server, SOURCE, &["-Fc"], &bench.archive("stock"));
    // What the stock tools make of it: they word some expressions anew.
    bench.create(server, "oracle");
    // Rows would stop them: they fill materialized views once these have their owners, for whom policies hold.
    pg_dump(Major::V18, server, SOURCE, &["-Fc", "--schema-only"], &bench.archive("schema"));
    pg_restore(Major::V18, &bench.archive("schema"), server, "oracle", &[]);
    let schema = |database: &str| database::dump_with(server, database, &["--schema-only"]);
    for path in ["ours", "stock"] {
        let database = format!("from_{path}");
        bench.create(server, &database);
        let empty = schema(&database);
        let run = bench.restore(server, &database, &with(path));
        assert_alike(&schema("oracle"), &schema(&database), path);
        bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
        assert_alike(&empty, &schema(&database), path);
    }
    bench.create(server, "lacking");
    server.psql("postgres", "ALTER ROLE reader RENAME TO somebody").unwrap();
    bench.restore_recipe(server, "lacking", &with("ours"));
    let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert!(
        refused.stderr.contains("the role `reader` (by the archive) is missing in the target"),
        "{refused}"
    );
    assert_eq!(schema("lacking"), schema("postgres"));
}

#[test]
fn an_archive_from_a_pipe_is_restored_by_its_blocks() {
    let bench = Bench::with_every_kind(&[Major::V15, Major::V18]);
    let mut dump = tool(Major::V15, "pg_dump")
        .args(["-Fc", "--dbname", &bench.source().url(SOURCE)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut piped = std::fs::File::create(bench.archive("piped")).unwrap();
    std::io::copy(&mut dump.stdout.take().unwrap(), &mut piped).unwrap();
    assert!(dump.wait().unwrap().success());
    for server in &bench.servers {
        bench.create(server, "piped");
        bench.restore(server, "piped", &json!({ "path": "piped" }));
        bench.assert_like_source(server, "piped", &format!("into {}", server.major()));
    }
}

#[test]
fn our_own_archive_is_restored_in_one_recipe() {
    let bench = Bench::with_every_kind(&[Major::V16, Major::V18]);
    bench.create(bench.last(), "app");
    bench.godwit.write("both.json", both_recipe().to_string());
    bench.godwit.write("target.env", format!("TARGET_URL={}\n", bench.last().url("app")));
    bench.godwit.ok(&["plan", "both.json", "--env-file", "target.env"]);
    bench.assert_empty(bench.last(), "app", "planned");
    bench.godwit.ok(&["run", "both.json", "--yes", "--env-file", "target.env"]);
    bench.assert_like_source(bench.last(), "app", "dumped and restored");
    let run = bench.done();
    bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
    bench.assert_empty(bench.last(), "app", "undone");
    assert!(!bench.archive("backup").exists());
}

#[test]
fn rows_alone_go_into_a_schema_that_is_there() {
    let bench = Bench::with_sample(&[Major::V16, Major::V18]);
    let server = bench.last();
    pg_dump(Major::V16, bench.source(), SOURCE, &["-Fc"], &bench.archive("all"));
    bench.create(server, "app");
    let schema = database::dump(bench.source(), SOURCE);
    let schema: Vec<&str> =
        schema.lines().filter(|line| !line.starts_with("SET transaction_timeout")).collect();
    server.psql("app", &schema.join("\n")).unwrap();
    let version = bench.source().psql(SOURCE, "SELECT version_num FROM alembic_version").unwrap();
    server.psql("app", &format!("INSERT INTO public.alembic_version VALUES ('{version}')")).unwrap();
    let before = database::contents(server, "app");

    bench.restore_recipe(server, "app", &json!({ "path": "all", "data_only": true }));
    let refused = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("alembic_version") && refused.stderr.contains("keep"), "{refused}");
    assert_eq!(before, database::contents(server, "app"));

    let with = json!({ "path": "all", "data_only": true, "keep": ["alembic_version"] });
    let run = bench.restore(server, "app", &with);
    assert_eq!(database::contents(bench.source(), SOURCE), database::contents(server, "app"));
    bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
    assert_eq!(before, database::contents(server, "app"));
}

#[test]
fn parts_of_an_archive_are_restored() {
    let bench = Bench::with_every_kind(&[Major::V16]);
    let server = bench.source();
    pg_dump(Major::V16, server, SOURCE, &["-Fc"], &bench.archive("all"));
    bench.create(server, "schema");
    bench.restore(server, "schema", &json!({ "path": "all", "schema_only": true }));
    let oracle = bench.oracle(server, "oracle");
    assert_alike(&oracle, &database::dump(server, "schema"), "schema only");

    bench.create(server, "some");
    let with = json!({
        "path": "all",
        "skip": ["TRIGGER", "FUNCTION: touch()"],
        "tables": { "exclude": ["app.events", "app.projects"] }
    });
    let run = bench.restore(server, "some", &with);
    let report = bench.godwit.json(&["report", &run, "--json"]);
    let skipped = report["steps"][0]["outputs"]["skipped"].to_string();
    for name in ["events_2024", "event_notes_event_id", "grouped", "touch()", "users_touch"] {
        assert!(skipped.contains(name), "`{name}` isn't named: {skipped}");
    }
    let tables = server
        .psql("some", "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relname ~ '^(events|projects|animals)$'")
        .unwrap();
    assert_eq!(tables, "animals");

    let with = json!({ "path": "all", "skip": ["TABLE: no_such_table"] });
    bench.restore_recipe(server, "some", &with);
    let idle = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert_eq!(idle.code, Some(2), "{idle}");
    assert!(idle.stderr.contains("no_such_table"), "{idle}");
}

#[test]
fn what_cannot_be_restored_is_refused_before_anything_is_touched() {
    let bench = Bench::with_sample(&[Major::V16]);
    let server = bench.source();
    let refused = |with: &Value, words: &[&str]| {
        bench.restore_recipe(server, "app", with);
        let ran = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
        assert!(matches!(ran.code, Some(1 | 2)), "{with}: {ran}");
        for word in words {
            assert!(ran.stderr.contains(word), "{with}: `{word}` isn't said: {ran}");
        }
        bench.assert_empty(server, "app", &with.to_string());
    };
    bench.create(server, "app");
    let dump =
        |options: &[&str], name: &str| pg_dump(Major::V16, server, SOURCE, options, &bench.archive(name));
    refused(&json!({ "path": "nothing" }), &["nothing"]);
    dump(&["-Fp"], "script.sql");
    refused(&json!({ "path": "script.sql" }), &["psql"]);
    dump(&["-Ft"], "tar");
    refused(&json!({ "path": "tar" }), &["tar file"]);
    dump(&["-Fc", "--inserts"], "inserts");
    refused(&json!({ "path": "inserts" }), &["INSERT", "image_metadata"]);
    server.psql(SOURCE, "SELECT lo_create(0)").unwrap();
    dump(&["-Fc"], "objects");
    refused(&json!({ "path": "objects", "skip": ["BLOB: 1*"] }), &["large objects are restored together"]);

    // A file or folder that was cut off or damaged.
    let whole = std::fs::read(bench.archive("objects")).unwrap();
    for length in [3, 60, 5000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(bench.archive("cut"), &whole[..length]).unwrap();
        refused(&json!({ "path": "cut", "skip": ["BLOB", "BLOBS", "BLOB METADATA"] }), &["cut"]);
    }
    dump(&["-Fd"], "folder");
    let folder = bench.archive("folder");
    let toc = std::fs::read(folder.join("toc.dat")).unwrap();
    std::fs::write(folder.join("toc.dat"), &toc[..toc.len() - 7]).unwrap();
    refused(&json!({ "path": "folder" }), &["toc.dat", "damaged"]);
    std::fs::write(folder.join("toc.dat"), &toc).unwrap();
    let data = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".dat.gz"))
        .unwrap();
    std::fs::remove_file(&data).unwrap();
    refused(&json!({ "path": "folder", "skip": ["BLOB", "BLOBS"] }), &["missing", "damaged"]);

    // Large objects can be left out by name, and a database that holds something isn't filled.
    bench.restore(server, "app", &json!({ "path": "objects", "skip": ["BLOB", "BLOBS"] }));
    let held = database::contents(server, "app");
    bench.restore_recipe(server, "app", &json!({ "path": "objects", "skip": ["BLOB", "BLOBS"] }));
    let again = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert_eq!(again.code, Some(1), "{again}");
    assert!(again.stderr.contains("isn't empty"), "{again}");
    assert_eq!(held, database::contents(server, "app"));
}

/// A recipe that dumps the source and restores the archive into another database.
fn both_recipe() -> Value {
    let mut recipe: Value = serde_json::from_str(&dump_recipe(&json!({ "path": "backup" }))).unwrap();
    recipe["inputs"]["target_url"] = json!({ "type": "url", "env": "TARGET_URL" });
    recipe["connections"]["target"] = json!({ "kind": "postgres", "url": "${inputs.target_url}" });
    recipe["steps"].as_array_mut().unwrap().push(json!({
        "id": "restore", "plugin": "postgres-restore",
        "grant": {
            "archive": { "connection": "archives", "access": "read" },
            "target": { "connection": "target", "access": "write" }
        },
        "with": { "path": "${steps.dump.outputs.path}" }
    }));
    recipe
}

#[test]
fn killed_at_journal_writes_then_resumed() {
    let bench = Bench::with_sample(&[Major::V16]);
    let server = bench.source();
    let oracle = bench.oracle(server, "oracle");
    let again = |name: &str| {
        bench.create(server, name);
        bench.godwit.write("both.json", both_recipe().to_string());
        bench.godwit.write("target.env", format!("TARGET_URL={}\n", server.url(name)));
        let _ = std::fs::remove_dir_all(bench.archive("backup"));
    };
    let run = ["run", "both.json", "--yes", "--env-file", "target.env"];
    again("undisturbed");
    let count = bench.godwit.count_writes(&run);
    let mut resumed = 0;
    for step in 0..16 {
        let number = 1 + step * (count - 1) / 15;
        let name = format!("kill_{number}");
        again(&name);
        let before = bench.godwit.newest_run();
        let moment = if step % 2 == 0 { format!("before:{number}") } else { format!("after:{number}") };
        let killed = bench.godwit.killed_at(&moment, &run);
        assert!(killed.code.is_none_or(|code| code == 0), "{moment}: {killed}");
        if bench.godwit.newest_run() == before {
            // Nothing was journalled yet, hence nothing done.
            bench.godwit.ok(&run);
        } else if killed.code.is_none() && bench.godwit.newest_run().unwrap().1 != "done" {
            // A sequence that went on meanwhile says something else in the table of contents than before.
            server.psql(SOURCE, "SELECT nextval('export_number_seq')").unwrap();
            let (id, _) = bench.godwit.newest_run().unwrap();
            bench.godwit.ok(&["resume", &id, "--yes", "--env-file", "target.env"]);
            resumed += 1;
        }
        bench.done();
        assert_alike(&oracle, &database::dump(server, &name), &moment);
        let rows = |database: &str| -> Vec<String> {
            let lines = database::contents(server, database);
            lines.into_iter().filter(|line| line.contains(" rows|")).collect()
        };
        assert_eq!(rows(SOURCE), rows(&name), "{moment}");
        assert_eq!(database::markers(server, &name), "", "a marker is left: {moment}");
        let names = std::fs::read_dir(bench.archive("backup")).unwrap();
        let odd: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "toc.dat" && !name.ends_with(".dat.gz"))
            .collect();
        assert_eq!(odd, Vec::<String>::new(), "{moment}");
    }
    assert!(resumed >= 12, "{resumed} of 16 were resumed");
}

#[test]
fn what_the_target_cannot_do_is_named_by_its_entry() {
    let bench = Bench::start(&[Major::V18, Major::V16]);
    bench
        .source()
        .psql(SOURCE, "CREATE TABLE plain (a int); CREATE TABLE newer (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL)")
        .unwrap();
    pg_dump(Major::V18, bench.source(), SOURCE, &["-Fc"], &bench.archive("newer"));
    let server = bench.last();
    bench.create(server, "app");
    bench.restore_recipe(server, "app", &json!({ "path": "newer" }));
    let failed = bench.godwit.run(&["run", "restore.json", "--yes", "--env-file", "target.env"]);
    assert_eq!(failed.code, Some(1), "{failed}");
    assert!(failed.stderr.contains("TABLE public.newer can't be restored"), "{failed}");
    assert_eq!(
        server.psql("app", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").unwrap(),
        "0"
    );
    let (run, _) = bench.godwit.newest_run().unwrap();
    bench.godwit.ok(&["undo", &run, "--yes", "--env-file", "target.env"]);
    bench.assert_empty(server, "app", "undone");
}

#[test]
fn rows_written_under_another_time_zone_are_restored_and_said_to_be_not_comparable() {
    let bench = Bench::start(&[Major::V16]);
    let server = bench.source();
    let times = "CREATE TABLE times (at timestamptz); INSERT INTO times VALUES ('2024-07-01 12:00+00');
        CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1);
        ALTER DATABASE source SET timezone = 'America/New_York'";
    server.psql(SOURCE, times).unwrap();
    pg_dump(Major::V16, server, SOURCE, &["-Fc"], &bench.archive("zoned"));
    bench.create(server, "app");
    let run = bench.restore(server, "app", &json!({ "path": "zoned" }));
    assert_eq!(database::contents(server, SOURCE), database::contents(server, "app"));
    let verified = bench.godwit.ok(&["verify", &run, "--env-file", "target.env"]);
    assert!(verified.stdout.contains("the text of `at` depends on the settings"), "{verified}");
    // A row too many is found out all the same.
    server.psql("app", "INSERT INTO times VALUES (now())").unwrap();
    let verified = bench.godwit.run(&["verify", &run, "--env-file", "target.env"]);
    assert_eq!(verified.code, Some(3), "{verified}");
}
