//! A server of each major starts, works, survives a restart and leaves nothing behind.

use godwit_lab::postgres::{Major, PgServer};

#[tokio::test(flavor = "multi_thread")]
async fn each_major_starts_and_cleans_up() {
    for major in Major::ALL {
        let server = PgServer::start(major).await.expect("server starts");
        assert_eq!(server.major(), major);
        let version = server.psql("postgres", "SHOW server_version_num").expect("psql works");
        assert!(version.starts_with(&major.number().to_string()), "{major}: {version}");

        server.create_database("odd \"name").await.expect("database is made");
        server
            .exec("odd \"name", "CREATE TABLE t (i int); INSERT INTO t VALUES (1), (2)")
            .await
            .expect("exec");
        assert_eq!(server.psql("odd \"name", "TABLE t ORDER BY i").expect("psql"), "1\n2");
        let log = server.log();
        assert!(log.contains("app=psql") && log.contains("TABLE t ORDER BY i"), "{log}");

        let (port, pid) = (server.port(), server.pid().expect("it runs"));
        server.restart().await.expect("restart");
        assert_eq!(server.port(), port);
        assert_ne!(server.pid(), Some(pid));
        server.crash().await.expect("crash");
        assert_eq!(server.pid(), None);
        server.restart().await.expect("recovers");
        assert_eq!(server.psql("odd \"name", "SELECT count(*) FROM t").expect("psql"), "2");

        let (pid, data) = (server.pid().expect("it runs"), server.data_dir());
        assert!(data.exists());
        drop(server);
        assert!(!data.exists(), "{} is left", data.display());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pgvector_works_in_16_and_18() {
    for major in [Major::V16, Major::V18] {
        let server = PgServer::start(major).await.expect("server starts");
        let sql = "CREATE EXTENSION vector; CREATE TABLE v (e vector(3));
                   INSERT INTO v VALUES ('[1,2,3]'), ('[3,2,1]');
                   CREATE INDEX ON v USING hnsw (e vector_cosine_ops);
                   SELECT e FROM v ORDER BY e <-> '[3,2,2]' LIMIT 1";
        assert_eq!(server.psql("postgres", sql).expect("vector works"), "[3,2,1]");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_checked_and_settings_kept() {
    let server =
        PgServer::builder(Major::V16).setting("max_connections", "17").start().await.expect("starts");
    assert_eq!(server.psql("postgres", "SHOW max_connections").expect("psql"), "17");
    let mut psql = server.client("psql", "postgres");
    let output = psql.env("PGPASSWORD", "wrong").args(["-X", "-c", "SELECT 1"]).output().expect("psql runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("password authentication failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_server_is_found_again() {
    let dir = tempfile::tempdir().expect("folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("mode");
    let home = dir.path().join("server");
    let first = PgServer::persistent(Major::V18, &home, None).await.expect("starts");
    let (port, pid) = (first.port(), first.pid());
    first.exec("postgres", "CREATE TABLE kept ()").await.expect("exec");
    drop(first);
    let again = PgServer::persistent(Major::V18, &home, None).await.expect("is found");
    assert_eq!((again.port(), again.pid()), (port, pid));
    again.stop().await.expect("stops");
    assert_eq!(again.pid(), None);
    let third = PgServer::persistent(Major::V18, &home, Some(port)).await.expect("starts again");
    assert_eq!(third.psql("postgres", "SELECT 'kept'::regclass").expect("psql"), "kept");
    third.stop().await.expect("stops");
}

/// Run again by itself in a process that is then killed: no server and no folder may be left.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_no_server() {
    use std::io::{BufRead, BufReader};
    const VICTIM: &str = "GODWIT_LAB_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let server = PgServer::start(Major::V16).await.expect("starts");
        println!("\nserver {} {}", server.pid().expect("it runs"), server.data_dir().display());
        std::thread::sleep(std::time::Duration::from_secs(600));
        return;
    }
    let mut victim = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_killed_process_leaves_no_server", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("runs again");
    let lines = BufReader::new(victim.stdout.take().expect("is piped")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("server ")).expect("it started one");
    let words: Vec<&str> = line.split(' ').collect();
    let (process, data) =
        (std::path::PathBuf::from(format!("/proc/{}", words[1])), std::path::Path::new(words[2]));
    assert!(process.exists() && data.exists());
    victim.kill().expect("is killed");
    victim.wait().expect("is reaped");
    for _ in 0..200 {
        if !data.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!data.exists(), "{} is left", data.display());
    let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z"), "the server is left: {state}");
}
