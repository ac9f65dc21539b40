//! What speaks of something that isn't there, or of itself.

use crate::common::faults;
use insta::assert_snapshot;

use super::{URLS, copy};

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
