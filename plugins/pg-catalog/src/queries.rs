//! The catalog queries: one section for each kind of row, sent together as one statement.
//!
//! Hosted databases are 150–300 ms away, so the number of round trips is fixed: one for the version, one for everything
//! else. Queries run with an empty search path; what the server deparses is therefore fully qualified. Columns of
//! `pg_catalog` that came after PostgreSQL 12 are asked for by version (manual, chapter 53 "System Catalogs").

mod facts;
mod foreign;
mod languages;
mod large_objects;
mod operators;
mod privileges;
mod replication;
mod settings;
mod taken;
mod text_search;

pub use facts::facts;

pub use self::large_objects::numbers as large_object_numbers;
use crate::catalog::Rights;

/// The first object id that initdb doesn't use (`FirstNormalObjectId` in `src/include/access/transam.h`).
const FIRST_USER_OID: u32 = 16384;

/// Schemas of users: not the system's, and not the one of Godwit's markers.
pub const USER_SCHEMA: &str =
    "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'godwit_marker')";

/// A condition: the object is no member of an extension.
fn not_member(class: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM pg_depend own WHERE own.classid = 'pg_catalog.{class}'::regclass AND own.objid = {oid} \
         AND own.deptype = 'e')"
    )
}

/// A condition: an object without a schema is no part of the server, and no member of an extension.
fn global(class: &str, oid: &str) -> String {
    format!("{oid}::int8 >= {FIRST_USER_OID} AND {}", not_member(class, oid))
}

/// One statement over all sections: rows of `s` (the section) and `r` (its row as JSON). Subscriptions can be read by
/// superusers alone.
pub fn everything(version: u32, superuser: bool, rights: Rights) -> String {
    let mut sections: Vec<(&str, String)> = vec![
        ("schema", schemas()),
        ("extension", extensions()),
        ("type", types(version)),
        ("relation", relations(version)),
        ("column", columns(version)),
        ("constraint", constraints()),
        ("index", indexes()),
        ("sequence", sequences()),
        ("routine", routines()),
        ("trigger", triggers(version)),
        ("policy", policies()),
        ("rule", rules()),
        ("statistics", statistics(version)),
        ("collation", collations(version)),
        ("language", languages::languages()),
        ("transform", languages::transforms()),
        ("access_method", languages::access_methods()),
        ("conversion", languages::conversions()),
        ("event_trigger", languages::event_triggers()),
        ("operator", operators::operators()),
        ("operator_family", operators::families()),
        ("operator_class", operators::classes()),
        ("cast", operators::casts()),
        ("parser", text_search::parsers()),
        ("template", text_search::templates()),
        ("dictionary", text_search::dictionaries()),
        ("configuration", text_search::configurations()),
        ("wrapper", foreign::wrappers()),
        ("server", foreign::servers()),
        ("mapping", foreign::mappings()),
        ("publication", replication::publications(version)),
        ("publication_table", replication::publication_tables(version)),
        ("publication_schema", replication::publication_schemas(version)),
        ("large_objects", large_objects::count()),
        ("large_object", large_objects::groups(rights)),
        ("edge", edges()),
    ];
    if !superuser {
        sections.push(("unsupported", unsupported()));
    }
    if rights.settings {
        sections.push(("setting", settings::settings()));
    }
    if rights.labels {
        sections.push(("label", labels()));
    }
    if rights.owners {
        sections.push(("owner", privileges::owners()));
    }
    if rights.privileges {
        sections.push(("privileges", privileges::privileges()));
        sections.push(("default_privileges", privileges::default_privileges()));
    }
    if superuser {
        sections.push(("subscription", replication::subscriptions(version)));
    }
    sections
        .iter()
        .map(|(name, sql)| format!("SELECT '{name}' AS s, pg_catalog.row_to_json(x) AS r FROM ({sql}) x"))
        .collect::<Vec<_>>()
        .join("\nUNION ALL\n")
}

