//! Text search: parsers, templates, dictionaries and configurations.

use super::{USER_SCHEMA, not_member};

pub fn parsers() -> String {
    format!(
        "SELECT p.oid::int8 AS oid, n.nspname AS schema, p.prsname AS name, p.prsstart::text AS start, \
           p.prstoken::text AS token, p.prsend::text AS end, p.prslextype::text AS types, \
           NULLIF(p.prsheadline::text, '-') AS headline, obj_description(p.oid, 'pg_ts_parser') AS comment \
         FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace WHERE {USER_SCHEMA} AND {}",
        not_member("pg_ts_parser", "p.oid")
    )
}

pub fn templates() -> String {
    format!(
        "SELECT t.oid::int8 AS oid, n.nspname AS schema, t.tmplname AS name, \
           NULLIF(t.tmplinit::text, '-') AS init, t.tmpllexize::text AS lexize, \
           obj_description(t.oid, 'pg_ts_template') AS comment \
         FROM pg_ts_template t JOIN pg_namespace n ON n.oid = t.tmplnamespace WHERE {USER_SCHEMA} AND {}",
        not_member("pg_ts_template", "t.oid")
    )
}

pub fn dictionaries() -> String {
    // A template of pg_catalog is named with its schema, too, as pg_dump does.
    format!(
        "SELECT d.oid::int8 AS oid, n.nspname AS schema, d.dictname AS name, \
           quote_ident(tn.nspname) || '.' || quote_ident(t.tmplname) AS template, d.dictinitoption AS options, \
           obj_description(d.oid, 'pg_ts_dict') AS comment \
         FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = d.dictnamespace \
         JOIN pg_ts_template t ON t.oid = d.dicttemplate JOIN pg_namespace tn ON tn.oid = t.tmplnamespace \
         WHERE {USER_SCHEMA} AND {}",
        not_member("pg_ts_dict", "d.oid")
    )
}

pub fn configurations() -> String {
    format!(
        "SELECT c.oid::int8 AS oid, n.nspname AS schema, c.cfgname AS name, \
           quote_ident(pn.nspname) || '.' || quote_ident(p.prsname) AS parser, \
           (SELECT json_agg(json_build_object('token', k.alias, 'dictionaries', g.dictionaries) ORDER BY g.token) \
             FROM (SELECT m.maptokentype AS token, json_agg(m.mapdict::regdictionary::text ORDER BY m.mapseqno) \
                 AS dictionaries FROM pg_ts_config_map m WHERE m.mapcfg = c.oid GROUP BY m.maptokentype) g \
             JOIN ts_token_type(c.cfgparser) k ON k.tokid = g.token) AS mappings, \
           obj_description(c.oid, 'pg_ts_config') AS comment \
         FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace \
         JOIN pg_ts_parser p ON p.oid = c.cfgparser JOIN pg_namespace pn ON pn.oid = p.prsnamespace \
         WHERE {USER_SCHEMA} AND {}",
        not_member("pg_ts_config", "c.oid")
    )
}
