//! The labelling application that the demo and the tests migrate: a database, two buckets, and its `.env`
//! files. Everything is made by formula, so that every machine has the same rows, keys and bytes.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use md5::Md5;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::error::{LabError, Result, io};
use crate::postgres::{PASSWORD, PgServer, USER};
use crate::s3::S3Server;

/// The tables of the database and how many rows each has.
pub const ROW_COUNTS: [(&str, i64); 9] = [
    ("alembic_version", 1),
    ("annotation_history", 1536),
    ("annotation_projects", 6),
    ("annotations", 327),
    ("datasets", 1),
    ("image_locks", 1),
    ("image_metadata", 1725),
    ("invitations", 4),
    ("project_permissions", 7),
];

/// The buckets of the application.
pub const BUCKETS: [&str; 2] = ["datasets", "annotations"];

/// Rows of `image_metadata`, each with an image and a thumbnail in the bucket `datasets`.
pub const IMAGES: u32 = 1725;

/// Makes the labelling database's schema and rows in an empty database (PostgreSQL 15 or later).
pub async fn fill_database(url: &str) -> Result<()> {
    run_script(url, include_str!("sample/labeler.sql")).await
}

/// Makes the account database (120 users with profiles) of migrations B and C in an empty database.
pub async fn fill_users_database(url: &str) -> Result<()> {
    run_script(url, include_str!("sample/users.sql")).await
}

/// Makes the platform's database (12 organisations, 2000 rows of audit) of migration B in an empty database.
pub async fn fill_platform_database(url: &str) -> Result<()> {
    run_script(url, include_str!("sample/platform.sql")).await
}

/// Makes migration E's main database (400 assets) in an empty database.
pub async fn fill_assets_database(url: &str) -> Result<()> {
    run_script(url, include_str!("sample/assets.sql")).await
}

/// Makes migration E's second database, 300 vectors of 1536 dimensions whose `asset_id` names rows of the main
/// one, in an empty database of a server with pgvector.
pub async fn fill_vector_database(url: &str) -> Result<()> {
    run_script(url, include_str!("sample/vectors.sql")).await
}

/// Runs a script as one simple query: one transaction.
async fn run_script(url: &str, script: &'static str) -> Result<()> {
    let options = PgConnectOptions::from_str(url);
    let name = options.as_ref().ok().and_then(|held| held.get_database()).unwrap_or_default().to_owned();
    let sql_error = |source| LabError::Sql { database: name.clone(), source };
    let mut connection = options.map_err(sql_error)?.connect().await.map_err(sql_error)?;
    sqlx::raw_sql(script).execute(&mut connection).await.map_err(sql_error)?;
    connection.close().await.map_err(sql_error)
}

