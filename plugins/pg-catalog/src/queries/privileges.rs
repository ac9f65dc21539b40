//! Owners, privileges and default privileges.

use super::{FIRST_USER_OID, USER_SCHEMA, global, not_member};

/// What may have an owner and privileges: `class`, `oid`, `owner`, `acl`, the letter of `acldefault` for it, and what
/// GRANT calls it.
fn objects() -> String {
    let named = "quote_ident(n.nspname) || '.' || quote_ident";
    let owned = |class: &str,
                 from: &str,
                 alias: &str,
                 prefix: &str,
                 acl: &str,
                 letter: &str,
                 object: &str| {
        format!(
            "SELECT '{class}' AS class, {alias}.oid, {alias}.{prefix}owner AS owner, {acl} AS acl, {letter} AS letter, \
               {object} AS object FROM {class} {alias} {from}"
        )
    };
    let in_schema = |namespace: &str, class: &str, oid: &str| {
        format!(
            "JOIN pg_namespace n ON n.oid = {namespace} WHERE {USER_SCHEMA} AND {}",
            not_member(class, oid)
        )
    };
    let alone = |class: &str, oid: &str| format!("WHERE {}", global(class, oid));
    // Of some kinds nobody has privileges, only an owner.
    let bare = |class: &str, alias: &str, prefix: &str, rest: &str| {
        owned(class, rest, alias, prefix, "NULL::aclitem[]", "'r'::\"char\"", "''")
    };
    [
        owned(
            "pg_class",
            &format!(
                "{} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')",
                in_schema("c.relnamespace", "pg_class", "c.oid")
            ),
            "c",
            "rel",
            "c.relacl",
            "CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END",
            &format!("CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || {named}(c.relname)"),
        ),
        owned(
            "pg_proc",
            &in_schema("p.pronamespace", "pg_proc", "p.oid"),
            "p",
            "pro",
            "p.proacl",
            "'f'::\"char\"",
            "CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END || p.oid::regprocedure::text",
        ),
        owned(
            "pg_type",
            &in_schema("t.typnamespace", "pg_type", "t.oid"),
            "t",
            "typ",
            "t.typacl",
            "'T'::\"char\"",
            &format!("'TYPE ' || {named}(t.typname)"),
        ),
        owned(
            "pg_namespace",
            &format!("WHERE {USER_SCHEMA} AND {}", not_member("pg_namespace", "n.oid")),
            "n",
            "nsp",
            "n.nspacl",
            "'n'::\"char\"",
            "'SCHEMA ' || quote_ident(n.nspname)",
        ),
        owned(
            "pg_language",
            &alone("pg_language", "l.oid"),
            "l",
            "lan",
            "l.lanacl",
            "'l'::\"char\"",
            "'LANGUAGE ' || quote_ident(l.lanname)",
        ),
        owned(
            "pg_foreign_data_wrapper",
            &alone("pg_foreign_data_wrapper", "w.oid"),
            "w",
            "fdw",
            "w.fdwacl",
            "'F'::\"char\"",
            "'FOREIGN DATA WRAPPER ' || quote_ident(w.fdwname)",
        ),
        owned(
            "pg_foreign_server",
            &alone("pg_foreign_server", "s.oid"),
            "s",
            "srv",
            "s.srvacl",
            "'S'::\"char\"",
            "'FOREIGN SERVER ' || quote_ident(s.srvname)",
        ),
        bare("pg_operator", "o", "opr", &in_schema("o.oprnamespace", "pg_operator", "o.oid")),
        bare("pg_opfamily", "f", "opf", &in_schema("f.opfnamespace", "pg_opfamily", "f.oid")),
        bare("pg_opclass", "k", "opc", &in_schema("k.opcnamespace", "pg_opclass", "k.oid")),
        bare("pg_collation", "b", "coll", &in_schema("b.collnamespace", "pg_collation", "b.oid")),
        bare("pg_conversion", "v", "con", &in_schema("v.connamespace", "pg_conversion", "v.oid")),
        bare("pg_statistic_ext", "x", "stx", &in_schema("x.stxnamespace", "pg_statistic_ext", "x.oid")),
        bare("pg_ts_dict", "d", "dict", &in_schema("d.dictnamespace", "pg_ts_dict", "d.oid")),
        bare("pg_ts_config", "g", "cfg", &in_schema("g.cfgnamespace", "pg_ts_config", "g.oid")),
        bare("pg_publication", "u", "pub", &alone("pg_publication", "u.oid")),
        bare("pg_event_trigger", "e", "evt", &alone("pg_event_trigger", "e.oid")),
        bare(
            "pg_subscription",
            "i",
            "sub",
            "WHERE i.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())",
        ),
    ]
    .join(" UNION ALL ")
}

