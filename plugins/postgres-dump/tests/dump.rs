//! Decisions of a dump on a host in memory: what is asked for, what is written, what is refused.

#[path = "../../pg-catalog/tests/support/facts.rs"]
mod facts;

use std::cell::Cell;
use std::rc::Rc;

use godwit_pg_archive::{Compressed, Data, Layout, Section, Toc, Version, read};
use godwit_plugin_postgres_dump::{ARCHIVE, PostgresDump, SOURCE};
use godwit_sdk::mock::{self, MockHost, Request};
use godwit_sdk::types::*;
use serde_json::{Value, json};

fn relation(oid: u32, name: &str) -> Value {
    json!({ "s": "relation", "r": {
        "oid": oid, "schema": "app", "name": name, "kind": "r", "persistence": "p", "partition": false,
        "row_type": oid + 1, "bound": null, "partition_key": null, "options": [], "toast_options": [],
        "row_security": false, "force_row_security": false, "replica_identity": "d", "access_method": "heap",
        "of_type": null, "parents": [], "definition": null, "populated": true, "tablespace": null, "bytes": 8192,
        "comment": "a; comment"
    }})
}

fn column(relation: u32, number: i16, name: &str, default: Option<(u32, &str)>) -> Value {
    json!({ "s": "column", "r": {
        "relation": relation, "number": number, "name": name, "type": "integer", "not_null": true, "identity": "",
        "generated": "", "default_oid": default.map(|(oid, _)| oid), "default": default.map(|(_, text)| text),
        "collation": null, "storage": null, "compression": "", "statistics": null, "options": [], "local": true,
        "comment": null, "not_null_constraint": null
    }})
}

fn edge(c: &str, o: u32, rc: &str, ro: u32) -> Value {
    json!({ "s": "edge", "r": { "c": c, "o": o, "rc": rc, "ro": ro, "t": "n" } })
}

/// A schema with two tables, a serial column, and a foreign key from the one that comes first by name.
fn catalog() -> Vec<Value> {
    vec![
        json!({ "s": "schema", "r": { "oid": 10, "name": "app", "comment": null } }),
        json!({ "s": "schema", "r": { "oid": 11, "name": "public", "comment": null } }),
        relation(20, "a"),
        relation(30, "Odd b"),
        column(20, 1, "id", Some((25, "nextval('app.a_id_seq'::regclass)"))),
        column(20, 2, "b", None),
        column(30, 1, "Id", None),
        json!({ "s": "sequence", "r": {
            "oid": 40, "schema": "app", "name": "a_id_seq", "persistence": "p", "type": "integer", "start": 1,
            "increment": 1, "min": 1, "max": 2147483647, "cache": 1, "cycle": false, "owner": 20, "owner_column": 1,
            "identity": false, "comment": null
        }}),
        json!({ "s": "constraint", "r": {
            "oid": 50, "relation": 20, "name": "a_b_fkey", "kind": "f",
            "definition": "FOREIGN KEY (b) REFERENCES app.\"Odd b\"(\"Id\")", "local": true, "validated": true,
            "index": null, "references": 30, "has_parent": false, "comment": null
        }}),
        edge("pg_class", 20, "pg_namespace", 10),
        edge("pg_class", 30, "pg_namespace", 10),
        edge("pg_class", 40, "pg_namespace", 10),
        edge("pg_attrdef", 25, "pg_class", 40),
        edge("pg_attrdef", 25, "pg_class", 20),
    ]
}

/// A host with this catalog, and the position that the sequence is at.
fn host(catalog: Vec<Value>) -> (MockHost, Rc<Cell<i64>>) {
    let position = Rc::new(Cell::new(7));
    let shown = Rc::clone(&position);
    let host = MockHost::new().on_query(move |query| {
        assert_eq!(query.slot, SOURCE);
        Some(Ok(if query.sql.contains(facts::QUERY) {
            vec![facts::facts()]
        } else if query.sql.contains("current_database() AS database") {
            vec![json!({
                "database": "shop", "server": "16.4", "second": 5, "minute": 4, "hour": 3, "day": 2, "month": 1,
                "year": 2026
            })]
        } else if query.sql.contains("server_version_num") {
            vec![json!({ "version": 160_004, "superuser": true })]
        } else if query.sql.contains("last_value, is_called FROM") {
            vec![json!({ "schema": "app", "name": "a_id_seq", "last_value": shown.get(), "is_called": true })]
        } else {
            catalog.clone()
        }))
    });
    (host, position)
}

fn toc(host: &MockHost) -> Toc {
    let bytes = host.file(ARCHIVE, "backup/toc.dat").expect("it is written");
    let (toc, length) = read(&bytes).expect("it can be read");
    assert_eq!(length, bytes.len());
    toc
}

