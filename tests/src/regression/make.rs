//! Building the regression database by `pg_regress`.

use std::path::{Path, PathBuf};
use std::process::Command;

use godwit_lab::postgres::{Major, PgServer, USER};
use godwit_lab::{cache, sources};

/// `pg_regress` of Debian's 15, which runs the tests of every major; those of the wheel run on the machine of its maker.
const PG_REGRESS: &str = "/usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress";

/// Statements that end a backend, and every other session with it, on servers that are older than the tests.
const CRASHES: [&str; 2] = ["sqljson_mystr", "VARIADIC NULL::int[]"];

/// Modules in C, beside their sources below the tree; the second is a folder.
const MODULES: [(&str, &str); 4] = [
    ("regress", "src/test/regress"),
    ("refint", "contrib/spi"),
    ("autoinc", "contrib/spi"),
    (LABELS, "src/test/modules/dummy_seclabel"),
];
/// A provider of security labels, `dummy`, which takes four words.
const LABELS: &str = "dummy_seclabel";

/// Labels what can be labelled, as far as the tests leave some of it.
const LABELLED: &str = "DO $$ DECLARE object text; BEGIN
         FOR object IN
             SELECT 'SCHEMA ' || quote_ident(nspname) FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'
             UNION ALL SELECT CASE relkind WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW ' WHEN 'S' THEN 'SEQUENCE '
                 WHEN 'f' THEN 'FOREIGN TABLE ' ELSE 'TABLE ' END || oid::regclass
               FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relnamespace = 'public'::regnamespace
             UNION ALL SELECT format('COLUMN %s.%I', attrelid::regclass, attname) FROM pg_attribute
               JOIN pg_class c ON c.oid = attrelid WHERE attnum = 1 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f')
                 AND relnamespace = 'public'::regnamespace
             UNION ALL SELECT format('%s %I.%I(%s)', CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
                 pronamespace::regnamespace, proname, pg_get_function_identity_arguments(oid))
               FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind <> 'a'
             UNION ALL SELECT CASE typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || oid::regtype FROM pg_type
               WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e', 'r')
             UNION ALL SELECT 'LARGE OBJECT ' || oid FROM pg_largeobject_metadata
             UNION ALL SELECT 'PUBLICATION ' || quote_ident(pubname) FROM pg_publication
             UNION ALL SELECT 'EVENT TRIGGER ' || quote_ident(evtname) FROM pg_event_trigger
         LOOP
             EXECUTE format('SECURITY LABEL FOR dummy ON %s IS ''classified''', object);
         END LOOP;
     END $$";

/// A server that takes roles without passwords, as the tests expect.
pub async fn server(major: Major) -> Result<PgServer, String> {
    let server = PgServer::builder(major)
        .setting("log_statement", "none")
        .setting("fsync", "off")
        .setting("max_wal_size", "1GB")
        .start()
        .await
        .map_err(|e| e.to_string())?;
    let hba = server.data_dir().join("pg_hba.conf");
    std::fs::write(&hba, "host all all 127.0.0.1/32 trust\n")
        .map_err(|e| format!("{}: {e}", hba.display()))?;
    server.psql("postgres", "SELECT pg_reload_conf()").map_err(|e| e.to_string())?;
    Ok(server)
}

