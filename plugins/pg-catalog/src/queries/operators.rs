//! Operators, their families and classes, and casts.

use super::{USER_SCHEMA, global, not_member};

pub fn operators() -> String {
    // One without a function is a shell that another one's COMMUTATOR or NEGATOR left; pg_dump leaves it out, too.
    let other = |column: &str| {
        format!(
            "(SELECT 'OPERATOR(' || quote_ident(xn.nspname) || '.' || x.oprname || ')' FROM pg_operator x \
               JOIN pg_namespace xn ON xn.oid = x.oprnamespace WHERE x.oid = o.{column})"
        )
    };
    format!(
        "SELECT o.oid::int8 AS oid, n.nspname AS schema, o.oprname AS name, \
           CASE WHEN o.oprleft <> 0 THEN format_type(o.oprleft, NULL) END AS left, \
           CASE WHEN o.oprright <> 0 THEN format_type(o.oprright, NULL) END AS right, \
           o.oprcode::text AS function, {} AS commutator, {} AS negator, NULLIF(o.oprrest::text, '-') AS restrict, \
           NULLIF(o.oprjoin::text, '-') AS join, o.oprcanhash AS hashes, o.oprcanmerge AS merges, \
           obj_description(o.oid, 'pg_operator') AS comment \
         FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace \
         WHERE o.oprcode::oid <> 0 AND {USER_SCHEMA} AND {}",
        other("oprcom"),
        other("oprnegate"),
        not_member("pg_operator", "o.oid")
    )
}

/// The operators and functions that hang on a family or class, by pg_depend: from 14 on the server itself decides
/// which operators of CREATE OPERATOR CLASS are the family's.
fn members(class: &str, oid: &str) -> String {
    let owned = |members: &str, alias: &str| {
        format!(
            "JOIN pg_depend d ON d.classid = 'pg_catalog.{members}'::regclass AND d.objid = {alias}.oid \
             AND d.refclassid = 'pg_catalog.{class}'::regclass AND d.refobjid = {oid} AND d.deptype IN ('a', 'i')"
        )
    };
    format!(
        "(SELECT json_agg(json_build_object('number', m.amopstrategy, 'operator', m.amopopr::regoperator::text, \
             'sort', (SELECT quote_ident(sn.nspname) || '.' || quote_ident(s.opfname) FROM pg_opfamily s \
               JOIN pg_namespace sn ON sn.oid = s.opfnamespace WHERE s.oid = m.amopsortfamily)) \
             ORDER BY m.amopstrategy, m.amopopr::regoperator::text) FROM pg_amop m {}) AS operators, \
         (SELECT json_agg(json_build_object('number', m.amprocnum, 'function', m.amproc::regprocedure::text, \
             'left', format_type(m.amproclefttype, NULL), 'right', format_type(m.amprocrighttype, NULL)) \
             ORDER BY m.amprocnum, m.amproc::regprocedure::text, format_type(m.amproclefttype, NULL), \
               format_type(m.amprocrighttype, NULL)) \
           FROM pg_amproc m {}) AS functions",
        owned("pg_amop", "m"),
        owned("pg_amproc", "m")
    )
}

pub fn families() -> String {
    format!(
        "SELECT f.oid::int8 AS oid, n.nspname AS schema, f.opfname AS name, am.amname AS method, {}, \
           obj_description(f.oid, 'pg_opfamily') AS comment \
         FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace JOIN pg_am am ON am.oid = f.opfmethod \
         WHERE {USER_SCHEMA} AND {}",
        members("pg_opfamily", "f.oid"),
        not_member("pg_opfamily", "f.oid")
    )
}

pub fn classes() -> String {
    format!(
        "SELECT c.oid::int8 AS oid, n.nspname AS schema, c.opcname AS name, am.amname AS method, \
           format_type(c.opcintype, NULL) AS type, c.opcdefault AS default, \
           CASE WHEN c.opckeytype <> 0 THEN format_type(c.opckeytype, NULL) END AS key_type, \
           quote_ident(fn.nspname) || '.' || quote_ident(f.opfname) AS family, {}, \
           obj_description(c.oid, 'pg_opclass') AS comment \
         FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace JOIN pg_am am ON am.oid = c.opcmethod \
         JOIN pg_opfamily f ON f.oid = c.opcfamily JOIN pg_namespace fn ON fn.oid = f.opfnamespace \
         WHERE {USER_SCHEMA} AND {}",
        members("pg_opclass", "c.oid"),
        not_member("pg_opclass", "c.oid")
    )
}

/// What families and classes need by way of their members, which are rows of their own in pg_depend.
pub fn member_edges() -> String {
    "SELECT w.refclassid::regclass::text AS c, w.refobjid::int8 AS o, d.refclassid::regclass::text AS rc, \
       d.refobjid::int8 AS ro, 'n' AS t \
     FROM pg_depend w JOIN pg_depend d ON d.classid = w.classid AND d.objid = w.objid \
     WHERE w.classid IN ('pg_catalog.pg_amop'::regclass, 'pg_catalog.pg_amproc'::regclass) \
       AND w.refclassid IN ('pg_catalog.pg_opclass'::regclass, 'pg_catalog.pg_opfamily'::regclass) \
       AND w.deptype IN ('a', 'i') AND (d.refclassid IN ('pg_catalog.pg_operator'::regclass, \
         'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_type'::regclass) \
         OR (d.refclassid = 'pg_catalog.pg_opfamily'::regclass AND d.deptype = 'n'))"
        .to_owned()
}

pub fn casts() -> String {
    // The cast of a range to its multirange comes with the range.
    format!(
        "SELECT k.oid::int8 AS oid, format_type(k.castsource, NULL) AS source, format_type(k.casttarget, NULL) AS target, \
           CASE WHEN k.castfunc <> 0 THEN k.castfunc::regprocedure::text END AS function, k.castcontext::text AS context, \
           k.castmethod::text AS method, obj_description(k.oid, 'pg_cast') AS comment \
         FROM pg_cast k WHERE {} AND NOT EXISTS (SELECT 1 FROM pg_depend i \
           WHERE i.classid = 'pg_catalog.pg_cast'::regclass AND i.objid = k.oid AND i.deptype = 'i')",
        global("pg_cast", "k.oid")
    )
}
