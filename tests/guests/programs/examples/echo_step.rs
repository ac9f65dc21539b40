//! A well-behaved step that uses every function of the contract once, and returns what the host answered.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::godwit::plugin::{archive, context, effects, files, objects, postgres};
use common::{Check, ConnectionKind, Error, Guest, Manifest, Verdict};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        let slots =
            [("db", ConnectionKind::Postgres), ("files", ConnectionKind::Dir), ("store", ConnectionKind::S3)];
        common::manifest("echo-step", &slots)
    }

    fn apply(params: String) -> Result<String, Error> {
        // Words of the params choose a behaviour; the test knows them.
        if params.contains("\"quick\"") {
            return Ok(params);
        }
        if params.contains("\"fail\"") {
            return Err(Error::Conflict("the target isn't empty".to_owned()));
        }
        if params.contains("\"hand-on\"") {
            let missing = files::read("files", "missing.txt");
            return missing.map(|_| "null".to_owned()).map_err(|e| match e {
                Error::Missing(text) => Error::Missing(format!("reading the settings: {text}")),
                other => other,
            });
        }
        if params.contains("\"no-json\"") {
            return Ok("{".to_owned());
        }
        if params.contains("\"bad-memo\"") {
            context::memo("m", Some("{"));
        }
        if params.contains("\"exit\"") {
            std::process::exit(3);
        }
        if params.contains("\"environment\"") {
            let variables = std::env::vars().count();
            let arguments = std::env::args().count();
            return Ok(format!("{{\"variables\": {variables}, \"arguments\": {arguments}}}"));
        }
        if params.contains("\"forget\"") {
            let _kept = files::delete("files", "kept", "a.txt")?;
            drop(files::delete("files", "dropped", "b.txt")?);
            return Ok("null".to_owned());
        }
        everything()
    }

    fn verify(params: String, outputs: String) -> Result<Vec<Check>, Error> {
        let check =
            |name: &str, verdict| Check { name: name.to_owned(), verdict, detail: Some(params.clone()) };
        Ok(vec![
            check("passes", Verdict::Passed),
            check("fails", Verdict::Failed(outputs)),
            check("can't say", Verdict::NotComparable("no digest".to_owned())),
        ])
    }
}

fn everything() -> Result<String, Error> {
    let mut seen = vec![format!("mode {:?}", context::mode())];
    context::log(context::Level::Warn, "logged");
    println!("to stdout");
    eprintln!("to stderr");
    context::progress("rows moved", 3, Some(4), "rows");
    seen.push(format!("memo {:?} {:?}", context::memo("m", Some("{\"n\":1}")), context::memo("none", None)));
    let granted = context::granted("db").ok_or_else(|| Error::Denied("db".to_owned()))?;
    seen.push(format!("granted {} {} {:?}", granted.write, granted.identity, granted.secrets));

    let rows = postgres::query("db", "SELECT $1::int", &[Some("1".to_owned()), None])?;
    seen.push(format!("rows {:?} {:?}", rows.next()?, rows.next()?));
    seen.push(format!("file {:?}", String::from_utf8_lossy(&files::read("files", "a.txt")?)));
    seen.push(format!("stat {:?}", files::stat("files", "a.txt")?.map(|s| (s.path, s.size, s.is_dir))));
    seen.push(format!("range {:?}", String::from_utf8_lossy(&files::read_range("files", "a.txt", 8, 4)?)));
    seen.push(format!("list {:?}", files::list("files", "")?.len()));
    let listing = objects::list("store", "bucket", "pre/", Some("pre/a"))?;
    let page: Vec<_> = listing.next()?.into_iter().map(|o| (o.key, o.size, o.etag, o.modified)).collect();
    seen.push(format!("objects {page:?} {:?}", listing.next()?.len()));
    seen.push(format!(
        "head {:?}",
        objects::head("store", "bucket", "key")?.map(|h| (h.headers, h.metadata))
    ));
    seen.push(format!("exists {:?}", objects::bucket_exists("store", "bucket")?));
    seen.push(format!("cors {:?}", objects::cors("store", "bucket")?));
    let presigned = objects::presigned_get("store", "bucket", "key")?;
    seen.push(format!("presigned {} {} {}", presigned.status, presigned.bytes, presigned.sha256));
    let endpoint = objects::describe_endpoint("store")?;
    seen.push(format!("endpoint {} {} {}", endpoint.vendor, endpoint.tags, endpoint.max_key));
    let versions = objects::versions("store", "bucket", "pre/")?;
    let page: Vec<_> =
        versions.next()?.into_iter().map(|v| (v.object.key, v.version, v.latest, v.deleted)).collect();
    seen.push(format!("versions {page:?} {:?}", versions.next()?.len()));
    let stat = objects::stat("store", "bucket", &["key".to_owned(), "gone".to_owned()]);
    let stat: Vec<_> = stat.into_iter().map(|one| one.map(|found| found.map(|o| o.size))).collect();
    seen.push(format!("stat {stat:?}"));
    let place = |key: &str| objects::Location {
        slot: "store".to_owned(),
        bucket: "bucket".to_owned(),
        key: key.to_owned(),
    };
    for compared in objects::compare(&[(place("a"), place("b"))], true) {
        let compared = compared?;
        seen.push(format!("compare {:?} {} {:?}", compared.likeness, compared.by, compared.detail));
    }
    seen.push(format!(
        "setting {:?}",
        objects::setting("store", "bucket", objects::BucketSetting::Lifecycle)?
    ));
    let origin = "https://app.example.com";
    let preflight = objects::cors_preflight("store", "bucket", "key", origin, "GET", &["range".to_owned()])?;
    seen.push(format!("preflight {} {:?}", preflight.status, preflight.headers));

    let blocks = archive::blocks("files", "a.dump", 99)?;
    seen.push(format!("blocks {:?}", blocks.iter().map(|b| (b.dump_id, b.offset)).collect::<Vec<_>>()));

    let question =
        |sql: &str| postgres::Question { slot: "db".to_owned(), sql: sql.to_owned(), params: Vec::new() };
    for answer in postgres::answers(&[question("one"), question("denied")]) {
        seen.push(format!("answer {answer:?}"));
    }

    effects::submit(make()?)?;
    loop {
        let outcomes = effects::next(3)?;
        if outcomes.is_empty() {
            break;
        }
        for outcome in outcomes {
            seen.push(format!("outcome {} {:?}", outcome.key, outcome.result));
        }
    }
    seen.push(format!(
        "evidence {:?}",
        effects::evidence_of("copy table")?.map(|e| (e.items, e.bytes, e.digest))
    ));
    seen.push(format!("observed {:?}", effects::observe(&["copy table".to_owned()]).swap_remove(0)?.items));
    Ok(format!("[{}]", seen.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(",")))
}

