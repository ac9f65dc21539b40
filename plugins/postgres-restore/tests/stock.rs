//! Archives of the stock tools, laid out on a host in memory: what is asked for, in which order, and what is refused.

#[path = "../../pg-catalog/tests/support/facts.rs"]
mod facts;

use std::path::Path;

use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_postgres_restore::{ARCHIVE, PostgresRestore, TARGET};
use godwit_sdk::mock::{self, MockHost, Request, Submitted};
use godwit_sdk::types::*;
use serde_json::{Value, json};

const SCHEMA: &str = "
CREATE TABLE owners (id int PRIMARY KEY, name text UNIQUE);
CREATE TABLE pets (id serial PRIMARY KEY, owner int NOT NULL REFERENCES owners, name text DEFAULT 'x;y');
CREATE INDEX pets_name ON pets (name);
COMMENT ON INDEX pets_name IS 'by; name';
CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER pets_quiet BEFORE INSERT ON pets FOR EACH ROW EXECUTE FUNCTION quiet();
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM pets;
GRANT SELECT ON owners TO pg_monitor;
INSERT INTO owners VALUES (1, 'a'); INSERT INTO pets (owner) VALUES (1), (1); REFRESH MATERIALIZED VIEW counted;
";

/// A folder archive of the schema above.
async fn folder(major: Major) -> tempfile::TempDir {
    let server = PgServer::start(major).await.unwrap();
    server.create_database("pets").await.unwrap();
    server.psql("pets", SCHEMA).unwrap();
    let place = tempfile::tempdir().unwrap();
    let output =
        server.client("pg_dump", "pets").args(["-Fd", "-f"]).arg(place.path().join("all")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    place
}

/// A host whose folder holds the archive, and whose target is empty.
fn host(place: &Path) -> MockHost {
    let mut host = MockHost::new().on_query(|query| {
        assert_eq!(query.slot, TARGET);
        Some(Ok(if query.sql.contains(facts::QUERY) {
            vec![facts::facts()]
        } else if query.sql.contains("server_version_num") {
            vec![json!({ "version": 160_004, "superuser": true })]
        } else {
            vec![json!({ "kind": "schema", "name": "public", "detail": null })]
        }))
    });
    for entry in std::fs::read_dir(place.join("all")).unwrap() {
        let entry = entry.unwrap();
        let path = format!("all/{}", entry.file_name().to_string_lossy());
        host = host.with_file(ARCHIVE, &path, std::fs::read(entry.path()).unwrap());
    }
    host
}

fn params() -> Value {
    json!({ "path": "all" })
}

fn find<'a>(submitted: &'a [Submitted], key: &str) -> &'a Submitted {
    submitted.iter().find(|effect| effect.key == key).unwrap_or_else(|| {
        panic!("no `{key}` in {:?}", submitted.iter().map(|effect| &effect.key).collect::<Vec<_>>())
    })
}

