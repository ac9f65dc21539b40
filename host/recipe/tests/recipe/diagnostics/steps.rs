//! Grants, params, lists of steps and what a step is told to do.

use crate::common::{faults, lint};
use insta::assert_snapshot;

use super::{URLS, copy};

#[test]
fn grants() {
    let grant = |grant: &str| {
        format!(
            r#"{{ "godwit": "1", "name": "t",
  "connections": {{ "db": {{ "kind": "postgres", "host": "127.0.0.1" }}, "here": {{ "kind": "dir", "path": "." }} }},
  "steps": [ {{ "id": "s", "plugin": "env-rewrite", "with": {{ "path": ".env", "set": {{}} }}{grant} }} ] }}"#
        )
    };
    assert_snapshot!(faults(&grant(""), &[]), @r##"
recipe::missing-grant: step `s` grants nothing to slot `env` of plugin `env-rewrite`
  recipe.json:3:22
  | "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": ".env", "set": {} } } ] }
  |                    ^^^ needs write on a dir connection
  = "grant": { "env": { "connection": "here", "access": "write" } }
"##);
    assert_snapshot!(faults(&grant(r#", "grant": { "env": "here" }"#), &[]), @r##"
recipe::grant: the grant of slot `env` doesn't say which access it gives
  recipe.json:3:109
  | "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": ".env", "set": {} }, "grant": { "env": "here" } } ] }
  |                                                                                                           ^^^^^^
  = "env": { "connection": "here", "access": "read" }, or "write"
"##);
    assert_snapshot!(faults(&grant(r#", "grant": { "env": { "connection": "here", "access": "read" } }"#), &[]), @r##"
recipe::access: plugin `env-rewrite` needs `write` on slot `env`
  recipe.json:3:143
  | "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": ".env", "set": {} }, "grant": { "env": { "connection": "here", "access": "read" } } } ] }
  |                                                                                                                                             ^^^^^^ the folder of the files
  = "access": "write"
"##);
    assert_snapshot!(faults(&grant(r#", "grant": { "env": { "connection": "db", "access": "write" } }"#), &[]), @r##"
recipe::connection-kind: slot `env` takes a dir connection, and `db` is of kind postgres
  recipe.json:3:125
  | "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": ".env", "set": {} }, "grant": { "env": { "connection": "db", "access": "write" } } } ] }
  |                                                                                                                           ^^^^
  = of kind dir: here
"##);
    assert_snapshot!(faults(&grant(r#", "grant": { "env": { "connection": "her", "access": "write", "database": "x" } }"#), &[]), @r##"
recipe::unknown-connection: there is no connection `her`
  recipe.json:3:125
  | "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": ".env", "set": {} }, "grant": { "env": { "connection": "her", "access": "write", "database": "x" } } } ] }
  |                                                                                                                           ^^^^^
  = did you mean `here`?
"##);
    assert_snapshot!(faults(&grant(r#", "grant": { "env": { "connection": "here", "access": "write", "secrets": ["pw"] }, "files": { "connection": "here", "access": "read" } }"#), &[]), @r##"
recipe::unknown-secret: there is no secret `pw`
  recipe.json:3:164
  | "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": ".env", "set": {} }, "grant": { "env": { "connection": "here", "access": "write", "secrets": ["pw"] }, "files": { "connection": "here", "access": "read" } } } ] }
  |                                                                                                                                                                  ^^^^
recipe::excess-grant: plugin `env-rewrite` has no slot `files`
  recipe.json:3:173
  | "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": ".env", "set": {} }, "grant": { "env": { "connection": "here", "access": "write", "secrets": ["pw"] }, "files": { "connection": "here", "access": "read" } } } ] }
  |                                                                                                                                                                           ^^^^^^^
  = possible: `env`
