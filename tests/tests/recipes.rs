//! The bundled recipes: each passes `check` as it is, and those over PostgreSQL are run, verified and undone on real
//! servers.

use std::path::Path;

use godwit_lab::postgres::{Major, PASSWORD, PgServer, USER};
use godwit_lab::sample::{self, DbEnv, Env};
use godwit_tests::database;
use godwit_tests::process::Godwit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

/// Everything in a database, rows too.
fn dump(server: &PgServer, database: &str) -> String {
    database::dump_with(server, database, &["--inserts"])
}

/// The names of a server's databases.
fn databases(server: &PgServer) -> String {
    server
        .psql(
            "postgres",
            "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate",
        )
        .unwrap()
}

/// The plain tables of schema `public`.
fn tables(server: &PgServer, database: &str) -> Vec<String> {
    let sql = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
               ORDER BY relname";
    server.psql(database, sql).unwrap().lines().map(str::to_owned).collect()
}

/// Fails unless the table has the same rows on both sides, and some.
fn assert_same_rows(source: (&PgServer, &str), target: (&PgServer, &str), table: &str) {
    let sql =
        format!("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM public.{table} t");
    let expected = source.0.psql(source.1, &sql).unwrap();
    assert!(!expected.starts_with("0|"), "{table} is empty");
    assert_eq!(target.0.psql(target.1, &sql).unwrap(), expected, "{table}");
}

fn assert_no_marker(server: &PgServer, name: &str) {
    assert_eq!(database::markers(server, name), "", "a marker is left in {name}");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The lines that were replaced, old and new.
fn changed_lines(before: &str, after: &str) -> Vec<(String, String)> {
    assert_eq!(before.lines().count(), after.lines().count(), "no line comes or goes");
    before
        .lines()
        .zip(after.lines())
        .filter(|(old, new)| old != new)
        .map(|(old, new)| (old.to_owned(), new.to_owned()))
        .collect()
}

#[test]
fn every_bundled_recipe_passes_check_without_inputs() {
    let godwit = Godwit::new(PROGRAM);
    let names = godwit.ok(&["recipe", "list"]).stdout;
    let names: Vec<&str> = names.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(names.contains(&name), "{name} is not bundled: {names:?}");
        for file in ["recipe.json", "README.md", "example.env"] {
            assert!(path.join(file).is_file(), "{name} has no {file}");
        }
        godwit.ok(&["check", name]);
        // The example names inputs that the recipe has, all of them of the right type.
        godwit.ok(&["check", name, "--env-file", path.join("example.env").to_str().unwrap()]);
    }
    assert!(!godwit.path(".godwit").exists(), "a check creates nothing");
}

