//! Parts of databases, refusals, rows alone, and calls that end half-way.

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
    CREATE SCHEMA audit;
    CREATE TYPE public.state AS ENUM ('new', 'done');
    CREATE TABLE public.users (id serial PRIMARY KEY, name text UNIQUE);
    CREATE TABLE public.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int REFERENCES users,
        parent int REFERENCES orders, state public.state DEFAULT 'new', total int CHECK (total > 0),
        double int GENERATED ALWAYS AS (total * 2) STORED);
    CREATE TABLE audit.log (id bigserial PRIMARY KEY, order_id int REFERENCES public.orders, what text);
    CREATE VIEW public.totals AS SELECT user_id, sum(total) AS sum FROM public.orders GROUP BY user_id;
    CREATE VIEW audit.whats AS SELECT what, count(*) FROM audit.log GROUP BY what;
    CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY);
    INSERT INTO public.users (name) SELECT 'u' || i FROM generate_series(1, 10) i;
    INSERT INTO public.orders (user_id, parent, total) SELECT 1 + i % 10, NULLIF(i / 2, 0), i FROM generate_series(1, 40) i;
    INSERT INTO audit.log (order_id, what) SELECT 1 + i % 40, 'w' FROM generate_series(1, 100) i;
    INSERT INTO public.alembic_version VALUES ('abc');
";

struct World {
    source: Database,
    target: Database,
    host: NativeHost,
}

impl World {
    async fn new(server: &Arc<PgServer>, name: &str, fixture: &str) -> Self {
        let source = Database::create(server, &format!("{name}_a")).await;
        let target = Database::create(server, &format!("{name}_b")).await;
        server.psql(&source.name, fixture).expect("fixture");
        let host = NativeHost::new(&[("source", &source), ("target", &target)]);
        Self { source, target, host }
    }

    fn apply(&self, params: Value) -> Result<Outputs> {
        self.host.begin(Mode::Apply);
        PostgresCopy::apply(&self.host, read(params))
    }

    fn refused(&self, params: Value) -> String {
        let error = self.apply(params).expect_err("a refusal");
        assert!(self.host.submitted().is_empty(), "something was touched");
        error.to_string()
    }

    fn proven(&self, params: Value, outputs: &Outputs) {
        self.host.begin(Mode::Verify);
        let checks = PostgresCopy::verify(&self.host, read(params), outputs.clone()).expect("verify");
        let bad: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Passed).collect();
        assert!(!checks.is_empty() && bad.is_empty(), "{bad:#?}");
    }

    fn one(&self, database: &Database, sql: &str) -> String {
        database.server.psql(&database.name, sql).expect("a query")
    }
}

fn read(params: Value) -> Params {
    serde_json::from_value(params).expect("params")
}