/// The id of the one dataset: the first part of every key in the bucket `datasets`.
pub fn dataset_id() -> String {
    let hex = md5_hex("labeler-dataset-1");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The id of a project, 1 to 6: the first part of every key in the bucket `annotations`.
pub fn project_id(number: u32) -> String {
    format!("proj_{}", &md5_hex(&format!("labeler-project-{number}"))[..12])
}

/// Makes both buckets and fills them: an image and a thumbnail for each row of `image_metadata`, label files
/// (one of 20 MiB) and exports.
pub async fn fill_buckets(server: &S3Server) -> Result<()> {
    fill_buckets_with(server, IMAGES).await
}

/// The same with fewer images, for tests that copy them often.
pub async fn fill_buckets_with(server: &S3Server, images: u32) -> Result<()> {
    for bucket in BUCKETS {
        server.create_bucket(bucket)?;
    }
    let dataset = dataset_id();
    for number in 1..=images.min(IMAGES) {
        let id = md5_hex(&format!("labeler-image-{number}"));
        let headers = [
            ("content-type", "image/jpeg"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("x-amz-meta-image-id", id.as_str()),
        ];
        let name = format!("img_{number:05}.jpg");
        let (image, thumbnail) = (format!("{dataset}/images/{name}"), format!("{dataset}/thumbnails/{name}"));
        server.put("datasets", &image, jpeg(&image, image_size(number)), &headers)?;
        server.put("datasets", &thumbnail, jpeg(&thumbnail, 400 + number as usize % 300), &headers)?;
    }
    let json = [
        ("content-type", "application/json"),
        ("x-amz-meta-format", "coco"),
        ("x-amz-meta-author", "labeler"),
    ];
    for (day, size) in [("20250301", 20 << 20), ("20250401", 96 << 10), ("20250402", 0)] {
        let key = format!("{dataset}/annotations_{day}.json");
        server.put("datasets", &key, labels(size), &json)?;
    }
    for project in 1..=6 {
        for day in ["20250410", "20250411"] {
            let key = format!("{}/exports/coco_{day}.json", project_id(project));
            let disposition = format!("attachment; filename=\"coco_{day}.json\"");
            let mut headers = json.to_vec();
            headers.push(("content-disposition", &disposition));
            server.put("annotations", &key, labels(1000 * project as usize), &headers)?;
        }
    }
    Ok(())
}

/// The size of an image in bytes, which `image_metadata.file_size` repeats.
fn image_size(number: u32) -> usize {
    2048 + (number as usize * 37) % 4096
}

/// Bytes that begin and end like a JPEG, with a body that no codec can shrink.
fn jpeg(seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0];
    let mut block = Sha256::digest(seed);
    while bytes.len() + 2 < size {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(size - 2);
    bytes.extend_from_slice(&[0xff, 0xd9]);
    bytes
}

/// A JSON array of labels, of about `size` bytes.
fn labels(size: usize) -> Vec<u8> {
    let mut text = String::with_capacity(size + 200);
    text.push('[');
    let mut number = 0_u64;
    while text.len() < size {
        let separator = if number == 0 { "\n" } else { ",\n" };
        let box_at = (number * 7919) % 640;
        text.push_str(&format!(
            "{separator}  {{\"id\": {number}, \"image_id\": {}, \"category\": \"straße\", \"bbox\": [{box_at}, {}, 32, 24]}}",
            number % u64::from(IMAGES),
            (number * 104_729) % 480,
        ));
        number += 1;
    }
    text.push_str("\n]\n");
    text.into_bytes()
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a database of the application lies, as its `.env` says.
#[derive(Clone)]
pub struct DbEnv {
    pub host: String,
    pub port: u16,
    pub name: String,
    pub user: String,
    pub password: String,
}

impl DbEnv {
    /// A database of one of the lab's servers, as the superuser.
    pub fn of(server: &PgServer, database: &str) -> Self {
        let (user, password) = (USER.into(), PASSWORD.into());
        Self { host: "127.0.0.1".into(), port: server.port(), name: database.into(), user, password }
    }
}

/// What the application's `.env` says before the migration.
#[derive(Clone)]
pub struct Env {
    pub labeler: DbEnv,
    pub users: DbEnv,
    pub platform: DbEnv,
    pub s3_endpoint: String,
    pub s3_region: String,
    pub s3_access_key: String,
    pub s3_secret_key: String,
}

impl Env {
    /// The application before its migration: three databases on one of the lab's servers (named `labeler`,
    /// `users`, `platform`), objects on one of its S3 servers.
    pub fn of(postgres: &PgServer, s3: &S3Server) -> Self {
        Self {
            labeler: DbEnv::of(postgres, "labeler"),
            users: DbEnv::of(postgres, "users"),
            platform: DbEnv::of(postgres, "platform"),
            s3_endpoint: s3.endpoint(),
            s3_region: s3.region().into(),
            s3_access_key: s3.access_key().into(),
            s3_secret_key: s3.secret_key().into(),
        }
    }
}

/// Writes `.env` (mode 0600) and `.env.example`, which has the same keys in the same order, and placeholders
/// where `.env` has secrets. Comments, quotes, `export` and a `#` inside a value are there to be left alone.
pub fn write_env(dir: &Path, env: &Env) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let (real, example) = (dir.join(".env"), dir.join(".env.example"));
    fs::write(&real, render(env, false)).map_err(io("write", &real))?;
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).map_err(io("set the mode of", &real))?;
    fs::write(&example, render(env, true)).map_err(io("write", &example))
}

fn render(env: &Env, example: bool) -> String {
    let secret = |value: &str| if example { "change_me".to_owned() } else { value.to_owned() };
    let database = |prefix: &str, title: &str, db: &DbEnv| {
        format!(
            "# --- {title} ---\n\
             # hosted: proxy.example.com:41234 | local: 127.0.0.1:{port}\n\
             {prefix}_DB_HOST={host}\n\
             {prefix}_DB_PORT={port}  # hosted: the proxy's port | local: {port}\n\
             {prefix}_DB_NAME={name}\n\
             {prefix}_DB_USER={user}\n\
             {prefix}_DB_PASSWORD={password}\n\n",
            host = db.host,
            port = db.port,
            name = db.name,
            user = db.user,
            password = secret(&db.password),
        )
    };
    let mut text = String::new();
    if example {
        text.push_str("# Copy this file to .env and fill in what says change_me.\n\n");
    } else {
        text.push_str("# Labelling service, backend. Not in version control.\n\n");
    }
    text.push_str(
        "APP_NAME=\"Labeler (dev)\"\nLOG_LEVEL=info   # debug | info | warning\nexport PYTHONUNBUFFERED=1\n",
    );
    text.push_str(&format!("JWT_SECRET='{}'\n\n", secret("made#up$for the demo")));
    text.push_str(&database("LABELER", "Labeler database", &env.labeler));
    text.push_str(&database("USER", "User database (read only)", &env.users));
    text.push_str(&database("PLATFORM", "Platform database (read only)", &env.platform));
    text.push_str("# Pool, for all three\nDB_POOL_SIZE=5\nDB_MAX_OVERFLOW=10\nDB_POOL_TIMEOUT=30\nDB_POOL_RECYCLE=3600\n\n");
    text.push_str(&format!(
        "# --- Object storage ---\n\
         # hosted: https://<account>.r2.cloudflarestorage.com | local: {endpoint}\n\
         S3_ENDPOINT={endpoint}\n\
         S3_ACCESS_KEY={access}\n\
         S3_SECRET_KEY={secret}\n\
         S3_BUCKET_DATASETS=datasets\n\
         S3_BUCKET_ANNOTATIONS=annotations\n\
         S3_REGION={region}\n\
         S3_USE_SSL=false\n",
        endpoint = env.s3_endpoint,
        access = secret(&env.s3_access_key),
        secret = secret(&env.s3_secret_key),
        region = env.s3_region,
    ));
    text
}