#[test]
fn consolidate_postgres_runs_is_verified_and_undone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (platform, users, labeler, target) = runtime.block_on(async {
        let (platform, users, labeler, target) = tokio::join!(
            PgServer::start(Major::V15),
            PgServer::start(Major::V16),
            PgServer::start(Major::V16),
            PgServer::start(Major::V18)
        );
        let servers = (platform.unwrap(), users.unwrap(), labeler.unwrap(), target.unwrap());
        servers.0.create_database("platform").await.unwrap();
        sample::fill_platform_database(&servers.0.url("platform")).await.unwrap();
        servers.1.create_database("users").await.unwrap();
        sample::fill_users_database(&servers.1.url("users")).await.unwrap();
        servers.2.create_database("labeler").await.unwrap();
        sample::fill_database(&servers.2.url("labeler")).await.unwrap();
        // One of the three is there already, as another team's compose file would make it.
        servers.3.create_database("labeler").await.unwrap();
        servers
    });
    let sources = [(&platform, "platform"), (&users, "users"), (&labeler, "labeler")];
    let before: Vec<String> = sources.iter().map(|(server, name)| dump(server, name)).collect();
    assert_eq!(databases(&target), "labeler postgres");
    let empty = dump(&target, "labeler");

    let godwit = Godwit::new(PROGRAM)
        .env("GODWIT_INPUT_PLATFORM_URL", &platform.url("platform"))
        .env("GODWIT_INPUT_USERS_URL", &users.url("users"))
        .env("GODWIT_INPUT_LABELER_URL", &labeler.url("labeler"))
        .env("GODWIT_INPUT_TARGET_HOST", "127.0.0.1")
        .env("GODWIT_INPUT_TARGET_PORT", &target.port().to_string())
        .env("GODWIT_INPUT_TARGET_USER", USER)
        .env("GODWIT_INPUT_TARGET_PASSWORD", PASSWORD);
    let mut old = DbEnv::of(&labeler, "labeler");
    old.user = "labeler_user".to_owned();
    old.password = "made-up-labeler".to_owned();
    let env = Env {
        labeler: old,
        users: DbEnv::of(&users, "users"),
        platform: DbEnv::of(&platform, "platform"),
        s3_endpoint: "http://127.0.0.1:9000".to_owned(),
        s3_region: "us-east-1".to_owned(),
        s3_access_key: "made-up-id".to_owned(),
        s3_secret_key: "made-up-secret".to_owned(),
    };
    sample::write_env(godwit.folder(), &env).unwrap();
    let env_before = godwit.read(".env");

    let plan = godwit.ok(&["plan", "consolidate-postgres"]);
    for name in ["platform", "users"] {
        assert!(plan.stdout.contains(&format!("create database {name}")), "{plan}");
    }
    assert!(!plan.stdout.contains(PASSWORD) && !plan.stderr.contains(PASSWORD), "{plan}");
    assert_eq!(databases(&target), "labeler postgres", "a plan creates nothing");

    godwit.ok(&["run", "consolidate-postgres", "--yes"]);
    assert_eq!(databases(&target), "labeler platform postgres users");
    for (server, name) in sources {
        let found = tables(server, name);
        assert!(found.len() > 2 && found == tables(&target, name), "{name}: {found:?}");
        for table in found {
            assert_same_rows((server, name), (&target, name), &table);
        }
        assert_no_marker(&target, name);
    }
    let port = |server: &PgServer| server.port().to_string();
    let env_after = godwit.read(".env");
    let swapped = |old: &str, server: &PgServer| old.replacen(&port(server), &port(&target), 1);
    let expected: Vec<(String, String)> = env_before
        .lines()
        .filter_map(|line| {
            let (key, _) = line.split_once('=')?;
            let new = match key {
                "PLATFORM_DB_PORT" => swapped(line, &platform),
                "USER_DB_PORT" => swapped(line, &users),
                "LABELER_DB_PORT" => swapped(line, &labeler),
                "LABELER_DB_USER" => format!("LABELER_DB_USER={USER}"),
                "LABELER_DB_PASSWORD" => format!("LABELER_DB_PASSWORD={PASSWORD}"),
                _ => return None,
            };
            Some((line.to_owned(), new))
        })
        .collect();
    assert_eq!(expected.len(), 5);
    assert_eq!(changed_lines(&env_before, &env_after), expected, "only ports and the user change");

    let (run, status) = godwit.newest_run().unwrap();
    assert_eq!(status, "done");
    godwit.ok(&["verify", &run]);
    godwit.ok(&["undo", &run, "--yes"]);
    assert_eq!(databases(&target), "labeler postgres", "what was there stays, what was made is gone");
    assert_eq!(dump(&target, "labeler"), empty);
    assert_eq!(godwit.read(".env"), env_before);
    assert_eq!(mode(&godwit.path(".env")), 0o600);
    for ((server, name), before) in sources.iter().zip(&before) {
        assert!(dump(server, name) == *before, "the source {name} has changed");
    }
}

