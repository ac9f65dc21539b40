//! Rows of tables into files, and out of them.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use godwit_files::Files;
use godwit_model::capability::{ArchiveReads as _, Capability as _, Connection, Performed, StateDir};
use godwit_model::effect::*;
use godwit_model::plugin::{Access, ConnectionKind, Grant};
use godwit_model::secret::Secrets;
use godwit_model::{Digest, EffectKey, ErrorKind, RunId, SlotName};
use godwit_postgres::Postgres;

use crate::support::*;

/// A pair of databases, and a folder between them.
struct Archive {
    pair: Pair,
    folder: tempfile::TempDir,
    bench: Bench,
}

fn folder_grant() -> Grant {
    Grant {
        slot: "archive".into(),
        connection: "archive".into(),
        kind: ConnectionKind::Dir,
        access: Access::Write,
        database: None,
        secrets: Vec::new(),
    }
}

impl Archive {
    async fn new(name: &str) -> Self {
        Self::with(name, Mapped::default()).await
    }

    async fn with(name: &str, transforms: Mapped) -> Self {
        let pair = Pair::new(name).await;
        pair.both(PEOPLE);
        pair.from(FILL);
        let mut bench = Bench::with(transforms);
        let mut grants = bench.scope.grants.as_ref().clone();
        grants.push(folder_grant());
        bench.scope.grants = Arc::new(grants);
        Self { pair, folder: tempfile::tempdir().unwrap(), bench }
    }

