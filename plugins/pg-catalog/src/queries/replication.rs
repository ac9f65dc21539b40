//! Publications and subscriptions.

use super::{USER_SCHEMA, global};

pub fn publications(version: u32) -> String {
    let via_root = if version >= 130_000 { "p.pubviaroot" } else { "false" };
    let generated = if version >= 180_000 { "p.pubgencols::text" } else { "'n'" };
    format!(
        "SELECT p.oid::int8 AS oid, p.pubname AS name, p.puballtables AS all_tables, p.pubinsert AS insert, \
           p.pubupdate AS update, p.pubdelete AS delete, p.pubtruncate AS truncate, {via_root} AS via_root, \
           {generated} AS generated, obj_description(p.oid, 'pg_publication') AS comment \
         FROM pg_publication p WHERE {}",
        global("pg_publication", "p.oid")
    )
}

pub fn publication_tables(version: u32) -> String {
    let (filter, columns) = if version >= 150_000 {
        (
            "pg_get_expr(r.prqual, r.prrelid)",
            "(SELECT json_agg(a.attname ORDER BY t.i) FROM unnest(r.prattrs) WITH ORDINALITY AS t(number, i) \
               JOIN pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = t.number)",
        )
    } else {
        ("NULL::text", "NULL::json")
    };
    format!(
        "SELECT r.oid::int8 AS oid, r.prpubid::int8 AS publication, p.pubname AS name, r.prrelid::int8 AS relation, \
           {columns} AS columns, {filter} AS filter \
         FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {USER_SCHEMA} AND {}",
        global("pg_publication", "p.oid")
    )
}

pub fn publication_schemas(version: u32) -> String {
    if version < 150_000 {
        return "SELECT 0::int8 AS oid, 0::int8 AS publication, '' AS name, 0::int8 AS namespace, '' AS schema WHERE false"
            .to_owned();
    }
    format!(
        "SELECT r.oid::int8 AS oid, r.pnpubid::int8 AS publication, p.pubname AS name, r.pnnspid::int8 AS namespace, \
           n.nspname AS schema \
         FROM pg_publication_namespace r JOIN pg_publication p ON p.oid = r.pnpubid \
         JOIN pg_namespace n ON n.oid = r.pnnspid WHERE {USER_SCHEMA} AND {}",
        global("pg_publication", "p.oid")
    )
}

/// Only a superuser may read where a subscription connects to; for others it is not supported. Passwords stay where they
/// are: `password=…`, quoted or not, and the one of a URL.
pub fn subscriptions(version: u32) -> String {
    let since = |least: u32, column: &str, otherwise: &str| {
        if version >= least { column.to_owned() } else { otherwise.to_owned() }
    };
    format!(
        "SELECT b.oid::int8 AS oid, b.subname AS name, \
           regexp_replace(regexp_replace(regexp_replace(regexp_replace(b.subconninfo, \
             '(ssl)?password\\s*=\\s*''(\\\\.|[^''\\\\])*''', '', 'gi'), \
             '([?&])(ssl)?password=[^&]*&?', '\\1', 'gi'), \
             '^(postgres(ql)?://[^@/?]*?):[^@]*@', '\\1@', 'i'), \
             '(ssl)?password\\s*=\\s*\\S*', '', 'gi') AS connection, \
           b.subconninfo ~* '(passw|://[^@/?]*:[^@]*@)' AS withheld, to_json(b.subpublications) AS publications, \
           b.subsynccommit AS synchronous_commit, {} AS binary, {} AS streaming, {} AS two_phase, \
           {} AS disable_on_error, {} AS password_required, {} AS run_as_owner, {} AS origin, {} AS failover, \
           obj_description(b.oid, 'pg_subscription') AS comment \
         FROM pg_subscription b WHERE b.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        since(140_000, "b.subbinary", "false"),
        since(140_000, "b.substream::text", "''"),
        since(150_000, "b.subtwophasestate::text", "'d'"),
        since(150_000, "b.subdisableonerr", "false"),
        since(160_000, "b.subpasswordrequired", "true"),
        since(160_000, "b.subrunasowner", "true"),
        since(160_000, "b.suborigin", "NULL::text"),
        since(170_000, "b.subfailover", "false"),
    )
}
