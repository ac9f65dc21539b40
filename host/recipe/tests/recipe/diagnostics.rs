//! What a person sees of each fault. One test for each family of faults.

use crate::common::{faults, lint};
use insta::assert_snapshot;

/// A recipe of one copy step; `step` goes into the step after its grants, `top` into the recipe.
fn copy(step: &str, top: &str) -> String {
    format!(
        r#"{{ "godwit": "1", "name": "t",
  "inputs": {{
    "source_url": {{ "type": "url" }},
    "target_url": {{ "type": "url" }},
    "pw": {{ "type": "secret" }},
    "n": {{ "type": "integer", "default": 2 }},
    "mode": {{ "type": "string", "default": "snapshot" }},
    "names": {{ "type": "array", "default": [] }}
  }},
  "connections": {{
    "old": {{ "kind": "postgres", "url": "${{inputs.source_url}}" }},
    "new": {{ "kind": "postgres", "url": "${{inputs.target_url}}" }},
    "here": {{ "kind": "dir", "path": "." }}
  }},
  "steps": [
    {{ "id": "copy", "plugin": "postgres-copy",
      "grant": {{ "source": {{ "connection": "old", "access": "read" }}, "target": {{ "connection": "new", "access": "write" }} }}{step} }}
  ]{top} }}"#
    )
}

const URLS: &[(&str, &str)] = &[
    ("source_url", "postgres://a:fake-one@127.0.0.1:5432/old"),
    ("target_url", "postgres://a:fake-two@127.0.0.1:5433/new"),
    ("pw", "fake-three"),
];

#[test]
fn a_good_recipe_has_none() {
    assert_eq!(faults(&copy("", ""), URLS), "no fault\n");
    assert_eq!(lint(&copy("", "")), "no fault\n");
}