#[test]
fn a_folder_holds_what_the_table_of_contents_says() {
    let (host, _) = host(catalog());
    let outputs = mock::apply::<PostgresDump>(&host, &json!({ "path": "backup/" })).unwrap();
    let toc = toc(&host);
    assert_eq!((toc.version, toc.compressed), (Version::V1_14, Compressed::Level(-1)));
    assert_eq!((toc.database.as_deref(), toc.server_version.as_deref()), (Some("shop"), Some("16.4")));
    assert_eq!((toc.created.month, toc.created.year), (0, 126));
    let titles: Vec<String> = toc.entries.iter().map(|entry| entry.title()).collect();
    assert_eq!(
        titles,
        [
            "ENCODING ENCODING",
            "STDSTRINGS STDSTRINGS",
            "SEARCHPATH SEARCHPATH",
            "SCHEMA app",
            "SCHEMA public",
            "TABLE app.Odd b",
            "COMMENT app.TABLE \"Odd b\"",
            "TABLE app.a",
            "COMMENT app.TABLE a",
            "SEQUENCE app.a_id_seq",
            "SEQUENCE OWNED BY app.a_id_seq",
            "DEFAULT app.a id",
            "TABLE DATA app.Odd b",
            "TABLE DATA app.a",
            "SEQUENCE SET app.a_id_seq",
            "FK CONSTRAINT app.a a_b_fkey",
        ]
    );
    let entry = |title: &str| toc.entries.iter().find(|entry| entry.title() == title).expect(title);
    // A table is whole without its sequence, as `pg_restore -t` makes it.
    let table = entry("TABLE app.a");
    assert!(!table.definition.as_deref().unwrap().contains("nextval"), "{table:?}");
    assert_eq!(entry("DEFAULT app.a id").dependencies.len(), 2);
    let rows = entry("TABLE DATA app.Odd b");
    assert_eq!(rows.copy.as_deref(), Some("COPY app.\"Odd b\" (\"Id\") FROM stdin;\n"));
    assert_eq!(rows.data, Data::File(format!("{}.dat", rows.dump_id)));
    assert!(host.file(ARCHIVE, &format!("backup/{}.dat.gz", rows.dump_id)).is_some());
    assert_eq!(rows.dependencies, [entry("TABLE app.Odd b").dump_id]);
    let key = entry("FK CONSTRAINT app.a a_b_fkey");
    assert_eq!(key.section, Section::PostData);
    assert_eq!(key.dependencies, [entry("TABLE app.Odd b").dump_id, table.dump_id]);
    let position = entry("SEQUENCE SET app.a_id_seq");
    assert_eq!(position.definition.as_deref(), Some("SELECT pg_catalog.setval('app.a_id_seq', 7, true);\n"));
    // In the reverse order, everything can be dropped.
    let drops: Vec<&str> = toc.entries.iter().rev().filter_map(|entry| entry.drop.as_deref()).collect();
    assert_eq!(drops[0], "ALTER TABLE app.a DROP CONSTRAINT a_b_fkey;\n");
    let place = |drop: &str| drops.iter().position(|other| *other == drop).expect(drop);
    assert!(place("DROP SEQUENCE app.a_id_seq;\n") < place("DROP TABLE app.a;\n"), "{drops:?}");
    assert!(!drops.contains(&"DROP SCHEMA public;\n"));

    let checks = mock::verify::<PostgresDump>(&host, &json!({ "path": "backup/" }), &outputs);
    // The mock has no evidence of its own; what a transfer has left none of is a failed check, not a passed one.
    assert!(checks.unwrap().iter().all(|check| matches!(check.verdict, Verdict::Failed(_))));
}

#[test]
fn a_resumed_dump_asks_for_the_same_though_sequences_went_on() {
    for died_after in 0..3 {
        let (host, position) = host(catalog());
        let host = host.with_crash_after(died_after);
        assert!(mock::apply::<PostgresDump>(&host, &json!({ "path": "backup" })).is_err());
        position.set(9);
        mock::apply::<PostgresDump>(&host, &json!({ "path": "backup" })).unwrap();
        assert_eq!(host.performed(), 3 - died_after);
        let definition = toc(&host).entries.into_iter().find(|entry| entry.desc == "SEQUENCE SET").unwrap();
        assert!(definition.definition.unwrap().contains(", 9, true)"));
    }
}

