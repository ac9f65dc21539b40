//! What a person sees of each fault. One test for each family of faults.

mod edges;
mod references;
mod secrets;
mod steps;
mod text;

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
