//! Large objects as the rows of `pg_catalog.pg_largeobject`, which a plugin names as it names any table.
//!
//! At the source there is a row for each object (page −1, without bytes: an empty object has no page) and one for each
//! page. At the sink, rows go into a view of the transaction's own, whose trigger makes the objects and writes the pages.
//! So they have format, evidence and marker like every other copy; but they are one part, and emptying means unlinking.
//! The sink has to be without large objects: then all of them are the run's.

use godwit_model::effect::Table;
use godwit_model::{Error, Result};

use crate::wire::Wire;

/// What stands behind FROM.
pub const ROWS: &str = "(SELECT oid AS loid, -1 AS pageno, ''::bytea AS data FROM pg_catalog.pg_largeobject_metadata \
                        UNION ALL SELECT loid, pageno, data FROM pg_catalog.pg_largeobject) AS large_objects";

/// What COPY fills.
pub const VIEW: &str = "pg_temp.godwit_large_objects";

/// Objects that are unlinked in one transaction: each takes a lock.
const BATCH: u32 = 1000;

pub fn are(schema: &str, name: &str) -> bool {
    (schema, name) == ("pg_catalog", "pg_largeobject")
}

pub fn are_in(table: &Table) -> bool {
    are(&table.schema, &table.name)
}

/// Whether there are any.
pub const EXIST: &str = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_largeobject_metadata)";

/// Makes the view, in the transaction that fills it. A page has a quarter of a block's bytes (`LOBLKSIZE` in
/// `src/include/storage/large_object.h`). The trigger's query is planned once, when there is no object yet: it has to look into
/// the index all the same, or each object would cost a scan of those before it.
pub fn make_view(block: u64) -> String {
    format!(
        "SET LOCAL enable_seqscan = off; \
         CREATE TEMPORARY VIEW godwit_large_objects AS SELECT loid, pageno, data FROM pg_catalog.pg_largeobject; \
         CREATE FUNCTION pg_temp.godwit_large_object() RETURNS trigger LANGUAGE plpgsql AS $godwit$ BEGIN \
           IF NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid = NEW.loid) THEN \
             PERFORM pg_catalog.lo_create(NEW.loid); END IF; \
           IF NEW.pageno >= 0 THEN \
             PERFORM pg_catalog.lo_put(NEW.loid, NEW.pageno::int8 * {}, NEW.data); END IF; \
           RETURN NEW; END $godwit$; \
         CREATE TRIGGER put INSTEAD OF INSERT ON {VIEW} FOR EACH ROW EXECUTE FUNCTION pg_temp.godwit_large_object()",
        block / 4
    )
}

pub const DROP_VIEW: &str =
    "DROP VIEW pg_temp.godwit_large_objects; DROP FUNCTION pg_temp.godwit_large_object()";

/// The rows with the transactions that wrote them. An object itself changes with its owner and privileges, which counts as
/// a change of nobody's: `own` is one of the run's transactions.
pub fn rows_by_transaction(own: u64) -> String {
    format!(
        "(SELECT '{}'::xid AS xmin FROM pg_catalog.pg_largeobject_metadata UNION ALL \
         SELECT xmin FROM pg_catalog.pg_largeobject) AS large_objects",
        own & 0xffff_ffff
    )
}

pub fn in_the_way(sink: &str) -> Error {
    Error::conflict(format!("{sink} holds large objects already"))
        .hint("copy into a database without any, or leave them out by `skip`")
}

/// Unlinks all of them, some at a time. Done again, it goes on.
pub async fn unlink(session: &mut Wire) -> Result<()> {
    let batch = format!(
        "SELECT pg_catalog.count(pg_catalog.lo_unlink(oid)) FROM \
         (SELECT oid FROM pg_catalog.pg_largeobject_metadata LIMIT {BATCH}) AS batch"
    );
    loop {
        let replies = session.simple(&batch).await?;
        if replies.first().and_then(|reply| reply.one()) == Some("0") {
            return Ok(());
        }
    }
}
