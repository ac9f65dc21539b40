use super::*;

fn refused_for(sql: &str) -> String {
    match admit(sql) {
        Ok(admitted) => panic!("admitted: {sql} as {admitted:?}"),
        Err(error) => error.message,
    }
}

#[test]
fn reading_statements_pass() {
    for sql in [
        "SELECT 1",
        "select a, count(*) from s.t where b = $1::oid group by a having count(*) > 1 order by 1 limit 3;",
        "SELECT 1 -- a comment",
        "/* first */ SELECT 1 /* last */",
        "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 3) SELECT * FROM x",
        "VALUES (1, 'a'), (2, 'b')",
        "TABLE pg_catalog.pg_class",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT ';'::text, $$; DROP TABLE x$$",
        "SELECT c.oid, pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_class c LEFT JOIN LATERAL (SELECT 1) q ON true, pg_attrdef d",
        "SELECT array_agg(x ORDER BY x) FILTER (WHERE x > 1) OVER w FROM generate_series(1, 3) g(x) WINDOW w AS (PARTITION BY x)",
        "SELECT jsonb_build_object('a', ARRAY[1,2]::int[])->'a'->>0",
        "SELECT hashtextextended(ROW(a, b)::text, 42)::numeric FROM ONLY s.t TABLESAMPLE SYSTEM (10)",
        "SELECT CASE WHEN a THEN 1 ELSE 2 END, EXISTS (SELECT 1), a IS DISTINCT FROM b, x::regclass::text FROM t",
    ] {
        match admit(sql) {
            Ok(Admitted::Rows(text)) => assert!(text.starts_with("SELECT pg_catalog.row_to_json"), "{text}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn a_trailing_comment_does_not_swallow_the_frame() {
    let Ok(Admitted::Rows(text)) = admit("SELECT 1 -- end") else { panic!() };
    assert!(text.ends_with("\n) AS q"), "{text}");
}

#[test]
fn show_and_explain() {
    assert_eq!(
        admit("SHOW server_version_num").unwrap(),
        Admitted::Rows(
            "SELECT pg_catalog.row_to_json(q)::text FROM (SELECT pg_catalog.current_setting('server_version_num') \
             AS \"server_version_num\") AS q"
                .into()
        )
    );
    assert!(matches!(admit("EXPLAIN SELECT 1"), Ok(Admitted::Lines(_))));
    assert!(matches!(admit("EXPLAIN (COSTS off) SELECT 1"), Ok(Admitted::Lines(_))));
    refused_for("EXPLAIN ANALYZE SELECT 1");
    refused_for("EXPLAIN (ANALYZE) SELECT 1");
    refused_for("EXPLAIN (analyze true, costs off) SELECT 1");
    refused_for("EXPLAIN DELETE FROM t");
    refused_for("SHOW ALL");
}

#[test]
fn everything_else_is_refused() {
    for sql in [
        "",
        ";",
        "-- nothing",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "TRUNCATE t",
        "CREATE TABLE t (a int)",
        "CREATE TABLE t AS SELECT 1",
        "DROP TABLE t",
        "DO $$BEGIN END$$",
        "LOCK TABLE t",
        "CALL p()",
        "COPY t TO PROGRAM 'true'",
        "COPY (SELECT 1) TO STDOUT",
        "SET TRANSACTION READ WRITE",
        "SET search_path = x",
        "BEGIN",
        "COMMIT",
        "SELECT 1; DROP TABLE t",
        "SELECT 1; SELECT 2",
        "SELECT 1 INTO t",
        "SELECT * INTO TEMP t FROM x",
        "SELECT 1 FROM t FOR UPDATE",
        "SELECT 1 FROM t FOR SHARE OF t",
        "SELECT * FROM (SELECT 1 FROM t FOR NO KEY UPDATE) q",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
        "SELECT * FROM (WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM x) q",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DECLARE c CURSOR FOR SELECT 1",
        "VACUUM t",
        "LISTEN x",
        "NOTIFY x",
        "SELECT 1) q; DROP TABLE t; --",
        "REFRESH MATERIALIZED VIEW v",
    ] {
        refused_for(sql);
    }
}

#[test]
fn denied_functions_are_found_however_they_are_written() {
    for sql in [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_catalog.pg_read_file('/etc/passwd')",
        "SELECT PG_READ_FILE('/etc/passwd')",
        "SELECT \"pg_read_file\"('/etc/passwd')",
        "SELECT U&\"pg\\005fread_file\"('/etc/passwd')",
        "SELECT ('/etc/passwd'::text).pg_read_file",
        "SELECT * FROM pg_ls_dir('.')",
        "SELECT a FROM t WHERE pg_sleep(1) IS NULL",
        "SELECT (SELECT lo_export(1, '/tmp/x'))",
        "WITH x AS (SELECT dblink_exec('', '')) SELECT * FROM x",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT setval('s', 1)",
        "SELECT nextval('s')",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT query_to_xml('delete from t', true, true, '')",
        "SELECT pg_create_logical_replication_slot('a', 'b')",
        "SELECT pg_restore_relation_stats()",
        "SELECT count(*) FILTER (WHERE pg_reload_conf()) FROM t ORDER BY pg_switch_wal()",
        "VALUES (pg_rotate_logfile())",
        "EXPLAIN SELECT pg_read_file('x')",
        "SELECT pg_read_file /* a call all the same */ ('x')",
        "SELECT f.pg_read_file FROM unnest(ARRAY['/etc/passwd']) AS f",
        "SELECT (f) . pg_read_file FROM unnest(ARRAY['/etc/passwd']) AS f",
    ] {
        let why = refused_for(sql);
        assert!(why.contains("denied") || why.contains("escapes"), "{sql}: {why}");
    }
}

#[test]
fn a_table_or_a_column_may_bear_the_name_of_a_denied_function() {
    for sql in [
        "SELECT pg_sleep_log, count(*) AS dblink_count FROM app.http_requests GROUP BY 1",
        "SELECT * FROM ONLY app.pg_ls_history h",
    ] {
        assert!(admit(sql).is_ok(), "{sql}: {:?}", admit(sql).err());
    }
}

#[test]
fn filters_stay_inside_their_parentheses() {
    assert_eq!(admit_filter("a > 1 AND (b OR c)").unwrap(), "(\na > 1 AND (b OR c)\n)");
    for filter in [
        "true) OR (true",
        "true); DROP TABLE t; --",
        "a = 1;",
        "",
        "EXISTS (SELECT 1 FROM t FOR UPDATE)",
        "pg_reload_conf()",
    ] {
        assert!(admit_filter(filter).is_err(), "{filter}");
    }
}
