//! The walls between the rooms, as `cargo metadata` sees them: a missing dependency is the cheapest wall.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let normal = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().expect("a name").to_owned())
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), normal)
        })
        .collect()
}

fn of_godwit(names: &BTreeSet<String>) -> BTreeSet<&str> {
    names.iter().map(String::as_str).filter(|name| name.starts_with("godwit-")).collect()
}

#[test]
fn rooms_know_only_what_they_may() {
    let all = dependencies();
    let allowed: [(&str, &[&str]); 9] = [
        ("godwit-model", &[]),
        ("godwit-recipe", &["godwit-model"]),
        ("godwit-engine", &["godwit-model", "godwit-recipe"]),
        ("godwit-journal", &["godwit-model"]),
        ("godwit-runtime", &["godwit-model"]),
        ("godwit-files", &["godwit-model"]),
        ("godwit-postgres", &["godwit-model"]),
        ("godwit-objects", &["godwit-model"]),
        ("godwit-lab", &[]),
    ];
    for (room, may) in allowed {
        let has = of_godwit(&all[room]);
        let may: BTreeSet<&str> = may.iter().copied().collect();
        let extra: Vec<_> = has.difference(&may).collect();
        assert!(extra.is_empty(), "{room} depends on {extra:?}");
    }
}

#[test]
fn each_outside_thing_has_one_room() {
    let owners: [(&str, &[&str]); 8] = [
        ("wasmtime", &["godwit-runtime"]),
        ("wasmtime-wasi", &["godwit-runtime"]),
        ("aws-sdk-s3", &["godwit-objects"]),
        ("postgres-protocol", &["godwit-postgres"]),
        ("cap-std", &["godwit-files"]),
        ("clap", &["godwit-cli"]),
        ("miette", &["godwit-cli"]),
        ("cel", &["godwit-recipe"]),
    ];
    let all = dependencies();
    for (library, rooms) in owners {
        for (package, dependencies) in &all {
            if dependencies.contains(library) {
                assert!(
                    rooms.contains(&package.as_str()),
                    "{package} depends on {library}; only {rooms:?} may"
                );
            }
        }
    }
}

#[test]
fn the_checker_and_the_engine_reach_nothing_outside() {
    let all = dependencies();
    for library in ["sqlx", "hyper", "reqwest", "tokio-rustls", "cap-std", "wasmtime"] {
        for room in ["godwit-model", "godwit-recipe", "godwit-engine"] {
            assert!(!all[room].contains(library), "{room} depends on {library}");
        }
    }
    assert!(!all["godwit-recipe"].contains("tokio"), "the checker is synchronous");
}

#[test]
fn guests_know_only_the_kit() {
    for (package, dependencies) in dependencies() {
        if package.starts_with("godwit-plugin-") {
            let others: Vec<&str> = of_godwit(&dependencies)
                .into_iter()
                .filter(|name| {
                    !["godwit-sdk", "godwit-pg-catalog", "godwit-pg-archive", "godwit-s3-walk"].contains(name)
                })
                .collect();
            assert!(others.is_empty(), "{package} depends on {others:?}");
        }
    }
}
