//! PostgreSQL's own regression database as the oracle: copied, and dumped and restored, by Godwit into the same major, and
//! compared with its source by `pg_dump` and by the rows of every table.

mod compare;
mod make;

use std::collections::BTreeSet;
use std::path::Path;

use godwit_lab::postgres::{Major, PgServer};
use serde_json::{Value, json};

use crate::process::Godwit;
use compare::Differences;

/// What `pg_regress` calls its database.
const SOURCE: &str = "regression";

/// A way by which Godwit makes a second database of the first.
struct Way {
    name: &'static str,
    /// The steps between the connections `source`, `target` and `here`.
    steps: Value,
}

fn ways() -> [Way; 2] {
    let source = json!({ "connection": "source", "access": "read" });
    let target = json!({ "connection": "target", "access": "write" });
    let here = |access: &str| json!({ "connection": "here", "access": access });
    [
        Way {
            name: "postgres-copy",
            steps: json!([{
                "id": "copy", "plugin": "postgres-copy", "grant": { "source": source, "target": target },
                "with": { "owners": true, "privileges": true, "security_labels": true }
            }]),
        },
        Way {
            name: "postgres-dump, postgres-restore",
            steps: json!([
                { "id": "dump", "plugin": "postgres-dump", "grant": { "source": source, "archive": here("write") },
                  "with": { "path": "archive", "owners": true, "privileges": true, "security_labels": true } },
                { "id": "restore", "plugin": "postgres-restore", "needs": ["dump"],
                  "grant": { "archive": here("read"), "target": target }, "with": { "path": "archive", "owners": true, "privileges": true, "security_labels": true } }
            ]),
        },
    ]
}

/// Says what of a major's database another major can't hold, as the plan of a copy does before anything is touched.
pub async fn obstacles(program: &str, source: Major, target: Major) -> Result<(), String> {
    let from = make::server(source).await?;
    let to = make::server(target).await?;
    println!("PostgreSQL {source}: {}", make::regression_database(&from)?);
    to.create_database("target").await.map_err(|e| e.to_string())?;
    let with = json!({ "plugin": "postgres-copy", "id": "copy", "grant": {
        "source": { "connection": "source", "access": "read" }, "target": { "connection": "target", "access": "write" } } });
    let godwit = prepared(program, &from.url(SOURCE), &to.url("target"), &json!([with]));
    let ran = godwit.run(&["plan", "oracle.json"]);
    println!("PostgreSQL {target} can't take:");
    for sentence in format!("{}{}", ran.stdout, ran.stderr).split("; ") {
        println!("  {sentence}");
    }
    Ok(())
}

fn prepared(program: &str, source: &str, target: &str, steps: &Value) -> Godwit {
    let godwit = Godwit::new(program).env("GODWIT_INPUT_SOURCE", source).env("GODWIT_INPUT_TARGET", target);
    let recipe = json!({
        "godwit": "1", "name": "oracle",
        "inputs": { "source": { "type": "url" }, "target": { "type": "url" } },
        "connections": {
            "source": { "kind": "postgres", "url": "${inputs.source}" },
            "target": { "kind": "postgres", "url": "${inputs.target}" },
            "here": { "kind": "dir", "path": "." }
        },
        "steps": steps
    });
    godwit.write("oracle.json", recipe.to_string());
    godwit
}

/// Builds the database on these majors, and prints what differs after each way. Whether nothing does.
///
/// `program` is the path of `godwit`; the differences are written below `folder`, as `<major>-<way>.diff`.
pub async fn report(program: &str, majors: &[Major], folder: &Path) -> Result<bool, String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut alike = true;
    for major in majors {
        let server = make::server(*major).await?;
        let made = make::regression_database(&server)?;
        println!("\nPostgreSQL {major}: {made}");
        for (number, way) in ways().iter().enumerate() {
            let target = format!("target_{number}");
            server.create_database(&target).await.map_err(|e| e.to_string())?;
            let found = go(program, &server, &target, way)?;
            println!("  {:<34}{found}", way.name);
            let file = folder.join(format!("{major}-{number}.diff"));
            std::fs::write(&file, found.text()).map_err(|e| format!("{}: {e}", file.display()))?;
            alike &= found.is_empty();
        }
    }
    Ok(alike)
}

fn go(program: &str, server: &PgServer, target: &str, way: &Way) -> Result<Differences, String> {
    let godwit = prepared(program, &server.url(SOURCE), &server.url(target), &way.steps);
    let ran = godwit.run(&["run", "oracle.json", "--yes"]);
    let log = format!("{}{}", ran.stdout, ran.stderr);
    let left_out: BTreeSet<&str> =
        log.lines().filter_map(|line| Some(line.split_once("left out: ")?.1)).collect();
    for what in left_out {
        println!("    left out: {what}");
    }
    if ran.code != Some(0) {
        // What was left half done is worth a comparison, too.
        let errors: Vec<&str> = log.lines().skip_while(|line| !line.starts_with("error")).collect();
        println!("    godwit ended with {:?}: {}", ran.code, errors.join("\n    "));
    }
    Ok(Differences::between(server, SOURCE, target, ran.code == Some(0)))
}
