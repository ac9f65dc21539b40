//! Databases in other encodings than UTF-8, as sources and sinks.

use godwit_model::capability::Capability as _;

use crate::support::*;

const TABLE: &str = "CREATE TABLE people (id int PRIMARY KEY, name text)";

/// Databases of one name: at the source in one encoding, at the sink in another one.
async fn pair(name: &str, source: &str, sink: &str) -> Pair {
    let pair = Pair::new(name).await;
    for (server, encoding) in [(pair.source, source), (pair.sink, sink)] {
        server.psql("postgres", &format!("DROP DATABASE {name}")).unwrap();
        let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        server.psql("postgres", &create).unwrap();
        server.psql(name, TABLE).unwrap();
    }
    pair
}

/// The bytes that the database stores, in hexadecimal.
const STORED: &str =
    "SELECT string_agg(encode(convert_to(name, getdatabaseencoding()), 'hex'), ' ' ORDER BY id) FROM people";
const RAW: &str = "SELECT string_agg(encode(textsend(name), 'hex'), ' ' ORDER BY id) FROM people";

#[tokio::test]
async fn text_is_converted_by_the_servers() {
    for (number, (source, sink, sent, stored)) in [
        ("LATIN1", "UTF8", "chr(233)", "c3a9"),
        ("UTF8", "LATIN1", "chr(233)", "e9"),
        ("EUC_JP", "UTF8", "convert_from('\\xa4a2', 'EUC_JP')", "e38182"),
        ("UTF8", "EUC_JP", "chr(12354)", "a4a2"),
        ("LATIN1", "LATIN1", "chr(233)", "e9"),
        ("LATIN2", "EUC_JP", "'plain'", "706c61696e"),
    ]
    .into_iter()
    .enumerate()
    {
        let pair = pair(&format!("encoding_{number}"), source, sink).await;
        pair.from(&format!("INSERT INTO people VALUES (1, {sent})"));
        let (pg, bench) = (pair.process(), Bench::new());
        let done = bench.run(&pg, &copy("people", &["id", "name"])).await.unwrap();
        assert_eq!(pair.to(STORED), stored, "{source} to {sink}");
        assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done), "{source} to {sink}");
    }
}

#[tokio::test]
async fn what_cannot_be_converted_is_named_by_table_and_row() {
    let pair = pair("encoding_refused", "UTF8", "LATIN1").await;
    pair.from("INSERT INTO people VALUES (1, 'plain'), (2, chr(12354))");
    let (pg, bench) = (pair.process(), Bench::new());
    let refused = bench.run(&pg, &copy("people", &["id", "name"])).await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("22P05"), "{refused}");
    for word in ["public.people", "LATIN1", "line 2"] {
        assert!(refused.message.contains(word), "`{word}` isn't said: {refused}");
    }
    assert_eq!(pair.to("SELECT count(*) FROM people"), "0");
}

#[tokio::test]
async fn a_database_without_an_encoding_takes_any_bytes_and_gives_them_only_to_its_like() {
    let bytes = "INSERT INTO people VALUES (1, E'\\xe9'), (2, E'\\xff\\xfe')";
    let alike = pair("encoding_none", "SQL_ASCII", "SQL_ASCII").await;
    // psql would hold them against its own encoding.
    alike.from(&format!("SET client_encoding = 'SQL_ASCII'; {bytes}"));
    let (pg, bench) = (alike.process(), Bench::new());
    let done = bench.run(&pg, &copy("people", &["id", "name"])).await.unwrap();
    assert_eq!(alike.to(RAW), "e9 fffe");
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));

    let other = pair("encoding_from_none", "SQL_ASCII", "UTF8").await;
    other.from(&format!("SET client_encoding = 'SQL_ASCII'; {bytes}"));
    let (pg, bench) = (other.process(), Bench::new());
    let refused = bench.run(&pg, &copy("people", &["id", "name"])).await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("22021"), "{refused}");
    assert!(refused.message.contains("public.people") && refused.message.contains("line 1"), "{refused}");
    assert_eq!(other.to("SELECT count(*) FROM people"), "0");
}
