//! `postgres-copy`: it reads the source's catalogs and sizes, and whether the target is free.

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::sample;
use godwit_tests::database;
use godwit_tests::process::Godwit;

use crate::{PROGRAM, cut_off, refused, resumed};

/// Two servers; each case has a database on both.
struct Pair {
    runtime: tokio::runtime::Runtime,
    source: PgServer,
    target: PgServer,
}

/// A run that was cut off, and its databases, which have one name.
struct Case<'a> {
    pair: &'a Pair,
    name: String,
    godwit: Godwit,
    run: String,
    context: String,
}

impl Pair {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async {
            let (source, target) = tokio::join!(PgServer::start(Major::V16), PgServer::start(Major::V18));
            let (source, target) = (source.unwrap(), target.unwrap());
            source.create_database("labeler").await.unwrap();
            sample::fill_database(&source.url("labeler")).await.unwrap();
            (source, target)
        });
        Self { runtime, source, target }
    }

    fn godwit(&self, name: &str) -> Godwit {
        self.source.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE labeler")).unwrap();
        self.target.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_SOURCE_URL", &self.source.url(name))
            .env("GODWIT_INPUT_TARGET_URL", &self.target.url(name))
    }

    /// A copy that was cut off just after its n-th effect was settled, for each of some n.
    fn cut_off(&self, name: &str) -> Vec<Case<'_>> {
        // Among the schema's, among the copies, among the indexes and constraints.
        [1, 5, 11]
            .into_iter()
            .map(|number| {
                let name = format!("{name}_{number}");
                let godwit = self.godwit(&name);
                let run = cut_off(&godwit, &format!("after:settle:{number}"), "copy-postgres");
                let context = format!("{name}: cut off after {number} effects");
                Case { pair: self, name, godwit, run, context }
            })
            .collect()
    }
}

impl Case<'_> {
    fn in_source(&self, sql: &str) {
        self.pair.source.psql(&self.name, sql).unwrap();
    }

    fn in_target(&self, sql: &str) -> String {
        self.pair.target.psql(&self.name, sql).unwrap()
    }

    fn resumed(&self) {
        resumed(&self.godwit, &self.run, &self.context);
    }

    fn refused(&self, names: &[&str]) {
        refused(&self.godwit, &self.run, names, &self.context);
    }

    /// The target is as the source is now.
    fn assert_equal(&self) {
        let Self { pair, name, context, .. } = self;
        let oracle = format!("{name}_oracle");
        let source = (&pair.source, name.as_str());
        let expected = pair.runtime.block_on(database::oracle(source, &pair.target, &oracle));
        assert_eq!(expected, database::dump(&pair.target, name), "{context}");
        assert_eq!(
            database::contents(&pair.source, name),
            database::contents(&pair.target, name),
            "{context}"
        );
        assert_eq!(database::markers(&pair.target, name), "", "{context}");
    }

    /// The run is given up: everything that it made is taken back.
    fn given_up(&self) {
        self.godwit.ok(&["undo", &self.run, "--yes"]);
        let left = database::objects(&self.pair.target, &self.name);
        assert_eq!(left, Vec::<String>::new(), "{}", self.context);
    }
}

#[test]
fn the_source_goes_on() {
    let pair = Pair::start();
    for case in pair.cut_off("writes") {
        // Rows come, go and change, in tables that were copied and in those that weren't; one table outgrows the others,
        // and the statistics that sizes are taken from say so.
        case.in_source(
            "INSERT INTO datasets (name, storage_prefix) SELECT 'late ' || n, 'late' FROM generate_series(1, 5000) n;
             DELETE FROM project_permissions;
             UPDATE annotation_projects SET name = name || ' (moved)';
             SELECT nextval(s.oid::regclass) FROM pg_class s WHERE relkind = 'S';
             ANALYZE",
        );
        case.resumed();
        case.assert_equal();
    }
}

#[test]
fn rows_lie_elsewhere() {
    let pair = Pair::start();
    for case in pair.cut_off("moved") {
        case.in_source("VACUUM FULL; ANALYZE");
        case.resumed();
        case.assert_equal();
    }
}

#[test]
fn both_servers_are_restarted() {
    let pair = Pair::start();
    for case in pair.cut_off("restarted") {
        pair.runtime.block_on(async {
            pair.source.restart().await.unwrap();
            pair.target.crash().await.unwrap();
            pair.target.restart().await.unwrap();
        });
        case.resumed();
        case.assert_equal();
    }
}

#[test]
fn a_stranger_makes_a_table_in_the_target() {
    let pair = Pair::start();
    for case in pair.cut_off("stranger") {
        case.in_target("CREATE TABLE stranger AS SELECT 7 AS number");
        // The target was found free when the step began.
        case.resumed();
        assert_eq!(case.in_target("SELECT number FROM stranger"), "7");
        case.in_target("DROP TABLE stranger");
        case.assert_equal();
    }
}

#[test]
fn a_stranger_fills_a_table_of_the_copy() {
    let pair = Pair::start();
    for (name, source_goes_on) in [("filled", false), ("filled_again", true)] {
        for case in pair.cut_off(name) {
            case.in_target(
                "INSERT INTO invitations (id, project_id, email, token_digest) VALUES \
                            (gen_random_uuid(), 'proj_000000000000', 'stranger@example.com', '')",
            );
            if source_goes_on {
                case.in_source("UPDATE annotation_projects SET name = name || ' (moved)'");
            }
            // Where the source has gone on, tables are begun again, but not with a stranger's row in them; where not, the
            // step's own checks, or a foreign key before them, tell.
            case.refused(&["invitations"]);
            let stranger = "email = 'stranger@example.com'";
            let kept = case.in_target(&format!("SELECT count(*) FROM invitations WHERE {stranger}"));
            assert_eq!(kept, "1", "{}", case.context);
            case.in_target(&format!("DELETE FROM invitations WHERE {stranger}"));
            case.resumed();
            case.assert_equal();
        }
    }
}

#[test]
fn the_source_gets_another_table() {
    let pair = Pair::start();
    for case in pair.cut_off("more") {
        case.in_source("CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1), (2)");
        // What was asked for, with its digest, is other than what would be asked for now.
        case.refused(&["asks for another effect", "CREATE TABLE public.late"]);
        case.in_source("DROP TABLE late");
        case.resumed();
        case.assert_equal();
    }
}

#[test]
fn a_table_of_the_source_changes() {
    let pair = Pair::start();
    for case in pair.cut_off("altered") {
        case.in_source("ALTER TABLE annotations ADD COLUMN late int DEFAULT 7");
        case.refused(&["asks for another effect", "late"]);
        case.given_up();
    }
}
