//! Which objects a target has, by the kind's name and the label that the graph has for them.

use super::{USER_SCHEMA, global, not_member};

/// Rows of `kind`, `name` (the label) and `detail` (the word `object`).
pub fn objects() -> String {
    let row = |kind: &str, label: &str, rest: &str| {
        format!("SELECT 'object' AS kind, {label} AS name, '{kind}' AS detail FROM {rest}")
    };
    let in_schema = |kind: &str, class: &str, from: &str, oid: &str, namespace: &str, name: &str| {
        row(
            kind,
            &format!("n.nspname || '.' || {name}"),
            &format!(
                "{class} {from} JOIN pg_namespace n ON n.oid = {namespace} WHERE {USER_SCHEMA} AND {}",
                not_member(class, oid)
            ),
        )
    };
    let alone = |kind: &str, class: &str, from: &str, oid: &str, name: &str| {
        row(kind, name, &format!("{class} {from} WHERE {}", global(class, oid)))
    };
    let side = |column: &str| format!("COALESCE(format_type(NULLIF({column}, 0), NULL), 'NONE')");
    [
        in_schema(
            "operator",
            "pg_operator",
            "o",
            "o.oid",
            "o.oprnamespace",
            &format!("o.oprname || ' (' || {} || ', ' || {} || ')'", side("o.oprleft"), side("o.oprright")),
        ),
        in_schema(
            "operator family",
            "pg_opfamily",
            "f JOIN pg_am am ON am.oid = f.opfmethod",
            "f.oid",
            "f.opfnamespace",
            "f.opfname || ' using ' || am.amname",
        ),
        in_schema(
            "operator class",
            "pg_opclass",
            "c JOIN pg_am am ON am.oid = c.opcmethod",
            "c.oid",
            "c.opcnamespace",
            "c.opcname || ' using ' || am.amname",
        ),
        in_schema("collation", "pg_collation", "o", "o.oid", "o.collnamespace", "o.collname"),
        in_schema("conversion", "pg_conversion", "v", "v.oid", "v.connamespace", "v.conname"),
        in_schema("text search parser", "pg_ts_parser", "t", "t.oid", "t.prsnamespace", "t.prsname"),
        in_schema("text search template", "pg_ts_template", "t", "t.oid", "t.tmplnamespace", "t.tmplname"),
        in_schema("text search dictionary", "pg_ts_dict", "t", "t.oid", "t.dictnamespace", "t.dictname"),
        in_schema("text search configuration", "pg_ts_config", "t", "t.oid", "t.cfgnamespace", "t.cfgname"),
        alone(
            "cast",
            "pg_cast",
            "k",
            "k.oid",
            "format_type(k.castsource, NULL) || ' AS ' || format_type(k.casttarget, NULL)",
        ),
        alone(
            "transform",
            "pg_transform",
            "t JOIN pg_language l ON l.oid = t.trflang",
            "t.oid",
            "format_type(t.trftype, NULL) || ' for ' || l.lanname",
        ),
        alone("language", "pg_language", "l", "l.oid", "l.lanname::text"),
        alone("access method", "pg_am", "a", "a.oid", "a.amname::text"),
        alone("event trigger", "pg_event_trigger", "e", "e.oid", "e.evtname::text"),
        alone("foreign data wrapper", "pg_foreign_data_wrapper", "w", "w.oid", "w.fdwname::text"),
        alone("foreign server", "pg_foreign_server", "s", "s.oid", "s.srvname::text"),
        alone("publication", "pg_publication", "p", "p.oid", "p.pubname::text"),
        row(
            "subscription",
            "b.subname::text",
            "pg_subscription b WHERE b.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        ),
    ]
    .join(" UNION ALL ")
}
