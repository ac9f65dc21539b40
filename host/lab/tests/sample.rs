//! The sample application is the one of the migration it retells, the same on every major.

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::s3::S3Server;
use godwit_lab::sample::{self, Env};

#[tokio::test]
async fn the_database_is_the_same_on_every_major() {
    let mut contents = Vec::new();
    for major in Major::ALL {
        let server = PgServer::start(major).await.expect("starts");
        server.create_database("labeler").await.expect("database");
        sample::fill_database(&server.url("labeler")).await.expect("is filled");
        let mut content = String::new();
        for (table, rows) in sample::ROW_COUNTS {
            let count = server.psql("labeler", &format!("SELECT count(*) FROM {table}")).expect("count");
            assert_eq!(count, rows.to_string(), "{table}");
            content += &server
                .psql("labeler", &format!("TABLE {table} ORDER BY 1, 2"))
                .or_else(|_| server.psql("labeler", &format!("TABLE {table}")))
                .expect("rows");
        }
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(server.psql("labeler", tables).expect("psql"), sample::ROW_COUNTS.len().to_string());
        let dataset = server.psql("labeler", "SELECT id FROM datasets").expect("psql");
        assert_eq!(dataset, sample::dataset_id());
        let project =
            format!("SELECT count(*) FROM annotation_projects WHERE id = '{}'", sample::project_id(6));
        assert_eq!(server.psql("labeler", &project).expect("psql"), "1");
        contents.push(content);
    }
    assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "majors differ");
}

#[tokio::test]
async fn the_other_databases_are_filled() {
    let server = PgServer::start(Major::V16).await.expect("starts");
    for name in ["users", "platform", "assets", "vectors"] {
        server.create_database(name).await.expect("database");
    }
    sample::fill_users_database(&server.url("users")).await.expect("users");
    sample::fill_platform_database(&server.url("platform")).await.expect("platform");
    sample::fill_assets_database(&server.url("assets")).await.expect("assets");
    sample::fill_vector_database(&server.url("vectors")).await.expect("vectors");
    let count =
        |database, table| server.psql(database, &format!("SELECT count(*) FROM {table}")).expect("count");
    assert_eq!(count("users", "users JOIN profiles ON user_id = id"), "120");
    assert_eq!(count("platform", "audit_log"), "2000");
    assert_eq!(count("assets", "assets JOIN asset_versions ON asset_id = id"), "800");
    assert_eq!(count("vectors", "(SELECT DISTINCT embedding FROM asset_embeddings) AS e"), "300");
    // Every vector has its asset: the foreign key of the target will hold.
    let ids = server.psql("vectors", "SELECT asset_id FROM asset_embeddings").expect("ids");
    let listed = ids.lines().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    assert_eq!(count("assets", &format!("assets WHERE id IN ({listed})")), "300");
}

#[tokio::test]
async fn the_buckets_hold_what_the_database_names() {
    let server = PgServer::start(Major::V16).await.expect("starts");
    sample::fill_database(&server.url("postgres")).await.expect("is filled");
    let s3 = S3Server::start().await.expect("starts");
    sample::fill_buckets(&s3).await.expect("are filled");
    let rows =
        "SELECT object_key, file_size, thumbnail_key, replace(image_id::text, '-', '') FROM image_metadata";
    let rows = server.psql("postgres", rows).expect("rows");
    assert_eq!(rows.lines().count(), sample::IMAGES as usize);
    for row in rows.lines() {
        let fields: Vec<&str> = row.split('|').collect();
        let image = s3.get("datasets", fields[0]).unwrap_or_else(|| panic!("no {}", fields[0]));
        assert_eq!(image.bytes.len().to_string(), fields[1]);
        assert_eq!(image.headers["x-amz-meta-image-id"], fields[3]);
        assert_eq!(image.headers["content-type"], "image/jpeg");
        assert!(s3.get("datasets", fields[2]).is_some());
    }
    let keys = s3.keys("datasets");
    assert_eq!(keys.len(), 2 * sample::IMAGES as usize + 3);
    let largest =
        keys.iter().filter_map(|key| s3.get("datasets", key)).map(|object| object.bytes.len()).max();
    assert!(largest.is_some_and(|size| size > 16 << 20));
    assert_eq!(s3.keys("annotations").len(), 12);
}

#[tokio::test]
async fn env_files_have_the_same_keys_and_no_secret_in_the_example() {
    let server = PgServer::start(Major::V16).await.expect("starts");
    let s3 = S3Server::start().await.expect("starts");
    let dir = tempfile::tempdir().expect("folder");
    sample::write_env(dir.path(), &Env::of(&server, &s3)).expect("are written");
    let [real, example] =
        [".env", ".env.example"].map(|name| std::fs::read_to_string(dir.path().join(name)).expect(name));
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_once('=')).map(|(key, _)| key.to_owned()).collect()
    };
    assert_eq!(keys(&real), keys(&example));
    assert!(real.contains(&format!("LABELER_DB_PORT={}", server.port())) && real.contains(s3.secret_key()));
    assert!(
        real.contains("LABELER_DB_PASSWORD=postgres-demo")
            && example.contains("LABELER_DB_PASSWORD=change_me")
    );
    assert!(!example.contains("postgres-demo") && !example.contains(s3.secret_key()));
}