    /// A capability as a new process would make it.
    fn process(&self) -> Postgres {
        let folder = Connection {
            name: "archive".into(),
            kind: ConnectionKind::Dir,
            settings: [("path".to_owned(), self.path("").display().to_string().into())].into(),
            secrets: Arc::new(Secrets::default()),
        };
        let files = Files::new(StateDir(self.path(".godwit")), vec![folder]);
        self.pair.process().with_files(Arc::new(files))
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn listed(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn rows_file(path: &str, compression: Compression) -> RowsFile {
    RowsFile { slot: "archive".into(), path: path.to_owned(), compression }
}

fn dump(path: &str, compression: Compression) -> Effect {
    Effect {
        key: EffectKey::new(format!("dump/{path}")),
        after: Vec::new(),
        action: Action::DumpTable(DumpTable {
            source: table("source", "people", COLUMNS),
            sink: rows_file(path, compression),
            consistency: Consistency::Snapshot,
            only: true,
            filter: None,
        }),
    }
}

fn load(path: &str, compression: Compression, block: Option<Block>) -> Effect {
    Effect {
        key: EffectKey::new(format!("load/{path}")),
        after: Vec::new(),
        action: Action::LoadTable(LoadTable {
            source: rows_file(path, compression),
            block,
            more: Vec::new(),
            encoding: None,
            sink: table("sink", "people", COLUMNS),
        }),
    }
}

fn seal(path: &str, pieces: Vec<Piece>) -> Effect {
    Effect {
        key: "seal".into(),
        after: Vec::new(),
        action: Action::SealArchive(SealArchive { slot: "archive".into(), path: path.to_owned(), pieces }),
    }
}

fn text(text: &str) -> Piece {
    Piece::Text { bytes: text.as_bytes().to_vec() }
}

async fn undo(archive: &Archive, pg: &Postgres, performed: &[Performed]) {
    let mut scope = archive.bench.undo();
    // Each undo is a run of its own.
    let keys: Vec<&str> = performed.iter().map(|performed| performed.effect.key.as_str()).collect();
    scope.run = RunId::new(format!("undo-{}", Digest::of(keys.join(" ").as_bytes()).short()));
    for action in pg.plan_undo(&scope, &performed).await.unwrap() {
        assert_eq!(action.changed, None, "{action:?}");
        pg.undo(&scope, &action, false, false).await.unwrap();
    }
    pg.cleanup(&scope.run, &grant("sink", Access::Write)).await.unwrap();
}

#[tokio::test]
async fn a_partition_in_an_archive_is_known_by_its_root() {
    let archive = Archive::new("root").await;
    archive.pair.both(
        "CREATE TABLE visits (id int) PARTITION BY RANGE (id);
         CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (10)",
    );
    let pg = archive.process();
    for (name, names) in [("visits_1", &["public.visits"][..]), ("people", &[])] {
        let mut effect = dump(name, Compression::None);
        if let Action::DumpTable(request) = &mut effect.action {
            request.source = table("source", name, &["id"]);
        }
        let done = archive.bench.run(&pg, &effect).await.unwrap();
        assert_eq!(pg.names(&done.effect, &done.preparation, None).unwrap(), names);
        // A load learns it from the table that it finds.
        let mut effect = load(name, Compression::None, None);
        if let Action::LoadTable(request) = &mut effect.action {
            request.sink = table("sink", name, &["id"]);
        }
        let done = archive.bench.run(&pg, &effect).await.unwrap();
        assert_eq!(pg.names(&done.effect, &done.preparation, None), None);
        assert_eq!(pg.names(&done.effect, &done.preparation, done.done.as_ref()).unwrap(), names);
    }
}

#[tokio::test]
async fn rows_go_to_a_file_and_back_in_every_compression() {
    let mut sizes = Vec::new();
    for (path, compression) in [
        ("a/plain.dat", Compression::None),
        ("a/gzip.dat.gz", Compression::Gzip),
        ("a/lz4.dat.lz4", Compression::Lz4),
        ("a/zstd.dat.zst", Compression::Zstd),
    ] {
        let archive = Archive::new(&format!("every_{}", sizes.len())).await;
        let pg = archive.process();
        let dumped = archive.bench.run(&pg, &dump(path, compression)).await.unwrap();
        assert_eq!(evidence(&dumped).items, 5000);
        assert_eq!(pg.observe(&archive.bench.scope, &dumped).await.unwrap(), *evidence(&dumped));
        let size = std::fs::metadata(archive.path(path)).unwrap().len();
        assert_eq!(result(&dumped)["file_bytes"], size);
        sizes.push(size);

        let loaded = archive.bench.run(&pg, &load(path, compression, None)).await.unwrap();
        assert_eq!(evidence(&loaded), evidence(&dumped), "what was sent is what was dumped");
        assert_eq!(archive.pair.from(SUM), archive.pair.to(SUM));
        assert_eq!(pg.observe(&archive.bench.scope, &loaded).await.unwrap(), *evidence(&loaded));

        undo(&archive, &pg, &[dumped, loaded]).await;
        assert_eq!(archive.pair.to("SELECT count(*) FROM people"), "0");
        assert_eq!(archive.listed(""), [] as [&str; 0], "the folder goes with its last file");
    }
    assert!(sizes[1..].iter().all(|size| *size < sizes[0] * 2 / 3), "{sizes:?}");
}

#[tokio::test]
async fn a_file_that_is_there_is_nobody_elses_to_write() {
    let archive = Archive::new("somebody_elses").await;
    let pg = archive.process();
    std::fs::write(archive.path("people.dat"), "mine").unwrap();
    let refused = archive.bench.run(&pg, &dump("people.dat", Compression::None)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict, "{refused}");
    std::fs::remove_file(archive.path("people.dat")).unwrap();

    // It appears between the intent and the effect.
    let effect = dump("people.dat", Compression::None);
    let intended = archive.bench.intended(&pg, &effect).await;
    std::fs::write(archive.path("people.dat"), "mine").unwrap();
    let book = archive.bench.book(&effect.key);
    let refused = pg.perform(&archive.bench.scope, &effect, &intended.preparation, &book, false).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(std::fs::read(archive.path("people.dat")).unwrap(), b"mine");

    // What somebody has changed since isn't deleted.
    let dumped = archive.bench.run(&pg, &dump("other.dat", Compression::None)).await.unwrap();
    std::fs::write(archive.path("other.dat"), "changed").unwrap();
    let scope = archive.bench.undo();
    let actions = pg.plan_undo(&scope, &std::slice::from_ref(&dumped)).await.unwrap();
    assert!(actions[0].changed.as_ref().is_some_and(|why| why.contains("other.dat")), "{actions:?}");
    assert_eq!(pg.undo(&scope, &actions[0], false, false).await.unwrap_err().kind, ErrorKind::Conflict);
    pg.undo(&scope, &actions[0], true, false).await.unwrap();
    assert_eq!(archive.listed(""), ["people.dat"]);
}

#[tokio::test]
async fn a_resumed_dump_knows_its_own_file_and_its_snapshot() {
    let archive = Archive::new("resumed_dump").await;
    let effect = dump("people.dat", Compression::Gzip);
    let pg = archive.process();
    let dumped = archive.bench.run(&pg, &effect).await.unwrap();
    let written = std::fs::read(archive.path("people.dat")).unwrap();
    drop(pg);

    // The outcome was lost, nobody wrote to the source: the file is taken for what it is.
    let pg = archive.process();
    let intended = Performed { done: None, ..dumped.clone() };
    assert_eq!(pg.open_step(&archive.bench.scope, &std::slice::from_ref(&intended)).await.unwrap().len(), 0);
    let book = archive.bench.book(&effect.key);
    let again = pg.perform(&archive.bench.scope, &effect, &intended.preparation, &book, true).await.unwrap();
    // Other tests write to the same server, which may cost the snapshot; the rows are the same.
    assert_eq!(again.evidence.as_ref(), Some(evidence(&dumped)));
    assert_eq!(std::fs::read(archive.path("people.dat")).unwrap(), written);
    drop(pg);

    // Somebody wrote: the file is of a snapshot that is lost, and is made anew.
    archive.pair.from("DELETE FROM people WHERE id = 1");
    let pg = archive.process();
    let redo = pg.open_step(&archive.bench.scope, &std::slice::from_ref(&dumped)).await.unwrap();
    assert_eq!(redo, std::slice::from_ref(&effect.key));
    let again = pg.perform(&archive.bench.scope, &effect, &dumped.preparation, &book, true).await.unwrap();
    assert_eq!(again.evidence.as_ref().unwrap().items, 4999);
    assert!(again.notes.iter().any(|note| note.contains("begun again")), "{:?}", again.notes);
    let redone = Performed { done: Some(again), ..dumped };
    drop(pg);

    // A sealed archive is whole as it is.
    let pg = archive.process();
    let sealed = archive.bench.run(&pg, &seal("toc.dat", vec![text("contents")])).await.unwrap();
    drop(pg);
    archive.pair.from("DELETE FROM people WHERE id = 2");
    let pg = archive.process();
    let redo = pg.open_step(&archive.bench.scope, &[redone.clone(), sealed.clone()]).await.unwrap();
    assert_eq!(redo, [] as [EffectKey; 0]);
    undo(&archive, &pg, &[redone, sealed]).await;
    assert_eq!(archive.listed(""), [] as [&str; 0]);
}

#[tokio::test]
async fn a_resumed_load_doesnt_load_twice() {
    let archive = Archive::new("resumed_load").await;
    let pg = archive.process();
    archive.bench.run(&pg, &dump("people.dat", Compression::Lz4)).await.unwrap();
    let effect = load("people.dat", Compression::Lz4, None);
    let loaded = archive.bench.run(&pg, &effect).await.unwrap();
    drop(pg);
    let pg = archive.process();
    let intended = Performed { done: None, ..loaded.clone() };
    pg.open_step(&archive.bench.scope, &std::slice::from_ref(&intended)).await.unwrap();
    let book = archive.bench.book(&effect.key);
    let again = pg.perform(&archive.bench.scope, &effect, &intended.preparation, &book, true).await.unwrap();
    assert_eq!(Some(&again), loaded.done.as_ref());
    assert_eq!(archive.pair.to("SELECT count(*) FROM people"), "5000");
    // An undo finds what a lost outcome has left.
    undo(&archive, &pg, &[intended]).await;
    assert_eq!(archive.pair.to("SELECT count(*) FROM people"), "0");

    // The archive was changed in between.
    std::fs::write(archive.path("people.dat"), "x").unwrap();
    let refused = pg.perform(&archive.bench.scope, &effect, &loaded.preparation, &book, true).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn truncated_and_foreign_rows_load_nothing() {
    let archive = Archive::new("truncated_rows").await;
    let pg = archive.process();
    archive.bench.run(&pg, &dump("whole.dat", Compression::None)).await.unwrap();
    let whole = std::fs::read(archive.path("whole.dat")).unwrap();
    let cut = whole.len() - 6;
    for (path, bytes) in [
        ("empty.dat", &b""[..]),
        ("cut.dat", &whole[..whole.len() / 2]),
        ("unended.dat", &whole[..cut]),
        ("trailed.dat", &[&whole[..], b"1\n"].concat()),
    ] {
        std::fs::write(archive.path(path), bytes).unwrap();
        let error = archive.bench.run(&pg, &load(path, Compression::None, None)).await.unwrap_err();
        assert!(error.message.contains(path), "{error}");
        assert_eq!(archive.pair.to("SELECT count(*) FROM people"), "0", "{path}");
    }
    let error = archive.bench.run(&pg, &load("whole.dat", Compression::Gzip, None)).await.unwrap_err();
    assert!(error.message.contains("whole.dat"), "{error}");
    let error = archive.bench.run(&pg, &load("absent.dat", Compression::None, None)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Missing);
    assert_eq!(archive.pair.to("SELECT count(*) FROM people"), "0");
}

/// An integer as archives write it: a sign and four bytes.
fn int(value: i32) -> Vec<u8> {
    [&[u8::from(value < 0)][..], &value.unsigned_abs().to_le_bytes()].concat()
}

/// A file of the custom format with these data blocks, uncompressed, after a head of 16 bytes.
fn custom(path: &Path, blocks: &[(i32, &[u8])]) -> Vec<u64> {
    let mut bytes = b"PGDMP\x01\x0e\x00\x04\x08\x01".to_vec();
    bytes.resize(16, 0);
    let mut offsets = Vec::new();
    for (id, rows) in blocks {
        offsets.push(bytes.len() as u64);
        bytes.push(1);
        bytes.extend(int(*id));
        for chunk in rows.chunks(1000) {
            bytes.extend(int(i32::try_from(chunk.len()).unwrap()));
            bytes.extend_from_slice(chunk);
        }
        bytes.extend(int(0));
    }
    std::fs::File::create(path).unwrap().write_all(&bytes).unwrap();
    offsets
}

#[tokio::test]
async fn blocks_of_the_custom_format_are_found_and_loaded() {
    let archive = Archive::new("custom_blocks").await;
    let pg = archive.process();
    let dumped = archive.bench.run(&pg, &dump("people.dat", Compression::None)).await.unwrap();
    let rows = std::fs::read(archive.path("people.dat")).unwrap();
    let offsets = custom(&archive.path("a.dump"), &[(7, b"\\.\n\n\n"), (9, &rows), (12, b"x")]);
    let grant = folder_grant();
    let blocks = pg.blocks(&grant, "a.dump", 16).await.unwrap();
    let expect: Vec<Block> = [7, 9, 12]
        .into_iter()
        .zip(&offsets)
        .map(|(dump_id, offset)| Block { dump_id, offset: *offset })
        .collect();
    assert_eq!(blocks, expect);

    let loaded = archive.bench.run(&pg, &load("a.dump", Compression::None, Some(blocks[1]))).await.unwrap();
    assert_eq!(evidence(&loaded), evidence(&dumped));
    assert_eq!(archive.pair.from(SUM), archive.pair.to(SUM));

    let other = Block { dump_id: 8, ..blocks[1] };
    let mut effect = load("a.dump", Compression::None, Some(other));
    effect.key = "another".into();
    let error = archive.bench.run(&pg, &effect).await.unwrap_err();
    assert!(error.message.contains("no data block of entry 8"), "{error}");
    // Cut off anywhere, a file is an error and no endless reading.
    let whole = std::fs::read(archive.path("a.dump")).unwrap();
    for end in [3, 12, 17, 25, whole.len() / 2, whole.len() - 2] {
        std::fs::write(archive.path("cut.dump"), &whole[..end]).unwrap();
        let scanned = pg.blocks(&grant, "cut.dump", 16).await;
        assert!(scanned.is_err() || end == 12, "{end}: {scanned:?}");
    }
    for (name, bytes) in [("not.dump", &b"SELECT 1;"[..]), ("tar.dump", b"PGDMP\x01\x0e\x00\x04\x08\x03")] {
        std::fs::write(archive.path(name), bytes).unwrap();
        assert_eq!(pg.blocks(&grant, name, 0).await.unwrap_err().kind, ErrorKind::Invalid, "{name}");
    }
}

#[tokio::test]
async fn a_script_is_put_together_and_taken_back() {
    let archive = Archive::new("script").await;
    let pg = archive.process();
    let dumped = archive.bench.run(&pg, &dump("a.sql.1", Compression::None)).await.unwrap();
    let effect = seal(
        "a.sql",
        vec![
            text("COPY public.people (id, name, born, tags, extra, score) FROM stdin;\n"),
            Piece::Dumped { path: "a.sql.1".to_owned() },
            text("SELECT 1;\n"),
        ],
    );
    let sealed = archive.bench.run(&pg, &effect).await.unwrap();
    assert_eq!(archive.listed(""), ["a.sql"]);
    let script = std::fs::read_to_string(archive.path("a.sql")).unwrap();
    archive.pair.to(&script);
    assert_eq!(archive.pair.from(SUM), archive.pair.to(SUM));
    assert_eq!(pg.observe(&archive.bench.scope, &sealed).await.unwrap(), *evidence(&sealed));

    // The outcome was lost after the pieces were removed: the whole is known by its digest.
    let book = archive.bench.book(&effect.key);
    let again = pg.perform(&archive.bench.scope, &effect, &sealed.preparation, &book, true).await.unwrap();
    assert_eq!(Some(&again), sealed.done.as_ref());
    // Another text under the same request: what is there stays.
    let Action::SealArchive(mut request) = effect.action.clone() else { panic!("a seal") };
    request.pieces[2] = text("SELECT 2;\n");
    let other = Effect { action: Action::SealArchive(request), ..effect.clone() };
    assert_eq!(other.request_digest(), effect.request_digest());

    undo(&archive, &pg, &[dumped, sealed]).await;
    assert_eq!(archive.listed(""), [] as [&str; 0]);
}

#[tokio::test]
async fn transforms_sit_in_dumps_and_loads() {
    let labels = vec!["public.people".to_owned()];
    let archive = Archive::with("masked_dump", Mapped { labels, ..Mapped::default() }).await;
    let pg = archive.process();
    let dumped = archive.bench.run(&pg, &dump("people.dat", Compression::None)).await.unwrap();
    let rows = std::fs::read_to_string(archive.path("people.dat")).unwrap();
    assert!(rows.contains("masked") && !rows.contains("secret"));
    assert_eq!(evidence(&dumped).items, 5000);
    std::fs::write(archive.path("raw.dat"), rows.replace("masked", "secret")).unwrap();
    let loaded = archive.bench.run(&pg, &load("raw.dat", Compression::None, None)).await.unwrap();
    assert_eq!(evidence(&loaded), evidence(&dumped));
    assert_eq!(archive.pair.to("SELECT count(*) FROM people WHERE extra ? 'masked'"), "5000");
}

#[tokio::test]
async fn without_a_grant_there_is_no_file() {
    let archive = Archive::new("no_grant").await;
    let mut bench = archive.bench.clone();
    let grants = bench.scope.grants.iter().filter(|grant| grant.slot != SlotName::from("archive"));
    bench.scope.grants = Arc::new(grants.cloned().collect());
    let pg = archive.process();
    let denied = bench.run(&pg, &dump("people.dat", Compression::None)).await.unwrap_err();
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert_eq!(archive.listed(""), [] as [&str; 0]);
}

/// One without a byte, one with a hole, one of many pages that aren't text, and 300 small ones.
const OBJECTS: &str = "SELECT lo_create(100);
    SELECT lo_create(200); SELECT lo_put(200, 5000, 'after the hole'); SELECT lo_put(200, 3, 'a');
    SELECT lo_from_bytea(300, (SELECT string_agg(sha256(i::text::bytea), '') FROM generate_series(1, 9000) i));
    SELECT count(lo_from_bytea(10000 + i, i::text::bytea)) FROM generate_series(1, 300) i;";
const OBJECT_SUM: &str = "SELECT count(*), sum(hashtextextended(oid || ':' || encode(lo_get(oid), 'hex'), 0)) \
                          FROM pg_largeobject_metadata";

fn objects(slot: &str) -> Table {
    Table { schema: "pg_catalog".into(), ..table(slot, "pg_largeobject", &["loid", "pageno", "data"]) }
}

fn dump_objects(path: &str, compression: Compression) -> Effect {
    let mut effect = dump(path, compression);
    if let Action::DumpTable(request) = &mut effect.action {
        request.source = objects("source");
    }
    effect
}

fn load_objects(path: &str, compression: Compression) -> Effect {
    let mut effect = load(path, compression, None);
    if let Action::LoadTable(request) = &mut effect.action {
        request.sink = objects("sink");
    }
    effect
}

#[tokio::test]
async fn large_objects_become_files_and_objects_again() {
    for (number, compression) in
        [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd].into_iter().enumerate()
    {
        let archive = Archive::new(&format!("object_files_{number}")).await;
        archive.pair.from(OBJECTS);
        let pg = archive.process();
        let dumped = archive.bench.run(&pg, &dump_objects("a/blobs.rows", compression)).await.unwrap();
        assert_eq!(pg.observe(&archive.bench.scope, &dumped).await.unwrap(), *evidence(&dumped));
        let pieces = vec![Piece::ObjectFiles { path: "a/blobs.rows".to_owned(), compression }];
        let effect = seal("a/blobs.toc", pieces);

        // Cut off when some files were made: what is there of it is written over.
        let intended = archive.bench.intended(&pg, &effect).await;
        let book = archive.bench.book(&effect.key);
        let suffix = ["", ".gz", ".lz4", ".zst"][number];
        let half = archive.path(&format!("a/blob_200.dat{suffix}"));
        std::fs::write(&half, "half").unwrap();
        let refused = pg.perform(&archive.bench.scope, &effect, &intended.preparation, &book, false).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(std::fs::read(&half).unwrap(), b"half");
        // It was begun by now.
        let sealed = archive.bench.perform(&pg, &effect, true).await.unwrap();
        assert_eq!(archive.listed("a").len(), 304, "303 objects and their list");
        assert_eq!(pg.observe(&archive.bench.scope, &sealed).await.unwrap(), *evidence(&sealed));
        let again = pg.perform(&archive.bench.scope, &effect, &sealed.preparation, &book, true).await;
        assert_eq!(again.as_ref().ok(), sealed.done.as_ref());

        let loaded = archive.bench.run(&pg, &load_objects("a/blobs.toc", compression)).await.unwrap();
        assert_eq!(archive.pair.from(OBJECT_SUM), archive.pair.to(OBJECT_SUM));
        assert_eq!(pg.observe(&archive.bench.scope, &loaded).await.unwrap(), *evidence(&loaded));
        assert_eq!(evidence(&loaded), evidence(&dumped), "pages are those of the usual size");

        std::fs::write(&half, "other").unwrap();
        assert_ne!(pg.observe(&archive.bench.scope, &sealed).await.unwrap().digest, evidence(&sealed).digest);
        let mut scope = archive.bench.undo();
        scope.run = RunId::new("undo-altered".to_owned());
        let planned = pg.plan_undo(&scope, &std::slice::from_ref(&sealed)).await.unwrap();
        assert!(planned[0].changed.is_some(), "{planned:?}");
        pg.undo(&scope, &planned[0], true, false).await.unwrap();
        undo(&archive, &pg, &[dumped, loaded]).await;
        assert_eq!(archive.listed(""), ["a"], "the dump's folder stays, since its file was gone before");
        assert_eq!(archive.listed("a"), [] as [&str; 0]);
        assert_eq!(archive.pair.to("SELECT count(*) FROM pg_largeobject_metadata"), "0");
    }
}

#[tokio::test]
async fn a_damaged_large_object_leaves_nothing_in_the_sink() {
    let archive = Archive::new("object_damaged").await;
    archive.pair.from(OBJECTS);
    let pg = archive.process();
    archive.bench.run(&pg, &dump_objects("blobs.rows", Compression::Gzip)).await.unwrap();
    let pieces = vec![Piece::ObjectFiles { path: "blobs.rows".to_owned(), compression: Compression::Gzip }];
    archive.bench.run(&pg, &seal("blobs.toc", pieces)).await.unwrap();
    let path = archive.path("blob_300.dat.gz");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let failed = archive.bench.run(&pg, &load_objects("blobs.toc", Compression::Gzip)).await.unwrap_err();
    assert!(failed.message.contains("blob_300.dat.gz"), "{failed}");
    std::fs::write(&path, &whole).unwrap();
    std::fs::write(archive.path("blobs.toc"), "300 ../blob_300.dat\n").unwrap();
    let failed = archive.bench.run(&pg, &load_objects("blobs.toc", Compression::Gzip)).await.unwrap_err();
    assert!(failed.message.contains("names no file"), "{failed}");
    assert_eq!(archive.pair.to("SELECT count(*) FROM pg_largeobject_metadata"), "0");
}
