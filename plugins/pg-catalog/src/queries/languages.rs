//! Languages, transforms, access methods, conversions and event triggers.

use super::{USER_SCHEMA, global, not_member};

pub fn languages() -> String {
    let function = |column: &str| {
        format!(
            "(SELECT quote_ident(fn.nspname) || '.' || quote_ident(f.proname) FROM pg_proc f \
               JOIN pg_namespace fn ON fn.oid = f.pronamespace WHERE f.oid = l.{column})"
        )
    };
    format!(
        "SELECT l.oid::int8 AS oid, l.lanname AS name, l.lanpltrusted AS trusted, {} AS handler, {} AS inline, \
           {} AS validator, obj_description(l.oid, 'pg_language') AS comment \
         FROM pg_language l WHERE l.lanispl AND {}",
        function("lanplcallfoid"),
        function("laninline"),
        function("lanvalidator"),
        global("pg_language", "l.oid")
    )
}

pub fn transforms() -> String {
    format!(
        "SELECT t.oid::int8 AS oid, format_type(t.trftype, NULL) AS type, l.lanname AS language, \
           CASE WHEN t.trffromsql::oid <> 0 THEN t.trffromsql::oid::regprocedure::text END AS from_sql, \
           CASE WHEN t.trftosql::oid <> 0 THEN t.trftosql::oid::regprocedure::text END AS to_sql, \
           obj_description(t.oid, 'pg_transform') AS comment \
         FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE {}",
        global("pg_transform", "t.oid")
    )
}

/// What functions need that say `TRANSFORM FOR TYPE`.
pub fn transform_edges() -> String {
    "SELECT 'pg_proc', p.oid::int8, 'pg_transform', t.oid::int8, 'n' FROM pg_proc p \
     JOIN pg_transform t ON t.trflang = p.prolang AND t.trftype = ANY (p.protrftypes)"
        .to_owned()
}

pub fn access_methods() -> String {
    format!(
        "SELECT a.oid::int8 AS oid, a.amname AS name, a.amtype::text AS kind, a.amhandler::text AS handler, \
           obj_description(a.oid, 'pg_am') AS comment \
         FROM pg_am a WHERE {}",
        global("pg_am", "a.oid")
    )
}

pub fn conversions() -> String {
    format!(
        "SELECT v.oid::int8 AS oid, n.nspname AS schema, v.conname AS name, \
           pg_encoding_to_char(v.conforencoding)::text AS source, pg_encoding_to_char(v.contoencoding)::text AS target, \
           v.conproc::text AS function, v.condefault AS default, obj_description(v.oid, 'pg_conversion') AS comment \
         FROM pg_conversion v JOIN pg_namespace n ON n.oid = v.connamespace WHERE {USER_SCHEMA} AND {}",
        not_member("pg_conversion", "v.oid")
    )
}

pub fn event_triggers() -> String {
    format!(
        "SELECT e.oid::int8 AS oid, e.evtname AS name, e.evtevent AS event, e.evtfoid::regproc::text AS function, \
           e.evtenabled::text AS enabled, COALESCE(to_json(e.evttags), '[]') AS tags, \
           obj_description(e.oid, 'pg_event_trigger') AS comment \
         FROM pg_event_trigger e WHERE {}",
        global("pg_event_trigger", "e.oid")
    )
}
