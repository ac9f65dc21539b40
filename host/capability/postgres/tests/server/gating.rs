//! What a guest's query can't do, on a connection of a superuser; and what has to be left to a role that may do less.

use godwit_lab::postgres::{Major, PgServer};
use godwit_model::ErrorKind;
use godwit_model::capability::PostgresReads as _;
use godwit_model::plugin::Access;

use crate::support::*;

/// Everything that a query could try, by what it is after. `$OTHER` is another session's process.
const ATTEMPTS: &[(&str, &[&str])] = &[
    (
        "changing rows",
        &[
            "INSERT INTO public.t VALUES (2)",
            "UPDATE public.t SET id = 2",
            "DELETE FROM public.t",
            "MERGE INTO public.t USING (VALUES (1)) v(id) ON t.id = v.id WHEN MATCHED THEN DELETE",
            "TRUNCATE public.t",
            "WITH gone AS (DELETE FROM public.t RETURNING id) SELECT * FROM gone",
            "SELECT 1 INTO public.made",
            "CREATE TABLE public.made AS SELECT 1",
            "COPY public.t FROM PROGRAM 'echo 2'",
            "EXPLAIN ANALYZE DELETE FROM public.t",
        ],
    ),
    (
        "changing definitions",
        &[
            "CREATE TABLE public.made (id int)",
            "ALTER TABLE public.t ADD made int",
            "DROP TABLE public.t",
            "CREATE ROLE made SUPERUSER",
            "GRANT pg_monitor TO postgres",
            "COMMENT ON TABLE public.t IS 'made'",
            "REFRESH MATERIALIZED VIEW public.m",
            "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO public",
            "SELECT pg_import_system_collations('public')",
            "SELECT pg_catalog.binary_upgrade_set_next_pg_type_oid(1)",
        ],
    ),
    (
        "code and transactions",
        &[
            "DO $$ BEGIN DELETE FROM public.t; END $$",
            "CALL public.p()",
            "EXECUTE made",
            "PREPARE made AS DELETE FROM public.t",
            "SET TRANSACTION READ WRITE",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "SET default_transaction_read_only = off",
            "SET ROLE postgres",
            "RESET ALL",
            "DISCARD ALL",
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT made",
            "ROLLBACK TO SAVEPOINT godwit",
            "COMMIT; DELETE FROM public.t",
            "SELECT 1; DELETE FROM public.t",
            "SELECT 1; SELECT 2",
            "SELECT 1) AS q; DELETE FROM public.t; SELECT (1",
            "SELECT 1 /* ) AS q; */ ; DELETE FROM public.t --",
            "SELECT set_config('transaction_read_only', 'off', true)",
            "SELECT set_config('session_replication_role', 'replica', false)",
            "SELECT query_to_xml('DELETE FROM public.t', true, true, '')",
            "SELECT cursor_to_xml('c', 1, true, true, '')",
            "SELECT database_to_xml(true, true, '')",
            "SELECT * FROM ts_stat('SELECT to_tsvector(pg_read_file(''PG_VERSION''))')",
            "SELECT ts_rewrite('a'::tsquery, 'SELECT pg_read_file(''PG_VERSION'')::tsquery, ''b''::tsquery')",
            "SELECT txid_current()",
            "SELECT pg_current_xact_id()",
            "SELECT pg_export_snapshot()",
            "SELECT nextval('public.s')",
            "SELECT setval('public.s', 99)",
            "SELECT setseed(0.5)",
        ],
    ),
    (
        "locks and waiting",
        &[
            "LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE",
            "SELECT * FROM public.t FOR UPDATE",
            "SELECT * FROM public.t FOR KEY SHARE SKIP LOCKED",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_xact_lock_shared(1)",
            "SELECT pg_try_advisory_lock(1)",
            "SELECT pg_advisory_unlock_all()",
            "SELECT pg_sleep(1)",
            "SELECT pg_sleep_for('1 s')",
            "SELECT pg_sleep_until(now())",
            "LISTEN made",
            "NOTIFY made",
            "SELECT pg_notify('made', '')",
            "DECLARE made CURSOR WITH HOLD FOR SELECT 1",
        ],
    ),
    (
        "files and programs",
        &[
            "COPY public.t TO PROGRAM 'cat'",
            "COPY (SELECT 1) TO '/tmp/godwit-gate'",
            "COPY public.t TO STDOUT",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT pg_catalog.pg_read_binary_file('PG_VERSION', 0, 1)",
            "SELECT ('PG_VERSION'::text).pg_read_file",
            "SELECT f.pg_read_file FROM (VALUES ('PG_VERSION'::text)) AS f(n), LATERAL (SELECT f.n) AS g",
            "SELECT * FROM pg_stat_file('PG_VERSION')",
            "SELECT * FROM pg_ls_dir('.')",
            "SELECT * FROM pg_ls_waldir()",
            "SELECT * FROM pg_ls_logdir()",
            "SELECT * FROM pg_hba_file_rules()",
            "SELECT pg_current_logfile()",
            "LOAD 'made'",
            "SELECT lo_import('/etc/hostname')",
            "SELECT lo_export(1, '/tmp/godwit-gate')",
            "SELECT lo_create(1)",
            "SELECT lo_from_bytea(1, '')",
            "SELECT lo_put(1, 0, '')",
            "SELECT lo_unlink(1)",
            "SELECT lowrite(lo_open(1, 131072), '')",
            "SELECT xslt_process('<a/>', '<b/>')",
        ],
    ),
    (
        "the server and its sessions",
        &[
            "SELECT pg_terminate_backend($OTHER)",
            "SELECT pg_cancel_backend($OTHER)",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
            "SELECT pg_reload_conf()",
            "SELECT pg_rotate_logfile()",
            "ALTER SYSTEM SET work_mem = '1MB'",
            "SELECT pg_stat_reset()",
            "SELECT pg_stat_reset_shared('bgwriter')",
            "SELECT pg_log_backend_memory_contexts($OTHER)",
            "CHECKPOINT",
            "VACUUM",
            "ANALYZE public.t",
            "REINDEX TABLE public.t",
            "CLUSTER",
            "SELECT gin_clean_pending_list('public.t'::regclass)",
            "SELECT brin_summarize_new_values('public.t'::regclass)",
        ],
    ),
    (
        "replication, log and backups",
        &[
            "SELECT pg_switch_wal()",
            "SELECT pg_create_restore_point('made')",
            "SELECT pg_backup_start('made')",
            "SELECT pg_start_backup('made')",
            "SELECT * FROM pg_backup_stop()",
            "SELECT pg_promote()",
            "SELECT pg_wal_replay_pause()",
            "SELECT pg_create_physical_replication_slot('made')",
            "SELECT pg_create_logical_replication_slot('made', 'pgoutput')",
            "SELECT pg_copy_physical_replication_slot('made', 'more')",
            "SELECT pg_replication_slot_advance('made', '0/1')",
            "SELECT pg_drop_replication_slot('made')",
            "SELECT * FROM pg_logical_slot_get_changes('made', NULL, NULL)",
            "SELECT * FROM pg_logical_slot_peek_changes('made', NULL, NULL)",
            "SELECT pg_logical_emit_message(false, 'made', '')",
            "SELECT pg_replication_origin_create('made')",
            "SELECT pg_replication_origin_session_setup('made')",
            "CREATE PUBLICATION made FOR ALL TABLES",
        ],
    ),
    (
        "other servers",
        &[
            "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS d(a int)",
            "SELECT dblink_connect('dbname=postgres')",
            "SELECT dblink_exec('dbname=postgres', 'DELETE FROM public.t')",
            "SELECT public.dblink_send_query('made', 'SELECT 1')",
            "SELECT postgres_fdw_disconnect_all()",
        ],
    ),
];