fn statements(effect: &Submitted) -> &[String] {
    match &effect.request {
        Request::Execute { request, .. } => &request.statements,
        other => panic!("{other:?} has no statements"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_rows_waits_for_them_and_nothing_else() {
    for major in Major::ALL {
        let place = folder(major).await;
        let host = host(place.path());
        let outputs = mock::apply::<PostgresRestore>(&host, &params()).unwrap();
        let submitted = host.submitted();
        assert_eq!(
            outputs.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(),
            ["owners", "pets"]
        );
        assert!(outputs.skipped.iter().any(|what| what.kind == "ACL" && what.name.contains("owners")));

        let load = find(&submitted, "load/public.pets");
        assert_eq!(load.after, ["before/0001"]);
        let Request::LoadTable { source, block: None, encoding: None, sink } = &load.request else {
            panic!("{load:?}")
        };
        assert!(source.path.starts_with("all/") && source.path.ends_with(".dat.gz"), "{source:?}");
        assert_eq!((source.compression, sink.columns.len()), (Compression::Gzip, 3));

        let index = find(&submitted, "index/public.pets_name");
        assert_eq!(index.after, ["before/0001", "load/public.pets"]);
        assert_eq!(statements(index).len(), 2, "with its comment: {index:?}");
        let key = find(&submitted, "fk-constraint/public.pets pets_owner_fkey");
        for needed in ["constraint/public.owners owners_pkey", "load/public.owners", "load/public.pets"] {
            assert!(key.after.iter().any(|after| after == needed), "{key:?}");
        }
        let refresh = find(&submitted, "refresh/public.counted");
        assert!(refresh.after.contains(&key.key), "{refresh:?}");
        let trigger = find(&submitted, "after/0001");
        assert!(trigger.after.contains(&refresh.key) && statements(trigger)[0].starts_with("CREATE TRIGGER"));
        assert!(statements(find(&submitted, "sequences/0001"))[0].contains("setval('public.pets_id_seq', 2"));

        // Resumed, the same is asked for, and nothing is done again.
        assert_eq!(mock::apply::<PostgresRestore>(&host, &params()).unwrap(), outputs);
        assert_eq!((host.performed(), host.submitted()), (0, submitted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_contents_that_is_cut_off_or_changed_is_refused() {
    let place = folder(Major::V18).await;
    let host = host(place.path());
    let whole = host.file(ARCHIVE, "all/toc.dat").unwrap();
    for length in 0..whole.len() {
        host.set_file(ARCHIVE, "all/toc.dat", &whole[..length]);
        let error = mock::apply::<PostgresRestore>(&host, &params()).unwrap_err();
        assert!(error.message().contains("all/toc.dat` is damaged"), "{error}");
        assert_eq!(host.submitted(), []);
    }
    host.set_file(ARCHIVE, "all/toc.dat", [&whole[..], b"x"].concat());
    let error = mock::apply::<PostgresRestore>(&host, &params()).unwrap_err();
    assert!(error.message().contains("1 bytes after its last entry"), "{error}");

    // Another archive in the place of the one that a run began with.
    host.set_file(ARCHIVE, "all/toc.dat", &whole);
    mock::apply::<PostgresRestore>(&host, &params()).unwrap();
    let mut other = whole.clone();
    let at = other.windows(4).position(|window| window == b"pets").unwrap();
    other[at] = b'b';
    host.set_file(ARCHIVE, "all/toc.dat", other);
    let error = mock::apply::<PostgresRestore>(&host, &params()).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_server_names_the_entry() {
    let place = folder(Major::V16).await;
    let refusal = "42P07: relation exists; the statement was: CREATE TABLE public.pets ( id integer NOT NULL, owner integer…";
    let host = host(place.path()).with_outcome("before/0001", Err(Error::Failed(refusal.into())));
    let error = mock::apply::<PostgresRestore>(&host, &params()).unwrap_err();
    assert!(error.message().starts_with("TABLE public.pets can't be restored: 42P07"), "{error}");
}

#[test]
fn rows_in_other_words_prove_nothing_where_settings_choose_the_words() {
    let evidence = |digest: &str| Evidence { items: 2, bytes: 9, digest: format!("sum:{digest}") };
    let rows = |ty: &'static str| {
        let host = MockHost::new().on_query(move |query| {
            Some(Ok(if query.sql.contains(facts::QUERY) {
            vec![facts::facts()]
        } else if query.sql.contains("server_version_num") {
                vec![json!({ "version": 160_004, "superuser": true })]
            } else {
                let relation = json!({
                    "oid": 7, "schema": "public", "name": "pets", "kind": "r", "persistence": "p", "partition": false,
                    "row_type": 8, "bound": null, "partition_key": null, "options": [], "toast_options": [],
                    "row_security": false, "force_row_security": false, "replica_identity": "d",
                    "access_method": "heap", "of_type": null, "parents": [], "definition": null, "populated": true,
                    "tablespace": null, "bytes": 0, "comment": null
                });
                let column = json!({
                    "relation": 7, "number": 1, "name": "at", "type": ty, "not_null": false, "identity": "",
                    "generated": "", "default_oid": null, "default": null, "collation": null, "storage": null,
                    "compression": "", "statistics": null, "options": [], "local": true, "comment": null,
                    "not_null_constraint": null
                });
                vec![json!({ "s": "relation", "r": relation }), json!({ "s": "column", "r": column })]
            }))
        });
        let host = host.with_evidence("k", evidence("0a")).with_observed("k", evidence("0b"));
        let outputs = serde_json::from_value(json!({
            "tables": [{ "schema": "public", "name": "pets", "keys": ["k"] }],
            "objects": {}, "skipped": [], "dropped": []
        }))
        .unwrap();
        let with = json!({ "path": "all", "data_only": true });
        let checks = mock::verify::<PostgresRestore>(&host, &with, &outputs).unwrap();
        checks[0].verdict.clone()
    };
    assert!(matches!(rows("timestamp with time zone"), Verdict::NotComparable(why) if why.contains("`at`")));
    assert!(matches!(rows("integer"), Verdict::Failed(_)));
}
