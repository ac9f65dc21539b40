//! The schema of a database with every kind of object, dumped from a real server and restored by the stock pg_restore.

use std::process::Stdio;
use std::sync::Arc;

use godwit_lab::kinds;
use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_postgres_dump::{ARCHIVE, PostgresDump};
use godwit_sdk::mock::{self, MockHost};
use godwit_sdk::types::*;
use serde_json::{Value, json};

/// Runs a query under the settings that the host pins.
fn rows(server: &PgServer, sql: &str) -> Result<Vec<Value>> {
    let text = server
        .psql(
            "shop",
            &format!(
                "SET search_path = ''; BEGIN READ ONLY; SELECT row_to_json(q)::text || '\x1e' FROM ({sql}) q;"
            ),
        )
        .map_err(|error| Error::Failed(error.to_string()))?;
    Ok(text
        .split('\x1e')
        .map(str::trim)
        .filter(|row| !row.is_empty())
        .map(|row| serde_json::from_str(row).expect("JSON"))
        .collect())
}

/// The schema by pg_dump, without what differs for no reason.
fn schema(client: &PgServer, server: &PgServer, database: &str) -> Vec<String> {
    let output = client
        .client("pg_dump", database)
        .env("PGPORT", server.port().to_string())
        .arg("-s")
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with("\\"))
        .map(str::to_owned)
        .collect()
}

async fn round(major: Major, tool: Major, version: &str) {
    let server = Arc::new(PgServer::start(major).await.expect("a server"));
    let client = PgServer::start(tool).await.expect("a client");
    for database in ["shop", "ours", "stock"] {
        server.create_database(database).await.expect("a database");
    }
    for role in kinds::ROLES {
        server.psql("postgres", &format!("CREATE ROLE {role}")).expect("a role");
    }
    server.psql("shop", &kinds::all(major, major)).expect("fixture");
    server.psql("shop", kinds::RIGHTS).expect("owners and privileges");

    let asked = Arc::clone(&server);
    let host = MockHost::new().on_query(move |query| Some(rows(&asked, query.sql)));
    let with = json!({ "path": "all", "schema_only": true, "archive_version": version, "owners": true, "privileges": true });
    mock::apply::<PostgresDump>(&host, &with).expect("a dump");
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(place.path().join("toc.dat"), host.file(ARCHIVE, "all/toc.dat").expect("it is written"))
        .expect("a file");

    let restore = |options: &[&str]| {
        let output = client
            .client("pg_restore", "ours")
            .env("PGPORT", server.port().to_string())
            .args(["-d", "ours", "--exit-on-error"])
            .args(options)
            .arg(place.path())
            .stdin(Stdio::null())
            .output()
            .expect("pg_restore runs");
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    restore(&[]);
    // What is right is what a stock dump becomes.
    let dump = client
        .client("pg_dump", "shop")
        .env("PGPORT", server.port().to_string())
        .arg("-s")
        .output()
        .expect("pg_dump runs");
    server.psql("stock", &String::from_utf8_lossy(&dump.stdout)).expect("a stock restore");
    let newest = PgServer::start(Major::V18).await.expect("a client");
    let alike = |context: &str| {
        let (ours, stock) = (schema(&newest, &server, "ours"), schema(&newest, &server, "stock"));
        let missing: Vec<_> = stock.iter().filter(|line| !ours.contains(line)).take(10).collect();
        let more: Vec<_> = ours.iter().filter(|line| !stock.contains(line)).take(10).collect();
        assert!(missing.is_empty() && more.is_empty(), "{context}: missing: {missing:#?}\nmore: {more:#?}");
        assert_eq!(ours.len(), stock.len(), "{context}");
    };
    alike("restored");
    restore(&["--clean", "--if-exists"]);
    alike("cleaned and restored again");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_pg_restore_15_makes_every_kind_of_our_archive() {
    round(Major::V15, Major::V15, "1.14").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_pg_restore_18_makes_every_kind_of_our_archive() {
    round(Major::V18, Major::V18, "1.16").await;
}
