//! What a database looks like, in texts that two of them can be compared by.

use godwit_lab::postgres::{Major, PgServer};

/// A client program of the newest major, which knows every older server.
pub fn client(program: &str) -> std::process::Command {
    let bin = Major::V18.bin_dir().expect("PostgreSQL 18 is there");
    std::process::Command::new(bin.join(program))
}

/// The schema by `pg_dump` of the newest major, without owners and privileges.
pub fn dump(server: &PgServer, database: &str) -> String {
    dump_with(server, database, &["--schema-only", "--no-owner", "--no-privileges"])
}

/// What `pg_dump` of the newest major says with these options, without comments and `\restrict` keys (which are random).
pub fn dump_with(server: &PgServer, database: &str, options: &[&str]) -> String {
    let output = client("pg_dump")
        .args(options)
        .args(["--dbname", &server.url(database)])
        .output()
        .expect("pg_dump can be run");
    let (ended, said) = (output.status, String::from_utf8_lossy(&output.stderr));
    assert!(ended.success(), "pg_dump of {database}: {ended}: {said}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| {
            !line.is_empty()
                && !line.starts_with("--")
                && !line.starts_with("\\restrict")
                && !line.starts_with("\\unrestrict")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// What the stock tools make of a source's schema on the target's server, in a database made for it: PostgreSQL words
/// some expressions anew when it reads them in again, and a copy must look just like that.
pub async fn oracle(source: (&PgServer, &str), target: &PgServer, database: &str) -> String {
    target.create_database(database).await.expect("a database for the oracle");
    let sql = dump(source.0, source.1);
    // A setting that only the newer major knows is no error of the schema's.
    let sql: Vec<&str> = sql.lines().filter(|line| !line.starts_with("SET transaction_timeout")).collect();
    target.psql(database, &sql.join("\n")).expect("the stock tools restore the schema");
    dump(target, database)
}

/// Every table with its number of rows and a digest of all rows, every sequence with its state, and every large object: a
/// line each, by name. Schemas of the system are left out, and columns are taken by their names.
pub fn contents(server: &PgServer, database: &str) -> Vec<String> {
    let list = "SELECT string_agg(query, ' UNION ALL ') || ' ORDER BY 1' FROM (
        SELECT format($$SELECT %L, count(*)::text || ' rows', md5(string_agg(t, '|' ORDER BY t COLLATE \"C\"))
                        FROM (SELECT ROW(%2$s)::text AS t FROM ONLY %1$s) rows$$, c.oid::regclass,
                      (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname) FROM pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)) AS query
        FROM pg_class c WHERE c.relkind = 'r' AND NOT SYSTEM
        UNION ALL
        SELECT format('SELECT %L, last_value::text, is_called::text FROM %1$s', c.oid::regclass)
        FROM pg_class c WHERE c.relkind = 'S' AND NOT SYSTEM
        UNION ALL
        SELECT 'SELECT ''large object '' || m.oid, format(''%s %s %s'', m.lomowner::regrole, m.lomacl,
                    obj_description(m.oid, ''pg_largeobject'')), md5(lo_get(m.oid)) FROM pg_largeobject_metadata m'
    ) AS each";
    let system = "(SELECT n.nspname ~ '^pg_' OR n.nspname = 'information_schema' FROM pg_namespace n WHERE n.oid = c.relnamespace)";
    let list = list.replace("SYSTEM", system);
    // Names in full, and everything in one zone.
    let settings = "SET search_path = ''; SET timezone = 'UTC';";
    let query = server.psql(database, &format!("{settings} {list}")).expect("the tables are listed");
    let lines = server.psql(database, &format!("{settings} {query}")).expect("the tables are read");
    lines.lines().map(str::to_owned).collect()
}

/// Schemas that Godwit left in a database: its markers.
pub fn markers(server: &PgServer, database: &str) -> String {
    server
        .psql(database, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'godwit%'")
        .expect("the schemas are listed")
}

/// What a database holds, one line for each object that a dump makes; none where it is empty.
pub fn objects(server: &PgServer, database: &str) -> Vec<String> {
    dump(server, database).lines().filter(|line| line.starts_with("CREATE")).map(str::to_owned).collect()
}