/// An access list as `[grantee, privilege, grantable]` in its own order; the empty grantee is PUBLIC.
pub(super) fn exploded(acl: &str) -> String {
    format!(
        "(SELECT json_agg(json_build_array(COALESCE(r.rolname, ''), e.privilege_type, e.is_grantable) ORDER BY e.number) \
           FROM (SELECT a.grantee, a.privilege_type, a.is_grantable, row_number() OVER () AS number \
             FROM aclexplode({acl}) a) e LEFT JOIN pg_roles r ON r.oid = e.grantee)"
    )
}

pub fn owners() -> String {
    format!(
        "SELECT q.class, q.oid::int8 AS oid, r.rolname AS owner, r.oid = 10 OR r.rolname = 'pg_database_owner' AS initial \
         FROM ({}) q JOIN pg_roles r ON r.oid = q.owner",
        objects()
    )
}

/// Objects whose privileges were ever changed, and columns that have some of their own.
pub fn privileges() -> String {
    format!(
        "SELECT q.class, q.oid::int8 AS oid, q.object, NULL::name AS column, NULL::int8 AS extension, false AS system, \
           r.rolname AS owner, {} AS granted, {} AS usual \
         FROM ({}) q JOIN pg_roles r ON r.oid = q.owner \
         LEFT JOIN pg_init_privs i ON i.classoid = ('pg_catalog.' || q.class)::regclass AND i.objoid = q.oid \
           AND i.objsubid = 0 AND i.privtype = 'i' \
         WHERE q.acl IS NOT NULL AND q.acl IS DISTINCT FROM i.initprivs \
         UNION ALL SELECT 'pg_class', c.oid::int8, 'TABLE ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
           a.attname, NULL, false, r.rolname, {}, NULL \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_roles r ON r.oid = c.relowner \
         WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND a.attnum > 0 AND {USER_SCHEMA} AND {} \
         UNION ALL {}",
        exploded("q.acl"),
        exploded("COALESCE(i.initprivs, acldefault(q.letter, q.owner))"),
        objects(),
        exploded("a.attacl"),
        not_member("pg_class", "c.oid"),
        changed()
    )
}

