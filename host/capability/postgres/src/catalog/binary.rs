//! Which columns may go in COPY's binary format.
//!
//! Only types whose send and receive functions are stable from 12 to 18 and write no object identifiers. Arrays carry
//! the identifier of their element type: built-in ones are the same everywhere, others are not.

use super::Column;

/// Built-in base types (manual, chapter 8). Not here: `money` (its scale is the database's), `xml` (its encoding),
/// `reg*` (object identifiers), composite types, `aclitem`.
const BUILT_IN: &[&str] = &[
    "bool",
    "bytea",
    "char",
    "name",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "numeric",
    "text",
    "bpchar",
    "varchar",
    "oid",
    "json",
    "jsonb",
    "jsonpath",
    "uuid",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "point",
    "lseg",
    "path",
    "box",
    "polygon",
    "line",
    "circle",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit",
    "varbit",
    "tsvector",
    "tsquery",
    "pg_lsn",
    "txid_snapshot",
    "pg_snapshot",
    "xid",
    "xid8",
    "cid",
    "tid",
    "int4range",
    "int8range",
    "numrange",
    "daterange",
    "tsrange",
    "tstzrange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "datemultirange",
    "tsmultirange",
    "tstzmultirange",
];

/// (extension, type) whose binary form is part of the extension's contract.
const OF_EXTENSIONS: &[(&str, &str)] = &[
    ("vector", "vector"),
    ("vector", "halfvec"),
    ("vector", "sparsevec"),
    ("citext", "citext"),
    ("hstore", "hstore"),
    ("ltree", "ltree"),
    ("postgis", "geometry"),
    ("postgis", "geography"),
];

fn admits(column: &Column) -> bool {
    const CATALOG: &str = "pg_catalog";
    let built_in = |schema: &str, name: &str| schema == CATALOG && BUILT_IN.contains(&name);
    if let (Some(schema), Some(element)) = (&column.element_schema, &column.element) {
        return built_in(schema, element);
    }
    match &column.extension {
        Some(extension) => OF_EXTENSIONS.contains(&(extension.as_str(), column.base.as_str())),
        // An enum's value goes as its label.
        None => column.base_kind == "e" || built_in(&column.base_schema, &column.base),
    }
}

/// Why a copy of these columns goes as text: the first column that isn't on the list, or that the sink has with
/// another type. `None`: binary will do. Without a sink, only the source's columns are looked at.
pub fn first_text_column(source: &[&Column], sink: Option<&[&Column]>) -> Option<String> {
    if let Some(column) = source.iter().find(|column| !admits(column)) {
        return Some(format!("column `{}` is of type {}", column.name, column.r#type));
    }
    let pairs = source.iter().zip(sink?);
    pairs
        .into_iter()
        .find(|(from, to)| {
            (&from.base, &from.base_kind, &from.element, &from.extension)
                != (&to.base, &to.base_kind, &to.element, &to.extension)
        })
        .map(|(from, to)| format!("column `{}` is {} here and {} there", from.name, from.r#type, to.r#type))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(
        base_schema: &str,
        base: &str,
        kind: &str,
        extension: Option<&str>,
        element: Option<(&str, &str)>,
    ) -> Column {
        Column {
            name: "c".into(),
            r#type: base.into(),
            base_schema: base_schema.into(),
            base: base.into(),
            base_kind: kind.into(),
            extension: extension.map(Into::into),
            element_schema: element.map(|(schema, _)| schema.into()),
            element: element.map(|(_, name)| name.into()),
        }
    }

    #[test]
    fn the_list_decides() {
        for (admitted, column) in [
            (true, column("pg_catalog", "int4", "b", None, None)),
            (true, column("pg_catalog", "_int4", "b", None, Some(("pg_catalog", "int4")))),
            (true, column("public", "colour", "e", None, None)),
            (false, column("public", "_colour", "b", None, Some(("public", "colour")))),
            (true, column("public", "vector", "b", Some("vector"), None)),
            (false, column("public", "_vector", "b", None, Some(("public", "vector")))),
            (false, column("public", "int4", "b", None, None)),
            (false, column("public", "pair", "c", None, None)),
            (false, column("pg_catalog", "regclass", "b", None, None)),
            (false, column("pg_catalog", "money", "b", None, None)),
            (false, column("public", "cube", "b", Some("cube"), None)),
        ] {
            assert_eq!(first_text_column(&[&column], None).is_none(), admitted, "{column:?}");
        }
    }

    #[test]
    fn both_ends_have_to_agree() {
        let (int4, int8) =
            (column("pg_catalog", "int4", "b", None, None), column("pg_catalog", "int8", "b", None, None));
        assert!(first_text_column(&[&int4], Some(&[&int4])).is_none());
        assert!(first_text_column(&[&int4], Some(&[&int8])).is_some_and(|why| why.contains("int8")));
    }
}
