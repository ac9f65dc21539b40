//! Secrets that would get out.

use crate::common::{faults, lint};
use insta::assert_snapshot;

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
