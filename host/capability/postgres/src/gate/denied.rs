//! Functions that a guest's query may not call, as data.
//!
//! From the PostgreSQL manual, sections 9.27 «System Information Functions» to 9.30, 35.3 «Large Objects», appendix F
//! (contrib: `adminpack`, `amcheck`, `dblink`, `file_fdw`, `pageinspect`, `pg_surgery`, `pg_trgm`, `xml2`), and the
//! functions for which `system_functions.sql` revokes EXECUTE from PUBLIC. A test asks servers for all their volatile
//! functions: each stands here, or there as harmless.

struct Denied {
    /// A whole name, or a beginning where it ends in `*`.
    name: &'static str,
    reason: &'static str,
}

const fn names(name: &'static str, reason: &'static str) -> Denied {
    Denied { name, reason }
}

const FILES: &str = "reaches files of the server's machine";
const LARGE: &str = "reaches large objects or files";
const SIGNAL: &str = "signals or configures the server";
const REPLICATION: &str = "changes replication or the write-ahead log";
const BACKUP: &str = "controls backups or recovery";
const STATE: &str = "changes the state of a session or a sequence";
const REMOTE: &str = "reaches another server";
const NESTED: &str = "runs SQL that is hidden in a text";
const LOCKS: &str = "takes locks or waits";
const REPAIR: &str = "changes storage beneath the tables";

const DENIED: &[Denied] = &[
    // 9.28.9 Generic File Access Functions; adminpack
    names("pg_read_file*", FILES),
    names("pg_read_binary_file*", FILES),
    names("pg_stat_file", FILES),
    names("pg_ls_*", FILES),
    names("pg_file_*", FILES),
    names("pg_logdir_ls", FILES),
    names("pg_current_logfile", FILES),
    names("pg_get_logical_snapshot_*", FILES),
    names("xslt_process", FILES),
    names("pg_hba_file_rules", FILES),
    names("pg_ident_file_mappings", FILES),
    names("pg_show_all_file_settings", FILES),
    names("pg_import_system_collations", STATE),
    // 35.3, 35.4 Large Objects
    names("lo_import", LARGE),
    names("lo_export", LARGE),
    names("lo_creat", LARGE),
    names("lo_create", LARGE),
    names("lo_unlink", LARGE),
    names("lo_open", LARGE),
    names("lo_close", LARGE),
    names("lo_get", LARGE),
    names("lo_put", LARGE),
    names("lo_from_bytea", LARGE),
    names("lo_lseek*", LARGE),
    names("lo_tell*", LARGE),
    names("lo_truncate*", LARGE),
    names("loread", LARGE),
    names("lowrite", LARGE),
    names("be_lo_*", LARGE),
    // 9.28.2 Server Signaling Functions, 9.28.1 Configuration Settings Functions
    names("pg_terminate_backend", SIGNAL),
    names("pg_cancel_backend", SIGNAL),
    names("pg_reload_conf", SIGNAL),
    names("pg_rotate_logfile*", SIGNAL),
    names("pg_log_backend_memory_contexts", SIGNAL),
    names("pg_stat_reset*", SIGNAL),
    names("pg_stat_force_next_flush", SIGNAL),
    names("pg_stat_clear_snapshot", SIGNAL),
    names("pg_stat_statements_reset", SIGNAL),
    names("pg_restore_*_stats", SIGNAL),
    names("pg_clear_*_stats", SIGNAL),
    names("pg_notify", SIGNAL),
    names("set_config", STATE),
    names("setseed", STATE),
    // pg_trgm's threshold
    names("set_limit", STATE),
    names("setval", STATE),
    names("nextval", STATE),
    names("txid_current", STATE),
    names("pg_current_xact_id", STATE),
    names("pg_export_snapshot", STATE),
    names("pg_set_*", STATE),
    // 9.28.3 Backup Control, 9.28.4 Recovery Control
    names("pg_switch_wal", BACKUP),
    names("pg_switch_xlog", BACKUP),
    names("pg_create_restore_point", BACKUP),
    names("pg_start_backup", BACKUP),
    names("pg_stop_backup", BACKUP),
    names("pg_backup_start", BACKUP),
    names("pg_backup_stop", BACKUP),
    names("pg_promote", BACKUP),
    names("pg_wal_replay_*", BACKUP),
    names("pg_get_wal_*", BACKUP),
    names("pg_log_standby_snapshot", BACKUP),
    // 9.28.6 Replication Management Functions
    names("pg_create_physical_replication_slot", REPLICATION),
    names("pg_create_logical_replication_slot", REPLICATION),
    names("pg_copy_physical_replication_slot", REPLICATION),
    names("pg_copy_logical_replication_slot", REPLICATION),
    names("pg_drop_replication_slot", REPLICATION),
    names("pg_replication_slot_advance", REPLICATION),
    names("pg_sync_replication_slots", REPLICATION),
    names("pg_logical_slot_*", REPLICATION),
    names("pg_logical_emit_message", REPLICATION),
    names("pg_replication_origin_*", REPLICATION),
    names("binary_upgrade_*", REPLICATION),
    // 9.28.10 Advisory Lock Functions; 9.9.5 Delaying Execution
    names("pg_advisory_*", LOCKS),
    names("pg_try_advisory_*", LOCKS),
    names("pg_sleep*", LOCKS),
    names("pg_isolation_test_session_is_blocked", LOCKS),
    // amcheck: writers wait for some of them
    names("bt_index_*", LOCKS),
    names("gin_index_check", LOCKS),
    names("verify_heapam", LOCKS),
    // 9.15.3 Mapping Tables to XML, and whatever else runs a text
    names("query_to_xml*", NESTED),
    names("cursor_to_xml*", NESTED),
    names("table_to_xml*", NESTED),
    names("schema_to_xml*", NESTED),
    names("database_to_xml*", NESTED),
    names("ts_stat", NESTED),
    names("ts_rewrite", NESTED),
    names("crosstab*", NESTED),
    names("connectby", NESTED),
    names("xpath_table", NESTED),
    names("exec_sql", NESTED),
    names("plpgsql_call_handler", NESTED),
    names("plpgsql_inline_handler", NESTED),
    // dblink, postgres_fdw, pg_cron, http, aws_s3 and the like
    names("dblink*", REMOTE),
    names("postgres_fdw_*", REMOTE),
    names("http_*", REMOTE),
    names("aws_s3", REMOTE),
    names("aws_lambda", REMOTE),
    // pageinspect, pg_surgery, pg_visibility, pg_prewarm, 9.28.8 Index Maintenance
    names("get_raw_page", REPAIR),
    names("heap_force_*", REPAIR),
    names("pg_truncate_visibility_map", REPAIR),
    names("pg_prewarm", REPAIR),
    names("pg_buffercache_evict*", REPAIR),
    names("pg_buffercache_mark_dirty*", REPAIR),
    names("autoprewarm_*", REPAIR),
    names("brin_summarize_*", REPAIR),
    names("brin_desummarize_range", REPAIR),
    names("gin_clean_pending_list", REPAIR),
    names("pg_extension_config_dump", REPAIR),
    names("pg_nextoid", REPAIR),
    names("pg_stop_making_pinned_objects", REPAIR),
];

/// Why a function may not be called; `None` when it may.
pub fn reason(name: &str) -> Option<&'static str> {
    DENIED
        .iter()
        .find(|denied| match denied.name.split_once('*') {
            Some((beginning, end)) => {
                name.len() >= beginning.len() + end.len()
                    && name.starts_with(beginning)
                    && name.ends_with(end)
            }
            None => name == denied.name,
        })
        .map(|denied| denied.reason)
}