#[test]
fn consolidate_postgres_names_databases_as_it_is_told() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (source, target) = runtime.block_on(async {
        let (source, target) = tokio::join!(PgServer::start(Major::V16), PgServer::start(Major::V18));
        let (source, target) = (source.unwrap(), target.unwrap());
        for name in ["platform", "users", "labeler"] {
            source.create_database(name).await.unwrap();
        }
        sample::fill_users_database(&source.url("users")).await.unwrap();
        (source, target)
    });
    let databases_input = r#"[{"name": "platform", "source": "platform"}, {"name": "user accounts", "source": "users"},
        {"name": "labeler", "source": "labeler"}]"#;
    let godwit = Godwit::new(PROGRAM)
        .env("GODWIT_INPUT_PLATFORM_URL", &source.url("platform"))
        .env("GODWIT_INPUT_USERS_URL", &source.url("users"))
        .env("GODWIT_INPUT_LABELER_URL", &source.url("labeler"))
        .env("GODWIT_INPUT_TARGET_HOST", "127.0.0.1")
        .env("GODWIT_INPUT_TARGET_PORT", &target.port().to_string())
        .env("GODWIT_INPUT_TARGET_USER", USER)
        .env("GODWIT_INPUT_TARGET_PASSWORD", PASSWORD)
        .env("GODWIT_INPUT_DATABASES", databases_input);
    godwit.write(".env", "USER_DB_NAME=users\n");
    godwit.ok(&["run", "consolidate-postgres", "--yes"]);
    assert_same_rows((&source, "users"), (&target, "user accounts"), "profiles");
    assert!(godwit.read(".env").starts_with("USER_DB_NAME='user accounts'\n"), "{}", godwit.read(".env"));
    let (run, _) = godwit.newest_run().unwrap();
    // Whatever the application has put beside the copy is not thrown away unasked.
    target.psql("user accounts", "CREATE TABLE later (id int)").unwrap();
    let refused = godwit.run(&["undo", &run, "--yes"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("public.later"), "what is in the way is named: {refused}");
    assert_eq!(target.psql("user accounts", "SELECT count(*) FROM later").unwrap(), "0");
    // Taken away by hand, as the hint says; then the undo goes on.
    target.psql("user accounts", "DROP TABLE later").unwrap();
    let (undo, status) = godwit.newest_run().unwrap();
    assert_eq!(status, "failed");
    godwit.ok(&["resume", &undo, "--yes"]);
    assert_eq!(databases(&target), "postgres");
    assert_eq!(godwit.read(".env"), "USER_DB_NAME=users\n");
}

