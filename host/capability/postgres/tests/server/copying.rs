//! Tables on their way.

use godwit_model::ErrorKind;
use godwit_model::capability::Capability as _;
use godwit_model::plugin::Access;

use crate::support::*;

#[tokio::test]
async fn a_table_moves_and_is_observed() {
    let pair = Pair::new("moves").await;
    pair.both(PEOPLE);
    pair.from(FILL);
    let (pg, bench) = (pair.process(), Bench::new());
    let done = bench.run(&pg, &copy("people", COLUMNS)).await.unwrap();
    assert_eq!(pair.from(SUM), pair.to(SUM));
    assert_eq!(evidence(&done).items, 5000);
    assert!(done.preparation.details.iter().any(|d| d.contains("binary")), "{:?}", done.preparation.details);
    assert_eq!(result(&done)["rows"], 5000);
    assert_eq!(bench.progress.items.load(std::sync::atomic::Ordering::SeqCst), 5000);
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    // One altered byte is seen.
    pair.to("UPDATE people SET name = 'Name 7' WHERE id = 7");
    let altered = pg.observe(&bench.scope, &done).await.unwrap();
    assert_eq!(altered.items, 5000);
    assert_ne!(altered.digest, evidence(&done).digest);
    pg.close_step(&bench.scope).await.unwrap();
    // Nothing is left but the markers, and then nothing at all.
    let status = pg.target_status(&grant("sink", Access::Write)).await.unwrap();
    assert_eq!((status.len(), status[0].run.as_str()), (1, RUN));
    assert!(pg.cleanup(&bench.scope.run, &grant("sink", Access::Write)).await.unwrap().is_some());
    assert_eq!(pg.cleanup(&bench.scope.run, &grant("sink", Access::Write)).await.unwrap(), None);
    assert_eq!(pair.to("SELECT count(*) FROM pg_namespace WHERE nspname = 'godwit_marker'"), "0");
}

#[tokio::test]
async fn every_built_in_type_moves_in_both_formats() {
    let pair = Pair::new("types").await;
    let ddl = "CREATE TYPE colour AS ENUM ('red', 'blue'); CREATE TYPE pair AS (a int, b text);
        CREATE DOMAIN positive AS int CHECK (VALUE > 0);
        CREATE EXTENSION vector;
        CREATE TABLE plain (b bool, c \"char\", n numeric, d double precision, r real, t timestamptz, i interval, u uuid,
          y bytea, j json, jb jsonb, a int[], aa text[][], p point, ip inet, m macaddr, vb varbit, ts tsvector,
          nr numrange, mr int4multirange, e colour, dom positive, v vector(3), bp char(5), tt timetz, dt date);
        CREATE TABLE odd (id int, c pair, ca colour[], mo money, x regclass);";
    pair.both(ddl);
    pair.from(
        "INSERT INTO plain VALUES
         (true, 'x', 1.50, 'Infinity', 0.1, '2024-02-29 12:00+02', '1 mon 2 days 03:04:05.6', gen_random_uuid(), '\\x00ff',
          '{\"b\": 1,  \"a\": 2}', '{\"b\": 1}', '{1,NULL,3}', '{{a,b},{c,\"d,e\"}}', '(1,2)', '10.0.0.0/8', '08:00:2b:01:02:03',
          B'101', 'fat:1 cat:2', '[1,2)', '{[1,3),[5,7)}', 'blue', 7, '[1,2,3]', 'ab', '12:00+01', 'infinity'),
         (NULL, NULL, 'NaN', '-0', NULL, '-infinity', NULL, NULL, '', 'null', 'null', '{}', '{}', NULL, '::1', NULL, B'',
          '', 'empty', '{}', 'red', NULL, NULL, '', NULL, '4713-01-01 BC');
         INSERT INTO odd VALUES (1, ROW(1, E'tab\\tnew\\nline\\\\'), '{red,blue}', '12.34', 'pg_class'), (2, NULL, NULL, NULL, NULL)",
    );
    let (pg, bench) = (pair.process(), Bench::new());
    let columns = [
        "b", "c", "n", "d", "r", "t", "i", "u", "y", "j", "jb", "a", "aa", "p", "ip", "m", "vb", "ts", "nr",
        "mr", "e", "dom", "v", "bp", "tt", "dt",
    ];
    let plain = bench.run(&pg, &copy("plain", &columns)).await.unwrap();
    assert_eq!(plain.done.as_ref().unwrap().fingerprint["format"], "binary");
    let odd = bench.run(&pg, &copy("odd", &["id", "c", "ca", "mo", "x"])).await.unwrap();
    assert_eq!(odd.done.as_ref().unwrap().fingerprint["format"], "text");
    assert!(odd.done.as_ref().unwrap().notes[0].contains("`c`"), "{:?}", odd.done);
    for table in ["plain", "odd"] {
        let all = format!("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t");
        assert_eq!(pair.from(&all), pair.to(&all), "{table}");
    }
    for performed in [&plain, &odd] {
        assert_eq!(pg.observe(&bench.scope, performed).await.unwrap(), *evidence(performed));
    }
}