/// What is the server's own or an extension's, and has other privileges than initdb or the extension gave it.
fn changed() -> String {
    let named = "quote_ident(n.nspname) || '.' || quote_ident";
    let row = |class: &str,
               alias: &str,
               sub: &str,
               prefix: &str,
               acl: &str,
               letter: &str,
               object: &str,
               space: &str,
               rest: &str| {
        format!(
            "SELECT '{class}' AS class, {alias}.oid, {space}::oid AS space, {sub} AS sub, {alias}.{prefix}owner AS owner, {acl} AS acl, \
               {letter} AS letter, {object} AS object FROM {class} {alias} {rest}"
        )
    };
    let relation = "CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END";
    let relation_name =
        format!("CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || {named}(c.relname)");
    let within = |column: &str| format!("JOIN pg_namespace n ON n.oid = {column}");
    let objects = [
        row(
            "pg_class",
            "c",
            "0",
            "rel",
            "c.relacl",
            relation,
            &relation_name,
            "n.oid",
            &within("c.relnamespace"),
        ),
        row(
            "pg_class",
            "c",
            "a.attnum",
            "rel",
            "a.attacl",
            "'c'::\"char\"",
            &relation_name,
            "n.oid",
            &format!("{} JOIN pg_attribute a ON a.attrelid = c.oid", within("c.relnamespace")),
        ),
        row(
            "pg_proc",
            "p",
            "0",
            "pro",
            "p.proacl",
            "'f'::\"char\"",
            "CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END || p.oid::regprocedure::text",
            "p.pronamespace",
            "",
        ),
        row(
            "pg_type",
            "t",
            "0",
            "typ",
            "t.typacl",
            "'T'::\"char\"",
            &format!("'TYPE ' || {named}(t.typname)"),
            "n.oid",
            &within("t.typnamespace"),
        ),
        row(
            "pg_namespace",
            "n",
            "0",
            "nsp",
            "n.nspacl",
            "'n'::\"char\"",
            "'SCHEMA ' || quote_ident(n.nspname)",
            "n.oid",
            "",
        ),
        row(
            "pg_language",
            "l",
            "0",
            "lan",
            "l.lanacl",
            "'l'::\"char\"",
            "'LANGUAGE ' || quote_ident(l.lanname)",
            "'pg_catalog'::regnamespace",
            "",
        ),
        row(
            "pg_foreign_data_wrapper",
            "w",
            "0",
            "fdw",
            "w.fdwacl",
            "'F'::\"char\"",
            "'FOREIGN DATA WRAPPER ' || quote_ident(w.fdwname)",
            "0",
            "",
        ),
        row(
            "pg_foreign_server",
            "s",
            "0",
            "srv",
            "s.srvacl",
            "'S'::\"char\"",
            "'FOREIGN SERVER ' || quote_ident(s.srvname)",
            "0",
            "",
        ),
    ]
    .join(" UNION ALL ");
    // As pg_dump has it: the server's own means `pg_catalog`.
    format!(
        "SELECT q.class, q.oid::int8, q.object, a.attname, m.refobjid::int8, m.refobjid IS NULL, r.rolname, {}, {} \
         FROM ({objects}) q JOIN pg_roles r ON r.oid = q.owner \
         LEFT JOIN pg_attribute a ON q.sub > 0 AND a.attrelid = q.oid AND a.attnum = q.sub \
         LEFT JOIN pg_depend m ON m.classid = ('pg_catalog.' || q.class)::regclass AND m.objid = q.oid \
           AND m.objsubid = 0 AND m.deptype = 'e' \
         LEFT JOIN pg_init_privs i ON i.classoid = ('pg_catalog.' || q.class)::regclass AND i.objoid = q.oid \
           AND i.objsubid = q.sub \
         WHERE q.acl IS NOT NULL AND q.acl IS DISTINCT FROM i.initprivs \
           AND (m.refobjid IS NOT NULL OR q.oid::int8 < {FIRST_USER_OID} AND q.space = 'pg_catalog'::regnamespace)",
        exploded("q.acl"),
        exploded(
            "CASE WHEN q.sub = 0 THEN COALESCE(i.initprivs, acldefault(q.letter, q.owner)) ELSE i.initprivs END"
        ),
    )
}

pub fn default_privileges() -> String {
    let letter = "CASE a.defaclobjtype WHEN 'S' THEN 's'::\"char\" ELSE a.defaclobjtype END";
    format!(
        "SELECT a.oid::int8 AS oid, r.rolname AS role, NULLIF(a.defaclnamespace::int8, 0) AS namespace, \
           n.nspname AS schema, a.defaclobjtype::text AS kind, {} AS granted, \
           CASE WHEN a.defaclnamespace = 0 THEN {} END AS usual \
         FROM pg_default_acl a JOIN pg_roles r ON r.oid = a.defaclrole \
         LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace WHERE a.defaclnamespace = 0 OR ({USER_SCHEMA})",
        exploded("a.defaclacl"),
        exploded(&format!("acldefault({letter}, a.defaclrole)"))
    )
}
