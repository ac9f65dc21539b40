//! What a DBA may ask for beside the whole, and what is found beforehand, on real servers.

#[path = "../../pg-catalog/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_postgres_copy::{Outputs, Params, PostgresCopy};
use godwit_sdk::Step;
use godwit_sdk::mock::Request;
use godwit_sdk::types::*;
use serde_json::{Value, json};
use support::{Database, NativeHost};

const SHOP: &str = "
    CREATE TABLE public.users (id serial PRIMARY KEY, name text UNIQUE);
    CREATE TABLE public.orders (id int PRIMARY KEY, user_id int CONSTRAINT of_user REFERENCES public.users);
    CREATE TABLE public.log (id bigint GENERATED ALWAYS AS IDENTITY, what text);
    CREATE INDEX log_what ON public.log (what);
    CREATE MATERIALIZED VIEW public.totals AS SELECT user_id, count(*) AS n FROM public.orders GROUP BY user_id;
    CREATE VIEW public.named AS SELECT id, name, count(*) AS n FROM public.users GROUP BY id;
    CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.what := upper(NEW.what); RETURN NEW; END';
    CREATE TRIGGER touching BEFORE INSERT ON public.log FOR EACH ROW EXECUTE FUNCTION public.touch();
    INSERT INTO public.users (name) SELECT 'u' || i FROM generate_series(1, 10) i;
    INSERT INTO public.orders SELECT i, 1 + i % 10 FROM generate_series(1, 40) i;
    ALTER TABLE public.log DISABLE TRIGGER touching;
    INSERT INTO public.log (what) SELECT 'w' || i FROM generate_series(1, 100) i;
    ALTER TABLE public.log ENABLE TRIGGER touching;
    REFRESH MATERIALIZED VIEW public.totals;
";

struct World {
    source: Database,
    target: Database,
    host: NativeHost,
}

impl World {
    async fn new(from: &Arc<PgServer>, to: &Arc<PgServer>, name: &str, fixture: &str) -> Self {
        let source = Database::create(from, &format!("{name}_a")).await;
        let target = Database::create(to, &format!("{name}_b")).await;
        from.psql(&source.name, fixture).expect("fixture");
        let host = NativeHost::new(&[("source", &source), ("target", &target)]);
        Self { source, target, host }
    }

    /// One server for both ends.
    async fn alone(name: &str, fixture: &str) -> Self {
        let server = server(Major::V16).await;
        Self::new(&server, &server, name, fixture).await
    }

    /// Another step over the same two databases.
    fn anew(&mut self) {
        self.host = NativeHost::new(&[("source", &self.source), ("target", &self.target)]);
    }

    fn apply(&self, params: &Value) -> Result<Outputs> {
        self.host.begin(Mode::Apply);
        PostgresCopy::apply(&self.host, read(params))
    }

    fn copied(&mut self, params: &Value) -> Outputs {
        self.anew();
        let outputs = self.apply(params).expect("a copy");
        self.host.begin(Mode::Verify);
        let checks = PostgresCopy::verify(&self.host, read(params), outputs.clone()).expect("verify");
        let bad: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Passed).collect();
        assert!(!checks.is_empty() && bad.is_empty(), "{bad:#?}");
        outputs
    }

    fn refused(&mut self, params: &Value) -> String {
        self.anew();
        let error = self.apply(params).expect_err("a refusal");
        assert!(self.host.submitted().is_empty(), "something was touched");
        error.to_string()
    }

    fn there(&self, sql: &str) -> String {
        self.target.server.psql(&self.target.name, sql).expect("a query")
    }
}

fn read(params: &Value) -> Params {
    serde_json::from_value(params.clone()).expect("params")
}

async fn server(major: Major) -> Arc<PgServer> {
    Arc::new(PgServer::start(major).await.expect("a server"))
}

