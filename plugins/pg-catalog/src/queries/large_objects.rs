//! Large objects, and what is said of them.

use super::privileges::exploded;
use crate::catalog::Rights;

/// One row: how many there are, and whether their bytes can be read.
pub fn count() -> String {
    "SELECT count(*) AS count, has_table_privilege('pg_catalog.pg_largeobject', 'SELECT') AS readable \
     FROM pg_largeobject_metadata"
        .to_owned()
}

/// The numbers of all, in their order, some to a row.
pub fn numbers() -> String {
    "SELECT json_agg(n.oid::int8 ORDER BY n.oid) AS oids FROM (SELECT m.oid, \
       (row_number() OVER (ORDER BY m.oid) - 1) / 1000 AS batch FROM pg_largeobject_metadata m) n \
     GROUP BY n.batch ORDER BY n.batch"
        .to_owned()
}

/// Those that statements of their own are about, in groups with the same owner, privileges and comment.
pub fn groups(rights: Rights) -> String {
    let owner = if rights.owners { "r.rolname" } else { "NULL::name" };
    let acl = if rights.privileges { "m.lomacl::text" } else { "NULL::text" };
    format!(
        "SELECT g.oids, g.owner, g.role, g.comment, {} AS granted, \
           CASE WHEN g.acl IS NOT NULL THEN {} END AS usual \
         FROM (SELECT json_agg(s.oid::int8 ORDER BY s.oid) AS oids, s.owner, s.role, s.comment, s.acl, s.lomowner \
           FROM (SELECT m.oid, {owner} AS owner, r.rolname AS role, {acl} AS acl, m.lomowner, \
               obj_description(m.oid, 'pg_largeobject') AS comment, \
               (row_number() OVER (PARTITION BY m.lomowner, {acl}, obj_description(m.oid, 'pg_largeobject') \
                 ORDER BY m.oid) - 1) / 1000 AS batch \
             FROM pg_largeobject_metadata m JOIN pg_roles r ON r.oid = m.lomowner) s \
           WHERE s.owner IS NOT NULL OR s.acl IS NOT NULL OR s.comment IS NOT NULL \
           GROUP BY s.owner, s.role, s.comment, s.acl, s.lomowner, s.batch) g",
        exploded("g.acl::aclitem[]"),
        exploded("acldefault('L', g.lomowner)")
    )
}