/// One effect of each kind.
fn make() -> Result<Vec<effects::Effect>, Error> {
    let table = |slot: &str| postgres::Table {
        slot: slot.to_owned(),
        schema: "public".to_owned(),
        name: "users".to_owned(),
        columns: vec!["id".to_owned(), "name".to_owned()],
    };
    let at = |key: &str| objects::Location {
        slot: "store".to_owned(),
        bucket: "bucket".to_owned(),
        key: key.to_owned(),
    };
    let rows = |path: &str| archive::RowsFile {
        slot: "files".to_owned(),
        path: path.to_owned(),
        compression: archive::Compression::Zstd,
    };
    let standalone = postgres::Execution::Standalone(postgres::Standalone {
        probe: Some("SELECT 'done'".to_owned()),
        repair: vec!["DROP INDEX i".to_owned()],
    });
    let copy = postgres::CopyOptions {
        consistency: postgres::Consistency::Frozen,
        only: true,
        filter: Some("id > 1".to_owned()),
    };
    let database = postgres::DatabaseOptions {
        owner: Some("app".to_owned()),
        encoding: None,
        locale: Some("C".to_owned()),
        locale_provider: Some("icu".to_owned()),
        template: None,
        connection_limit: Some(7),
    };
    let rule = objects::CorsRule {
        allowed_origins: vec!["https://app.example.com".to_owned()],
        allowed_methods: vec!["GET".to_owned()],
        allowed_headers: vec!["*".to_owned()],
        expose_headers: vec!["ETag".to_owned()],
        max_age: Some(60),
    };
    let object = objects::CopyOptions {
        replaces: objects::Replaces::Nothing,
        storage_class: Some("GLACIER".to_owned()),
        tags: true,
    };
    let version = objects::VersionCopy {
        version: "v1".to_owned(),
        size: 7,
        etag: "etag".to_owned(),
        deleted: false,
        storage_class: None,
    };
    let index = postgres::execute(
        "db",
        "index",
        &["CREATE INDEX CONCURRENTLY i ON users (id)".to_owned()],
        &standalone,
        &postgres::Undo::Statements(vec!["DROP INDEX i".to_owned()]),
        true,
    )?;
    index.after(&["copy table".to_owned(), "copy table".to_owned()]);
    Ok(vec![
        files::write("files", "write", "a.txt", b"content")?,
        files::delete("files", "delete", "b.txt")?,
        postgres::copy("copy table", &table("db"), &table("db"), &copy)?,
        index,
        postgres::copy_sequences(
            "sequences",
            "db",
            "db",
            &[postgres::Sequence { schema: "public".to_owned(), name: "s".to_owned() }],
        )?,
        postgres::create_database("db", "database", &database)?,
        archive::dump("dump", &table("db"), &rows("d/1.dat.zst"), &copy)?,
        archive::load(
            "load",
            &rows("a.dump"),
            Some(archive::Block { dump_id: 7, offset: 99 }),
            Some("LATIN1"),
            &table("db"),
        )?,
        archive::seal(
            "files",
            "seal",
            "d/toc.dat",
            &[archive::Piece::Text(b"toc".to_vec()), archive::Piece::Dumped("d/1.dat.zst".to_owned())],
        )?,
        objects::copy("copy object", &at("a"), &at("b"), 7, "etag", &object)?,
        objects::copy_versions("versions", &at("e"), &at("f"), &[version], true)?,
        objects::set_setting("store", "setting", "bucket", objects::BucketSetting::Policy, Some("{}"))?,
        objects::probe("store", "probe", "bucket", "pre/")?,
        objects::put(
            "put",
            &at("c"),
            b"body",
            Some("text/plain"),
            &objects::Replaces::Object("old".to_owned()),
        )?,
        objects::delete("delete object", &at("d"), "etag")?,
        objects::create_bucket("store", "bucket", "bucket")?,
        objects::set_cors("store", "cors", "bucket", &[rule])?,
    ])
}

#[allow(unsafe_code)]
mod export {
    super::common::export!(Step with_types_in super::common);
    use super::Step;
}