fn sentences(outputs: &Outputs) -> Vec<String> {
    outputs.preflight.iter().map(|finding| finding.sentence()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_sections_one_by_one_make_what_one_copy_makes() {
    let mut world = World::alone("sections", SHOP).await;
    let before = world.copied(&json!({ "sections": ["pre-data"] }));
    assert!(before.tables.is_empty() && !before.objects.contains_key("index"), "{before:?}");
    assert_eq!(world.there("SELECT count(*) FROM public.users"), "0");
    let rows = world.copied(&json!({ "sections": ["data"] }));
    assert_eq!(rows.tables.len(), 3);
    assert_eq!(world.there("SELECT count(*), nextval('public.users_id_seq') FROM public.users"), "10|11");
    let after = world.copied(&json!({ "sections": ["post-data"] }));
    assert_eq!(after.objects["foreign key"], 1);
    assert_eq!(after.objects["view"], 1, "a view that needs a key: {:?}", after.objects);
    assert_eq!(world.there("SELECT count(*) FROM public.totals"), "10");
    assert_eq!(world.there("SELECT what FROM public.log WHERE id = 7"), "w7");

    // Taken back, they leave nothing: each by its own journal, so only the last one here.
    world.host.undo().expect("undo");
    assert_eq!(world.there("SELECT count(*) FROM pg_index WHERE indrelid = 'public.users'::regclass"), "0");
    let both = world.refused(&json!({ "sections": ["data", "post-data"] }));
    assert!(both.contains("hold rows already: public.log, public.orders, public.users"), "{both}");
    world.there("TRUNCATE public.users, public.orders, public.log");
    world.copied(&json!({ "sections": ["data", "post-data"] }));
    assert_eq!(world.there("SELECT count(*) FROM public.totals"), "10");
    let error = world.refused(&json!({ "sections": ["data"], "data_only": true }));
    assert!(error.contains("`sections` says what"), "{error}");
    let error = world.refused(&json!({ "sections": ["pre-data", "data"], "owners": true }));
    assert!(error.contains("`sections` without `post-data`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_extensions_can_be_left_out() {
    let fixture = format!("{SHOP} CREATE EXTENSION vector; CREATE TABLE public.part (id int) PARTITION BY RANGE (id);
        CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES FROM (0) TO (10); INSERT INTO public.part VALUES (1);");
    let mut world = World::alone("left_out", &fixture).await;
    let outputs = world.copied(&json!({
        "table_data": { "exclude": ["log", "public.part"] }, "extensions": { "exclude": ["vec*"] }
    }));
    assert_eq!(world.there("SELECT count(*) FROM public.log"), "0");
    assert_eq!(world.there("SELECT count(*) FROM public.part"), "0");
    assert_eq!(world.there("SELECT count(*) FROM public.orders"), "40");
    assert_eq!(world.there("SELECT count(*) FROM pg_extension WHERE extname = 'vector'"), "0");
    let skipped: Vec<String> = outputs.skipped.iter().map(|s| format!("{} {}", s.kind, s.name)).collect();
    assert_eq!(skipped, ["extension vector", "rows public.log", "rows public.part_1"]);

    let error =
        world.refused(&json!({ "table_data": { "include": ["usres"] }, "extensions": { "include": ["x"] } }));
    assert!(error.contains("extensions `x`, table_data `usres`"), "{error}");
    let error = world.refused(&json!({ "schema_only": true, "table_data": { "exclude": ["log"] } }));
    assert!(error.contains("no rows are copied"), "{error}");
    world.there("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    world.anew();
    let _ =
        world.apply(&json!({ "table_data": { "exclude": ["users"] } })).expect_err("a key without its rows");
    let logs = world.host.logs.borrow().join("\n");
    assert!(logs.contains("foreign key of_user on public.orders points at a table whose rows"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_dropped_where_the_recipe_says_so() {
    let mut world = World::alone("clean", SHOP).await;
    world.copied(&json!({}));
    world.there(
        "ALTER TABLE public.users ADD COLUMN other int; CREATE INDEX mine ON public.orders (user_id);
         CREATE TABLE public.kept (id int); INSERT INTO public.kept VALUES (1); DROP TABLE public.log",
    );
    let error = world.refused(&json!({}));
    assert!(error.contains("table public.users is there already") && error.contains("`clean`"), "{error}");
    let outputs = world.copied(&json!({ "clean": true }));
    assert!(
        sentences(&outputs)
            .iter()
            .any(|s| s.starts_with("`clean` drops what the target has under the same names: ")
                && s.contains("table public.users")
                && !s.contains("kept")),
        "{:?}",
        sentences(&outputs)
    );
    assert_eq!(world.there("SELECT count(*) FROM public.kept"), "1");
    assert_eq!(world.there("SELECT count(*) FROM public.log"), "100");
    let cleaned = world.host.submitted();
    let clean = cleaned.iter().find(|s| s.key == "clean/0001").expect("room is made");
    let Request::Execute { request, .. } = &clean.request else { panic!("{clean:?}") };
    assert_eq!(request.undo, Undo::Irreversible);
    assert!(request.statements.iter().all(|s| !s.contains("CASCADE")), "{request:?}");
    // Called again, as a resumed run does, it asks for the same.
    world.host.begin(Mode::Apply);
    PostgresCopy::apply(&world.host, read(&json!({ "clean": true }))).expect("the same again");

    world.there("CREATE VIEW public.mine_too AS SELECT * FROM public.users; CREATE TABLE public.sub () INHERITS (public.log)");
    let error = world.refused(&json!({ "clean": true }));
    for object in ["view public.mine_too", "table public.sub"] {
        assert!(
            error.contains(&format!("{object} of the target needs table public.")),
            "{object} in {error}"
        );
    }
    let error = world.refused(&json!({ "clean": true, "data_only": true }));
    assert!(error.contains("`clean` makes room"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_mapped_and_made() {
    let (from, to) = (server(Major::V16).await, server(Major::V18).await);
    from.psql("postgres", "CREATE ROLE old_owner; CREATE ROLE one; CREATE ROLE other").unwrap();
    let mut world = World::new(
        &from,
        &to,
        "roles",
        "CREATE TABLE public.t (a int);
         ALTER TABLE public.t OWNER TO old_owner;
         GRANT SELECT ON public.t TO one;
         GRANT SELECT, INSERT ON public.t TO other WITH GRANT OPTION;
         CREATE POLICY p ON public.t TO one USING (true);
         ALTER DEFAULT PRIVILEGES FOR ROLE old_owner GRANT SELECT ON TABLES TO one;",
    )
    .await;
    to.psql("postgres", "CREATE ROLE plain CREATEROLE; CREATE ROLE weak").unwrap();
    let grants = |name: &str| {
        format!("GRANT ALL ON SCHEMA public TO {name}; GRANT CREATE ON DATABASE roles_b TO {name};")
    };
    world.there(&format!("{}{}", grants("plain"), grants("weak")));
    // Whoever comes to own a table has to be allowed to make one.
    world.there("GRANT CREATE ON SCHEMA public TO PUBLIC");
    to.psql("postgres", "ALTER DATABASE roles_b SET role = 'weak'").unwrap();
    let roles = json!({ "old_owner": "app", "one": "reader", "other": "reader" });
    let params = json!({ "owners": true, "privileges": true, "roles": roles, "create_roles": true });
    let error = world.refused(&params);
    assert!(error.contains("the roles `app` (by ") && error.contains("`weak` has no CREATEROLE"), "{error}");

    to.psql("postgres", "ALTER DATABASE roles_b SET role = 'plain'").unwrap();
    world.copied(&params);
    assert_eq!(world.there("SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "app");
    let granted = "SELECT string_agg(privilege_type || is_grantable, ' ' ORDER BY 1) FROM information_schema.role_table_grants
        WHERE table_name = 't' AND grantee = 'reader'";
    assert_eq!(world.there(granted), "INSERTYES SELECTYES");
    assert_eq!(world.there("SELECT roles FROM pg_policies"), "{reader}");
    assert_eq!(world.there("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'reader'"), "f");
    world.host.undo().expect("undo");
    assert_eq!(world.there("SELECT count(*) FROM pg_roles WHERE rolname IN ('app', 'reader')"), "0");
    assert_eq!(world.there("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");

    let error = world.refused(&json!({ "owners": true, "roles": { "old_owner": "plain", "nobody": "x" } }));
    assert!(error.contains("belongs to or is granted to: nobody;"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_stands_in_the_way_is_said_at_once() {
    let (from, to) = (server(Major::V18).await, server(Major::V16).await);
    let mut world = World::new(
        &from,
        &to,
        "found",
        "CREATE TABLE public.t (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL);
         CREATE UNLOGGED TABLE public.u (a int);
         CREATE ROLE reader; CREATE POLICY p ON public.t TO reader USING (true);
         CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.on_ddl();",
    )
    .await;
    world.there(
        "CREATE TABLE public.u (a int); CREATE ROLE plain CONNECTION LIMIT 0; GRANT ALL ON SCHEMA public TO plain;
         ALTER DATABASE found_b SET default_transaction_read_only = on; ALTER DATABASE found_b SET role = 'plain'",
    );
    let error = world.refused(&json!({}));
    for sentence in [
        "table public.t uses a feature (virtual generated column) that came with PostgreSQL 18",
        "the role `reader` (by policy p on public.t) is missing in the target",
        "event trigger watch can be made by a superuser alone, which `plain` is not",
        "table public.u is there already",
        "`default_transaction_read_only` is on",
        "the user `plain` has no privilege CREATE on the target's database found_b",
        "the target's server has 0 connections left for `plain` beside those in use (the role's limit is 0)",
        "nothing was touched",
    ] {
        assert!(error.contains(sentence), "{sentence} in: {error}");
    }
    let logs = world.host.logs.borrow().join("\n");
    for sentence in [
        "the target is older (PostgreSQL 16.14) than the source (18.4)",
        "unlogged tables (public.u) are made unlogged",
        "the source's database takes",
    ] {
        assert!(logs.contains(sentence), "{sentence} in: {logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_is_said_and_does_not_stop_the_copy() {
    let from = Arc::new(
        PgServer::builder(Major::V16)
            .setting("max_prepared_transactions", "5")
            .setting("wal_level", "logical")
            .start()
            .await
            .expect("a server"),
    );
    let source = Database::create(&from, "warned").await;
    from.psql("postgres", "CREATE DATABASE warned_b TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        .expect("a target in another encoding");
    let target = Database { server: Arc::clone(&from), name: "warned_b".to_owned() };
    from.psql("warned", "SELECT pg_create_logical_replication_slot('follower', 'pgoutput')").expect("a slot");
    from.psql(
        "warned",
        "CREATE TABLE public.t (a int); BEGIN; INSERT INTO public.t VALUES (1); PREPARE TRANSACTION 'half'",
    )
    .expect("a prepared transaction");
    let host = NativeHost::new(&[("source", &source), ("target", &target)]);
    let mut world = World { source, target, host };
    let outputs = world.copied(&json!({}));
    let found = sentences(&outputs).join("\n");
    for sentence in [
        "prepared transactions of the source (half) are neither committed nor rolled back",
        "replication slots of the source (follower) are not carried over",
        "the target is encoded in LATIN1, and the source in UTF8",
    ] {
        assert!(found.contains(sentence), "{sentence} in: {found}");
    }
    from.psql("postgres", "CREATE DATABASE warned_c TEMPLATE template0 LOCALE 'C.UTF-8'")
        .expect("another locale");
    world.target.name = "warned_c".to_owned();
    let found = sentences(&world.copied(&json!({}))).join("\n");
    assert!(
        found.contains("the target has the locale C.UTF-8, and the source C: texts may be in another"),
        "{found}"
    );
    from.psql("warned", "ROLLBACK PREPARED 'half'; SELECT pg_drop_replication_slot('follower')")
        .expect("cleared");
}
