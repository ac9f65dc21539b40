//! PgBouncer on the way.

use godwit_lab::pooler::{PoolMode, Pooler};

use crate::pair::{Pair, RUN, Side};

#[test]
fn a_transaction_pooler_is_refused_and_one_by_the_session_works() {
    let pair = Pair::start();
    let by = |pooler: &Pooler, side: Side, name: &str| {
        let server = pair.server(side);
        server.url(name).replacen(&format!(":{}/", server.port()), &format!(":{}/", pooler.port()), 1)
    };
    for (side, input, name) in [
        (Side::Source, "GODWIT_INPUT_SOURCE_URL", "from_pooled"),
        (Side::Target, "GODWIT_INPUT_TARGET_URL", "to_pooled"),
    ] {
        let database = if side == Side::Source { "app" } else { name };
        let server = pair.server(side);
        let pooler = pair.runtime.block_on(Pooler::before(server, PoolMode::Transaction)).unwrap();
        let godwit = pair.fresh(name).env(input, &by(&pooler, side, database));
        let refused = godwit.run(&RUN);
        assert_eq!(refused.code, Some(1), "{refused}");
        for named in ["a transaction pooler sits in between", "direct endpoint"] {
            assert!(refused.stderr.contains(named), "`{named}` isn't named: {refused}");
        }
        // As far as the pooler lets a session be somebody's own, everything works.
        let pooler = pair.runtime.block_on(Pooler::before(server, PoolMode::Session)).unwrap();
        let godwit = godwit.env(input, &by(&pooler, side, database));
        if let Some((run, _)) = godwit.newest_run() {
            godwit.ok(&["resume", &run, "--yes"]);
        } else {
            godwit.ok(&RUN);
        }
        pair.assert_copied(name, name);
    }
}
