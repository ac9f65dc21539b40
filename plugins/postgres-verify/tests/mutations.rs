//! Every column type that a server has: one altered, swapped, dropped or duplicated value is found, each of them.

#[path = "../../pg-catalog/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_postgres_verify::{Located, Params, PostgresVerify};
use godwit_sdk::Step;
use godwit_sdk::types::*;
use serde_json::json;
use support::{Database, NativeHost};

/// Two values of each base type and range, as near to each other as they go: one bit, byte, letter or step apart.
const VALUES: &[(&str, &str, &str)] = &[
    ("aclitem", "postgres=r/postgres", "postgres=w/postgres"),
    ("bit", "0", "1"),
    ("bool", "t", "f"),
    ("box", "(2,2),(1,1)", "(2,2),(1,1.0000000000000002)"),
    ("bpchar", "a", "a "),
    ("bytea", "\\x00ff00", "\\x00fe00"),
    ("char", "a", "b"),
    ("cid", "1", "2"),
    ("cidr", "192.0.2.0/24", "192.0.2.0/25"),
    ("circle", "<(1,1),1>", "<(1,1),2>"),
    ("date", "2024-02-29", "2024-03-01"),
    ("float4", "1", "1.0000001"),
    ("float8", "0", "-0"),
    ("inet", "192.0.2.1", "192.0.2.1/31"),
    ("int2", "1", "-1"),
    ("int2vector", "1 2", "2 1"),
    ("int4", "1", "2"),
    ("int8", "9007199254740992", "9007199254740993"),
    ("interval", "1 mon", "30 days"),
    ("json", "{\"a\":1}", "{\"a\": 1}"),
    ("jsonb", "{\"a\":1}", "{\"a\":\"1\"}"),
    ("jsonpath", "$.a", "$.b"),
    ("line", "{1,2,3}", "{1,2,4}"),
    ("lseg", "[(1,1),(2,2)]", "[(2,2),(1,1)]"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    ("macaddr8", "08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:06"),
    ("money", "1.00", "1.01"),
    ("name", "a", "A"),
    ("numeric", "1.0", "1.00"),
    ("oid", "1", "4294967295"),
    ("oidvector", "1 2", "1 3"),
    ("path", "[(1,1),(2,2)]", "((1,1),(2,2))"),
    ("pg_lsn", "0/1", "0/2"),
    ("pg_snapshot", "10:20:10", "10:20:11"),
    ("point", "(1,1)", "(1,2)"),
    ("polygon", "((1,1),(2,2))", "((1,1),(2,3))"),
    ("refcursor", "a", "b"),
    ("regclass", "pg_class", "pg_type"),
    ("regcollation", "\"C\"", "\"POSIX\""),
    ("regconfig", "english", "simple"),
    ("regdictionary", "english_stem", "simple"),
    ("regnamespace", "public", "pg_catalog"),
    ("regoper", "|/", "||/"),
    ("regoperator", "+(integer,integer)", "+(bigint,bigint)"),
    ("regproc", "now", "version"),
    ("regprocedure", "abs(integer)", "abs(bigint)"),
    ("regrole", "postgres", "pg_monitor"),
    ("regtype", "integer", "bigint"),
    ("text", "ä", "a\u{308}"),
    ("tid", "(0,1)", "(0,2)"),
    ("time", "24:00:00", "00:00:00"),
    ("timestamp", "2024-01-01 00:00:00", "2024-01-01 00:00:00.000001"),
    ("timestamptz", "2024-01-01 00:00:00+00", "2024-01-01 00:00:00+01"),
    ("timetz", "00:00:00+00", "01:00:00+01"),
    ("tsquery", "a & b", "a | b"),
    ("tsvector", "a:1", "a:2"),
    ("txid_snapshot", "10:20:10", "10:20:11"),
    ("uuid", "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"),
    ("varbit", "01", "010"),
    ("varchar", "", " "),
    ("xid", "3", "4"),
    ("xid8", "3", "4"),
    ("xml", "<a/>", "<a></a>"),
    ("daterange", "[2024-01-01,2024-01-02)", "[2024-01-01,2024-01-03)"),
    ("int4range", "empty", "[1,2)"),
    ("int8range", "[1,)", "[1,2)"),
    ("numrange", "[1,2)", "[1,2]"),
    ("tsrange", "[2024-01-01,2024-01-02)", "[2024-01-01,2024-01-02]"),
    ("tstzrange", "[2024-01-01,2024-01-02)", "[2024-01-01,2024-01-02]"),
    ("datemultirange", "{[2024-01-01,2024-01-02)}", "{[2024-01-01,2024-01-03)}"),
    ("int4multirange", "{}", "{[1,2)}"),
    ("int8multirange", "{[1,2),[4,5)}", "{[1,2),[4,6)}"),
    ("nummultirange", "{[1,2)}", "{[1,2]}"),
    ("tsmultirange", "{[2024-01-01,2024-01-02)}", "{[2024-01-01,2024-01-02]}"),
    ("tstzmultirange", "{[2024-01-01,2024-01-02)}", "{[2024-01-01,2024-01-02]}"),
    // Made here.
    ("colour", "red", "green"),
    ("address", "(1,a)", "(1,b)"),
    ("person", "(x,\"(1,)\")", "(x,)"),
    ("code", "a", "b"),
    ("list", "{1,NULL}", "{NULL,1}"),
    ("span", "[1,2]", "[1,3]"),
    ("multispan", "{[1,2]}", "{[1,2],[4,5]}"),
];

/// Types that take no input, so that no table can have a value of them but by the server itself.
const WITHOUT_INPUT: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

const TYPES: &str = "
    CREATE TYPE public.colour AS ENUM ('red', 'green');
    CREATE TYPE public.address AS (number int, street text);
    CREATE TYPE public.person AS (name text, home public.address);
    CREATE DOMAIN public.code AS text CHECK (value <> '');
    CREATE DOMAIN public.list AS int[];
    CREATE TYPE public.span AS RANGE (subtype = float8, multirange_type_name = multispan);";

struct World {
    server: Arc<PgServer>,
    host: NativeHost,
    /// Each column's type as SQL, and two literals of it.
    columns: Vec<[String; 3]>,
}

impl World {
    /// Two databases with the same table twice, `keyed` and `without`: for each column of each type a row in which that
    /// column has the first value and a row in which it has the second one; all others have the first.
    async fn start(major: Major) -> Self {
        let server = Arc::new(PgServer::start(major).await.expect("a server"));
        let (a, b) = (Database::create(&server, "a").await, Database::create(&server, "b").await);
        let values: BTreeMap<&str, (&str, &str)> = VALUES.iter().map(|(ty, a, b)| (*ty, (*a, *b))).collect();
        for name in ["a", "b"] {
            server.psql(name, TYPES).expect("types");
        }
        let list = "SELECT t.typname || ' ' || format_type(t.oid, -1) || ' ' || coalesce(format_type(nullif(t.typarray, 0), -1), '-')
            FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
            WHERE n.nspname IN ('pg_catalog', 'public') AND t.typtype IN ('b', 'c', 'd', 'e', 'r', 'm')
              AND t.typcategory <> 'A' AND coalesce(c.relkind = 'c', true) ORDER BY 1";
        let mut columns = Vec::new();
        // Names without blanks: what has some is cut at the last ones.
        for line in server.psql("a", list).expect("the types").lines() {
            let name = line.split(' ').next().expect("a name");
            if WITHOUT_INPUT.contains(&name) {
                continue;
            }
            // The wheel's servers have the type, and no library to read it with.
            if name == "xml" && server.psql("a", "SELECT '<a/>'::xml").is_err() {
                continue;
            }
            let (one, other) =
                values.get(name).unwrap_or_else(|| panic!("there are no values of type {name}"));
            let ty = format!("\"{name}\"");
            let quoted = |value: &str| value.replace('\'', "''");
            let (one, other) = (quoted(one), quoted(other));
            columns.push([ty.clone(), format!("'{one}'::{ty}"), format!("'{other}'::{ty}")]);
            if !line.ends_with(" -") {
                let array = |value: &str| format!("ARRAY['{value}'::{ty}, NULL]::{ty}[]");
                columns.push([format!("{ty}[]"), array(&one), array(&other)]);
            }
        }
        let world = Self { server, host: NativeHost::new(&[("source", &a), ("target", &b)]), columns };
        for name in ["a", "b"] {
            world.server.psql(name, &world.fixture()).expect("the tables");
        }
        let kept = "CREATE SCHEMA kept; CREATE TABLE kept.rows AS TABLE public.keyed";
        world.server.psql("b", kept).expect("the rows as they were");
        world
    }

    fn fixture(&self) -> String {
        let definitions: Vec<String> =
            self.columns.iter().enumerate().map(|(at, [ty, ..])| format!("c{at} {ty}")).collect();
        let firsts: Vec<&str> = self.columns.iter().map(|[_, one, _]| one.as_str()).collect();
        let mut sql = String::new();
        for (table, key) in [("keyed", " PRIMARY KEY"), ("without", "")] {
            sql += &format!("CREATE TABLE public.{table} (id int{key}, {});\n", definitions.join(", "));
            sql += &format!(
                "INSERT INTO public.{table} SELECT i, {} FROM generate_series(0, {}) i;\n",
                firsts.join(", "),
                2 * self.columns.len()
            );
            for (at, [_, _, other]) in self.columns.iter().enumerate() {
                sql += &format!("UPDATE public.{table} SET c{at} = {other} WHERE id = {};\n", 2 * at + 1);
            }
        }
        sql
    }

    /// Changes the target, finds where it differs, and puts it right again.
    fn after(&self, change: &str) -> [Option<Located>; 2] {
        self.server.psql("b", &change.replace("TABLE", "public.keyed")).expect("a change");
        self.server.psql("b", &change.replace("TABLE", "public.without")).expect("a change");
        let found = self.compare();
        let again = "TRUNCATE public.keyed, public.without;
            INSERT INTO public.keyed TABLE kept.rows; INSERT INTO public.without TABLE kept.rows";
        self.server.psql("b", again).expect("the tables");
        found
    }

    fn compare(&self) -> [Option<Located>; 2] {
        let params: Params =
            serde_json::from_value(json!({ "definitions": false, "sequences": false })).expect("params");
        self.host.begin(Mode::Apply);
        let outputs = PostgresVerify::apply(&self.host, params).expect("compare");
        ["public.keyed", "public.without"].map(|name| {
            let table = outputs.tables.iter().find(|table| table.table == name).expect("the table");
            assert_eq!(table.equal, table.located.is_none());
            table.located.clone()
        })
    }
}

async fn every_mutation_is_found(major: Major) {
    let world = World::start(major).await;
    let columns = world.columns.len() as u64;
    assert!(columns > 130, "{columns} columns");
    assert_eq!(world.compare(), [None, None], "both are alike");

    let counts = |located: &Option<Located>| {
        let located = located.as_ref().expect("the difference was found");
        assert!(located.complete);
        (located.changed, located.missing, located.extra)
    };
    let each = |set: &dyn Fn(usize, &[String; 3]) -> String| -> String {
        world.columns.iter().enumerate().map(|(at, column)| set(at, column)).collect()
    };
    // In each row, one value: each of these rows has to be found.
    let altered =
        each(&|at, [_, _, other]| format!("UPDATE TABLE SET c{at} = {other} WHERE id = {};\n", 2 * at));
    let found = world.after(&altered);
    assert_eq!(counts(&found[0]), (columns, 0, 0), "altered");
    assert_eq!(counts(&found[1]), (0, columns, columns), "altered, without a key");

    let lost = each(&|at, _| format!("UPDATE TABLE SET c{at} = NULL WHERE id = {};\n", 2 * at));
    assert_eq!(counts(&world.after(&lost)[0]), (columns, 0, 0), "lost");

    // Both rows of each column: no value is gone or new.
    let swapped = each(&|at, [_, one, other]| {
        format!(
            "UPDATE TABLE SET c{at} = CASE id % 2 WHEN 1 THEN {one} ELSE {other} END WHERE id IN ({}, {});\n",
            2 * at,
            2 * at + 1
        )
    });
    assert_eq!(counts(&world.after(&swapped)[0]), (2 * columns, 0, 0), "swapped");

    let dropped = each(&|at, _| format!("DELETE FROM TABLE WHERE id = {};\n", 2 * at + 1));
    let found = world.after(&dropped);
    assert_eq!(found.each_ref().map(counts), [(0, columns, 0); 2], "dropped");

    let doubled = each(&|at, _| {
        let rest: Vec<String> = (0..world.columns.len()).map(|column| format!("c{column}")).collect();
        format!(
            "INSERT INTO public.without SELECT id, {} FROM public.without WHERE id = {};\n",
            rest.join(", "),
            2 * at
        )
    });
    assert_eq!(counts(&world.after_once(&doubled)[1]), (0, 0, columns), "duplicated");

    // One row in the place of another, and the one of both that is there twice in the other's: sums must not cancel.
    let replaced =
        "UPDATE public.without SET id = 1, c0 = (SELECT c0 FROM public.without WHERE id = 1) WHERE id = 2";
    assert_eq!(counts(&world.after_once(replaced)[1]).1, 1, "replaced");
}

impl World {
    /// The same, for a change that names its table.
    fn after_once(&self, change: &str) -> [Option<Located>; 2] {
        self.server.psql("b", change).expect("a change");
        self.after("SELECT 1 /* TABLE */")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_of_every_type_of_15_is_found() {
    every_mutation_is_found(Major::V15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_of_every_type_of_18_is_found() {
    every_mutation_is_found(Major::V18).await;
}
