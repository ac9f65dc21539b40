//! Settings of the database, and of roles in it.

pub fn settings() -> String {
    "SELECT r.rolname AS role, split_part(c.entry, '=', 1) AS name, substr(c.entry, strpos(c.entry, '=') + 1) AS value \
     FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) WITH ORDINALITY AS c(entry, number) \
     LEFT JOIN pg_roles r ON r.oid = s.setrole \
     WHERE s.setdatabase = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) \
     ORDER BY r.rolname NULLS FIRST, c.number"
        .to_owned()
}