fn schemas() -> String {
    format!(
        "SELECT n.oid::int8 AS oid, n.nspname AS name, obj_description(n.oid, 'pg_namespace') AS comment \
         FROM pg_namespace n WHERE {USER_SCHEMA} AND {}",
        not_member("pg_namespace", "n.oid")
    )
}

fn extensions() -> String {
    // plpgsql is in every database that initdb made (template1).
    "SELECT x.oid::int8 AS oid, x.extname AS name, n.nspname AS schema, x.extversion AS version, \
       EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = 'pg_catalog.pg_namespace'::regclass AND e.objid = n.oid \
         AND e.deptype = 'e' AND e.refobjid = x.oid) AS own_schema, \
       (SELECT json_agg(json_build_object('schema', cn.nspname, 'name', c.relname, 'kind', c.relkind, 'condition', \
           COALESCE(x.extcondition[t.i], ''), 'columns', (SELECT json_agg(a.attname ORDER BY a.attnum) \
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
               AND a.attgenerated = '')) ORDER BY cn.nspname, c.relname) \
         FROM unnest(x.extconfig) WITH ORDINALITY AS t(oid, i) JOIN pg_class c ON c.oid = t.oid \
         JOIN pg_namespace cn ON cn.oid = c.relnamespace WHERE c.relkind IN ('r', 'S')) AS config \
     FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname <> 'plpgsql'"
        .to_owned()
}

/// A condition: the type `t`, with `c` as its row of `pg_class`, is one that a statement made.
const TYPES: &str = "(t.typtype IN ('d', 'e', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') \
                     OR (t.typtype = 'p' AND NOT t.typisdefined) OR (t.typtype = 'b' \
                     AND NOT EXISTS (SELECT 1 FROM pg_type el WHERE el.typarray = t.oid)))";