"##);
    assert_snapshot!(faults(r#"{ "godwit": "1", "name": "t", "steps": [ { "id": "s", "plugin": "liar" }, { "id": "b", "plugin": "broken" } ] }"#, &[]), @r##"
recipe::ungranted-import: plugin `liar` imports the s3 capability, but declares no slot of that kind
  recipe.json:1:65
  | { "godwit": "1", "name": "t", "steps": [ { "id": "s", "plugin": "liar" }, { "id": "b", "plugin": "broken" } ] }
  |                                                                 ^^^^^^
  = no recipe can grant it; the plugin has to be mended
recipe::plugin-schema: the schema of the params of plugin `broken` is broken: 7 is not valid under any of the schemas listed in the 'anyOf' keyword
  recipe.json:1:98
  | { "godwit": "1", "name": "t", "steps": [ { "id": "s", "plugin": "liar" }, { "id": "b", "plugin": "broken" } ] }
  |                                                                                                  ^^^^^^^^
  = the plugin has to be mended
"##);
}

#[test]
fn params_by_the_plugins_own_schema() {
    assert_snapshot!(faults(&copy(r#",
      "with": { "consistency": "frosen", "tables": ["a", 1], "job": 2 }"#, ""), URLS), @r##"
recipe::params: `with.consistency` of step `copy` must be one of snapshot, frozen
  recipe.json:18:32
  | "with": { "consistency": "frosen", "tables": ["a", 1], "job": 2 } }
  |                          ^^^^^^^^
  = did you mean `frozen`?
recipe::params: `with.tables[1]` of step `copy` must be of type string, not a number
  recipe.json:18:58
  | "with": { "consistency": "frosen", "tables": ["a", 1], "job": 2 } }
  |                                                    ^
recipe::params: `with` of step `copy` has no parameter `job`
  recipe.json:18:62
  | "with": { "consistency": "frosen", "tables": ["a", 1], "job": 2 } }
  |                                                        ^^^^^
  = did you mean `jobs`?
"##);
    assert_snapshot!(faults(&copy(r#",
      "with": { "consistency": "${inputs.mode + 's'}", "jobs": "${inputs.n - 2}", "tables": "${inputs.mode}" }"#, ""), URLS), @r##"
recipe::params: `with.consistency` of step `copy` must be one of snapshot, frozen
  recipe.json:18:32
  | "with": { "consistency": "${inputs.mode + 's'}", "jobs": "${inputs.n - 2}", "tables": "${inputs.mode}" } }
  |                          ^^^^^^^^^^^^^^^^^^^^^^
  = did you mean `snapshot`?
recipe::params: `with.jobs` of step `copy` is less than the minimum of 1
  recipe.json:18:64
  | "with": { "consistency": "${inputs.mode + 's'}", "jobs": "${inputs.n - 2}", "tables": "${inputs.mode}" } }
  |                                                          ^^^^^^^^^^^^^^^^^
recipe::params: `with.tables` of step `copy` must be of type array, not a string
  recipe.json:18:93
  | "with": { "consistency": "${inputs.mode + 's'}", "jobs": "${inputs.n - 2}", "tables": "${inputs.mode}" } }
  |                                                                                       ^^^^^^^^^^^^^^^^
"##);
    // What isn't known fits, but a text is no list whatever it says.
    assert_snapshot!(lint(&copy(r#",
      "with": { "consistency": "${inputs.source_url}", "tables": "x${inputs.source_url}" }"#, "")), @r##"
recipe::params: `with.tables` of step `copy` must be of type array, not a string
  recipe.json:18:66
  | "with": { "consistency": "${inputs.source_url}", "tables": "x${inputs.source_url}" } }
  |                                                            ^^^^^^^^^^^^^^^^^^^^^^^
"##);
}

#[test]
fn foreach() {
    let text = |foreach: &str, connection: &str, path: &str| {
        format!(
            r#"{{ "godwit": "1", "name": "t",
  "inputs": {{ "pw": {{ "type": "secret" }}, "items": {{ "type": "array" }} }},
  "connections": {{ "here": {{ "kind": "dir", "path": "." }} }},
  "steps": [ {{ "id": "s", "plugin": "env-rewrite",
    "foreach": {foreach},
    "grant": {{ "env": {{ "connection": "{connection}", "access": "write", "secrets": ["pw"] }} }},
    "with": {{ "path": "{path}", "set": {{}} }} }} ] }}"#
        )
    };
    let values =
        &[("pw", "fake-three"), ("items", r#"[{"name": "a", "at": "here"}, {"name": "b", "at": "there"}]"#)];
    let good = r#"{ "in": "${inputs.items}", "key": "${item.name}" }"#;
    assert_snapshot!(faults(&text(good, "${item.at}", "${item.name}.env"), values), @r##"
recipe::unknown-connection: there is no connection `there`
  recipe.json:6:39
  | "grant": { "env": { "connection": "${item.at}", "access": "write", "secrets": ["pw"] } },
  |                                   ^^^^^^^^^^^^
  = did you mean `here`?
"##);
    assert_snapshot!(faults(&text(good, "here", "${item.file}"), values), @r##"
recipe::evaluation: `${item.file}` has no value: `item` has no field `file`
  recipe.json:7:24
  | "with": { "path": "${item.file}", "set": {} } } ] }
  |                    ^^^^^^^^^^^^
"##);
    assert_snapshot!(faults(&text(r#"{ "in": "${inputs.items}", "key": "x" }"#, "here", "x"), values), @r##"
recipe::foreach: `key` of `foreach` of step `s` is `x` for two items
  recipe.json:5:50
  | "foreach": { "in": "${inputs.items}", "key": "x" },
  |                                              ^^^
  = the key has to tell the items apart; put two of their fields together
"##);
    assert_snapshot!(faults(&text(r#"{ "in": "${steps.s.outputs.x}", "key": "${inputs.pw}" }"#, "${steps.s.outputs.x}", "x"), values), @r##"
recipe::steps-not-allowed: `in` of `foreach` of step `s` can't use outputs of steps: the list has to be known before the run
  recipe.json:5:27
  | "foreach": { "in": "${steps.s.outputs.x}", "key": "${inputs.pw}" },
  |                       ^^^^^^^
recipe::secret-misuse: secret input `pw` can't be used in `key` of `foreach` of step `s`: it becomes a part of the step's id, which is shown
  recipe.json:5:58
  | "foreach": { "in": "${steps.s.outputs.x}", "key": "${inputs.pw}" },
  |                                                      ^^^^^^^^^
recipe::steps-not-allowed: the grant of slot `env` of step `s` can't use outputs of steps: a plugin can't choose its own permissions
  recipe.json:6:42
  | "grant": { "env": { "connection": "${steps.s.outputs.x}", "access": "write", "secrets": ["pw"] } },
  |                                      ^^^^^^^
"##);
    assert_snapshot!(faults(&text(r#"{ "in": [{ "n": "a", "pw": "${inputs.pw}" }], "key": "${item.pw}" }"#, "here", "${item.pw.size()}"), values), @r##"
recipe::secret-misuse: `item.pw`, which holds a secret, can't be used in `key` of `foreach` of step `s`: it becomes a part of the step's id, which is shown
  recipe.json:5:72
  | "foreach": { "in": [{ "n": "a", "pw": "${inputs.pw}" }], "key": "${item.pw}" },
  |                                                                    ^^^^
recipe::secret-misuse: `item.pw`, which holds a secret, can't be used in function `size`
  recipe.json:7:26
  | "with": { "path": "${item.pw.size()}", "set": {} } } ] }
  |                      ^^^^
  = a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`
"##);
    assert_snapshot!(faults(&text(r#"{ "in": "a list" }"#, "here", "x"), values), @r##"
recipe::missing-key: `foreach` of step `s` has no `key`
  recipe.json:5:16
  | "foreach": { "in": "a list" },
  |            ^
  = "key": "${item.name}": it makes the step's id unique
"##);
    // Without the list, the step is checked once with an item that fits everywhere.
    assert_eq!(lint(&text(good, "${item.at}", "${item.name}.env")), "no fault\n");
}

#[test]
fn transforms_and_cutover() {
    assert_snapshot!(faults(&copy(r#",
      "transforms": [ { "plugin": "mask-columns", "labels": ["users", "public.*", " x.y"], "with": { "colums": {} } },
        { "plugin": "postgres-copy", "labels": [] } ],
      "cutover": true, "on_failure": { "continue": { "max_errors": 3 } }"#, ""), URLS), @r##"
recipe::label: label `users` names no schema, so it would fit no table
  recipe.json:18:62
  | "transforms": [ { "plugin": "mask-columns", "labels": ["users", "public.*", " x.y"], "with": { "colums": {} } },
  |                                                        ^^^^^^^
  = "public.users", or "*.users" in any schema
recipe::label: a label can't be empty or begin or end with a space
  recipe.json:18:83
  | "transforms": [ { "plugin": "mask-columns", "labels": ["users", "public.*", " x.y"], "with": { "colums": {} } },
  |                                                                             ^^^^^^
  = "public.users", or "public.*"
recipe::params: `with` of transform `mask-columns` of step `copy` lacks `columns`
  recipe.json:18:100
  | "transforms": [ { "plugin": "mask-columns", "labels": ["users", "public.*", " x.y"], "with": { "colums": {} } },
  |                                                                                              ^^^^^^^^^^^^^^^^
  = "columns": { … }
recipe::params: `with` of transform `mask-columns` of step `copy` has no parameter `colums`
  recipe.json:18:102
  | "transforms": [ { "plugin": "mask-columns", "labels": ["users", "public.*", " x.y"], "with": { "colums": {} } },
  |                                                                                                ^^^^^^^^
  = did you mean `columns`?
recipe::plugin-kind: plugin `postgres-copy` is a step and can't be a transform
  recipe.json:19:21
  | { "plugin": "postgres-copy", "labels": [] } ],
  |             ^^^^^^^^^^^^^^^
  = transforms are mask-columns
recipe::label: a transform without labels sits nowhere
  recipe.json:19:48
  | { "plugin": "postgres-copy", "labels": [] } ],
  |                                        ^^
  = "labels": ["public.users"]; "*" is every transfer of the step
recipe::cutover: step `copy` is the cut-over, but nothing comes before it that could be verified
  recipe.json:20:7
  | "cutover": true, "on_failure": { "continue": { "max_errors": 3 } } }
  | ^^^^^^^^^^^^^^^
  = put the cut-over after the steps that it relies on
recipe::cutover: step `copy` is the cut-over and can't go on after a failure
  recipe.json:20:7
  | "cutover": true, "on_failure": { "continue": { "max_errors": 3 } } }
  | ^^^^^^^^^^^^^^^
  = "on_failure": "stop"
"##);
    let text = r#"{ "godwit": "1", "name": "t", "steps": [ { "id": "m", "plugin": "mask-columns" } ] }"#;
    assert_snapshot!(faults(text, &[]), @r##"
recipe::plugin-kind: plugin `mask-columns` is a transform and can't be a step
  recipe.json:1:65
  | { "godwit": "1", "name": "t", "steps": [ { "id": "m", "plugin": "mask-columns" } ] }
  |                                                                 ^^^^^^^^^^^^^^
  = put it into a step that moves bytes: "transforms": [{ "plugin": "mask-columns", "labels": ["…"] }]
"##);
}