#[test]
fn syntax() {
    assert_snapshot!(faults("", &[]), @r##"
recipe::syntax: the recipe is empty
  recipe.json:1:1
  | 
  | ^
  = start with { "godwit": "1", "name": "…", "steps": [] }
"##);
    assert_snapshot!(faults("{\n  // no\n}", &[]), @r##"
recipe::syntax: this isn't JSON: comments are not allowed
  recipe.json:2:3
  | // no
  | ^^^^^
  = a recipe is strict JSON: no comments, no trailing commas, names in double quotes
"##);
    assert_snapshot!(faults("{ \"godwit\": \"1\", }", &[]), @r##"
recipe::syntax: this isn't JSON: trailing commas are not allowed
  recipe.json:1:16
  | { "godwit": "1", }
  |                ^
  = a recipe is strict JSON: no comments, no trailing commas, names in double quotes
"##);
    assert_snapshot!(faults("[]", &[]), @r##"
recipe::type: the recipe must be an object, not an array
  recipe.json:1:1
  | []
  | ^^
"##);
    assert_snapshot!(faults("{ \"godwit\": \"2\", \"name\": \"a b\", \"steps\": [] }", &[]), @r##"
recipe::format: this Godwit reads recipes of format 1, not `2`
  recipe.json:1:13
  | { "godwit": "2", "name": "a b", "steps": [] }
  |             ^^^
  = a newer format wants a newer Godwit
recipe::name: `a b` can't be the name of a recipe
  recipe.json:1:26
  | { "godwit": "2", "name": "a b", "steps": [] }
  |                          ^^^^^
  = a name is letters, digits, `_` and `-`, begins with a letter, and is at most 64 long
recipe::no-steps: the recipe has no steps
  recipe.json:1:42
  | { "godwit": "2", "name": "a b", "steps": [] }
  |                                          ^^
  = { "id": "…", "plugin": "…" }
"##);
    assert_snapshot!(faults("{ \"godwit\": \"1\", \"name\": \"a\", \"name\": \"b\" }", &[]), @r##"
recipe::missing-key: the recipe has no `steps`
  recipe.json:1:1
  | { "godwit": "1", "name": "a", "name": "b" }
  | ^
  = "steps": [ { "id": "…", "plugin": "…" } ]
recipe::duplicate-key: `name` is given twice
  recipe.json:1:31
  | { "godwit": "1", "name": "a", "name": "b" }
  |                               ^^^^^^ the second one
  = keep one of the two
"##);
}

#[test]
fn unknown_keys_and_wrong_types() {
    assert_snapshot!(faults(&copy(r#",
      "wiht": {}, "timeout": 5, "retry": { "attempts": 0, "backof": "1s" },
      "limits": { "memory": "9GiB", "cpu": "fast" }, "needs": "copy", "on_failure": "ignore", "cutover": 1"#, r#",
  "output": {}"#), URLS), @r##"
recipe::unknown-key: step `copy` has no field `wiht`
  recipe.json:18:7
  | "wiht": {}, "timeout": 5, "retry": { "attempts": 0, "backof": "1s" },
  | ^^^^^^
  = did you mean `with`?
recipe::type: `timeout` of step `copy` must be a string, not a number
  recipe.json:18:30
  | "wiht": {}, "timeout": 5, "retry": { "attempts": 0, "backof": "1s" },
  |                        ^
recipe::type: `attempts` of `retry` of step `copy` must be a whole number of at least 1
  recipe.json:18:56
  | "wiht": {}, "timeout": 5, "retry": { "attempts": 0, "backof": "1s" },
  |                                                  ^
recipe::unknown-key: `retry` of step `copy` has no field `backof`
  recipe.json:18:59
  | "wiht": {}, "timeout": 5, "retry": { "attempts": 0, "backof": "1s" },
  |                                                     ^^^^^^^^
  = did you mean `backoff`?
recipe::size: `memory` of `limits` of step `copy` is no size
  recipe.json:19:29
  | "limits": { "memory": "9GiB", "cpu": "fast" }, "needs": "copy", "on_failure": "ignore", "cutover": 1 }
  |                       ^^^^^^
  = write it as "64KiB", "256MiB" or "1GiB", or in bytes; at most "4GiB"
recipe::duration: `cpu` of `limits` of step `copy` can't be `fast`
  recipe.json:19:44
  | "limits": { "memory": "9GiB", "cpu": "fast" }, "needs": "copy", "on_failure": "ignore", "cutover": 1 }
  |                                      ^^^^^^
  = write it as "500ms", "30s", "5m", "2h" or "1h30m"
recipe::type: `needs` of step `copy` must be an array, not a string
  recipe.json:19:63
  | "limits": { "memory": "9GiB", "cpu": "fast" }, "needs": "copy", "on_failure": "ignore", "cutover": 1 }
  |                                                         ^^^^^^
recipe::type: `on_failure` of step `copy` is neither of its two forms
  recipe.json:19:85
  | "limits": { "memory": "9GiB", "cpu": "fast" }, "needs": "copy", "on_failure": "ignore", "cutover": 1 }
  |                                                                               ^^^^^^^^
  = "on_failure": "stop", or { "continue": { "max_errors": 10 } }
recipe::type: `cutover` of step `copy` must be true or false, not a number
  recipe.json:19:106
  | "limits": { "memory": "9GiB", "cpu": "fast" }, "needs": "copy", "on_failure": "ignore", "cutover": 1 }
  |                                                                                                    ^
recipe::unknown-key: the recipe has no field `output`
  recipe.json:21:3
  | "output": {} }
  | ^^^^^^^^
  = did you mean `outputs`?
"##);
    assert_snapshot!(faults(&copy(r#", "transforms": [{ "plugin": "mask-columns", "with": { "columns": {} } }]"#, ""), URLS), @r##"
recipe::missing-key: a transform of step `copy` has no `labels`
  recipe.json:17:142
  | "grant": { "source": { "connection": "old", "access": "read" }, "target": { "connection": "new", "access": "write" } }, "transforms": [{ "plugin": "mask-columns", "with": { "columns": {} } }] }
  |                                                                                                                                        ^
  = "labels": ["public.*"]: the transfers it sits in
"##);
}

#[test]
fn several_faults_come_at_once_in_the_order_of_the_text() {
    let text = r#"{ "godwit": "1", "name": "t",
  "connections": { "db": { "kind": "postgress", "url": "x" } },
  "steps": [
    { "id": "a", "plugin": "postgres-cpy", "needs": ["b"] },
    { "plugin": "env-rewrite", "grant": { "evn": { "connection": "db", "access": "reed" } } }
  ]
}"#;
    assert_snapshot!(faults(text, &[]), @r##"
recipe::connection-kind: there is no kind of connection called `postgress`
  recipe.json:2:36
  | "connections": { "db": { "kind": "postgress", "url": "x" } },
  |                                  ^^^^^^^^^^^
  = did you mean `postgres`?
recipe::unknown-plugin: plugin `postgres-cpy` can't be used: there is no such plugin
  recipe.json:4:28
  | { "id": "a", "plugin": "postgres-cpy", "needs": ["b"] },
  |                        ^^^^^^^^^^^^^^
  = did you mean `postgres-copy`?
recipe::unknown-step: step `a` needs a step `b`, which isn't there
  recipe.json:4:54
  | { "id": "a", "plugin": "postgres-cpy", "needs": ["b"] },
  |                                                  ^^^
  = possible: `a`
recipe::missing-key: step 2 has no `id`
  recipe.json:5:5
  | { "plugin": "env-rewrite", "grant": { "evn": { "connection": "db", "access": "reed" } } }
  | ^
  = "id": "…": by this name it is known in plans and reports
recipe::params: `with` of step 2 lacks `path`
  recipe.json:5:5
  | { "plugin": "env-rewrite", "grant": { "evn": { "connection": "db", "access": "reed" } } }
  | ^ The file
  = "with": { "path": "…" }
recipe::params: `with` of step 2 lacks `set`
  recipe.json:5:5
  | { "plugin": "env-rewrite", "grant": { "evn": { "connection": "db", "access": "reed" } } }
  | ^
  = "with": { "set": { … } }
recipe::missing-grant: step 2 grants nothing to slot `env` of plugin `env-rewrite`
  recipe.json:5:32
  | { "plugin": "env-rewrite", "grant": { "evn": { "connection": "db", "access": "reed" } } }
  |                            ^^^^^^^ needs write on a dir connection
  = "grant": { "env": { "connection": "…", "access": "write" } }
recipe::excess-grant: plugin `env-rewrite` has no slot `evn`
  recipe.json:5:43
  | { "plugin": "env-rewrite", "grant": { "evn": { "connection": "db", "access": "reed" } } }
  |                                       ^^^^^
  = did you mean `env`?
recipe::grant: there is no access `reed`
  recipe.json:5:82
  | { "plugin": "env-rewrite", "grant": { "evn": { "connection": "db", "access": "reed" } } }
  |                                                                              ^^^^^^
  = "read" or "write"
"##);
}

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
fn references_to_nothing() {
    assert_snapshot!(faults(&copy(r#",
      "with": { "consistency": "${inputs.mod}", "jobs": "${n + steps.copi.outputs.rows}", "tables": "${item.tables}" },
      "when": "${siz(inputs.names) > 0}""#, r#",
  "outputs": { "a": "${steps.copy.outputs.row}", "b": "${steps.copy.rows}", "c": "${inputs}" }"#), URLS), @r##"
recipe::unknown-reference: there is no input `mod`
  recipe.json:18:35
  | "with": { "consistency": "${inputs.mod}", "jobs": "${n + steps.copi.outputs.rows}", "tables": "${item.tables}" },
  |                             ^^^^^^^^^^
  = did you mean `mode`?
recipe::unknown-reference: there is nothing called `n`
  recipe.json:18:60
  | "with": { "consistency": "${inputs.mod}", "jobs": "${n + steps.copi.outputs.rows}", "tables": "${item.tables}" },
  |                                                      ^
  = write `inputs.n`
recipe::unknown-reference: there is no step `copi`
  recipe.json:18:64
  | "with": { "consistency": "${inputs.mod}", "jobs": "${n + steps.copi.outputs.rows}", "tables": "${item.tables}" },
  |                                                          ^^^^^^^^^^
  = did you mean `copy`?
recipe::unknown-reference: there is no `item` in `with` of step `copy`
  recipe.json:18:104
  | "with": { "consistency": "${inputs.mod}", "jobs": "${n + steps.copi.outputs.rows}", "tables": "${item.tables}" },
  |                                                                                                  ^^^^
  = `item` is there within a step that has a `foreach`
recipe::unknown-function: there is no function `siz`
  recipe.json:19:18
  | "when": "${siz(inputs.names) > 0}" }
  |            ^^^
  = did you mean `size`?
recipe::unknown-reference: step `copy` has no output `row`
  recipe.json:21:24
  | "outputs": { "a": "${steps.copy.outputs.row}", "b": "${steps.copy.rows}", "c": "${inputs}" } }
  |                      ^^^^^^^^^^
  = did you mean `rows`?
recipe::unknown-reference: a step has `outputs`, and no `rows`
  recipe.json:21:58
  | "outputs": { "a": "${steps.copy.outputs.row}", "b": "${steps.copy.rows}", "c": "${inputs}" } }
  |                                                        ^^^^^^^^^^
  = write `steps.copy.outputs.rows`
recipe::unknown-reference: `inputs` can't be used as a whole
  recipe.json:21:85
  | "outputs": { "a": "${steps.copy.outputs.row}", "b": "${steps.copy.rows}", "c": "${inputs}" } }
  |                                                                                   ^^^^^^
  = name one of them, as in `inputs.name`
"##);
}

#[test]
fn expressions_that_are_none() {
    assert_snapshot!(faults(&copy(r#",
      "with": { "consistency": "${inputs.mode +}", "tables": ["${", "${}", "é${1 1}"] }, "when": "inputs.n > 1""#, ""), URLS), @r##"
recipe::expression: `inputs.mode +` isn't an expression: it ends where more is expected
  recipe.json:18:48
  | "with": { "consistency": "${inputs.mode +}", "tables": ["${", "${}", "é${1 1}"] }, "when": "inputs.n > 1" }
  |                                          ^ here
recipe::expression: this `${` is never closed
  recipe.json:18:64
  | "with": { "consistency": "${inputs.mode +}", "tables": ["${", "${}", "é${1 1}"] }, "when": "inputs.n > 1" }
  |                                                          ^^
  = close it with `}`, or write `$${` for the two characters `${`
recipe::expression: the expression is empty
  recipe.json:18:70
  | "with": { "consistency": "${inputs.mode +}", "tables": ["${", "${}", "é${1 1}"] }, "when": "inputs.n > 1" }
  |                                                                ^^^
  = write `$${` for the two characters `${`
recipe::expression: `1 1` isn't an expression: `1` doesn't belong here
  recipe.json:18:82
  | "with": { "consistency": "${inputs.mode +}", "tables": ["${", "${}", "é${1 1}"] }, "when": "inputs.n > 1" }
  |                                                                            ^ here
recipe::type: `when` of step `copy` is no expression
  recipe.json:18:98
  | "with": { "consistency": "${inputs.mode +}", "tables": ["${", "${}", "é${1 1}"] }, "when": "inputs.n > 1" }
  |                                                                                            ^^^^^^^^^^^^^^
  = "when": "${inputs.n > 1}"
"##);
    assert_snapshot!(faults(&copy(r#",
      "with": { "consistency": "${inputs.mode + 1}", "tables": ["x${inputs.names}"] }, "when": "${inputs.n}""#, ""), URLS), @r##"
recipe::evaluation: `${inputs.mode + 1}` has no value: `+` can't be applied to string, int
  recipe.json:18:33
  | "with": { "consistency": "${inputs.mode + 1}", "tables": ["x${inputs.names}"] }, "when": "${inputs.n}" }
  |                           ^^^^^^^^^^^^^^^^^^
recipe::evaluation: `${inputs.names}` has no value: a list can't be put into a text; join it with `.join(",")`
  recipe.json:18:67
  | "with": { "consistency": "${inputs.mode + 1}", "tables": ["x${inputs.names}"] }, "when": "${inputs.n}" }
  |                                                             ^^^^^^^^^^^^^^^
recipe::type: `when` of step `copy` must be true or false, not a number
  recipe.json:18:96
  | "with": { "consistency": "${inputs.mode + 1}", "tables": ["x${inputs.names}"] }, "when": "${inputs.n}" }
  |                                                                                          ^^^^^^^^^^^^^
  = compare it with something: "${inputs.x == 'y'}"
"##);
}

#[test]
fn cycles() {
    let text = r#"{ "godwit": "1", "name": "t",
  "connections": { "here": { "kind": "dir", "path": "." } },
  "steps": [
    { "id": "free", "plugin": "env-rewrite", "with": { "path": "a", "set": {} }, "grant": { "env": { "connection": "here", "access": "write" } } },
    { "id": "a", "plugin": "env-rewrite", "with": { "path": "a", "set": {} }, "grant": { "env": { "connection": "here", "access": "write" } },
      "needs": ["b"] },
    { "id": "b", "plugin": "env-rewrite", "with": { "path": "${steps.c.outputs.p}", "set": {} }, "grant": { "env": { "connection": "here", "access": "write" } } },
    { "id": "c", "plugin": "env-rewrite", "with": { "path": "a", "set": {} }, "grant": { "env": { "connection": "here", "access": "write" } },
      "when": "${steps.a.outputs.ok}" },
    { "id": "c", "plugin": "env-rewrite", "with": { "path": "a", "set": {} }, "grant": { "env": { "connection": "here", "access": "write" } },
      "needs": ["freee"] }
  ]
}"#;
    assert_snapshot!(faults(text, &[]), @r##"
recipe::cycle: these steps wait for each other: a → b → c → a
  recipe.json:5:13
  | { "id": "a", "plugin": "env-rewrite", "with": { "path": "a", "set": {} }, "grant": { "env": { "connection": "here", "access": "write" } },
  |         ^^^ needs itself in the end
  = take one of them out of `needs`, or don't use its outputs
recipe::duplicate-id: there are two steps `c`
  recipe.json:10:13
  | { "id": "c", "plugin": "env-rewrite", "with": { "path": "a", "set": {} }, "grant": { "env": { "connection": "here", "access": "write" } },
  |         ^^^ the second one
  = the first one stands in line 8; give this one another id
recipe::unknown-step: step `c` needs a step `freee`, which isn't there
  recipe.json:11:17
  | "needs": ["freee"] }
  |           ^^^^^^^
  = did you mean `free`?
"##);
}

#[test]
fn secrets_are_only_handed_on() {
    let env = |set: &str, grant: &str| {
        format!(
            r#"{{ "godwit": "1", "name": "t",
  "inputs": {{ "pw": {{ "type": "secret" }}, "source_url": {{ "type": "url" }}, "n": {{ "type": "integer", "default": 1 }} }},
  "connections": {{ "here": {{ "kind": "dir", "path": "." }} }},
  "steps": [ {{ "id": "s", "plugin": "env-rewrite",
    "grant": {{ "env": {{ "connection": "here", "access": "write"{grant} }} }},
    "with": {{ "path": ".env", "set": {{ {set} }} }} }} ] }}"#
        )
    };
    let values = &[("pw", "fake-three"), ("source_url", "postgres://a:fake-one@127.0.0.1/old")];
    let granted = r#", "secrets": ["pw", "source_url"]"#;
    assert_eq!(
        faults(
            &env(r#""A": "${inputs.pw}", "B": "x${inputs.pw}", "C": "${'x' + inputs.source_url}""#, granted),
            values
        ),
        "no fault\n"
    );
    assert_snapshot!(faults(&env(r#""A": "${inputs.pw.size() > 3 ? 'a' : 'b'}", "B": "${inputs.pw == 'x' ? 'a' : 'b'}",
      "C": "${inputs.pw ? 'a' : 'b'}", "D": "${[inputs.pw][0]}", "E": "${inputs.source_url.replace('a', 'b')}", "F": "${inputs.pw.x}""#, granted), values), @r##"
recipe::secret-misuse: secret input `pw` can't be used in function `size`
  recipe.json:6:48
  | "with": { "path": ".env", "set": { "A": "${inputs.pw.size() > 3 ? 'a' : 'b'}", "B": "${inputs.pw == 'x' ? 'a' : 'b'}",
  |                                            ^^^^^^^^^
  = a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`
recipe::secret-misuse: secret input `pw` can't be used in operator `==`
  recipe.json:6:92
  | "with": { "path": ".env", "set": { "A": "${inputs.pw.size() > 3 ? 'a' : 'b'}", "B": "${inputs.pw == 'x' ? 'a' : 'b'}",
  |                                                                                        ^^^^^^^^^
  = a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`
recipe::secret-misuse: secret input `pw` can't be used in a condition
  recipe.json:7:15
  | "C": "${inputs.pw ? 'a' : 'b'}", "D": "${[inputs.pw][0]}", "E": "${inputs.source_url.replace('a', 'b')}", "F": "${inputs.pw.x}" } } } ] }
  |         ^^^^^^^^^
  = a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`
recipe::secret-misuse: secret input `pw` can't be used in an index
  recipe.json:7:49
  | "C": "${inputs.pw ? 'a' : 'b'}", "D": "${[inputs.pw][0]}", "E": "${inputs.source_url.replace('a', 'b')}", "F": "${inputs.pw.x}" } } } ] }
  |                                           ^^^^^^^^^
  = a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`
recipe::secret-misuse: url input `source_url` can't be used in function `replace`
  recipe.json:7:74
  | "C": "${inputs.pw ? 'a' : 'b'}", "D": "${[inputs.pw][0]}", "E": "${inputs.source_url.replace('a', 'b')}", "F": "${inputs.pw.x}" } } } ] }
  |                                                                    ^^^^^^^^^^^^^^^^^
  = a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`
recipe::secret-misuse: secret input `pw` can't be used in a field access
  recipe.json:7:121
  | "C": "${inputs.pw ? 'a' : 'b'}", "D": "${[inputs.pw][0]}", "E": "${inputs.source_url.replace('a', 'b')}", "F": "${inputs.pw.x}" } } } ] }
  |                                                                                                                   ^^^^^^^^^
  = a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`