#[tokio::test]
async fn a_large_table_goes_in_parts_and_large_rows_in_pieces() {
    let pair = Pair::new("parts").await;
    pair.both("CREATE TABLE people (id int, filler text)");
    // 140 MiB: two parts. Some rows are larger than any buffer.
    pair.from(
        "ALTER TABLE people ALTER filler SET STORAGE EXTERNAL;
         INSERT INTO people SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, 60000) i;
         INSERT INTO people SELECT i, repeat(md5(i::text), 200000) FROM generate_series(1, 3) i;",
    );
    let (pg, bench) = (pair.process(), Bench::new());
    let done = bench.run(&pg, &copy("people", &["id", "filler"])).await.unwrap();
    assert_eq!(result(&done)["rows"], 60003);
    assert_eq!(result(&done)["parts"], 2, "{:?}", done.done);
    assert_eq!(pair.from(SUM), pair.to(SUM));
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    let planned = bench.book(&"copy/people".into()).parts.lock().unwrap().clone();
    assert_eq!(planned.last().unwrap().range.get("to"), None, "the last range is open-ended");
}

#[tokio::test]
async fn transforms_filters_and_triggers() {
    let pair = Pair::new("transforms").await;
    pair.both(
        "CREATE TABLE people (id int, name text) PARTITION BY RANGE (id);
               CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM (0) TO (1000000)",
    );
    pair.to("CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.name := 'spoilt'; RETURN NEW; END$$;
             CREATE TRIGGER spoil BEFORE INSERT ON people_1 FOR EACH ROW EXECUTE FUNCTION spoil()");
    pair.from("INSERT INTO people SELECT i, 'secret ' || repeat('x', i % 300) || E'\\n\\ttab' FROM generate_series(1, 20000) i");
    let bench = Bench::with(Mapped { labels: vec!["public.people_1".into()], ..Mapped::default() });
    let pg = pair.process();
    let effect =
        changed(copy("people_1", &["id", "name"]), |request| request.filter = Some("id % 2 = 0".into()));
    let done = bench.run(&pg, &effect).await.unwrap();
    assert_eq!(evidence(&done).items, 10000);
    assert_eq!(
        pg.names(&done.effect, &done.preparation, None).unwrap(),
        ["public.people"],
        "a partition is known by its root"
    );
    assert!(done.done.as_ref().unwrap().notes.iter().any(|n| n.contains("spoil")));
    assert_eq!(pair.to("SELECT count(*) FROM people WHERE name LIKE 'masked %' AND id % 2 = 0"), "10000");
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    // The trigger fires again for everybody else.
    pair.to("INSERT INTO people VALUES (0, 'x')");
    assert_eq!(pair.to("SELECT name FROM people WHERE id = 0"), "spoilt");
    let error = bench
        .run(&pg, &changed(copy("people_1", &["id"]), |r| r.filter = Some("pg_sleep(1) IS NULL".into())))
        .await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::Denied);
}

#[tokio::test]
async fn empty_tables_are_proven_empty() {
    let pair = Pair::new("empty").await;
    pair.both("CREATE TABLE nothing (id int); CREATE TABLE no_columns ()");
    pair.from("INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES");
    let (pg, bench) = (pair.process(), Bench::new());
    let done = bench.run(&pg, &copy("nothing", &["id"])).await.unwrap();
    assert_eq!(evidence(&done).items, 0);
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    let done = bench.run(&pg, &copy("no_columns", &[])).await.unwrap();
    assert_eq!(evidence(&done).items, 2);
    assert_eq!(pair.to("SELECT count(*) FROM no_columns"), "2");
}