fn types(version: u32) -> String {
    let multirange = if version >= 140_000 {
        "(SELECT quote_ident(mn.nspname) || '.' || quote_ident(mt.typname) FROM pg_type mt \
           JOIN pg_namespace mn ON mn.oid = mt.typnamespace WHERE mt.oid = r.rngmultitypid)"
    } else {
        "NULL::text"
    };
    let subscript = if version >= 140_000 { "NULLIF(t.typsubscript::text, '-')" } else { "NULL::text" };
    // Array, multirange and row types follow from others.
    format!(
        "SELECT t.oid::int8 AS oid, n.nspname AS schema, t.typname AS name, t.typtype::text AS kind, \
           t.typrelid::int8 AS relation, t.typnotnull AS not_null, t.typdefault AS default, \
           CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS base, \
           CASE WHEN t.typtype = 'd' AND t.typcollation <> 0 AND t.typcollation <> b.typcollation \
             THEN quote_ident(con.nspname) || '.' || quote_ident(co.collname) END AS collation, \
           (SELECT json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid) AS labels, \
           (SELECT json_agg(json_build_object('oid', k.oid::int8, 'name', k.conname, 'kind', k.contype, \
               'definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated, \
               'comment', obj_description(k.oid, 'pg_constraint')) ORDER BY k.conname) \
             FROM pg_constraint k WHERE k.contypid = t.oid) AS constraints, \
           (SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), \
               'collation', CASE WHEN a.attcollation <> 0 AND a.attcollation <> at.typcollation \
                 THEN quote_ident(acn.nspname) || '.' || quote_ident(ac.collname) END, \
               'comment', col_description(a.attrelid, a.attnum)) ORDER BY a.attnum) \
             FROM pg_attribute a JOIN pg_type at ON at.oid = a.atttypid \
             LEFT JOIN pg_collation ac ON ac.oid = a.attcollation \
             LEFT JOIN pg_namespace acn ON acn.oid = ac.collnamespace \
             WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes, \
           CASE WHEN t.typtype = 'b' THEN json_build_object('length', t.typlen, 'input', t.typinput::text, \
               'output', t.typoutput::text, 'receive', NULLIF(t.typreceive::text, '-'), \
               'send', NULLIF(t.typsend::text, '-'), 'typmod_in', NULLIF(t.typmodin::text, '-'), \
               'typmod_out', NULLIF(t.typmodout::text, '-'), 'analyze', NULLIF(t.typanalyze::text, '-'), \
               'subscript', {subscript}, 'collatable', t.typcollation <> 0, \
               'element', CASE WHEN t.typelem <> 0 THEN format_type(t.typelem, NULL) END, 'category', t.typcategory, \
               'preferred', t.typispreferred, 'delimiter', t.typdelim, 'alignment', t.typalign, \
               'storage', t.typstorage, 'by_value', t.typbyval) END AS scalar, \
           CASE WHEN t.typtype = 'r' THEN json_build_object('subtype', format_type(r.rngsubtype, NULL), \
               'opclass', CASE WHEN NOT oc.opcdefault THEN quote_ident(ocn.nspname) || '.' || quote_ident(oc.opcname) END, \
               'collation', CASE WHEN r.rngcollation <> 0 AND r.rngcollation <> st.typcollation \
                 THEN quote_ident(con.nspname) || '.' || quote_ident(co.collname) END, \
               'difference', NULLIF(r.rngsubdiff::oid::int8, 0), \
               'difference_name', CASE WHEN r.rngsubdiff::oid <> 0 THEN r.rngsubdiff::text END, \
               'canonical', NULLIF(r.rngcanonical::text, '-'), \
               'multirange', {multirange}) END AS range, \
           obj_description(t.oid, 'pg_type') AS comment \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_type b ON b.oid = t.typbasetype \
         LEFT JOIN pg_range r ON r.rngtypid = t.oid \
         LEFT JOIN pg_type st ON st.oid = r.rngsubtype \
         LEFT JOIN pg_opclass oc ON oc.oid = r.rngsubopc \
         LEFT JOIN pg_namespace ocn ON ocn.oid = oc.opcnamespace \
         LEFT JOIN pg_class c ON c.oid = t.typrelid \
         LEFT JOIN pg_collation co ON co.oid = CASE WHEN t.typtype = 'r' THEN r.rngcollation ELSE t.typcollation END \
         LEFT JOIN pg_namespace con ON con.oid = co.collnamespace \
         WHERE {} AND {USER_SCHEMA} AND {}",
        TYPES,
        not_member("pg_type", "t.oid")
    )
}

fn relations(version: u32) -> String {
    let attached = if version >= 140_000 { "AND NOT i.inhdetachpending" } else { "" };
    format!(
        "SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, \
           c.relpersistence::text AS persistence, c.relispartition AS partition, c.reltype::int8 AS row_type, \
           CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS bound, \
           CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key, \
           COALESCE(to_json(c.reloptions), '[]') AS options, \
           COALESCE(to_json(tc.reloptions), '[]') AS toast_options, \
           c.relrowsecurity AS row_security, c.relforcerowsecurity AS force_row_security, \
           c.relreplident::text AS replica_identity, am.amname AS access_method, \
           CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type, \
           COALESCE((SELECT json_agg(i.inhparent::int8 ORDER BY i.inhseqno) FROM pg_inherits i \
             WHERE i.inhrelid = c.oid {attached}), '[]') AS parents, \
           CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS definition, \
           c.relispopulated AS populated, \
           (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace) AS tablespace, \
           CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) END AS bytes, \
           (SELECT s.srvname FROM pg_foreign_server s WHERE s.oid = ft.ftserver) AS server, \
           {} AS foreign_options, {}, \
           obj_description(c.oid, 'pg_class') AS comment \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_class tc ON tc.oid = c.reltoastrelid LEFT JOIN pg_am am ON am.oid = c.relam \
         LEFT JOIN pg_foreign_table ft ON ft.ftrelid = c.oid \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {USER_SCHEMA} AND {}",
        foreign::plain("ft.ftoptions"),
        foreign::withheld("ft.ftoptions"),
        not_member("pg_class", "c.oid")
    )
}

