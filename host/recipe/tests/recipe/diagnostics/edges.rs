//! Inputs and connections.

use crate::common::faults;
use insta::assert_snapshot;

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