#[tokio::test]
async fn errors_of_either_side_name_the_table() {
    let pair = Pair::new("errors").await;
    pair.both("CREATE TABLE a (id int)");
    pair.to("ALTER TABLE a ADD CHECK (id < 90000)");
    pair.from("INSERT INTO a SELECT generate_series(1, 100000)");
    let (pg, bench) = (pair.process(), Bench::new());
    let error = bench.run(&pg, &copy("a", &["id"])).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Failed, Some("23514")));
    assert!(error.message.contains("copy of public.a") && error.message.contains("a_id_check"), "{error}");
    assert_eq!(pair.to("SELECT count(*) FROM a"), "0");
    // The step goes on: the snapshot and the pool are whole.
    pair.to("ALTER TABLE a DROP CONSTRAINT a_id_check");
    assert_eq!(evidence(&bench.perform(&pg, &copy("a", &["id"]), true).await.unwrap()).items, 100_000);
    let error = bench.run(&pg, &copy("gone", &["id"])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Missing);
    let error = bench.run(&pg, &copy("a", &["nope"])).await.unwrap_err();
    assert!(error.message.contains("`nope`"), "{error}");
}

#[tokio::test]
async fn a_killed_session_is_retried_or_said() {
    let pair = Pair::new("killed").await;
    pair.both("CREATE TABLE a (id int, filler text)");
    pair.from("INSERT INTO a SELECT i, repeat('x', 1000) FROM generate_series(1, 200000) i");
    let (pg, bench) = (std::sync::Arc::new(pair.process()), Bench::new());
    for side in [pair.sink, pair.source] {
        let killer = {
            let name = pair.name.clone();
            tokio::task::spawn_blocking(move || {
                for _ in 0..400 {
                    let killed = side
                        .psql(&name, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                                      WHERE query LIKE '%COPY%STD%' AND state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()")
                        .unwrap();
                    if killed != "0" {
                        return true;
                    }
                }
                false
            })
        };
        let mut attempts = Vec::new();
        while !killer.is_finished() {
            attempts.push(bench.perform(&pg, &copy("a", &["id", "filler"]), true).await.map(|_| ()));
            if attempts.last().is_some_and(Result::is_ok) {
                pair.to("TRUNCATE a; DELETE FROM godwit_marker.effect");
                bench.books.lock().unwrap().clear();
            }
        }
        assert!(killer.await.unwrap(), "no COPY was met");
        for error in attempts.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        }
    }
    // Whatever was killed, a retry succeeds.
    let done = bench.perform(&pg, &copy("a", &["id", "filler"]), true).await.unwrap();
    assert_eq!(evidence(&done).items, 200_000);
    assert_eq!(pair.to("SELECT count(*), count(DISTINCT id) FROM a"), "200000|200000");
}

#[tokio::test]
async fn a_source_is_not_copied_into_itself() {
    let pair = Pair::new("itself").await;
    pair.from("CREATE TABLE a (id int)");
    let url = pair.source.url(&pair.name);
    let by_name = url.replace("127.0.0.1", "localhost");
    for sink in [&url, &by_name] {
        let pg = capability(&[("source", &url), ("sink", sink)]);
        let error = Bench::new().run(&pg, &copy("a", &["id"])).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains("into itself"), "{error}");
    }
}