async fn server(major: Major) -> Arc<PgServer> {
    Arc::new(PgServer::start(major).await.expect("a server"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_named_before_anything_is_touched() {
    let server = server(Major::V16).await;
    let world = World::new(
        &server,
        "refused",
        "CREATE TABLE public.t (a int);
         CREATE FUNCTION public.same(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2';
         CREATE OPERATOR public.=== (FUNCTION = public.same, LEFTARG = int, RIGHTARG = int);
         CREATE VIEW public.uses_operator AS SELECT a OPERATOR(public.===) 1 AS b FROM public.t;
         CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION public.on_ddl();
         ALTER EVENT TRIGGER watch DISABLE;
         CREATE PUBLICATION all_of_it FOR ALL TABLES;
         CREATE FOREIGN DATA WRAPPER nothing;
         CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
         CREATE FOREIGN TABLE public.far (a int) SERVER elsewhere;
         CREATE TEXT SEARCH CONFIGURATION public.words (COPY = english);
         SELECT lo_create(0);",
    )
    .await;
    // Whoever may not read them can't copy them.
    let role = |sql: &str| server.psql("postgres", sql).expect("a role");
    role(&format!(
        "CREATE ROLE plain_reader; ALTER DATABASE {} SET role = 'plain_reader'",
        world.source.name
    ));
    let error = world.refused(json!({}));
    assert!(
        error.contains("large object 1 of them (`pg_largeobject` can be read by superusers alone)")
            && error.contains("under `skip`"),
        "{error}"
    );
    role(&format!("ALTER DATABASE {} RESET role", world.source.name));
    let skip = json!({ "skip": ["operator", "event trigger", "publication", "foreign data wrapper", "foreign server",
        "foreign table", "text search configuration", "large object"] });
    let outputs = world.apply(skip).expect("copy");
    assert_eq!(outputs.skipped.len(), 9, "{:#?}", outputs.skipped);
    let view = outputs.skipped.iter().find(|s| s.kind == "view").expect("the view needs the operator");
    assert!(view.reason.contains("operator public.==="), "{}", view.reason);
    assert!(outputs.dropped.contains(&"owners".to_owned()));
    let error = world.apply(json!({ "skip": ["trigers"] })).expect_err("an unknown kind").to_string();
    assert!(error.contains("can be left out: trigers;") && error.contains("trigger,"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_users_in_tables_of_extensions_come_beside_what_is_there() {
    let server = server(Major::V15).await;
    let extension = "CREATE EXTENSION pgcrypto;
        CREATE TABLE public.settings (id int PRIMARY KEY, what text, own boolean, twice int GENERATED ALWAYS AS (id * 2) STORED);
        CREATE TABLE public.kept (a int);
        CREATE SEQUENCE public.numbers;
        INSERT INTO public.settings VALUES (1, 'it came with this', false);
        ALTER EXTENSION pgcrypto ADD TABLE public.settings;
        ALTER EXTENSION pgcrypto ADD TABLE public.kept;
        ALTER EXTENSION pgcrypto ADD SEQUENCE public.numbers;
        UPDATE pg_extension SET extcondition = ARRAY['WHERE own', '', ''],
            extconfig = ARRAY['public.settings', 'public.kept', 'public.numbers']::regclass[]::oid[]
        WHERE extname = 'pgcrypto';";
    let world = World::new(&server, "ofextension", extension).await;
    server.psql(&world.target.name, extension).expect("the extension is there already");
    server
        .psql(
            &world.source.name,
            "INSERT INTO public.settings VALUES (2, 'mine', true), (3, 'mine, too', true);
             UPDATE public.settings SET what = 'changed' WHERE id = 1; SELECT setval('public.numbers', 7)",
        )
        .expect("rows");
    let outputs = world.apply(json!({})).expect("copy");
    let tables: Vec<&str> = outputs.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(tables, ["settings"], "an empty one is nothing to write to");
    let all = "SELECT string_agg(id || what, ' ' ORDER BY id), (SELECT last_value FROM public.numbers) FROM public.settings";
    assert_eq!(world.one(&world.target, all), "1it came with this 2mine 3mine, too|7");
    world.proven(json!({}), &outputs);

    let again = World::new(&server, "ofskipped", extension).await;
    server.psql(&again.source.name, "INSERT INTO public.kept VALUES (1)").expect("a row");
    server.psql(&again.target.name, extension).expect("the extension is there already");
    let outputs = again.apply(json!({ "skip": ["extension data"] })).expect("copy");
    let names: Vec<&str> = outputs.skipped.iter().map(|skipped| skipped.name.as_str()).collect();
    assert_eq!(names, ["public.kept", "public.numbers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_database_come_where_they_are_asked_for() {
    let server = server(Major::V16).await;
    let world = World::new(&server, "settings", "CREATE TABLE public.t (a int)").await;
    let name = &world.source.name;
    server
        .psql(
            "postgres",
            &format!(
                "CREATE ROLE \"of % settings\"; ALTER DATABASE {name} SET search_path = \"$user\", 'a b', public;
                 ALTER DATABASE {name} SET my.option = 'it''s 100%'; ALTER DATABASE {name} SET work_mem = '5MB';
                 ALTER ROLE \"of % settings\" IN DATABASE {name} SET statement_timeout = '7s'"
            ),
        )
        .expect("settings");
    let set = |database: &Database| {
        let sql = format!(
            "SELECT string_agg(COALESCE(r.rolname, '') || ':' || (SELECT array_agg(c ORDER BY c) FROM unnest(s.setconfig) c)::text, ';' ORDER BY r.rolname NULLS FIRST) \
             FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole \
             JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = '{}'",
            database.name
        );
        server.psql("postgres", &sql).expect("a query")
    };
    let outputs = world.apply(json!({})).expect("copy");
    assert!(outputs.dropped.contains(&"database settings".to_owned()) && set(&world.target).is_empty());
    world.host.undo().expect("undo");

    let world =
        World { host: NativeHost::new(&[("source", &world.source), ("target", &world.target)]), ..world };
    let params = json!({ "settings": true });
    let outputs = world.apply(params.clone()).expect("copy");
    assert!(!outputs.dropped.contains(&"database settings".to_owned()));
    assert_eq!(set(&world.target), set(&world.source));
    world.proven(params, &outputs);
    world.host.undo().expect("undo");
    assert_eq!(set(&world.target), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_superuser_may_make_is_named_before_anything_is_touched() {
    let server = server(Major::V16).await;
    let world = World::new(
        &server,
        "superuser",
        "CREATE TABLE public.t (a int);
         CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.on_ddl();
         CREATE PUBLICATION all_of_it FOR ALL TABLES;
         CREATE PUBLICATION of_one FOR TABLE public.t;
         CREATE FOREIGN DATA WRAPPER nothing;
         CREATE OPERATOR FAMILY public.family USING btree;
         CREATE ACCESS METHOD again TYPE TABLE HANDLER heap_tableam_handler;
         CREATE FUNCTION public.lower_again(text) RETURNS text LANGUAGE internal AS 'lower';
         CREATE CAST (int AS xid) WITHOUT FUNCTION;",
    )
    .await;
    server
        .psql(
            &world.target.name,
            "CREATE ROLE plain; GRANT ALL ON SCHEMA public TO plain; ALTER DATABASE superuser_b SET role = 'plain';
             GRANT CREATE ON DATABASE superuser_b TO plain;",
        )
        .unwrap();
    let error = world.refused(json!({}));
    for object in [
        "event trigger watch",
        "publication all_of_it",
        "foreign data wrapper nothing",
        "operator family public.family using btree",
        "access method again",
        "function public.lower_again(text)",
        "cast integer AS xid",
    ] {
        let sentence = format!("{object} can be made by a superuser alone, which `plain` is not");
        assert!(error.contains(&sentence), "{sentence} in: {error}");
    }
    assert!(!error.contains("of_one"), "{error}");
    let skip = json!({ "skip": ["event trigger", "publication", "foreign data wrapper", "operator family",
        "access method", "function", "cast"] });
    world.apply(skip).expect("what is left needs no superuser");
}

#[tokio::test(flavor = "multi_thread")]
async fn privileges_come_without_owners_if_their_roles_are_there() {
    let (from, to) = (server(Major::V16).await, server(Major::V16).await);
    from.psql("postgres", "CREATE ROLE app_owner; CREATE ROLE app_reader; CREATE ROLE app_writer").unwrap();
    let (source, target) = (Database::create(&from, "rights").await, Database::create(&to, "rights").await);
    from.psql(
        "rights",
        "CREATE TABLE public.t (a int, b int);
         CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE TABLE public.untouched (a int);
         ALTER TABLE public.t OWNER TO app_owner;
         GRANT SELECT ON public.t TO app_reader;
         GRANT SELECT (a) ON public.t TO app_writer;
         GRANT ALL ON public.t TO app_writer WITH GRANT OPTION;
         REVOKE ALL ON FUNCTION public.f() FROM PUBLIC;
         ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT SELECT ON TABLES TO app_reader;",
    )
    .unwrap();
    let host = NativeHost::new(&[("source", &source), ("target", &target)]);
    let both = json!({ "privileges": true, "owners": true });
    let error = PostgresCopy::apply(&host, read(both.clone())).expect_err("roles are missing").to_string();
    for sentence in [
        "`app_owner` (by owner app_owner on table public.t and 1 more)",
        "`app_reader` (by privileges granted on table public.t and 1 more)",
        "are missing in the target",
    ] {
        assert!(error.contains(sentence), "{sentence} in: {error}");
    }
    assert!(host.submitted().is_empty(), "something was touched");

    to.psql(
        "postgres",
        "CREATE ROLE app_owner; CREATE ROLE app_reader; CREATE ROLE app_writer; CREATE ROLE plain;
         ALTER DATABASE rights OWNER TO plain; ALTER DATABASE rights SET role = 'plain'",
    )
    .unwrap();
    let error = PostgresCopy::apply(&host, read(both)).expect_err("no member").to_string();
    let sentence = "owner app_owner on table public.t can be set by a member of the role `app_owner` alone, which `plain`";
    assert!(error.contains(sentence), "{error}");
    to.psql("postgres", "GRANT app_owner TO plain").unwrap();

    let params = json!({ "privileges": true });
    host.begin(Mode::Apply);
    let outputs = PostgresCopy::apply(&host, read(params.clone())).expect("copy");
    assert!(
        outputs.dropped.contains(&"owners".to_owned()) && !outputs.dropped.contains(&"privileges".to_owned())
    );
    let acl = |sql: &str| to.psql("rights", &format!("SET ROLE postgres; {sql}")).expect("a query");
    assert_eq!(
        acl("SELECT relacl FROM pg_class WHERE relname = 't'"),
        "{plain=arwdDxt/plain,app_reader=r/plain,app_writer=a*r*w*d*D*x*t*/plain}"
    );
    assert_eq!(
        acl("SELECT attacl FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384"),
        "{app_writer=r/plain}"
    );
    assert_eq!(acl("SELECT proacl FROM pg_proc WHERE proname = 'f'"), "{plain=X/plain}");
    assert_eq!(acl("SELECT count(*) FROM pg_class WHERE relname = 'untouched' AND relacl IS NULL"), "1");
    assert_eq!(
        acl("SELECT defaclacl FROM pg_default_acl"),
        "{app_owner=arwdDxt/app_owner,app_reader=r/app_owner}"
    );
    host.begin(Mode::Verify);
    let checks = PostgresCopy::verify(&host, read(params.clone()), outputs).expect("verify");
    assert!(checks.iter().all(|check| check.verdict == Verdict::Passed), "{checks:#?}");
    acl("REVOKE SELECT ON public.t FROM app_reader");
    let checks = PostgresCopy::verify(&host, read(params), Outputs::default()).expect("verify");
    let failed: Vec<_> = checks.iter().filter(|c| matches!(c.verdict, Verdict::Failed(_))).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0].name, "definitions: privileges");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_foreign_servers_and_subscriptions_stay_where_they_are() {
    let server = server(Major::V16).await;
    let world = World::new(
        &server,
        "withheld",
        "CREATE FOREIGN DATA WRAPPER own OPTIONS (api_token 'fake-secret-1', color 'red');
         CREATE SERVER far FOREIGN DATA WRAPPER own OPTIONS (host 'db.example.com', sslpassword 'fake-secret-2', password_required 'false');
         CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'guest', password 'fake-secret-3', odd 'fake-secret-4');
         CREATE FOREIGN TABLE public.f (a int) SERVER far OPTIONS (secret_key 'fake-secret-5', x 'y');
         CREATE PUBLICATION p;
         CREATE SUBSCRIPTION one CONNECTION 'host=db.example.com password=fake-secret-6 user=u' PUBLICATION p WITH (connect = false, slot_name = NONE);
         CREATE SUBSCRIPTION two CONNECTION 'password = ''fake \\''secret-7'' host=db.example.com' PUBLICATION p WITH (connect = false, slot_name = NONE);
         CREATE SUBSCRIPTION three CONNECTION 'postgresql://u:fake-secret-8@db.example.com/x?sslmode=require' PUBLICATION p WITH (connect = false, slot_name = NONE);
         CREATE SUBSCRIPTION four CONNECTION 'postgresql://db.example.com/x?password=fake-secret-9&user=u' PUBLICATION p WITH (connect = false, slot_name = NONE);",
    )
    .await;
    let outputs = world.apply(json!({})).expect("copy");
    let sent = format!("{:?} {:?} {:?}", world.host.submitted(), outputs, world.host.logs.borrow());
    assert!(!sent.contains("fake") && !sent.contains("secret-"), "{sent}");
    let mut noted: Vec<String> = outputs.skipped.iter().map(|s| format!("{} {}", s.kind, s.name)).collect();
    noted.sort();
    assert_eq!(
        noted,
        [
            "foreign data wrapper own",
            "foreign server far",
            "foreign table public.f",
            "subscription four",
            "subscription one",
            "subscription three",
            "subscription two",
            "user mapping public on far",
        ]
    );
    let mapping = outputs.skipped.iter().find(|s| s.kind == "user mapping").unwrap();
    assert_eq!(
        mapping.reason,
        "it is made without `odd`, `password`, which may hold a secret; set it in the target"
    );
    assert_eq!(
        world.one(&world.target, "SELECT string_agg(concat_ws(' ', subname, subenabled, subslotname, subconninfo), '; ' ORDER BY subname) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = current_database()"),
        "four f postgresql://db.example.com/x?user=u; one f host=db.example.com  user=u; three f postgresql://u@db.example.com/x?sslmode=require; two f  host=db.example.com"
    );
    assert_eq!(
        world.one(&world.target, "SELECT srvoptions::text || fdwoptions::text || ftoptions::text FROM pg_foreign_server, pg_foreign_data_wrapper, pg_foreign_table"),
        "{host=db.example.com,password_required=false}{color=red}{x=y}"
    );
    world.proven(json!({}), &outputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_type_that_others_came_to_use_is_not_dropped_from_under_them() {
    let server = server(Major::V16).await;
    let world = World::new(
        &server,
        "based",
        "CREATE TYPE public.label;
         CREATE FUNCTION public.label_in(cstring) RETURNS public.label LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION public.label_out(public.label) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         CREATE TYPE public.label (INPUT = public.label_in, OUTPUT = public.label_out, LIKE = text);
         CREATE TABLE public.t (a public.label);",
    )
    .await;
    world.apply(json!({})).expect("copy");
    for (make, drop) in [
        ("CREATE TABLE public.theirs (a public.label)", "DROP TABLE public.theirs"),
        ("CREATE TABLE public.theirs (a public.label[])", "DROP TABLE public.theirs"),
        (
            "CREATE FUNCTION public.theirs(public.label) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION public.theirs",
        ),
    ] {
        server.psql(&world.target.name, make).unwrap();
        let error = world.host.undo().expect_err("a refusal").to_string();
        assert!(error.contains("other objects use the type public.label"), "{error}");
        server.psql(&world.target.name, drop).unwrap();
    }
    world.host.undo().expect("undo");
    let left =
        "SELECT count(*) FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = 'public'";
    assert_eq!(world.one(&world.target, left), "0");
    let skip = json!({ "skip": ["base type"] });
    let error = world.apply(skip).expect_err("the table needs it").to_string();
    assert!(error.contains("table public.t (it needs base type public.label, which is left out)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_no_schema_comes_only_where_it_is_needed_or_everything_is_wanted() {
    let server = server(Major::V16).await;
    let world = World::new(
        &server,
        "global",
        "CREATE SCHEMA other;
         CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.on_ddl();
         CREATE FOREIGN DATA WRAPPER used;
         CREATE FOREIGN DATA WRAPPER idle;
         CREATE SERVER used FOREIGN DATA WRAPPER used;
         CREATE SERVER idle FOREIGN DATA WRAPPER used;
         CREATE USER MAPPING FOR PUBLIC SERVER used;
         CREATE USER MAPPING FOR PUBLIC SERVER idle;
         CREATE FOREIGN TABLE public.f (a int) SERVER used;
         CREATE TABLE other.t (a int);
         CREATE PUBLICATION p FOR TABLE other.t;",
    )
    .await;
    let params = json!({ "schemas": { "include": ["public"] } });
    let outputs = world.apply(params.clone()).expect("copy");
    let made = |kind: &str| outputs.objects.get(kind).copied().unwrap_or(0);
    let counts = [
        "foreign table",
        "foreign server",
        "foreign data wrapper",
        "user mapping",
        "event trigger",
        "publication",
    ]
    .map(made);
    assert_eq!(counts, [1, 1, 1, 1, 0, 0]);
    world.proven(params, &outputs);

    let target = Database::create(&server, "global_c").await;
    let host = NativeHost::new(&[("source", &world.source), ("target", &target)]);
    let outputs =
        PostgresCopy::apply(&host, read(json!({ "schemas": { "exclude": ["other"] } }))).expect("copy");
    assert_eq!((outputs.objects["event trigger"], outputs.objects["publication"]), (1, 1));
    assert!(!outputs.objects.contains_key("publication table"), "{:?}", outputs.objects);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_empty_is_left_alone() {
    let server = server(Major::V16).await;
    let world = World::new(&server, "taken", SHOP).await;
    server
        .psql(&world.target.name, "CREATE TABLE public.users (x int); CREATE TYPE public.state AS (a int)")
        .unwrap();
    let error = world.refused(json!({}));
    assert!(error.contains("table public.users is there already"), "{error}");
    assert!(error.contains("enum type public.state is there already"), "{error}");
    assert!(world.refused(json!({ "tables": { "include": ["publik.*"] } })).contains("`publik.*`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_target_is_refused_by_its_missing_features_and_roles() {
    let (newer, older) = (server(Major::V18).await, server(Major::V16).await);
    let source = Database::create(&newer, "features").await;
    let target = Database::create(&older, "features").await;
    newer
        .psql(
            "features",
            "CREATE ROLE reader; CREATE TABLE public.t (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL);
             CREATE POLICY p ON public.t TO reader USING (true); ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;",
        )
        .unwrap();
    let host = NativeHost::new(&[("source", &source), ("target", &target)]);
    let error = PostgresCopy::apply(&host, Params::default()).expect_err("a refusal").to_string();
    assert!(
        error.contains("virtual generated column) that came with PostgreSQL 18; the target is 16."),
        "{error}"
    );
    assert!(
        error.contains("the role `reader` (by policy p on public.t) is missing in the target"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_schemas_can_be_chosen() {
    let server = server(Major::V16).await;
    let world = World::new(&server, "chosen", SHOP).await;
    let params = json!({ "tables": { "exclude": ["public.users"] }, "schemas": { "include": ["public"] } });
    let outputs = world.apply(params.clone()).expect("copy");
    let names: Vec<&str> = outputs.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["alembic_version", "orders"]);
    let skipped: Vec<String> = outputs.skipped.iter().map(|s| format!("{} {}", s.kind, s.name)).collect();
    assert!(skipped.contains(&"foreign key orders_user_id_fkey on public.orders".to_owned()), "{skipped:?}");
    assert!(skipped.contains(&"schema audit".to_owned()), "{skipped:?}");
    world.proven(params, &outputs);
    assert_eq!(world.one(&world.target, "SELECT count(*), max(id) FROM public.orders"), "40|40");

    let world = World::new(&server, "schema", SHOP).await;
    let params = json!({ "schema_only": true });
    let outputs = world.apply(params.clone()).expect("copy");
    assert!(outputs.tables.is_empty());
    assert_eq!(outputs.objects["table"], 4);
    assert_eq!(outputs.objects["foreign key"], 3);
    assert_eq!(world.one(&world.target, "SELECT count(*) FROM public.orders"), "0");
    assert_eq!(world.source.dump(&server, &["-s"]), world.target.dump(&server, &["-s"]));
    world.proven(params, &outputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ended_half_way_goes_on_from_the_top() {
    let server = server(Major::V16).await;
    let world = World::new(&server, "halfway", SHOP).await;
    let mut calls = 0;
    let outputs = loop {
        world.host.begin(Mode::Apply);
        world.host.crash_after.set(Some(1));
        calls += 1;
        // Somebody uses the source meanwhile: it grows over the bounds by which tables are cut.
        world.one(
            &world.source,
            "CREATE TABLE IF NOT EXISTS godwit_growth (a text); DROP TABLE godwit_growth",
        );
        match PostgresCopy::apply(&world.host, Params::default()) {
            Ok(outputs) => break outputs,
            Err(error) => assert_eq!(error.to_string(), "crashed"),
        }
        assert!(calls < 100);
    };
    assert!(calls > 8, "{calls} calls");
    assert_eq!(world.source.dump(&server, &["-s"]), world.target.dump(&server, &["-s"]));
    world.proven(json!({}), &outputs);
    // The keys start when their own table is full, not when all are.
    let submitted = world.host.submitted();
    let index = submitted.iter().find(|s| s.key == "index/small/0001").expect("the small tables' keys");
    assert!(index.after.contains(&"copy/public.users".to_owned()), "{:?}", index.after);
}

const TARGET_SCHEMA: &str = "
    CREATE SCHEMA audit;
    CREATE TYPE public.state AS ENUM ('new', 'done', 'later');
    CREATE TABLE public.users (name text UNIQUE, extra text DEFAULT 'e', id serial PRIMARY KEY);
    CREATE TABLE public.orders (total int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int NOT NULL REFERENCES users,
        parent int REFERENCES orders, state public.state DEFAULT 'new', double int GENERATED ALWAYS AS (total * 2) STORED);
    CREATE TABLE audit.log (id bigserial PRIMARY KEY, order_id int REFERENCES public.orders, what text);
    CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY);
    CREATE MATERIALIZED VIEW public.sums AS SELECT sum(total) FROM public.orders;
    INSERT INTO public.alembic_version VALUES ('newer');
    CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'fired'; END $$;
    CREATE TRIGGER no BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.no();
    CREATE TRIGGER off BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.no();
    ALTER TABLE public.users DISABLE TRIGGER off, ENABLE ALWAYS TRIGGER no;
";

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_go_into_a_schema_that_another_tool_made() {
    let server = server(Major::V16).await;
    let world = World::new(&server, "rows", SHOP).await;
    server.psql(&world.target.name, TARGET_SCHEMA).expect("the target's schema");
    let before = world.target.dump(&server, &["-s"]);
    let error = world.refused(json!({ "data_only": true }));
    assert!(error.contains("hold rows already: public.alembic_version;"), "{error}");

    let params = json!({ "data_only": true, "keep": ["alembic_version"] });
    let outputs = world.apply(params.clone()).expect("copy");
    assert_eq!(outputs.tables.len(), 3);
    assert_eq!(outputs.skipped[0].name, "public.alembic_version");
    assert_eq!(world.one(&world.target, "SELECT * FROM public.alembic_version"), "newer");
    assert_eq!(
        world.one(
            &world.target,
            "SELECT sum(double), min(extra) FROM public.orders, public.users WHERE users.id = 1"
        ),
        "1640|e"
    );
    assert_eq!(world.one(&world.target, "SELECT * FROM public.sums"), "820");
    assert_eq!(world.one(&world.target, "SELECT nextval('audit.log_id_seq')"), "101");
    assert_eq!(
        world.one(&world.target, "SELECT string_agg(tgname || tgenabled::text, ',' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal"),
        "noA,offD"
    );
    world.one(&world.target, "SELECT setval('audit.log_id_seq', 100)");
    world.proven(params.clone(), &outputs);
    let keys: Vec<String> = world.host.submitted().into_iter().map(|s| s.key).collect();
    let at = |key: &str| keys.iter().position(|k| k == key).expect("a key");
    assert!(at("copy/public.users") < at("copy/public.orders"));
    assert!(at("copy/public.orders") < at("copy/audit.log"));

    assert_eq!(world.apply(params).expect("resumed"), outputs);
    world.host.undo().expect("undo");
    assert_eq!(world.one(&world.target, "SELECT count(*) FROM public.users"), "0");
    assert_eq!(world.target.dump(&server, &["-s"]), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_need_a_schema_that_fits() {
    let server = server(Major::V16).await;
    let world = World::new(&server, "unfit", SHOP).await;
    server
        .psql(&world.target.name, "CREATE TABLE public.users (id int, nick text NOT NULL); CREATE TABLE public.alembic_version (version_num text)")
        .unwrap();
    let error = world.refused(json!({ "data_only": true }));
    for part in [
        "`name` is missing in the target",
        "`nick` of the target is NOT NULL",
        "table public.orders is missing",
    ] {
        assert!(error.contains(part), "{part} in: {error}");
    }

    let circle = "CREATE TABLE public.a (id int PRIMARY KEY, b int); CREATE TABLE public.b (id int PRIMARY KEY, a int REFERENCES a);
        ALTER TABLE public.a ADD FOREIGN KEY (b) REFERENCES public.b; CREATE TABLE public.c (a int REFERENCES public.a)";
    let world = World::new(&server, "circle", circle).await;
    server.psql(&world.target.name, circle).unwrap();
    let error = world.refused(json!({ "data_only": true }));
    assert!(error.contains("in a circle") && error.contains("public.a, public.b;"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vector_indexes_are_built_with_the_memory_that_was_given() {
    let server = server(Major::V16).await;
    let fixture = "CREATE EXTENSION vector; CREATE TABLE public.v (id int, e vector(3));
        INSERT INTO public.v SELECT i, ('[1,2,' || i || ']')::vector FROM generate_series(1, 100) i;
        CREATE INDEX v_hnsw ON public.v USING hnsw (e vector_l2_ops); CREATE INDEX v_ivf ON public.v USING ivfflat (e) WITH (lists = 5)";
    let world = World::new(&server, "vectors", fixture).await;
    let params = json!({ "index_build": { "memory": "96MB", "workers": 0 } });
    let outputs = world.apply(params.clone()).expect("copy");
    let build = world
        .host
        .submitted()
        .into_iter()
        .find_map(|s| match s.request {
            Request::Execute { request, .. } if s.key.starts_with("index/") => Some(request.statements),
            _ => None,
        })
        .expect("the indexes");
    assert_eq!(build[0], "SET LOCAL maintenance_work_mem = '96MB'");
    assert_eq!(build[1], "SET LOCAL max_parallel_maintenance_workers = 0");
    world.proven(params, &outputs);
    assert!(read(json!({ "index_build": { "memory": "much" } })).check().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_not_taken_above_foreign_tables() {
    let server = server(Major::V16).await;
    let animals = "CREATE TABLE public.animals (a int); CREATE TABLE public.others (a int);";
    let rows =
        "INSERT INTO public.animals SELECT generate_series(1, 10); INSERT INTO public.others VALUES (1)";
    let world = World::new(&server, "above", &format!("{animals} {rows}")).await;
    // Without a handler, whatever reaches for its rows fails.
    let foreign = "CREATE FOREIGN DATA WRAPPER bare; CREATE SERVER far FOREIGN DATA WRAPPER bare;
        CREATE FOREIGN TABLE public.far_animals () INHERITS (public.animals) SERVER far";
    server.psql(&world.target.name, &format!("{animals} {foreign}")).unwrap();
    world.apply(json!({ "data_only": true })).expect("rows");
    let analyzed: Vec<String> = world
        .host
        .submitted()
        .into_iter()
        .filter_map(|s| match s.request {
            Request::Execute { request, .. } if s.key.starts_with("analyze/") => Some(request.statements),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(analyzed, ["ANALYZE public.others"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_shared_memory_for_workers_one_process_builds_the_index() {
    let server = server(Major::V16).await;
    // More memory than any machine shares, and workers even for a small table.
    let fixture =
        "CREATE EXTENSION vector; CREATE TABLE public.v (id int, e vector(3)) WITH (parallel_workers = 2);
        INSERT INTO public.v SELECT i, ('[1,2,' || i || ']')::vector FROM generate_series(1, 100) i;
        CREATE INDEX v_hnsw ON public.v USING hnsw (e vector_l2_ops)";
    let world = World::new(&server, "alone", fixture).await;
    let target = &world.target.name;
    let probe =
        "CREATE EXTENSION vector; CREATE TABLE public.probe (e vector(3)) WITH (parallel_workers = 2)";
    server.psql(target, probe).unwrap();
    let with_workers = server.psql(
        target,
        "SET maintenance_work_mem = '1500GB'; CREATE INDEX ON public.probe USING hnsw (e vector_l2_ops)",
    );
    assert!(with_workers.unwrap_err().to_string().contains("shared memory"), "there is that much");
    server.psql(target, "DROP TABLE public.probe; DROP EXTENSION vector").unwrap();
    let params = json!({ "index_build": { "memory": "1500GB" } });
    let outputs = world.apply(params.clone()).expect("copy");
    world.proven(params, &outputs);
}