/// What of the world an attempt could have changed.
const WORLD: &str = "SELECT (SELECT string_agg(t::text, ',') FROM public.t),
    (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_roles), (SELECT count(*) FROM pg_auth_members),
    (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_replication_slots),
    (SELECT count(*) FROM pg_replication_origin), (SELECT count(*) FROM pg_publication),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' OR mode = 'AccessExclusiveLock'),
    (SELECT last_value FROM public.s), pg_walfile_name(pg_current_wal_lsn()), pg_conf_load_time()";

#[tokio::test]
async fn a_superusers_query_only_reads() {
    let server = PgServer::start(Major::V18).await.unwrap();
    let fixture = "CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE SEQUENCE s;
        CREATE MATERIALIZED VIEW m AS SELECT 1 AS one; CREATE PROCEDURE p() LANGUAGE sql AS 'DELETE FROM public.t'";
    server.psql("postgres", fixture).unwrap();
    let mut other = server.somebody("postgres").await.unwrap();
    let process = "SELECT pid FROM pg_stat_activity WHERE state = 'idle' AND backend_type = 'client backend'";
    let process = server.psql("postgres", process).unwrap();
    let before = server.psql("postgres", WORLD).unwrap();

    let url = server.url("postgres");
    let pg = capability(&[("source", &url), ("sink", &url)]);
    let bench = Bench::new();
    for (what, attempts) in ATTEMPTS {
        for attempt in *attempts {
            let sql = attempt.replace("$OTHER", &process);
            for slot in ["source", "sink"] {
                let error = bench.query(&pg, slot, &sql).await.expect_err(&format!("{what}: {sql}"));
                assert!(
                    matches!(error.kind, ErrorKind::Denied | ErrorKind::Invalid),
                    "{what}: {sql}: {error}"
                );
            }
            let answer = pg.answer(&bench.scope, &grant("source", Access::Read), &sql, &[]).await;
            assert!(answer.is_err(), "{what}: {sql}");
        }
    }
    // None of it got as far as the server.
    let log = server.log();
    let ran: Vec<&str> = log.lines().filter(|line| line.contains("app=godwit/")).collect();
    assert!(ran.iter().all(|line| !line.contains("made") && !line.contains("public.t")), "{ran:#?}");
    assert_eq!(server.psql("postgres", WORLD).unwrap(), before);
    assert!(!std::path::Path::new("/tmp/godwit-gate").exists());
    other.exec("SELECT 1").await.expect("the other session is still there");
    assert_eq!(bench.query(&pg, "source", "SELECT id FROM public.t").await.unwrap(), [r#"{"id":1}"#]);
}

/// All extensions that the server has.
const EXTENSIONS: &str = "DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT e.name FROM pg_available_extensions e ORDER BY 1 LOOP
        BEGIN EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I CASCADE', name); EXCEPTION WHEN OTHERS THEN NULL; END;
    END LOOP; END $$";

/// Volatile functions that only say something: of time and chance, of sizes, positions, statistics and pages, of the
/// session itself. A name, or a beginning.
const HARMLESS: &[&str] = &[
    // Time and chance
    "array_sample",
    "array_shuffle",
    "clock_timestamp",
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "normal_rand",
    "pgp_pub_encrypt",
    "pgp_sym_encrypt",
    "random",
    "timeofday",
    "uuid_generate_v",
    "uuidv4",
    "uuidv7",
    // The session
    "current_query",
    "currval",
    "lastval",
    "pg_get_backend_memory_contexts",
    "pg_jit_available",
    "ssl_",
    // Sizes, versions, trees of relations
    "amvalidate",
    "pg_collation_actual_version",
    "pg_database_collation_actual_version",
    "pg_database_size",
    "pg_indexes_size",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_relation_size",
    "pg_relpages",
    "pg_get_sequence_data",
    "pg_sequence_last_value",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "plpgsql_validator",
    "file_fdw_validator",
    // The server's state: positions, transactions, locks, statistics
    "pg_available_wal_summaries",
    "pg_blocking_pids",
    "pg_buffercache_numa_pages",
    "pg_buffercache_pages",
    "pg_control_",
    "pg_current_wal_",
    "pg_get_aios",
    "pg_get_loaded_modules",
    "pg_get_multixact_members",
    "pg_get_shmem_allocations",
    "pg_get_wait_events",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_last_",
    "pg_lock_status",
    "pg_notification_queue_usage",
    "pg_old_snapshot_time_mapping",
    "pg_prepared_xact",
    "pg_safe_snapshot_blocking_pids",
    "pg_show_replication_origin_status",
    "pg_stat_get_",
    "pg_stat_have_stats",
    "pg_stat_statements",
    "pg_wal_summary_contents",
    "pg_xact_commit_timestamp",
    "pg_xact_status",
    "txid_status",
    // Pages, as they are (pageinspect, pg_freespacemap, pg_visibility, pgrowlocks, pgstattuple)
    "brin_",
    "bt_metap",
    "bt_multi_page_stats",
    "bt_page_",
    "currtid2",
    "fsm_page_contents",
    "gin_leafpage_items",
    "gin_metapage_info",
    "gin_page_opaque_info",
    "gist_page_",
    "hash_",
    "heap_page_item",
    "heap_tuple_infomask_flags",
    "page_checksum",
    "page_header",
    "pg_check_frozen",
    "pg_check_visible",
    "pg_freespace",
    "pg_visibility",
    "pgrowlocks",
    "pgstat",
    "tuple_data_split",
];

#[tokio::test]
async fn every_volatile_function_is_denied_or_known_to_be_harmless() {
    // What takes or gives `internal`, and triggers, can't be called by a query; aggregates are called by their support
    // functions' names alone.
    let list = "SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_type r ON r.oid = p.prorettype
        WHERE p.provolatile = 'v' AND p.prokind IN ('f', 'w')
          AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[] || p.prorettype) AND NOT (r.typtype = 'p'
          AND r.typname ~ '(trigger|handler)$') ORDER BY 1";
    for major in Major::ALL {
        let server = PgServer::start(major).await.unwrap();
        server.psql("postgres", EXTENSIONS).unwrap();
        let pg = capability(&[("source", &server.url("postgres"))]);
        let bench = Bench::new();
        let (mut denied, mut unknown) = (0, Vec::new());
        for name in server.psql("postgres", list).unwrap().lines() {
            match bench.query(&pg, "source", &format!("SELECT \"{name}\"()")).await {
                Err(error) if error.kind == ErrorKind::Denied => denied += 1,
                _ if HARMLESS.iter().any(|harmless| name.starts_with(harmless)) => {}
                _ => unknown.push(name.to_owned()),
            }
        }
        assert_eq!(unknown, Vec::<String>::new(), "functions of {major} that nobody has looked at");
        assert!(denied > 100, "{denied} functions of {major} are denied");
    }
}

/// Whatever calls a denied function by itself: the gate sees no name.
const HIDDEN: &str = "
    CREATE VIEW by_view AS SELECT pg_read_file('PG_VERSION') AS text;
    CREATE FUNCTION inner_call(text) RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.pg_read_file($1)';
    CREATE OPERATOR @@@ (FUNCTION = inner_call, RIGHTARG = text);
    CREATE TYPE place AS (name text);
    CREATE FUNCTION as_place(place) RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.pg_read_file(($1).name)';
    CREATE CAST (place AS text) WITH FUNCTION as_place(place);
    CREATE FUNCTION add_file(text, text) RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.pg_read_file($2)';
    CREATE AGGREGATE all_files (text) (SFUNC = add_file, STYPE = text);
    CREATE TABLE under_policy (id int);
    INSERT INTO under_policy VALUES (1);
    ALTER TABLE under_policy ENABLE ROW LEVEL SECURITY;
    CREATE POLICY reading ON under_policy USING (pg_read_file('PG_VERSION') <> '');
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO godwit_source;";

#[tokio::test]
async fn a_role_that_may_only_read_covers_what_the_gate_can_not_see() {
    let server = PgServer::start(Major::V18).await.unwrap();
    // As ARCHITECTURE.md has it.
    let role = "CREATE ROLE godwit_source LOGIN PASSWORD 'fake-source' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT;
        GRANT CONNECT ON DATABASE postgres TO godwit_source; GRANT USAGE ON SCHEMA public TO godwit_source;";
    server.psql("postgres", &format!("{role} {HIDDEN}")).unwrap();
    let pg = capability(&[("source", &server.url_as("godwit_source", "fake-source", "postgres"))]);
    let bench = Bench::new();
    for (what, sql) in [
        ("a view", "SELECT text FROM public.by_view"),
        ("an operator", "SELECT OPERATOR(public.@@@) 'PG_VERSION'"),
        ("a cast", "SELECT ROW('PG_VERSION')::public.place::text"),
        ("a function", "SELECT public.inner_call('PG_VERSION')"),
        ("an aggregate", "SELECT public.all_files(name) FROM (VALUES ('a'), ('PG_VERSION')) AS v(name)"),
        ("a policy", "SELECT id FROM public.under_policy"),
    ] {
        let error = bench.query(&pg, "source", sql).await.expect_err(what);
        assert_eq!(error.code.as_deref(), Some("42501"), "{what}: {error}");
    }
}
