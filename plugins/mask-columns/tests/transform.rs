//! The transform on rows of COPY text.

use godwit_plugin_mask_columns::MaskColumns;
use godwit_sdk::mock::{selects, transform};
use godwit_sdk::types::Error;
use proptest::prelude::*;
use serde_json::{Value, json};

const KEY: &str = "a-key-of-sixteen-bytes-or-more";

fn shape() -> Value {
    json!({
        "kind": "table", "schema": "public", "table": "users_2026", "root": "public.users", "format": "text",
        "columns": [
            { "name": "id", "type": "bigint" },
            { "name": "email", "type": "text" },
            { "name": "phone", "type": "character varying(20)" },
            { "name": "token", "type": "uuid" },
            { "name": "note", "type": "text" },
        ]
    })
}

fn run(tables: Value, rows: &[u8]) -> Result<Vec<u8>, Error> {
    transform::<MaskColumns>(&json!({ "key": KEY, "tables": tables }), &shape(), &[rows])
}

fn text(tables: Value, rows: &str) -> String {
    String::from_utf8(run(tables, rows.as_bytes()).unwrap()).unwrap()
}

#[test]
fn masks_by_the_name_of_the_table_and_of_its_root() {
    let masks = json!({
        "public.users": {
            "email": { "mask": "hash", "length": 16, "suffix": "@example.com" },
            "token": { "mask": "hash" },
            "note": { "mask": "null" }
        },
        "public.users_2026": { "phone": { "mask": "partial", "keep_end": 3 } },
        "public.orders": { "total": { "mask": "null" } }
    });
    let uuid = "6a1f1d5e-0000-4000-8000-000000000000";
    let out =
        text(masks.clone(), &format!("1\ta@b.c\t555 1234\t{uuid}\tline\\nbreak\n2\t\\N\t12\t\\N\t\\N\n"));
    let rows: Vec<Vec<&str>> = out.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows[0][0], "1");
    assert_eq!(rows[0][1].len(), 16 + "@example.com".len());
    assert!(rows[0][1].ends_with("@example.com") && !rows[0][1].contains("a@b.c"));
    assert_eq!(rows[0][2], "*****234");
    let groups: Vec<usize> = rows[0][3].split('-').map(str::len).collect();
    assert!(groups == [8, 4, 4, 4, 12] && rows[0][3].bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()));
    assert_eq!(rows[0][4], "\\N");
    assert_eq!(rows[1], ["2", "\\N", "**", "\\N", "\\N"]);
    assert_eq!(text(masks.clone(), "9\ta@b.c\t\\N\t\\N\tx\n").split('\t').nth(1), Some(rows[0][1]));
    assert!(text(masks, "").is_empty());
}

#[test]
fn the_hash_is_hmac_sha256_of_the_decoded_value() {
    // RFC 4231, test case 2, has a key of four bytes; this is its data under a key of 16 bytes and more:
    // printf 'what do ya want\tfor nothing?' | openssl dgst -sha256 -hmac a-key-of-sixteen-bytes-or-more
    let out = text(
        json!({ "public.users": { "note": { "mask": "hash" } } }),
        "1\tx\tx\t\\N\twhat do ya want\\tfor nothing?\n",
    );
    let expected = include_str!("hmac.txt").trim();
    assert_eq!(out, format!("1\tx\tx\t\\N\t{expected}\n"));
}

#[test]
fn fixed_values_are_escaped() {
    let out = text(
        json!({ "public.users": { "note": { "mask": "fixed", "value": "a\tb\\" } } }),
        "1\t\t\t\\N\tx\n",
    );
    assert_eq!(out, "1\t\t\t\\N\ta\\tb\\\\\n");
}

#[test]
fn masked_fields_are_what_the_server_will_print() {
    let shape = json!({
        "kind": "table", "schema": "public", "table": "t", "root": null, "format": "text",
        "columns": [
            { "name": "code", "type": "character(6)" },
            { "name": "id", "type": "uuid" },
            { "name": "active", "type": "boolean" },
            { "name": "age", "type": "integer" },
        ]
    });
    let run = |masks: Value, row: &str| {
        let params = json!({ "key": KEY, "tables": { "public.t": masks } });
        let out = transform::<MaskColumns>(&params, &shape, &[row.as_bytes()])?;
        Ok::<_, Error>(String::from_utf8(out).unwrap())
    };
    let fixed = |value: &str| json!({ "mask": "fixed", "value": value });
    let row = "ab    \t6a1f1d5e-0000-4000-8000-000000000000\tt\t41\n";
    let all = json!({
        "code": fixed("é"), "id": fixed("6A1F1D5E000040008000000000000001"), "active": fixed("false"), "age": fixed("+07")
    });
    assert_eq!(run(all, row).unwrap(), "é     \t6a1f1d5e-0000-4000-8000-000000000001\tf\t7\n");
    // The blanks are no part of the value: neither hidden nor hashed.
    let hidden = json!({ "code": { "mask": "partial", "keep_start": 1 } });
    assert!(run(hidden, row).unwrap().starts_with("a*    \t"));
    let beyond = json!({ "code": { "mask": "partial", "keep_start": 1, "with": "é" } });
    assert!(run(beyond, row).unwrap().starts_with("aé    \t"));
    for (mask, expected) in [
        (json!({ "id": fixed("1") }), "type `uuid`"),
        (json!({ "active": fixed("x") }), "type `boolean`"),
        (json!({ "age": fixed("3000000000") }), "type `integer`"),
    ] {
        let error = run(mask, row).unwrap_err();
        assert!(matches!(&error, Error::Invalid(m) if m.contains(expected)), "{error}");
    }
    let wide = json!({
        "kind": "table", "schema": "public", "table": "t", "root": null, "format": "text",
        "columns": [{ "name": "a", "type": "character(12)" }, { "name": "b", "type": "text" }]
    });
    let hash = json!({ "mask": "hash", "length": 8 });
    let params = json!({ "key": KEY, "tables": { "public.t": { "a": hash, "b": hash } } });
    let out = transform::<MaskColumns>(&params, &wide, &[b"xyz         \txyz\n"]).unwrap();
    let out = String::from_utf8(out).unwrap();
    let (a, b) = out.trim_end_matches('\n').split_once('\t').unwrap();
    assert_eq!(a, format!("{b}    "), "joins hold between both types");
}