#[test]
fn a_script_is_put_together_from_what_was_dumped() {
    let (host, _) = host(catalog());
    let with = json!({ "path": "all.sql", "format": "plain", "data_only": true });
    mock::apply::<PostgresDump>(&host, &with).unwrap();
    let submitted = host.submitted();
    let Request::SealArchive { path, pieces, .. } = &submitted.last().unwrap().request else {
        panic!("{submitted:?}")
    };
    assert_eq!(path, "all.sql");
    // Rows that others point at come first.
    let text = |piece: &Piece| match piece {
        Piece::Text(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Piece::Dumped(path) | Piece::Block { path, .. } => format!("<{path}>"),
        other => panic!("{other:?}"),
    };
    let texts: Vec<String> = pieces.iter().map(text).collect();
    assert!(texts[0].starts_with("--\n-- PostgreSQL database dump\n--\n"));
    assert!(texts[0].ends_with("COPY app.\"Odd b\" (\"Id\") FROM stdin;\n"), "{}", texts[0]);
    assert_eq!(texts[1], "<all.sql.4.rows>");
    assert!(texts[2].ends_with("COPY app.a (id, b) FROM stdin;\n"), "{}", texts[2]);
    assert!(texts[4].contains("SELECT pg_catalog.setval('app.a_id_seq', 7, true);"), "{}", texts[4]);
    assert!(!texts.concat().contains("CREATE "));
    assert_eq!(host.file(ARCHIVE, "all.sql.4.rows"), None);
}

#[test]
fn what_is_there_is_left_alone() {
    for (file, path, format) in [
        ("backup/x", "backup", "directory"),
        ("backup", "backup", "directory"),
        ("a.sql", "a.sql", "plain"),
        ("a.sql/x", "a.sql", "plain"),
    ] {
        let (host, _) = host(catalog());
        host.set_file(ARCHIVE, file, b"mine");
        let with = json!({ "path": path, "format": format });
        let error = mock::apply::<PostgresDump>(&host, &with).unwrap_err();
        assert!(matches!(&error, Error::Conflict(why) if why.contains(path)), "{error}");
        assert_eq!((host.performed(), host.file(ARCHIVE, file).unwrap()), (0, b"mine".to_vec()));
    }
}

#[test]
fn a_kind_that_cannot_be_dumped_is_named_before_anything_is_written() {
    let mut rows = catalog();
    rows.push(json!({ "s": "unsupported", "r": {
        "kind": "large object", "class": "pg_largeobject", "oid": 0, "schema": null, "name": "3 of them"
    }}));
    let (host, _) = host(rows);
    let error = mock::apply::<PostgresDump>(&host, &json!({ "path": "backup" })).unwrap_err();
    assert!(error.message().contains("can't be dumped: large object 3 of them"), "{error}");
    assert_eq!(host.submitted(), []);
    let with = json!({ "path": "backup", "skip": ["large object"] });
    let outputs = mock::apply::<PostgresDump>(&host, &with).unwrap();
    assert_eq!(outputs.skipped.len(), 1);
}

#[test]
fn one_file_says_where_each_block_begins() {
    let (host, _) = host(catalog());
    let with = json!({ "path": "backup.dump", "format": "custom" });
    mock::apply::<PostgresDump>(&host, &with).unwrap();
    let submitted = host.submitted();
    let Request::SealArchive { path, pieces, .. } = &submitted.last().unwrap().request else {
        panic!("the archive is made whole last")
    };
    let (Piece::Text(head), blocks) = pieces.split_first().unwrap() else { panic!("{pieces:?}") };
    let (toc, length) = godwit_pg_archive::read(head).unwrap();
    assert_eq!((path.as_str(), toc.layout, length), ("backup.dump", Layout::Custom, head.len()));
    let mut offset = head.len() as u64;
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let Piece::Block { path, dump_id } = block else { panic!("{block:?}") };
        assert_eq!(path, &format!("backup.dump.{dump_id}.rows"));
        let entry = toc.entries.iter().find(|entry| entry.dump_id == *dump_id).unwrap();
        assert_eq!(entry.data, Data::At(offset), "{}", entry.title());
        // The mock's files are empty.
        offset += block_size(0);
    }
    assert!(submitted.iter().all(|effect| match &effect.request {
        Request::DumpTable { sink, .. } => sink.compression == Compression::Zlib,
        _ => true,
    }));
}

#[test]
fn params_that_contradict_each_other_are_refused() {
    let (host, _) = host(catalog());
    for (with, word) in [
        (json!({ "path": "/" }), "`path` is empty"),
        (json!({ "path": "a", "schema_only": true, "data_only": true }), "exclude each other"),
        (json!({ "path": "a", "format": "plain", "compression": "gzip" }), "isn't compressed"),
        (json!({ "path": "a", "format": "plain", "archive_version": "1.14" }), "archive_version"),
        (json!({ "path": "a", "compression": "zstd", "archive_version": "1.14" }), "1.14 knows no"),
        (json!({ "path": "a", "skip": ["tables"] }), "`skip` names no kind"),
    ] {
        let error = mock::apply::<PostgresDump>(&host, &with).unwrap_err();
        assert!(error.message().contains(word), "{with}: {error}");
    }
    let with = json!({ "path": "backup", "compression": "zstd", "schema_only": true });
    mock::apply::<PostgresDump>(&host, &with).unwrap();
    let toc = toc(&host);
    assert_eq!((toc.version, toc.compressed), (Version::V1_15, Compressed::Zstd));
    assert!(toc.entries.iter().all(|entry| entry.section != Section::Data));
}
