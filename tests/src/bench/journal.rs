//! The journal's share of whole runs on real servers: rows of ten tables, and thousands of small objects.

use std::time::Instant;

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::s3::S3Server;

use super::{Effort, median};
use crate::process::Godwit;
use crate::timing::JournalTimes;

/// Medians over runs with the journal as it is, and with one in memory.
#[derive(Clone, Debug)]
pub struct Share {
    pub name: String,
    /// Seconds of a whole process, from its start to its end.
    pub wall: f64,
    pub cpu: f64,
    pub wall_in_memory: f64,
    pub cpu_in_memory: f64,
    /// Of one of the runs.
    pub times: JournalTimes,
    /// Of the wall time, in which somebody waited for the journal: an upper bound, since others work meanwhile.
    pub waited_share: f64,
    pub cpu_share: f64,
}

pub async fn measure(program: &str, effort: Effort) -> Vec<Share> {
    vec![rows(program, effort).await, objects(program, effort).await]
}

/// One run of a recipe whose inputs are in the environment of `godwit`.
fn run(godwit: &Godwit, recipe: &str, in_memory: bool) -> (f64, JournalTimes) {
    let file = godwit.path("times.json");
    let file = file.to_str().expect("its path is UTF-8");
    let mut environment = vec![("GODWIT_TEST_JOURNAL_TIMES", file)];
    if in_memory {
        environment.push(("GODWIT_TEST_JOURNAL", "memory"));
    }
    let began = Instant::now();
    let ran = godwit.run_with(&environment, &["run", recipe, "--yes"]);
    let wall = began.elapsed().as_secs_f64();
    assert_eq!(ran.code, Some(0), "{ran}");
    (wall, serde_json::from_str(&godwit.read("times.json")).expect("the times were written"))
}

fn share(name: String, real: &[(f64, JournalTimes)], memory: &[(f64, JournalTimes)]) -> Share {
    let wall = |runs: &[(f64, JournalTimes)]| median(runs.iter().map(|(wall, _)| *wall));
    let cpu = |runs: &[(f64, JournalTimes)]| median(runs.iter().map(|(_, times)| times.process_cpu));
    Share {
        name,
        wall: wall(real),
        cpu: cpu(real),
        wall_in_memory: wall(memory),
        cpu_in_memory: cpu(memory),
        times: real[0].1,
        waited_share: median(real.iter().map(|(wall, times)| times.waited / wall)),
        cpu_share: median(real.iter().map(|(_, times)| times.cpu / times.process_cpu)),
    }
}

async fn rows(program: &str, effort: Effort) -> Share {
    let (source, target) = tokio::join!(PgServer::start(Major::V16), PgServer::start(Major::V18));
    let (source, target) = (source.expect("a server starts"), target.expect("a server starts"));
    source.create_database("app").await.expect("a database can be made");
    for table in 0..10 {
        let sql = format!(
            "CREATE TABLE t{table} (id bigint PRIMARY KEY, at timestamptz NOT NULL, name text NOT NULL, body jsonb);
             INSERT INTO t{table} SELECT i, '2026-01-01'::timestamptz + i * interval '1 s', 'name ' || i,
               jsonb_build_object('k', i, 'text', repeat(md5(i::text), 3)) FROM generate_series(1, {}) i;
             CREATE INDEX ON t{table} (at)",
            effort.rows
        );
        source.exec("app", &sql).await.expect("rows can be made");
    }
    let (mut real, mut memory) = (Vec::new(), Vec::new());
    for round in 0..effort.runs {
        for in_memory in [round % 2 == 1, round % 2 == 0] {
            let database = format!("app_{round}_{in_memory}");
            target.create_database(&database).await.expect("a database can be made");
            let godwit = Godwit::new(program)
                .env("GODWIT_INPUT_SOURCE_URL", &source.url("app"))
                .env("GODWIT_INPUT_TARGET_URL", &target.url(&database));
            let ran = run(&godwit, "copy-postgres", in_memory);
            if in_memory { &mut memory } else { &mut real }.push(ran);
            target.exec("postgres", &format!("DROP DATABASE {database}")).await.expect("it can be dropped");
        }
    }
    share(format!("copy-postgres, 10 tables of {} rows, 16 to 18", effort.rows), &real, &memory)
}

async fn objects(program: &str, effort: Effort) -> Share {
    let source = S3Server::start().await.expect("a server starts");
    source.create_bucket("files").expect("a bucket can be made");
    for number in 0..effort.objects {
        let size = 4096 + (number as usize * 7919) % (60 << 10);
        let body: Vec<u8> = (0..size).map(|at| (at as u32 ^ number) as u8).collect();
        source
            .put("files", &format!("a/{:02}/{number:06}", number % 50), body, &[])
            .expect("an object is put");
    }
    let (mut real, mut memory) = (Vec::new(), Vec::new());
    for round in 0..effort.runs {
        for in_memory in [round % 2 == 1, round % 2 == 0] {
            let target =
                S3Server::builder().region("auto").equal_parts().start().await.expect("a server starts");
            let godwit =
                Godwit::new(program).between(&source, &target).env("GODWIT_INPUT_BUCKETS", r#"["files"]"#);
            // The servers live in this process: its threads go on while this one waits.
            let ran = tokio::task::block_in_place(|| run(&godwit, "minio-to-r2", in_memory));
            if in_memory { &mut memory } else { &mut real }.push(ran);
            assert_eq!(target.keys("files").len(), effort.objects as usize);
        }
    }
    share(format!("minio-to-r2, {} objects of 4 to 64 KiB", effort.objects), &real, &memory)
}