#[test]
fn fails_closed() {
    let hash = json!({ "mask": "hash" });
    let cases = [
        (json!({ "public.users": { "mail": hash } }), "no column `mail`"),
        (json!({ "users": { "email": hash } }), "names no schema"),
        (json!({ "public.user": { "email": hash } }), "names no column of it"),
        (json!({}), "names no table"),
        (json!({ "public.users": {} }), "names no column"),
        (json!({ "public.users": { "id": hash } }), "type `bigint`"),
        (json!({ "public.users": { "phone": hash } }), "can't hold a hash of 64"),
        (json!({ "public.users": { "token": { "mask": "partial" } } }), "type `uuid`"),
        (json!({ "public.users": { "email": { "mask": "hash", "length": 4 } } }), "between 8 and 64"),
        (json!({ "public.users": { "email": { "mask": "shuffle" } } }), "unknown variant `shuffle`"),
        (json!({ "public.users": { "email": { "mask": "null", "x": 1 } } }), "unknown field `x`"),
        (
            json!({ "public.users": { "email": hash }, "public.users_2026": { "email": { "mask": "null" } } }),
            "masked twice",
        ),
    ];
    for (tables, expected) in cases {
        let error = run(tables.clone(), b"").unwrap_err();
        assert!(matches!(&error, Error::Invalid(m) if m.contains(expected)), "{tables}: {error}");
    }
    for key in [None, Some("short"), Some("⟦gws_mask_key_0123456789ab⟧")] {
        let params = json!({ "key": key, "tables": { "public.users": { "email": hash } } });
        let error = transform::<MaskColumns>(&params, &shape(), &[]).unwrap_err();
        assert!(error.to_string().contains("key"), "{error}");
    }
    let params = json!({ "tables": { "public.users": { "note": { "mask": "null" } } } });
    let mut binary = shape();
    binary["format"] = json!("binary");
    for (shape, expected) in [(binary, "`binary`"), (json!({ "kind": "object" }), "only rows of tables")] {
        let error = transform::<MaskColumns>(&params, &shape, &[]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn every_table_with_a_rule_has_to_come_by() {
    let rules = json!({
        "public.users": { "note": { "mask": "null" } },
        "audit.log": { "who": { "mask": "fixed", "value": "x" } }
    });
    assert_eq!(selects::<MaskColumns>(&json!({ "tables": rules })).unwrap(), ["audit.log", "public.users"]);
    for (tables, expected) in [
        (json!({}), "names no table"),
        (json!({ "users": { "note": { "mask": "null" } } }), "names no schema"),
        (json!({ "public.*": { "note": { "mask": "null" } } }), "without `*`"),
        (json!({ "public.users": { "note": { "mask": "hash" } } }), "needs a `key`"),
    ] {
        let error = selects::<MaskColumns>(&json!({ "tables": tables })).unwrap_err();
        assert!(matches!(&error, Error::Invalid(m) if m.contains(expected)), "{tables}: {error}");
    }
}

#[test]
fn a_row_of_another_shape_ends_the_stream_unseen() {
    let masks = json!({ "public.users": { "email": { "mask": "null" } } });
    for row in ["1\thidden\n", "hidden\n", "1\thidden\tx\t\\N\tx\tx\n", "\n"] {
        let error = run(masks.clone(), row.as_bytes()).unwrap_err();
        assert!(
            matches!(&error, Error::Failed(m) if m.contains("public.users_2026") && !m.contains("hidden"))
        );
    }
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![Just("\\N".to_owned()), "[a-zé \\\\]{0,5}".prop_map(|text| text.replace('\\', "\\\\"))]
}

proptest! {
    #[test]
    fn only_masked_fields_change_however_the_rows_are_cut(
        rows in prop::collection::vec(prop::collection::vec(field(), 5), 0..6),
        cuts in prop::collection::vec(0usize..200, 0..4),
        masked in prop::collection::btree_set(prop_oneof![Just(1usize), Just(2), Just(4)], 1..4),
    ) {
        let names = ["id", "email", "phone", "token", "note"];
        let columns: serde_json::Map<String, Value> =
            masked.iter().map(|at| (names[*at].to_owned(), json!({ "mask": "fixed", "value": "X" }))).collect();
        let params = json!({ "tables": { "public.users": columns } });
        let input: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= input.len()).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &input.as_bytes()[cut[0]..cut[1]]).collect();
        let out = transform::<MaskColumns>(&params, &shape(), &chunks).unwrap();
        let expected: String = rows
            .iter()
            .map(|row| {
                let fields = row.iter().enumerate().map(|(at, field)| {
                    if masked.contains(&at) && field != "\\N" { "X" } else { field.as_str() }
                });
                fields.collect::<Vec<_>>().join("\t") + "\n"
            })
            .collect();
        prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