fn columns(version: u32) -> String {
    let compression = if version >= 140_000 { "a.attcompression::text" } else { "''" };
    // Named NOT NULL constraints of tables are rows of pg_constraint from 18 on.
    let not_null = if version >= 180_000 {
        "(SELECT json_build_object('name', k.conname, 'local', k.conislocal, 'no_inherit', k.connoinherit, \
             'validated', k.convalidated, 'comment', obj_description(k.oid, 'pg_constraint')) FROM pg_constraint k \
           WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey[1] = a.attnum)"
    } else {
        "NULL::json"
    };
    format!(
        "SELECT a.attrelid::int8 AS relation, a.attnum AS number, a.attname AS name, \
           format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null, a.attidentity::text AS identity, \
           a.attgenerated::text AS generated, d.oid::int8 AS default_oid, pg_get_expr(d.adbin, d.adrelid) AS default, \
           CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation \
             THEN quote_ident(con.nspname) || '.' || quote_ident(co.collname) END AS collation, \
           CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END AS storage, \
           {compression} AS compression, \
           CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END AS statistics, \
           COALESCE(to_json(a.attoptions), '[]') AS options, {} AS foreign_options, a.attislocal AS local, \
           col_description(a.attrelid, a.attnum) AS comment, {not_null} AS not_null_constraint \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace con ON con.oid = co.collnamespace \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {USER_SCHEMA} AND {}",
        foreign::plain("a.attfdwoptions"),
        not_member("pg_class", "c.oid")
    )
}

fn constraints() -> String {
    format!(
        "SELECT k.oid::int8 AS oid, k.conrelid::int8 AS relation, k.conname AS name, k.contype::text AS kind, \
           pg_get_constraintdef(k.oid) AS definition, k.conislocal AS local, k.convalidated AS validated, \
           NULLIF(k.conindid::int8, 0) AS index, NULLIF(k.confrelid::int8, 0) AS references, \
           k.conparentid <> 0 AS has_parent, obj_description(k.oid, 'pg_constraint') AS comment \
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE k.contype IN ('p', 'u', 'x', 'f', 'c') AND c.relkind IN ('r', 'p', 'f') AND {USER_SCHEMA} AND {}",
        not_member("pg_class", "c.oid")
    )
}

fn indexes() -> String {
    format!(
        "SELECT i.indexrelid::int8 AS oid, i.indrelid::int8 AS relation, ic.relname AS name, am.amname AS method, \
           pg_get_indexdef(i.indexrelid) AS definition, i.indisvalid AS valid, i.indisclustered AS clustered, \
           i.indisreplident AS replica_identity, k.oid::int8 AS constraint, h.inhparent::int8 AS parent, \
           ic.relkind = 'I' AS partitioned, COALESCE(to_json(ic.reloptions), '[]') AS options, \
           (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = ic.reltablespace) AS tablespace, \
           (SELECT json_agg(json_build_array(a.attnum, a.attstattarget) ORDER BY a.attnum) FROM pg_attribute a \
             WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0) AS statistics, \
           obj_description(i.indexrelid, 'pg_class') AS comment \
         FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am am ON am.oid = ic.relam \
         LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid \
           AND k.contype IN ('p', 'u', 'x') \
         LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid \
         WHERE c.relkind IN ('r', 'p', 'm') AND {USER_SCHEMA} AND {}",
        not_member("pg_class", "c.oid")
    )
}

