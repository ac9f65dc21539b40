//! Both journals keep what a journal has to keep.

use std::sync::Arc;

use godwit_journal::{MemoryJournal, SqliteJournal, conformance};

#[tokio::test]
async fn the_journal_in_memory_conforms() {
    conformance::check(Arc::new(MemoryJournal::new())).await;
}

#[tokio::test]
async fn the_journal_in_sqlite_conforms() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = Arc::new(SqliteJournal::open(dir.path()).await.expect("opens"));
    conformance::check(journal.clone()).await;
    journal.close().await;
}
