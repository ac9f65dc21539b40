//! One row of what a preflight has to know of a server.

/// Columns are those of [`Facts`](crate::facts::Facts).
pub fn facts(version: u32) -> String {
    let (provider, locale) = match version {
        170_000.. => ("d.datlocprovider::text", "d.datlocale"),
        150_000.. => ("d.datlocprovider::text", "d.daticulocale"),
        _ => ("'c'", "NULL::text"),
    };
    // The version of a database's own collation is noted from 15 on.
    let of_database = if version >= 150_000 {
        "UNION ALL SELECT 'of the database' WHERE d.datcollversion <> pg_database_collation_actual_version(d.oid)"
    } else {
        ""
    };
    let reserved = if version >= 160_000 {
        "CASE WHEN pg_has_role(current_user, 'pg_use_reserved_connections', 'MEMBER') THEN 0 \
         ELSE current_setting('reserved_connections')::int END"
    } else {
        "0"
    };
    let clients = "FROM pg_stat_activity s WHERE s.backend_type = 'client backend'";
    format!(
        "SELECT current_setting('server_version_num')::int AS version, d.datname AS database, current_user AS \"user\", \
           pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only')::bool AS read_only, \
           pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS \"collate\", d.datctype AS ctype, \
           {provider} AS provider, {locale} AS icu_locale, pg_database_size(d.oid) AS bytes, \
           (SELECT t.setting::int8 * 1048576 FROM pg_settings t WHERE t.name = 'max_wal_size') AS max_wal_size, \
           (SELECT json_build_object('free', l.free, 'bound', l.bound) FROM ( \
              SELECT current_setting('max_connections')::int - count(*) \
                  - CASE WHEN u.rolsuper THEN 0 \
                    ELSE current_setting('superuser_reserved_connections')::int + {reserved} END AS free, \
                '`max_connections` is ' || current_setting('max_connections') AS bound {clients} \
              UNION ALL SELECT u.rolconnlimit - count(*), 'the role''s limit is ' || u.rolconnlimit {clients} \
                AND s.usename = u.rolname HAVING u.rolconnlimit >= 0 AND NOT u.rolsuper \
              UNION ALL SELECT d.datconnlimit - count(*), 'the database''s limit is ' || d.datconnlimit {clients} \
                AND s.datname = d.datname HAVING d.datconnlimit >= 0 AND NOT u.rolsuper) l \
            ORDER BY l.free LIMIT 1) AS connections, \
           has_database_privilege(d.oid, 'CREATE') AS may_create, u.rolsuper OR u.rolcreaterole AS may_create_roles, \
           EXISTS (SELECT 1 FROM pg_namespace n WHERE n.nspname = 'godwit_marker') AS has_markers, \
           (SELECT COALESCE(json_agg(p.gid ORDER BY p.gid), '[]') FROM pg_prepared_xacts p \
             WHERE p.database = d.datname) AS prepared, \
           (SELECT COALESCE(json_agg(r.slot_name ORDER BY r.slot_name), '[]') FROM pg_replication_slots r \
             WHERE r.database = d.datname) AS slots, \
           (SELECT COALESCE(json_agg(c.name ORDER BY c.name), '[]') FROM ( \
              SELECT quote_ident(o.collname) AS name FROM pg_collation o \
              WHERE o.collversion <> pg_collation_actual_version(o.oid) \
                AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attcollation = o.oid AND a.attrelid >= 16384) \
              {of_database}) c) AS outdated_collations \
         FROM pg_database d, pg_roles u WHERE d.datname = current_database() AND u.rolname = current_user"
    )
}