fn sequences() -> String {
    format!(
        "SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, c.relpersistence::text AS persistence, \
           format_type(q.seqtypid, NULL) AS type, q.seqstart AS start, q.seqincrement AS increment, q.seqmin AS min, \
           q.seqmax AS max, q.seqcache AS cache, q.seqcycle AS cycle, d.refobjid::int8 AS owner, \
           d.refobjsubid AS owner_column, d.deptype = 'i' AS identity, obj_description(c.oid, 'pg_class') AS comment \
         FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 \
           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid <> 0 AND d.deptype IN ('a', 'i') \
         WHERE {USER_SCHEMA} AND {}",
        not_member("pg_class", "c.oid")
    )
}

fn routines() -> String {
    // Constructors of range types depend on them internally and come with them.
    format!(
        "SELECT p.oid::int8 AS oid, n.nspname AS schema, p.proname AS name, p.prokind::text AS kind, \
           pg_get_function_identity_arguments(p.oid) AS arguments, \
           CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END AS definition, \
           CASE WHEN p.prokind = 'a' THEN (SELECT json_build_object( \
               'kind', g.aggkind, 'direct', g.aggnumdirectargs, 'arguments', pg_get_function_arguments(p.oid), \
               'parallel', p.proparallel, \
               'transition', g.aggtransfn::text, 'type', format_type(g.aggtranstype, NULL), 'space', g.aggtransspace, \
               'final', NULLIF(g.aggfinalfn::text, '-'), 'final_extra', g.aggfinalextra, 'final_modify', g.aggfinalmodify, \
               'combine', NULLIF(g.aggcombinefn::text, '-'), 'serial', NULLIF(g.aggserialfn::text, '-'), \
               'deserial', NULLIF(g.aggdeserialfn::text, '-'), 'moving_transition', NULLIF(g.aggmtransfn::text, '-'), \
               'moving_inverse', NULLIF(g.aggminvtransfn::text, '-'), 'moving_final', NULLIF(g.aggmfinalfn::text, '-'), \
               'moving_final_extra', g.aggmfinalextra, 'moving_final_modify', g.aggmfinalmodify, \
               'moving_type', CASE WHEN g.aggmtranstype <> 0 THEN format_type(g.aggmtranstype, NULL) END, \
               'moving_space', g.aggmtransspace, 'initial', g.agginitval, 'moving_initial', g.aggminitval, \
               'sort', (SELECT 'OPERATOR(' || quote_ident(son.nspname) || '.' || so.oprname || ')' FROM pg_operator so \
                 JOIN pg_namespace son ON son.oid = so.oprnamespace WHERE so.oid = g.aggsortop)) \
             FROM pg_aggregate g WHERE g.aggfnoid = p.oid) END AS aggregate, \
           obj_description(p.oid, 'pg_proc') AS comment \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE {USER_SCHEMA} AND {} AND NOT EXISTS (SELECT 1 FROM pg_depend i \
           WHERE i.classid = 'pg_catalog.pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')",
        not_member("pg_proc", "p.oid")
    )
}

fn triggers(version: u32) -> String {
    // A trigger of a partitioned table has clones in its partitions, which matter only where their state differs.
    // Before 13 a clone is marked as internal and hangs on its original by pg_depend.
    let (clone, parent) = if version >= 130_000 {
        ("g.tgparentid <> 0", "LEFT JOIN pg_trigger u ON u.oid = g.tgparentid")
    } else {
        (
            "u.oid IS NOT NULL",
            "LEFT JOIN pg_depend ud ON ud.classid = 'pg_catalog.pg_trigger'::regclass AND ud.objid = g.oid \
               AND ud.refclassid = ud.classid LEFT JOIN pg_trigger u ON u.oid = ud.refobjid",
        )
    };
    format!(
        "SELECT g.oid::int8 AS oid, g.tgrelid::int8 AS relation, g.tgname AS name, pg_get_triggerdef(g.oid) AS definition, \
           g.tgenabled::text AS enabled, {clone} AS clone, obj_description(g.oid, 'pg_trigger') AS comment \
         FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace {parent} \
         WHERE c.relkind IN ('r', 'p', 'v', 'f') AND {USER_SCHEMA} AND {} \
           AND ((NOT g.tgisinternal AND NOT ({clone})) OR ({clone} AND u.tgenabled <> g.tgenabled \
             AND NOT EXISTS (SELECT 1 FROM pg_constraint fk WHERE fk.oid = g.tgconstraint AND fk.contype = 'f')))",
        not_member("pg_class", "c.oid")
    )
}

