//! What isn't a recipe's text.

use crate::common::{faults, lint};
use insta::assert_snapshot;

use super::{URLS, copy};

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
