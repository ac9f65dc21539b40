//! The row generator fills what schemas have, in one way only, and names what it can't fill.

use godwit_lab::LabError;
use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::rows;

const SCHEMA: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'so-so', 'it''s fine');
CREATE DOMAIN code AS varchar(5) NOT NULL CHECK (VALUE ~ '^[0-9a-z]+$');
CREATE SCHEMA "Odd Name";
CREATE TABLE "Odd Name"."User" ("Id" serial PRIMARY KEY, "Mail" varchar(40) UNIQUE NOT NULL, boss int REFERENCES "Odd Name"."User");
CREATE TABLE types (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a bool, b smallint NOT NULL, c numeric(7,2), d numeric, e real,
  f float8, g text, h char(3), i bytea, j date, k timestamp(3), l timestamptz, m interval, n uuid, o json, p jsonb,
  q inet, r mood NOT NULL, s code, t text[], u mood[], v int[], w bit(5), x varbit(7), y tsvector, z point,
  aa int4range, ab daterange, ac timetz, ad macaddr, twice int GENERATED ALWAYS AS (b * 2) STORED);
CREATE TABLE checked (
  id serial, status text NOT NULL CHECK (status IN ('open', 'done')), amount int CHECK (amount BETWEEN 10 AND 20),
  low int NOT NULL, high int NOT NULL, CHECK (low < high));
CREATE TABLE self (id int PRIMARY KEY, parent int NOT NULL REFERENCES self);
CREATE TABLE hen (id serial PRIMARY KEY, egg int);
CREATE TABLE egg (id serial PRIMARY KEY, hen int NOT NULL REFERENCES hen);
ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE pair (a int, b text, PRIMARY KEY (a, b));
CREATE TABLE paired (id serial, a int NOT NULL, b text NOT NULL, FOREIGN KEY (a, b) REFERENCES pair);
CREATE TABLE parted (id int NOT NULL, day date NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE parted_old PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2010-01-01');
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
CREATE TABLE numbers_alone (id serial);
"#;

async fn database(server: &PgServer, name: &str, schema: &str) {
    server.create_database(name).await.expect("database");
    server.exec(name, schema).await.expect("schema");
}

#[tokio::test]
async fn every_kind_of_table_is_filled_and_always_alike() {
    let server = PgServer::start(Major::V16).await.expect("starts");
    let mut contents = Vec::new();
    for (name, seed) in [("one", 7), ("two", 7), ("three", 8)] {
        database(&server, name, SCHEMA).await;
        let filled = rows::fill(&server, name, seed, 60).await.expect("filled");
        assert_eq!(filled.len(), 10, "{filled:?}");
        let mut content = String::new();
        for table in &filled {
            assert!(table.rows > 20, "{table:?}");
            let sql = format!("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t", table.table);
            content += &server.psql(name, &sql).expect("content");
        }
        contents.push((filled, content));
    }
    assert_eq!(contents[0], contents[1], "the same seed");
    assert_ne!(contents[0].1, contents[2].1, "another seed");
    // What is nullable is sometimes null, a circle is closed on one side, rows of one table refer to each other.
    let holds = |sql: &str| assert_eq!(server.psql("one", sql).expect("psql"), "t", "{sql}");
    holds("SELECT count(*) FILTER (WHERE a IS NULL) > 0 AND count(a) > 0 FROM types");
    holds("SELECT count(DISTINCT status) = 2 FROM checked");
    holds("SELECT count(boss) > 5 FROM \"Odd Name\".\"User\"");
    holds("SELECT count(egg) = 0 FROM hen");
    holds("SELECT count(*) > 0 FROM parted_old");
}

#[tokio::test]
async fn what_cannot_be_filled_is_named() {
    let server = PgServer::start(Major::V16).await.expect("starts");
    let cases = [
        (
            "circle",
            "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL); CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b;",
            "public.a, public.b",
            "circle",
        ),
        (
            "impossible",
            "CREATE TABLE a (id int CHECK (id < 0 AND id > 0) NOT NULL)",
            "public.a",
            "a_id_check",
        ),
        ("strange", "CREATE TABLE a (id pg_lsn)", "public.a", "pg_lsn"),
    ];
    for (name, schema, names, cause) in cases {
        database(&server, name, schema).await;
        match rows::fill(&server, name, 1, 10).await {
            Err(LabError::Unfillable { table, why }) => {
                assert_eq!(table, names);
                assert!(why.contains(cause), "{why}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}