"##);
    assert_snapshot!(faults(&env(r#""A": "${inputs.pw}", "B": "${inputs.source_url}""#, ""), values), @r##"
recipe::secret-not-granted: step `s` uses secret `pw`, but no grant of it names that secret
  recipe.json:6:45
  | "with": { "path": ".env", "set": { "A": "${inputs.pw}", "B": "${inputs.source_url}" } } } ] }
  |                                         ^^^^^^^^^^^^^^
  = "env": { "connection": "here", "access": "write", "secrets": ["pw"] }
recipe::secret-not-granted: step `s` uses secret `source_url`, but no grant of it names that secret
  recipe.json:6:66
  | "with": { "path": ".env", "set": { "A": "${inputs.pw}", "B": "${inputs.source_url}" } } } ] }
  |                                                              ^^^^^^^^^^^^^^^^^^^^^^
  = "env": { "connection": "here", "access": "write", "secrets": ["source_url"] }
"##);
    assert_snapshot!(faults(&env(r#""A": "x""#, r#", "secrets": ["pww", "n"]"#), values), @r##"
recipe::unknown-secret: there is no secret `pww`
  recipe.json:5:78
  | "grant": { "env": { "connection": "here", "access": "write", "secrets": ["pww", "n"] } },
  |                                                                          ^^^^^
  = did you mean `pw`?
recipe::unknown-secret: input `n` is of type integer and no secret
  recipe.json:5:85
  | "grant": { "env": { "connection": "here", "access": "write", "secrets": ["pww", "n"] } },
  |                                                                                 ^^^
  = leave it out: only secrets are granted
"##);
    assert_snapshot!(lint(&env(r#""A": "${inputs.pw}", "B": "${inputs.source_url}""#, "")), @r##"
recipe::secret-not-granted: step `s` uses secret `pw`, but no grant of it names that secret
  recipe.json:6:45
  | "with": { "path": ".env", "set": { "A": "${inputs.pw}", "B": "${inputs.source_url}" } } } ] }
  |                                         ^^^^^^^^^^^^^^
  = "env": { "connection": "here", "access": "write", "secrets": ["pw"] }
"##);
}

#[test]
fn credentials_dont_stand_in_a_recipe() {
    let text = r#"{ "godwit": "1", "name": "t",
  "inputs": {
    "a": { "type": "secret", "default": "hunter2" },
    "b": { "type": "url", "default": "postgres://u:hunter2@example.com/db" },
    "c": { "type": "string" }
  },
  "connections": {
    "d": { "kind": "postgres", "url": "postgres://u:hunter2@example.com/db" },
    "e": { "kind": "s3", "endpoint": "https://example.com", "access_key_id": "AK", "secret_access_key": "hunter2" },
    "f": { "kind": "dir", "path": "${inputs.a}" }
  },
  "steps": [ { "id": "s", "plugin": "liar" } ] }"#;
    let shown = faults(text, &[("a", "hunter2"), ("c", "postgres://u:hunter2@example.com/db")]);
    assert_snapshot!(shown, @r##"
recipe::plain-credential: secret input `a` has a default
  recipe.json:3:41
  | "a": { "type": "secret", "default": "hunter2" },
  |                                     ^^^^^^^^^
  = a recipe holds no credentials; for an optional one, write "default": null
recipe::plain-credential: the default of input `b` holds a url with a password in the open
  recipe.json:4:38
  | "b": { "type": "url", "default": "postgres://u:hunter2@example.com/db" },
  |                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = leave the credential out of the recipe; it comes from the environment or an --env-file
recipe::plain-credential: the value of input `c` holds a url with a password, but the input isn't confidential
  recipe.json:5:5
  | "c": { "type": "string" }
  | ^^^
  = declare it so that the journal doesn't keep it: "c": { "type": "url" }
recipe::plain-credential: `url` of connection `d` is a url with a password in the open
  recipe.json:8:39
  | "d": { "kind": "postgres", "url": "postgres://u:hunter2@example.com/db" },
  |                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = declare an input { "type": "url" } and write "url": "${inputs.url}"
recipe::plain-credential: `secret_access_key` of connection `e` holds a credential in the open
  recipe.json:9:105
  | "e": { "kind": "s3", "endpoint": "https://example.com", "access_key_id": "AK", "secret_access_key": "hunter2" },
  |                                                                                                     ^^^^^^^^^
  = declare an input { "type": "secret" } and write "secret_access_key": "${inputs.secret_access_key}"
recipe::secret-misuse: `path` of connection `f` holds a secret
  recipe.json:10:35
  | "f": { "kind": "dir", "path": "${inputs.a}" }
  |                               ^^^^^^^^^^^^^
recipe::ungranted-import: plugin `liar` imports the s3 capability, but declares no slot of that kind
  recipe.json:12:37
  | "steps": [ { "id": "s", "plugin": "liar" } ] }
  |                                   ^^^^^^
  = no recipe can grant it; the plugin has to be mended
"##);
}

#[test]
fn connections() {
    let text = r#"{ "godwit": "1", "name": "t",
  "inputs": { "port": { "type": "string", "default": "many" } },
  "connections": {
    "a": { "kind": "postgres", "host": "h", "port": "${inputs.port}", "sslmode": "requir", "user": 5 },
    "b": { "kind": "postgres", "url": "mysql://h/db", "host": "h" },
    "c": { "kind": "s3", "endpoint": "example.com", "adressing": "path" },
    "d": { "kind": "dir" },
    "e": { "url": "x" },
    "f": "postgres://h",
    "g": { "kind": "postgres" }
  },
  "steps": [ { "id": "s", "plugin": "liar" } ] }"#;
    assert_snapshot!(faults(text, &[]), @r##"
recipe::type: `port` of connection `a` must be a whole number from 1 to 65535
  recipe.json:4:53
  | "a": { "kind": "postgres", "host": "h", "port": "${inputs.port}", "sslmode": "requir", "user": 5 },
  |                                                 ^^^^^^^^^^^^^^^^
recipe::connection: `sslmode` of connection `a` can't be `requir`
  recipe.json:4:82
  | "a": { "kind": "postgres", "host": "h", "port": "${inputs.port}", "sslmode": "requir", "user": 5 },
  |                                                                              ^^^^^^^^
  = did you mean `require`?
recipe::type: `user` of connection `a` must be a string, not a number
  recipe.json:4:100
  | "a": { "kind": "postgres", "host": "h", "port": "${inputs.port}", "sslmode": "requir", "user": 5 },
  |                                                                                                ^
recipe::connection: `url` of connection `b` begins with `mysql://`, not with postgres:// or postgresql://
  recipe.json:5:39
  | "b": { "kind": "postgres", "url": "mysql://h/db", "host": "h" },
  |                                   ^^^^^^^^^^^^^^
recipe::connection: connection `b` has both `url` and `host`
  recipe.json:5:55
  | "b": { "kind": "postgres", "url": "mysql://h/db", "host": "h" },
  |                                                   ^^^^^^
  = give the url, or the single fields
recipe::missing-key: connection `c` of kind s3 has no `access_key_id`
  recipe.json:6:10
  | "c": { "kind": "s3", "endpoint": "example.com", "adressing": "path" },
  |      ^
  = "access_key_id": "…"
recipe::missing-key: connection `c` of kind s3 has no `secret_access_key`
  recipe.json:6:10
  | "c": { "kind": "s3", "endpoint": "example.com", "adressing": "path" },
  |      ^
  = "secret_access_key": "${inputs.secret_access_key}"
recipe::connection: `endpoint` of connection `c` is no url: it has no `scheme://`
  recipe.json:6:38
  | "c": { "kind": "s3", "endpoint": "example.com", "adressing": "path" },
  |                                  ^^^^^^^^^^^^^
recipe::unknown-key: connection `c` of kind s3 has no field `adressing`
  recipe.json:6:53
  | "c": { "kind": "s3", "endpoint": "example.com", "adressing": "path" },
  |                                                 ^^^^^^^^^^^
  = did you mean `addressing`?
recipe::missing-key: connection `d` of kind dir has no `path`
  recipe.json:7:10
  | "d": { "kind": "dir" },
  |      ^
  = "path": "…"
recipe::missing-key: connection `e` has no `kind`
  recipe.json:8:10
  | "e": { "url": "x" },
  |      ^
  = "kind": "postgres", "s3" or "dir"
recipe::type: connection `f` must be an object, not a string
  recipe.json:9:10
  | "f": "postgres://h",
  |      ^^^^^^^^^^^^^^
  = { "kind": "postgres", "url": "${inputs.…}" }
recipe::missing-key: connection `g` of kind postgres has none of `url`, `host` and `service`
  recipe.json:10:10
  | "g": { "kind": "postgres" }
  |      ^
  = "url": "${inputs.…}" with an input of type url
recipe::ungranted-import: plugin `liar` imports the s3 capability, but declares no slot of that kind
  recipe.json:12:37
  | "steps": [ { "id": "s", "plugin": "liar" } ] }
  |                                   ^^^^^^
  = no recipe can grant it; the plugin has to be mended
"##);
}