#[test]
fn single_pgvector_db_runs_is_verified_and_undone() {
    for major in [Major::V16, Major::V18] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (main, target) = runtime.block_on(async {
            let (main, target) = tokio::join!(PgServer::start(Major::V15), PgServer::start(major));
            let (main, target) = (main.unwrap(), target.unwrap());
            main.create_database("app").await.unwrap();
            sample::fill_assets_database(&main.url("app")).await.unwrap();
            target.create_database("vectors").await.unwrap();
            sample::fill_vector_database(&target.url("vectors")).await.unwrap();
            target.create_database("app").await.unwrap();
            (main, target)
        });
        let before = (dump(&main, "app"), dump(&target, "vectors"), dump(&target, "app"));
        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_MAIN_URL", &main.url("app"))
            .env("GODWIT_INPUT_VECTOR_URL", &target.url("vectors"))
            .env("GODWIT_INPUT_TARGET_URL", &target.url("app"));
        let env = format!(
            "# the databases\nDATABASE_URL={} # one day one\nVECTOR_DATABASE_URL={}\nLOG_LEVEL=info\n",
            main.url("app"),
            target.url("vectors")
        );
        godwit.write(".env", &env);
        let plan = godwit.ok(&["plan", "single-pgvector-db"]);
        assert!(!plan.stdout.contains(PASSWORD) && !plan.stderr.contains(PASSWORD), "{plan}");
        assert!(dump(&target, "app") == before.2, "a plan creates nothing");

        godwit.ok(&["run", "single-pgvector-db", "--yes"]);
        for table in tables(&main, "app") {
            assert_same_rows((&main, "app"), (&target, "app"), &table);
        }
        assert_same_rows((&target, "vectors"), (&target, "app"), "asset_embeddings");
        let sql = |text: &str| target.psql("app", text).unwrap();
        assert_eq!(sql("SELECT count(*) FROM asset_embeddings JOIN assets a ON a.id = asset_id"), "300");
        let columns = sql("SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                    pg_get_expr(d.adbin, d.adrelid)
             FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = 'asset_embeddings'::regclass AND a.attnum > 0 ORDER BY a.attnum");
        let expected = [
            "id|uuid|t|gen_random_uuid()",
            "asset_id|uuid|t|",
            "embedding|vector(1536)|f|",
            "source_text|text|f|",
            "embedding_model|character varying(100)|f|'text-embedding-3-small'::character varying",
            "metadata|jsonb|f|",
            "created_at|timestamp with time zone|f|CURRENT_TIMESTAMP",
            "updated_at|timestamp with time zone|f|CURRENT_TIMESTAMP",
        ];
        assert_eq!(columns.lines().collect::<Vec<_>>(), expected);
        let keys = sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = 'asset_embeddings'::regclass AND contype IN ('p', 'f') ORDER BY contype");
        assert_eq!(
            keys.lines().collect::<Vec<_>>(),
            ["FOREIGN KEY (asset_id) REFERENCES assets(id) ON DELETE CASCADE", "PRIMARY KEY (id)"]
        );
        let index = sql(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'asset_embeddings' AND indexdef LIKE '%hnsw%'",
        );
        assert!(index.contains("USING hnsw (embedding vector_cosine_ops)"), "{index}");
        let nearest = sql("SET enable_seqscan = off;
             SELECT asset_id = md5('asset-7')::uuid FROM asset_embeddings ORDER BY embedding <=>
               (SELECT embedding FROM asset_embeddings WHERE asset_id = md5('asset-7')::uuid) LIMIT 1");
        assert_eq!(nearest, "t");
        assert_no_marker(&target, "app");
        let after = godwit.read(".env");
        assert_eq!(
            after,
            format!("# the databases\nDATABASE_URL={} # one day one\nLOG_LEVEL=info\n", target.url("app"))
        );

        let (run, status) = godwit.newest_run().unwrap();
        assert_eq!(status, "done");
        godwit.ok(&["verify", &run]);
        godwit.ok(&["undo", &run, "--yes"]);
        assert_eq!(dump(&target, "app"), before.2, "the target is as it was");
        assert!(
            dump(&main, "app") == before.0 && dump(&target, "vectors") == before.1,
            "a source has changed"
        );
        assert_eq!(godwit.read(".env"), env);
    }
}

/// The second database had no foreign key: what it has too much is found, can be removed, and the run goes on.
#[test]
fn single_pgvector_db_stops_at_a_vector_without_its_asset_and_goes_on() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = PgServer::start(Major::V16).await.unwrap();
        for name in ["main", "vectors", "app"] {
            server.create_database(name).await.unwrap();
        }
        sample::fill_assets_database(&server.url("main")).await.unwrap();
        sample::fill_vector_database(&server.url("vectors")).await.unwrap();
        server
    });
    let godwit = Godwit::new(PROGRAM)
        .env("GODWIT_INPUT_MAIN_URL", &server.url("main"))
        .env("GODWIT_INPUT_VECTOR_URL", &server.url("vectors"))
        .env("GODWIT_INPUT_TARGET_URL", &server.url("app"));
    godwit.write(".env", "DATABASE_URL=old\nVECTOR_DATABASE_URL=old\n");
    let orphan = "00000000-0000-0000-0000-000000000001";
    server.psql("vectors", &format!("INSERT INTO asset_embeddings (asset_id) VALUES ('{orphan}')")).unwrap();
    let stopped = godwit.run(&["run", "single-pgvector-db", "--yes"]);
    assert_eq!(stopped.code, Some(1), "{stopped}");
    assert!(stopped.stderr.contains("asset_embeddings_asset_id_fkey"), "{stopped}");
    assert!(stopped.stderr.contains(orphan), "the row is named: {stopped}");
    assert_eq!(godwit.read(".env"), "DATABASE_URL=old\nVECTOR_DATABASE_URL=old\n");

    server.psql("vectors", &format!("DELETE FROM asset_embeddings WHERE asset_id = '{orphan}'")).unwrap();
    let (run, status) = godwit.newest_run().unwrap();
    assert_eq!(status, "failed");
    godwit.ok(&["resume", &run, "--yes"]);
    assert_same_rows((&server, "vectors"), (&server, "app"), "asset_embeddings");
    assert_eq!(godwit.newest_run().unwrap().1, "done");
    godwit.ok(&["verify", &run]);
}