fn policies() -> String {
    format!(
        "SELECT y.oid::int8 AS oid, y.polrelid::int8 AS relation, y.polname AS name, y.polcmd::text AS command, \
           y.polpermissive AS permissive, pg_get_expr(y.polqual, y.polrelid) AS using, \
           pg_get_expr(y.polwithcheck, y.polrelid) AS check, \
           (SELECT json_agg(COALESCE(r.rolname, '') ORDER BY r.rolname NULLS FIRST) FROM unnest(y.polroles) AS t(oid) \
             LEFT JOIN pg_roles r ON r.oid = t.oid) AS roles, \
           obj_description(y.oid, 'pg_policy') AS comment \
         FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {USER_SCHEMA} AND {}",
        not_member("pg_class", "c.oid")
    )
}

fn rules() -> String {
    format!(
        "SELECT w.oid::int8 AS oid, w.ev_class::int8 AS relation, w.rulename AS name, \
           CASE WHEN w.ev_type <> '1' THEN pg_get_ruledef(w.oid) END AS definition, \
           w.ev_enabled::text AS enabled, obj_description(w.oid, 'pg_rewrite') AS comment \
         FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm') AND {USER_SCHEMA} AND {}",
        not_member("pg_class", "c.oid")
    )
}

fn statistics(version: u32) -> String {
    let target = if version >= 130_000 {
        "CASE WHEN x.stxstattarget >= 0 THEN x.stxstattarget END"
    } else {
        "NULL::int"
    };
    format!(
        "SELECT x.oid::int8 AS oid, x.stxrelid::int8 AS relation, n.nspname AS schema, x.stxname AS name, \
           pg_get_statisticsobjdef(x.oid) AS definition, {target} AS target, \
           obj_description(x.oid, 'pg_statistic_ext') AS comment \
         FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace WHERE {USER_SCHEMA} AND {}",
        not_member("pg_statistic_ext", "x.oid")
    )
}

fn collations(version: u32) -> String {
    let (locale, rules) = match version {
        170_000.. => ("o.colllocale", "o.collicurules"),
        160_000.. => ("o.colliculocale", "o.collicurules"),
        150_000.. => ("o.colliculocale", "NULL::text"),
        _ => ("CASE WHEN o.collprovider = 'i' THEN o.collcollate END", "NULL::text"),
    };
    format!(
        "SELECT o.oid::int8 AS oid, n.nspname AS schema, o.collname AS name, o.collprovider::text AS provider, \
           o.collisdeterministic AS deterministic, o.collcollate AS collate, o.collctype AS ctype, {locale} AS locale, \
           {rules} AS rules, obj_description(o.oid, 'pg_collation') AS comment \
         FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE {USER_SCHEMA} AND {}",
        not_member("pg_collation", "o.oid")
    )
}

/// Security labels of what is in this database; those of roles and tablespaces are the server's.
fn labels() -> String {
    "SELECT l.classoid::regclass::text AS class, l.objoid::int8 AS oid, l.provider, l.label, \
       (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE l.classoid = 1259 \
         AND a.attrelid = l.objoid AND a.attnum = l.objsubid AND l.objsubid > 0) AS column FROM pg_seclabel l"
        .to_owned()
}

