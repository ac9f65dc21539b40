//! A schema with every kind of object, copied between real servers of three majors.

#[path = "../../pg-catalog/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use godwit_lab::kinds;
use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_postgres_copy::{Outputs, Params, PostgresCopy};
use godwit_sdk::Step;
use godwit_sdk::types::*;
use support::{Database, NativeHost};

fn params(json: serde_json::Value) -> Params {
    serde_json::from_value(json).expect("params")
}

fn apply(host: &NativeHost, json: serde_json::Value) -> Result<Outputs> {
    host.begin(Mode::Apply);
    PostgresCopy::apply(host, params(json))
}

fn verify(host: &NativeHost, json: serde_json::Value, outputs: &Outputs) -> Vec<Check> {
    host.begin(Mode::Verify);
    PostgresCopy::verify(host, params(json), outputs.clone()).expect("verify")
}

fn assert_proven(checks: &[Check]) {
    let bad: Vec<_> = checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed(_))).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Compares two texts line by line and shows the first differences.
fn assert_alike(left: &str, right: &str) {
    if left == right {
        return;
    }
    let (a, b): (Vec<_>, Vec<_>) = (left.lines().collect(), right.lines().collect());
    let only_left: Vec<_> = a.iter().filter(|line| !b.contains(line)).take(20).collect();
    let only_right: Vec<_> = b.iter().filter(|line| !a.contains(line)).take(20).collect();
    panic!("the dumps differ\nonly in the source: {only_left:#?}\nonly in the target: {only_right:#?}");
}

async fn round(source: Major, target: Major, step: serde_json::Value) {
    let from = Arc::new(PgServer::start(source).await.expect("source"));
    let to = Arc::new(PgServer::start(target).await.expect("target"));
    let client = PgServer::start(Major::V18).await.expect("client");
    let a = Database::create(&from, "shop").await;
    let b = Database::create(&to, "shop").await;
    let empty = b.dump(&client, &["-s"]);
    from.psql("shop", &kinds::all(source, target)).expect("fixture");
    if step["owners"] == true {
        for server in [&from, &to] {
            for role in kinds::ROLES {
                server.psql("postgres", &format!("CREATE ROLE {role}")).expect("roles");
            }
        }
        from.psql("shop", kinds::RIGHTS).expect("owners and privileges");
    }

    let host = NativeHost::new(&[("source", &a), ("target", &b)]);
    host.begin(Mode::Plan);
    let planned = PostgresCopy::apply(&host, params(step.clone())).expect("plan");
    assert!(host.submitted().is_empty());
    let outputs = apply(&host, step.clone()).expect("copy");
    assert_eq!(planned, outputs);
    assert!(host.queries.get() <= 6, "{} queries", host.queries.get());
    // Majors write the same thing in different words, and even one major does when it reads its own words in again; so
    // the oracle is `pg_dump | psql`.
    let upwards = source as u32 <= target as u32;
    let (home, tool) = if upwards { (&to, &to) } else { (&from, &from) };
    let stock = Database::create(home, "stock").await;
    stock.restore(&a, tool);
    let (left, right) = (stock.dump(&client, &["-s"]), b.dump(&client, &["-s"]));
    if upwards {
        assert_alike(&left, &right);
    } else {
        // Named NOT NULL constraints came with 18.
        let unnamed = |dump: &str| {
            let mut words: Vec<&str> = Vec::new();
            for word in dump.split(' ') {
                match words.as_slice() {
                    [.., "CONSTRAINT", name] if word == "NOT" && name.ends_with("_not_null") => {
                        words.truncate(words.len() - 2);
                    }
                    _ => {}
                }
                words.push(word);
            }
            words.join(" ")
        };
        assert_alike(&unnamed(&left), &unnamed(&right));
    }
    let data = ["-a", "--rows-per-insert=1", "--quote-all-identifiers"];
    let sorted = |dump: String| {
        // From 17 on the partitions of a table with an identity column have it, too.
        let mut lines: Vec<String> =
            dump.lines().map(|line| line.replace(" OVERRIDING SYSTEM VALUE", "")).collect();
        lines.sort();
        lines.join("\n")
    };
    assert_alike(&sorted(a.dump(&client, &data)), &sorted(b.dump(&client, &data)));
    let checks = verify(&host, step.clone(), &outputs);
    assert_proven(&checks);
    let doubtful = checks.iter().filter(|check| check.verdict != Verdict::Passed).count();
    assert_eq!(doubtful, 0, "{checks:#?}");

    // A resumed call asks for the same effects, though the target is full by now.
    let again = apply(&host, step).expect("resume");
    assert_eq!(again, outputs);

    host.undo().expect("undo");
    assert_alike(&empty, &b.dump(&client, &["-s"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_16_to_16_everything_is_alike() {
    round(Major::V16, Major::V16, serde_json::json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_16_to_18_everything_is_alike() {
    round(Major::V16, Major::V18, serde_json::json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_18_to_16_everything_is_alike() {
    round(Major::V18, Major::V16, serde_json::json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_15_to_18_everything_is_alike() {
    round(Major::V15, Major::V18, serde_json::json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_18_to_18_everything_is_alike() {
    round(Major::V18, Major::V18, serde_json::json!({ "owners": true, "privileges": true })).await;
}

/// pg_dump puts inherited columns in front of a child's own, whatever their order was.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_keeps_the_order_of_its_columns() {
    let server = Arc::new(PgServer::start(Major::V18).await.expect("a server"));
    let (a, b) = (Database::create(&server, "a").await, Database::create(&server, "b").await);
    a.sql(
        "CREATE TABLE public.parent (a int NOT NULL, b text DEFAULT 'x', c int GENERATED ALWAYS AS (a + 1) STORED, CHECK (a > 0));
         CREATE TABLE public.child (own int, c int GENERATED ALWAYS AS (a + 1) STORED, b text,
             a int CONSTRAINT a_there NOT NULL, CONSTRAINT parent_a_check CHECK (a > 0));
         ALTER TABLE public.child INHERIT public.parent;
         INSERT INTO public.child (own, a) VALUES (1, 2)",
    )
    .expect("tables");
    let host = NativeHost::new(&[("source", &a), ("target", &b)]);
    let outputs = apply(&host, serde_json::json!({})).expect("copy");
    assert_alike(&a.dump(&server, &[]), &b.dump(&server, &[]));
    assert_eq!(b.sql("SELECT p FROM public.parent p").as_deref(), Ok("(2,,3)\0"));
    assert_proven(&verify(&host, serde_json::json!({}), &outputs));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_16_to_18_owners_and_privileges_are_alike() {
    round(Major::V16, Major::V18, serde_json::json!({ "owners": true, "privileges": true })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_15_to_16_owners_and_privileges_are_alike() {
    round(Major::V15, Major::V16, serde_json::json!({ "owners": true, "privileges": true })).await;
}