#[tokio::test]
async fn the_budget_of_connections_is_kept() {
    let pair = Pair::new("budget").await;
    let names: Vec<String> = (0..12).map(|i| format!("t{i}")).collect();
    for name in &names {
        pair.both(&format!("CREATE TABLE {name} (id int, filler text)"));
        pair.from(&format!("INSERT INTO {name} SELECT i, repeat('x', 200) FROM generate_series(1, 5000) i"));
    }
    let pg = std::sync::Arc::new(
        godwit_postgres::Postgres::new(vec![
            connection(
                "source",
                serde_json::json!({ "url": pair.source.url(&pair.name), "max_connections": 3 }),
            ),
            connection("sink", serde_json::json!({ "url": pair.sink.url(&pair.name), "max_connections": 2 })),
        ])
        .unwrap(),
    );
    let bench = Bench::new();
    let work = futures_join(names.iter().map(|name| {
        let (pg, bench, effect) = (pg.clone(), bench.clone(), copy(name, &["id", "filler"]));
        tokio::spawn(async move { bench.run(&pg, &effect).await.map(|_| ()) })
    }));
    let watch = |server: &'static godwit_lab::postgres::PgServer, name: String| {
        tokio::task::spawn_blocking(move || {
            (0..15)
                .map(|_| {
                    server
                        .psql(&name, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'godwit/%' AND datname = current_database()")
                        .unwrap()
                        .parse::<u32>()
                        .unwrap()
                })
                .max()
                .unwrap()
        })
    };
    let (done, at_source, at_sink) =
        tokio::join!(work, watch(pair.source, pair.name.clone()), watch(pair.sink, pair.name.clone()));
    for result in done {
        result.unwrap();
    }
    // A session that has just been closed may still be listed for a moment.
    assert!(at_source.unwrap() <= 4, "source");
    assert!(at_sink.unwrap() <= 3, "sink");
    for name in &names {
        assert_eq!(pair.to(&format!("SELECT count(*) FROM {name}")), "5000");
    }
}

async fn futures_join<T>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let tasks: Vec<_> = tasks.collect();
    let mut out = Vec::new();
    for task in tasks {
        out.push(task.await.unwrap());
    }
    out
}

#[tokio::test]
async fn beside_rows_that_were_there_ours_alone_are_observed() {
    let pair = Pair::new("beside").await;
    pair.both("CREATE TABLE t (id int, own boolean)");
    pair.from("INSERT INTO t SELECT i, i > 3 FROM generate_series(1, 9) i");
    pair.to("INSERT INTO t VALUES (1, false)");
    let (pg, bench) = (pair.process(), Bench::new());
    let some = changed(copy("t", &["id", "own"]), |copy| copy.filter = Some("own".to_owned()));
    let done = bench.run(&pg, &some).await.unwrap();
    assert_eq!((evidence(&done).items, pair.to("SELECT count(*) FROM t").as_str()), (6, "7"));
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    pair.to("UPDATE t SET own = NULL WHERE id = 5");
    assert_ne!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
}

/// 13 MB without an index, of which every page is frozen once they are copied.
#[tokio::test]
async fn a_table_that_one_transaction_fills_is_frozen() {
    let pair = Pair::new("freezing").await;
    pair.both("CREATE TABLE wide (id int, note text)");
    pair.from("INSERT INTO wide SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 80000) i");
    let effect = copy("wide", &["id", "note"]);
    // Some pages beyond the last row may have been made ahead.
    let visible = "ANALYZE wide; SELECT relallvisible > 1000 AND relallvisible > relpages - 100, relallvisible, relpages \
                   FROM pg_class WHERE oid = 'wide'::regclass";
    let (pg, bench) = (pair.process(), Bench::new());
    let done = bench.run(&pg, &effect).await.unwrap();
    let found = pair.to(visible);
    assert!(found.starts_with('t'), "nothing has looked at the pages but COPY and ANALYZE: {found}");
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    // Who wrote them is known all the same.
    let mut scope = bench.undo();
    scope.run = "undo-frozen".into();
    let actions = pg.plan_undo(&scope, &std::slice::from_ref(&done)).await.unwrap();
    assert_eq!(actions[0].changed, None, "{actions:?}");
    pg.undo(&scope, &actions[0], false, false).await.unwrap();
    assert_eq!(pair.to("SELECT count(*) FROM wide"), "0");
}

/// Rows of others stay, and what can't be truncated is filled as ever.
#[tokio::test]
async fn a_table_that_is_not_ours_alone_is_not_frozen() {
    let pair = Pair::new("notfreezing").await;
    pair.both("CREATE TABLE wide (id int, note text)");
    pair.from("INSERT INTO wide SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 80000) i");
    pair.to("INSERT INTO wide VALUES (0, 'mine')");
    let (pg, bench) = (pair.process(), Bench::new());
    let done = bench.run(&pg, &copy("wide", &["id", "note"])).await.unwrap();
    assert!(done.done.as_ref().unwrap().notes.iter().any(|note| note.contains("held rows before")));
    assert_eq!(pair.to("SELECT count(*), min(id) FROM wide"), "80001|0");
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
}