/// Dependencies among what users made, and of members on their extensions. A function hangs on a transform for its
/// language and types whether it uses it or not, so that tells nothing; those that it names are told by itself.
fn edges() -> String {
    format!(
        "SELECT d.classid::regclass::text AS c, d.objid::int8 AS o, d.refclassid::regclass::text AS rc, \
           d.refobjid::int8 AS ro, d.deptype::text AS t \
         FROM pg_depend d WHERE d.refobjid >= {FIRST_USER_OID} AND d.deptype IN ('n', 'a', 'i', 'e') \
         AND d.classid NOT IN ('pg_catalog.pg_amop'::regclass, 'pg_catalog.pg_amproc'::regclass) \
         AND d.refclassid <> 'pg_catalog.pg_transform'::regclass \
         GROUP BY 1, 2, 3, 4, 5 UNION ALL {} UNION ALL {}",
        operators::member_edges(),
        languages::transform_edges()
    )
}

/// What can't be recreated, by kind and name, since the connection's user may not read it.
fn unsupported() -> String {
    "SELECT 'subscription' AS kind, 'pg_subscription' AS class, b.oid::int8 AS oid, NULL::name AS schema, \
       b.subname::text AS name FROM pg_subscription b \
     WHERE b.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        .to_owned()
}

/// What a target has already: rows of `kind`, `name`, `detail`.
pub fn target(version: u32) -> String {
    // Which extensions others than superusers may make is known from 13 on.
    let trusted = if version >= 130_000 { "v.trusted" } else { "false" };
    format!(
        "SELECT 'schema' AS kind, n.nspname::text AS name, NULL::text AS detail FROM pg_namespace n WHERE {USER_SCHEMA} \
         UNION ALL SELECT 'extension', x.extname::text, n.nspname::text FROM pg_extension x \
           JOIN pg_namespace n ON n.oid = x.extnamespace \
         UNION ALL SELECT 'available', a.name::text, a.default_version::text FROM pg_available_extensions a \
         UNION ALL SELECT 'version', x.extname::text, x.extversion FROM pg_extension x \
         UNION ALL SELECT 'untrusted', v.name::text, NULL FROM pg_available_extension_versions v \
           JOIN pg_available_extensions a ON a.name = v.name AND a.default_version = v.version \
           WHERE v.superuser AND NOT {trusted} \
         UNION ALL SELECT 'role', r.rolname::text, NULL FROM pg_roles r \
         UNION ALL SELECT 'relation', n.nspname || '.' || c.relname, c.relkind::text FROM pg_class c \
           JOIN pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I') AND {USER_SCHEMA} AND {} \
         UNION ALL SELECT 'type', n.nspname || '.' || t.typname, t.typtype::text FROM pg_type t \
           JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid \
           WHERE {TYPES} AND {USER_SCHEMA} AND {} \
         UNION ALL SELECT 'routine', n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', \
           p.prokind::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {USER_SCHEMA} AND {} \
           AND NOT EXISTS (SELECT 1 FROM pg_depend i \
             WHERE i.classid = 'pg_catalog.pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i') \
         UNION ALL SELECT 'tablespace', s.spcname::text, has_tablespace_privilege(s.oid, 'CREATE')::text \
           FROM pg_tablespace s \
         UNION ALL SELECT 'large objects', count(*)::text, NULL FROM pg_largeobject_metadata \
         UNION ALL SELECT 'user', current_user::text, current_setting('is_superuser') \
         UNION ALL SELECT 'member', r.rolname::text, NULL FROM pg_roles r WHERE pg_has_role(r.oid, 'MEMBER') UNION ALL {}",
        not_member("pg_class", "c.oid"),
        not_member("pg_type", "t.oid"),
        not_member("pg_proc", "p.oid"),
        taken::objects(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gate of the host takes queries of up to 128 KiB (`LARGEST_QUERY`); some of it is kept for what comes with the next
    /// major.
    #[test]
    fn the_longest_query_passes_the_gate() {
        let rights = Rights { owners: true, privileges: true, settings: true, labels: true };
        for version in [120_000, 130_000, 140_000, 150_000, 160_000, 170_000, 180_000] {
            let length = everything(version, true, rights).len();
            assert!(length < 120 << 10, "{length} bytes for {version}");
        }
    }
}