#[test]
fn inputs() {
    let text = r#"{ "godwit": "1", "name": "t",
  "inputs": {
    "count": { "type": "integer" },
    "list": { "type": "array", "description": "Names of buckets" },
    "mode": { "type": "string", "enum": ["a", "b"] },
    "pw": { "type": "secret", "env": "APP_PASSWORD" },
    "link": { "type": "url" },
    "flag": { "type": "bool" },
    "bad": { "type": "integer", "default": "x", "enum": [1, "2"] },
    "other": { "type": "string", "default": "z", "enum": ["a"], "env": "A-B" }
  },
  "steps": [ { "id": "s", "plugin": "liar" } ] }"#;
    assert_snapshot!(faults(text, &[("count", "many"), ("mode", "c"), ("link", "hunter2"), ("coun", "1")]), @r##"
recipe::unknown-input: the recipe has no input `coun`, which came from -i
  recipe.json:3:5
  | "count": { "type": "integer" },
  | ^^^^^^^
  = did you mean `count`?
recipe::input: what -i gives for input `count` is no integer: `many`
  recipe.json:3:5
  | "count": { "type": "integer" },
  | ^^^^^^^
  = one that fits: -i count=5
recipe::missing-input: input `list` isn't given
  recipe.json:4:5
  | "list": { "type": "array", "description": "Names of buckets" },
  | ^^^^^^
  = give it with -i list='["a", "b"]', or set the environment variable GODWIT_INPUT_LIST (Names of buckets)
recipe::input: input `mode` must be one of "a", "b", and `"c"` isn't
  recipe.json:5:5
  | "mode": { "type": "string", "enum": ["a", "b"] },
  | ^^^^^^
  = one that fits: -i mode=a
recipe::missing-input: input `pw` isn't given
  recipe.json:6:5
  | "pw": { "type": "secret", "env": "APP_PASSWORD" },
  | ^^^^
  = set the environment variable APP_PASSWORD, or name it in an --env-file
recipe::input: what is given for input `link` is no url: it has no `scheme://`
  recipe.json:7:5
  | "link": { "type": "url" },
  | ^^^^^^
  = one that fits: -i link=postgres://user:password@host:5432/database
recipe::input-type: there is no type called `bool`
  recipe.json:8:23
  | "flag": { "type": "bool" },
  |                   ^^^^^^
  = possible: `string`, `integer`, `number`, `boolean`, `array`, `object`, `secret`, `url`
recipe::type: the default of input `bad` must be of type integer, not a string
  recipe.json:9:44
  | "bad": { "type": "integer", "default": "x", "enum": [1, "2"] },
  |                                        ^^^
recipe::type: an item of `enum` of input `bad` must be integer, not a string
  recipe.json:9:61
  | "bad": { "type": "integer", "default": "x", "enum": [1, "2"] },
  |                                                         ^^^
recipe::default: the default of input `other` is none of its `enum`
  recipe.json:10:45
  | "other": { "type": "string", "default": "z", "enum": ["a"], "env": "A-B" }
  |                                         ^^^
recipe::name: `A-B` can't be the name of an environment variable
  recipe.json:10:72
  | "other": { "type": "string", "default": "z", "enum": ["a"], "env": "A-B" }
  |                                                                    ^^^^^
recipe::ungranted-import: plugin `liar` imports the s3 capability, but declares no slot of that kind
  recipe.json:12:37
  | "steps": [ { "id": "s", "plugin": "liar" } ] }
  |                                   ^^^^^^
  = no recipe can grant it; the plugin has to be mended
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