/// Runs the tests for what they leave behind, and says what that is. That some of them fail on another minor or another
/// build than they were written for makes no difference.
pub fn regression_database(server: &PgServer) -> Result<String, String> {
    let cache = cache::dir();
    let missing = || "PostgreSQL's sources are missing: run `cargo xtask regression`".to_owned();
    // Debian 12 has no sources of 16 and 17; the tests of 15 run on both. Those of 18 leave a 17 with something at which every
    // pg_dump crashes.
    let tests = if server.major() == Major::V18 { 18 } else { 15 };
    let tree = sources::tree(&cache, tests).ok_or_else(missing)?;
    let headers = match server.major() {
        Major::V15 => sources::headers_of_15(&cache).ok_or_else(missing)?,
        Major::V17 => sources::headers_of_17(&cache).ok_or_else(missing)?,
        Major::V16 | Major::V18 => server.bin_dir().join("../include/postgresql/server"),
    };
    let folder = server.data_dir().with_file_name("regress");
    lay_out(&tree, &folder)?;
    for (name, source) in MODULES {
        let source = tree.join(source).join(format!("{name}.c"));
        compile(&headers, &tree, &source, &folder.join(format!("{name}.so")))?;
    }
    let mut tests = Command::new(PG_REGRESS);
    tests
        .current_dir(&folder)
        .envs(server.environment("postgres"))
        .arg(format!("--inputdir={}", folder.display()))
        .arg(format!("--outputdir={}", folder.display()))
        .arg(format!("--dlpath={}", folder.display()))
        .arg(format!("--bindir={}", server.bin_dir().display()))
        .arg(format!("--schedule={}", folder.join("parallel_schedule").display()))
        .args(["--host=127.0.0.1", &format!("--port={}", server.port()), &format!("--user={USER}")])
        .arg("--max-connections=10");
    let output = tests.output().map_err(|e| format!("{PG_REGRESS}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some((_, after)) = server.log().split_once("was terminated by signal") {
        let statement = after.lines().nth(1).unwrap_or_default();
        return Err(format!("a backend crashed, and its tests with it: take the statement out: {statement}"));
    }
    let counts = server
        .psql(SOURCE_OF_COUNTS.0, SOURCE_OF_COUNTS.1)
        .map_err(|e| format!("pg_regress made no database: {e}\n{said}"))?;
    // Whoever connects from now on has the provider.
    let library = folder.join(LABELS).display().to_string();
    for statement in [
        format!("ALTER SYSTEM SET session_preload_libraries = '{library}'"),
        "SELECT pg_reload_conf()".into(),
    ] {
        server.psql(super::SOURCE, &statement).map_err(|e| e.to_string())?;
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    server.psql(super::SOURCE, LABELLED).map_err(|e| e.to_string())?;
    let failed = said.lines().filter(|line| line.contains("FAILED") || line.starts_with("not ok")).count();
    Ok(format!("{counts}; {failed} tests had another answer than expected"))
}

const SOURCE_OF_COUNTS: (&str, &str) = (
    super::SOURCE,
    // A rule by which a table calls itself a view is a fault of some minors: no server of another minor takes it.
    "DO $$ DECLARE t regclass; BEGIN
         FOR t IN SELECT ev_class FROM pg_rewrite WHERE rulename = '_RETURN' AND ev_type <> '1' LOOP
             EXECUTE format('DROP RULE \"_RETURN\" ON %s', t);
         END LOOP;
     END $$;
     SELECT format('%s tables, %s other relations, %s functions, %s types',
         count(*) FILTER (WHERE relkind IN ('r', 'p')), count(*) FILTER (WHERE relkind NOT IN ('r', 'p')),
         (SELECT count(*) FROM pg_proc WHERE oid >= 16384), (SELECT count(*) FROM pg_type WHERE oid >= 16384))
     FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace",
);

/// A copy of the tests that the server's user can read, and write its answers into.
fn lay_out(tree: &Path, folder: &Path) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(tree.join("src/test/regress")).arg(folder);
    done(&mut copy)?;
    for name in ["results", "testtablespace"] {
        std::fs::create_dir_all(folder.join(name)).map_err(fault)?;
    }
    done(Command::new("chmod").args(["-R", "a+rwX"]).arg(folder))?;
    // `ignore` is a word that newer ones of its kind don't know.
    edit(&folder.join("parallel_schedule"), |line| !line.starts_with("ignore:"))?;
    let scripts = std::fs::read_dir(folder.join("sql")).map_err(fault)?;
    let crashes = |line: &str| line.starts_with("SELECT") && CRASHES.iter().any(|words| line.contains(words));
    for script in scripts.filter_map(|entry| Some(entry.ok()?.path())) {
        edit(&script, |line| !crashes(line))?;
    }
    Ok(())
}

/// Keeps some lines of a file, which may be in any encoding.
fn edit(path: &Path, keep: impl Fn(&str) -> bool) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("{}: {e}", path.display());
    let text = std::fs::read(path).map_err(fault)?;
    let kept: Vec<&[u8]> = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| keep(&String::from_utf8_lossy(line)))
        .collect();
    std::fs::write(path, kept.concat()).map_err(fault)
}

fn compile(headers: &Path, tree: &Path, source: &Path, to: &Path) -> Result<(), String> {
    let include = |path: PathBuf| format!("-I{}", path.display());
    // Older sources count on headers to include others.
    done(
        Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-include", "postgres.h", "-include", "utils/array.h"])
            .arg(include(headers.to_owned()))
            .arg(include(tree.join("src/test/regress")))
            .arg("-o")
            .arg(to)
            .arg(source),
    )
}

fn done(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
