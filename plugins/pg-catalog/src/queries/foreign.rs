//! Foreign data wrappers, servers and user mappings.

use super::global;

/// Options of foreign objects that may hold a secret never leave the server. `password_required` holds none.
const SECRET: &str = "o.option_name ~* '(passw|secret|token|credential|private|key)' \
                      AND o.option_name <> 'password_required'";

/// Of user mappings only these options are read; of what others hold, nobody knows.
const OF_MAPPINGS: &str = "o.option_name IN ('user', 'username', 'remote_user', 'password_required', 'sslcert', 'sslkey', \
                           'use_scram_passthrough')";

/// The options of an array of `name=value`, as pairs in their order, which a condition admits.
fn pairs(options: &str, condition: &str) -> String {
    format!(
        "(SELECT json_agg(json_build_array(o.option_name, COALESCE(o.option_value, '')) ORDER BY o.number) \
           FROM (SELECT p.option_name, p.option_value, row_number() OVER () AS number \
             FROM pg_options_to_table({options}) p) o WHERE {condition})"
    )
}

/// The names of options that a condition holds for, as `withheld`.
fn names(array: &str, condition: &str) -> String {
    format!(
        "COALESCE((SELECT json_agg(o.option_name ORDER BY o.option_name) FROM pg_options_to_table({array}) o \
           WHERE {condition}), '[]') AS withheld"
    )
}

/// The options that hold no secret.
pub fn plain(array: &str) -> String {
    pairs(array, &format!("NOT ({SECRET})"))
}

/// The names of those that may hold one.
pub fn withheld(array: &str) -> String {
    names(array, SECRET)
}

fn options(array: &str) -> String {
    format!("{} AS options, {}", plain(array), withheld(array))
}

pub fn wrappers() -> String {
    format!(
        "SELECT w.oid::int8 AS oid, w.fdwname AS name, NULLIF(w.fdwhandler::regproc::text, '-') AS handler, \
           NULLIF(w.fdwvalidator::regproc::text, '-') AS validator, {}, \
           obj_description(w.oid, 'pg_foreign_data_wrapper') AS comment \
         FROM pg_foreign_data_wrapper w WHERE {}",
        options("w.fdwoptions"),
        global("pg_foreign_data_wrapper", "w.oid")
    )
}

pub fn servers() -> String {
    format!(
        "SELECT s.oid::int8 AS oid, s.srvname AS name, w.fdwname AS wrapper, s.srvtype AS type, s.srvversion AS version, \
           {}, obj_description(s.oid, 'pg_foreign_server') AS comment \
         FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE {}",
        options("s.srvoptions"),
        global("pg_foreign_server", "s.oid")
    )
}

pub fn mappings() -> String {
    // The view shows options only to those who may see them, so it never fails.
    format!(
        "SELECT m.umid::int8 AS oid, m.srvid::int8 AS server, m.srvname AS server_name, m.usename AS role, {} AS options, {} \
         FROM pg_user_mappings m WHERE {}",
        pairs("m.umoptions", OF_MAPPINGS),
        names("m.umoptions", &format!("NOT ({OF_MAPPINGS})")),
        global("pg_user_mapping", "m.umid")
    )
}
