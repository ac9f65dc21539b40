//! Every test guest against the runtime: the well-behaved ones work, each evil one ends with its own clear error.
//!
//! A guest of `tests/guests/programs` without a test of its name here doesn't compile.

mod bundled;
mod host;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use godwit_model::check::Verdict;
use godwit_model::effect::{Action, Block, BucketSetting, Compression, Execution, Piece, Replaces, SqlUndo};
use godwit_model::plugin::{ConnectionKind, Level, Limits, Mode, Pipe, Plugin, PluginKind};
use godwit_model::{Error, ErrorKind, Fault, Json, Result};
use godwit_runtime::{Runtime, Version};
use godwit_test_guests as guests;
use host::MockHost;
use serde_json::json;

macro_rules! has_a_test {
    ($name:ident) => {
        const _: fn() = $name;
    };
}
guests::for_each_guest!(has_a_test);

/// One runtime for all tests, so that no guest is compiled twice.
static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| Runtime::new(None).unwrap());

async fn load(name: &str, bytes: &[u8]) -> Result<Arc<dyn Plugin>> {
    RUNTIME.load(name, bytes).await
}

/// Applies a step with small limits and returns the error it ends with.
async fn apply_error(name: &str, bytes: &[u8], params: Json, limits: Limits) -> Error {
    let plugin = load(name, bytes).await.unwrap();
    let error = plugin.apply(MockHost::new(), &params, &limits).await.unwrap_err();
    assert!(error.message.contains(&format!("`{name}`")), "the plugin isn't named: {error}");
    error
}

#[track_caller]
fn assert_limit(error: &Error, what: &str, recipe_line: &str) {
    assert_eq!((error.kind, error.fault), (ErrorKind::Failed, Fault::Plugin), "{error}");
    assert!(error.message.contains(what), "{error}");
    let hint = error.hint.as_deref().unwrap_or_default();
    assert!(hint.contains(recipe_line), "{hint}");
}

async fn pipe(name: &str, bytes: &[u8], params: Json, limits: Limits) -> Result<Box<dyn Pipe>> {
    load(name, bytes).await.unwrap().pipe(&params, &json!({"kind": "table"}), &limits).await
}

#[tokio::test]
async fn echo_step() {
    let known = RUNTIME.inspect("echo", guests::ECHO_STEP).await.unwrap();
    assert_eq!((known.abi, known.kind), (Version::new(0, 1, 0), PluginKind::Step));
    for kind in [ConnectionKind::Postgres, ConnectionKind::Dir, ConnectionKind::S3] {
        assert!(known.imports.kinds.contains(&kind), "{kind:?}");
    }
    assert!(known.imports.interfaces.contains(&"godwit:plugin/files@0.1.0".to_owned()));
    assert_eq!(known.manifest.slots.len(), 3);

    let plugin = load("echo", guests::ECHO_STEP).await.unwrap();
    assert_eq!(*plugin.digest(), godwit_model::Digest::of(guests::ECHO_STEP));
    let host = MockHost::new();
    let seen = plugin.apply(host.clone(), &json!({}), &Limits::default()).await.unwrap();
    let seen: Vec<&str> = seen.as_array().unwrap().iter().filter_map(Json::as_str).collect();
    let expect = [
        "mode CallMode::Apply",
        r#"memo Some("{\"n\":1}") None"#,
        r#"granted true postgres://db.example.com:5432/app ["password"]"#,
        r#"rows ["{\"a\":1}"] []"#,
        r#"file "content of a.txt""#,
        r#"stat Some(("a.txt", 7, false))"#,
        r#"range "of a""#,
        "list 1",
        r#"objects [("key", 5, "etag", -1)] 0"#,
        r#"head Some(([("content-type", "text/plain")], [("owner", "me")]))"#,
        "exists true",
        r#"cors Some("[]")"#,
        "presigned 200 5 abc",
        "endpoint generic true 1024",
        r#"versions [("key", "v1", true, false)] 0"#,
        r#"stat [Ok(Some(5)), Err(Error::Missing("not this one"))]"#,
        r#"compare Likeness::Differs content Some("a and b")"#,
        r#"setting SettingState::Unsupported("lifecycle")"#,
        r#"preflight 200 [("access-control-allow-origin", "https://app.example.com")]"#,
        "blocks [(7, 99)]",
        r#"answer Ok(["{\"asked\":\"one\"}"])"#,
        r#"answer Err(Error::Denied("not this one"))"#,
    ];
    assert_eq!(&seen[..expect.len()], expect);
    let outcomes: Vec<_> = seen.iter().filter(|line| line.starts_with("outcome")).collect();
    assert_eq!(outcomes.len(), 17);
    assert!(outcomes.contains(&&r#"outcome write Ok("{\"did\":\"write\"}")"#), "{outcomes:?}");
    let refused = r#"outcome delete Err(Error::Unavailable("the disk is away (EIO); plug it in"))"#;
    assert!(outcomes.contains(&&refused), "{outcomes:?}");
    assert_eq!(seen[seen.len() - 2], r#"evidence Some((3, 30, "xxh3:00"))"#);
    assert_eq!(seen[seen.len() - 1], "observed 4");

    let effects = host.effects();
    assert_eq!(effects.len(), 17);
    let by_key = |key: &str| effects.iter().find(|effect| effect.key.as_str() == key).unwrap();
    let Action::ExecuteSql(index) = &by_key("index").action else { panic!("not SQL") };
    assert!(index.data_dependent);
    assert_eq!(
        index.execution,
        Execution::Standalone {
            probe: Some("SELECT 'done'".to_owned()),
            repair: vec!["DROP INDEX i".to_owned()]
        }
    );
    assert_eq!(index.undo, SqlUndo::Statements { statements: vec!["DROP INDEX i".to_owned()] });
    assert_eq!(by_key("index").after, ["copy table".into()]);
    let Action::WriteFile(write) = &by_key("write").action else { panic!("not a file") };
    assert_eq!(write.content.bytes.as_deref(), Some(b"content".as_slice()));
    let Action::PutObject(put) = &by_key("put").action else { panic!("not an object") };
    assert_eq!(put.replaces, Replaces::Object { etag: "old".to_owned() });
    let Action::CopyObject(copy) = &by_key("copy object").action else { panic!("not an object") };
    assert_eq!((copy.storage_class.as_deref(), copy.tags), (Some("GLACIER"), true));
    let Action::CopyVersions(copy) = &by_key("versions").action else { panic!("no versions") };
    assert_eq!((copy.versions[0].version.as_str(), copy.versions[0].size, copy.tags), ("v1", 7, true));
    let Action::SetBucketSetting(set) = &by_key("setting").action else { panic!("no setting") };
    assert_eq!((set.name, set.document.as_deref()), (BucketSetting::Policy, Some("{}")));
    let Action::ProbeBucket(probe) = &by_key("probe").action else { panic!("no probe") };
    assert_eq!(probe.prefix, "pre/");
    let Action::SetCors(cors) = &by_key("cors").action else { panic!("not CORS") };
    assert_eq!(cors.rules[0].max_age, Some(60));
    let Action::CopyTable(copy) = &by_key("copy table").action else { panic!("not a table") };
    assert_eq!((copy.only, copy.filter.as_deref()), (true, Some("id > 1")));
    let Action::DumpTable(dump) = &by_key("dump").action else { panic!("not a dump") };
    assert_eq!((dump.sink.path.as_str(), dump.sink.compression), ("d/1.dat.zst", Compression::Zstd));
    assert_eq!((dump.only, dump.filter.as_deref()), (true, Some("id > 1")));
    let Action::LoadTable(load) = &by_key("load").action else { panic!("not a load") };
    assert_eq!(load.block, Some(Block { dump_id: 7, offset: 99 }));
    assert_eq!(load.encoding.as_deref(), Some("LATIN1"));
    assert_eq!((load.source.path.as_str(), load.sink.name.as_str()), ("a.dump", "users"));
    let Action::SealArchive(seal) = &by_key("seal").action else { panic!("not a seal") };
    let text = Piece::Text { bytes: b"toc".to_vec() };
    assert_eq!(seal.pieces, [text, Piece::Dumped { path: "d/1.dat.zst".to_owned() }]);
    let Action::CreateDatabase(database) = &by_key("database").action else { panic!("not a database") };
    assert_eq!((database.owner.as_deref(), database.encoding.as_deref()), (Some("app"), None));
    assert_eq!((database.locale_provider.as_deref(), database.connection_limit), (Some("icu"), Some(7)));

    let logged = host.logged();
    assert_eq!(logged[0], (Level::Warn, "logged".to_owned()));
    assert_eq!(logged[1], (Level::Debug, "plugin `echo` wrote: to stdout\nto stderr".to_owned()));
    let query = ("SELECT $1::int".to_owned(), vec![Some("1".to_owned()), None]);
    assert_eq!(host.queries(), [query]);
    assert_eq!(host.progressed(), ["rows moved 3/Some(4) rows"]);

    let (params, outputs) = (json!({"p": 1}), json!({"o": 2}));
    let checks =
        plugin.verify(MockHost::in_mode(Mode::Verify), &params, &outputs, &Limits::default()).await.unwrap();
    let verdicts: Vec<_> = checks.iter().map(|check| check.verdict.clone()).collect();
    let failed = Verdict::Failed(outputs.to_string());
    assert_eq!(verdicts, [Verdict::Passed, failed, Verdict::NotComparable("no digest".to_owned())]);
    assert_eq!(checks[0].detail, Some(params.to_string()));

    let error = plugin.pipe(&json!({}), &json!({}), &Limits::default()).await.err().unwrap();
    assert!(error.message.contains("is a step, not a transform"), "{error}");
}

#[tokio::test]
async fn errors_of_a_guest_keep_their_class() {
    let plugin = load("echo", guests::ECHO_STEP).await.unwrap();
    let apply = |word: &'static str| {
        let plugin = plugin.clone();
        async move { plugin.apply(MockHost::new(), &json!({ "do": word }), &Limits::default()).await }
    };
    assert_eq!(apply("quick").await.unwrap(), json!({"do": "quick"}));
    let own = apply("fail").await.unwrap_err();
    assert_eq!((own.kind, own.fault), (ErrorKind::Conflict, Fault::Remote));
    assert_eq!(own.message, "the target isn't empty");
    let handed_on = apply("hand-on").await.unwrap_err();
    assert_eq!(handed_on.message, "reading the settings: `missing.txt` isn't there");
    assert_eq!(handed_on.code.as_deref(), Some("ENOENT"));
    assert_eq!(handed_on.hint.as_deref(), Some("write it"));
    let no_json = apply("no-json").await.unwrap_err();
    assert_eq!(no_json.fault, Fault::Plugin);
    assert!(no_json.message.contains("outputs that are no JSON"), "{no_json}");
    let memo = apply("bad-memo").await.unwrap_err();
    assert!(memo.message.contains("broke the contract: the value of its memo `m` is no JSON"), "{memo}");
    let exit = apply("exit").await.unwrap_err();
    assert!(exit.message.contains("called exit with code"), "{exit}");
    assert_eq!(exit.fault, Fault::Plugin);
}

#[tokio::test]
async fn a_guest_has_no_environment_and_no_arguments() {
    let plugin = load("echo", guests::ECHO_STEP).await.unwrap();
    let params = json!({"do": "environment"});
    let seen = plugin.apply(MockHost::new(), &params, &Limits::default()).await.unwrap();
    assert_eq!(seen, json!({"variables": 0, "arguments": 0}));
}

#[tokio::test]
async fn effects_that_are_never_submitted_are_told() {
    let plugin = load("echo", guests::ECHO_STEP).await.unwrap();
    let host = MockHost::new();
    plugin.apply(host.clone(), &json!({"do": "forget"}), &Limits::default()).await.unwrap();
    let expect = (Level::Warn, "plugin `echo` made 2 effects that it never submitted".to_owned());
    assert_eq!(host.logged(), [expect]);
    assert!(host.effects().is_empty());
}

#[tokio::test]
async fn a_host_that_stops_ends_the_call_with_its_own_error() {
    let plugin = load("echo", guests::ECHO_STEP).await.unwrap();
    let stop = Error::conflict("effect `write` is known with another request").hint("start a new run");
    let host = MockHost::stopping(stop.clone());
    let error = plugin.apply(host, &json!({}), &Limits::default()).await.unwrap_err();
    assert_eq!(error, stop);
}

#[tokio::test]
async fn echo_transform() {
    let plugin = load("echo", guests::ECHO_TRANSFORM).await.unwrap();
    assert_eq!(plugin.kind(), PluginKind::Transform);
    assert_eq!(plugin.manifest().outputs_schema, Json::Null);
    let limits = Limits { output: 1 << 20, ..Limits::default() };
    let mut first = plugin.pipe(&json!({"p": 1}), &json!({"s": 2}), &limits).await.unwrap();
    let mut second = plugin.pipe(&json!({"p": 3}), &json!({}), &limits).await.unwrap();
    let chunk = vec![7_u8; 1 << 20];
    assert_eq!(plugin.selects(&json!({"p": 5}), &limits).await.unwrap(), ["public.*", r#"{"p":5}"#]);
    assert_eq!(first.push(&chunk).await.unwrap(), chunk);
    assert_eq!(second.push(b"").await.unwrap(), b"");
    // One row that is longer than the output limit.
    let row = vec![8_u8; 3 << 20];
    assert_eq!(first.push(&row).await.unwrap(), row);
    assert_eq!(first.finish().await.unwrap(), br#"2 chunks, {"p":1} {"s":2}"#);
    assert_eq!(second.finish().await.unwrap(), br#"1 chunks, {"p":3} {}"#);
    let error = first.push(b"late").await.unwrap_err();
    assert!(error.message.contains("after it had ended"), "{error}");
    let error = plugin.apply(MockHost::new(), &json!({}), &limits).await.unwrap_err();
    assert!(error.message.contains("is a transform, not a step"), "{error}");
    let step = load("echo", guests::ECHO_STEP).await.unwrap();
    let error = step.selects(&json!({}), &limits).await.unwrap_err();
    assert!(error.message.contains("is a step, not a transform"), "{error}");
}

#[tokio::test]
async fn upper_transform() {
    let plugin = load("upper", guests::UPPER_TRANSFORM).await.unwrap();
    assert!(plugin.selects(&json!({}), &Limits::default()).await.unwrap().is_empty());
    let mut pipe = plugin.pipe(&json!({}), &json!({"kind": "object"}), &Limits::default()).await.unwrap();
    assert_eq!(pipe.push("1\tgrün\n".as_bytes()).await.unwrap(), "1\tGRüN\n".as_bytes());
    assert_eq!(pipe.finish().await.unwrap(), b"");
}

#[tokio::test]
async fn calling_step() {
    let plugin = load("calling", guests::CALLING_STEP).await.unwrap();
    for call in ["mode", "granted"] {
        let params = json!({"call": call, "times": 1000});
        let outputs = plugin.apply(MockHost::new(), &params, &Limits::default()).await.unwrap();
        assert_eq!(outputs, json!({"answered": 1000}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_loop() {
    let limits = Limits { cpu_ms: 200, ..Limits::default() };
    let error = apply_error("endless-loop", guests::ENDLESS_LOOP, json!({}), limits).await;
    assert_limit(&error, "passed its CPU limit of 200ms", "\"limits\": { \"cpu\": \"400ms\" }");

    // A wall-clock time-out stops it too, on one thread or on many.
    let plugin = load("endless-loop", guests::ENDLESS_LOOP).await.unwrap();
    let started = Instant::now();
    let params = json!({});
    let limits = Limits::default();
    let call = plugin.apply(MockHost::new(), &params, &limits);
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn memory_bomb() {
    let limits = Limits { memory: 16 << 20, ..Limits::default() };
    let error = apply_error("memory-bomb", guests::MEMORY_BOMB, json!({}), limits).await;
    assert_limit(&error, "passed its memory limit of 16MiB", "\"limits\": { \"memory\": \"32MiB\" }");
}

#[tokio::test]
async fn deep_recursion() {
    let error = apply_error("deep", guests::DEEP_RECURSION, json!({}), Limits::default()).await;
    assert_eq!(error.message, "plugin `deep` ran out of stack");
    assert_eq!(error.fault, Fault::Plugin);
}

#[tokio::test]
async fn trap() {
    let error = apply_error("trap", guests::TRAP, json!({}), Limits::default()).await;
    assert_eq!(error.message, "plugin `trap` aborted");
    assert_eq!(error.fault, Fault::Plugin);
}

#[tokio::test]
async fn panic() {
    let error = apply_error("panic", guests::PANIC, json!({}), Limits::default()).await;
    assert!(
        error.message.starts_with("plugin `panic` panicked: the table `public.users` has no columns ("),
        "{error}"
    );
    assert!(error.message.contains("panic.rs:"), "{error}");
    assert_eq!(error.fault, Fault::Plugin);
}

#[tokio::test]
async fn huge_output() {
    let error = apply_error("huge-output", guests::HUGE_OUTPUT, json!({}), Limits::default()).await;
    assert_limit(&error, "passed its output limit of 16MiB: the step's outputs", "\"output\": \"64MiB\"");
}

#[tokio::test]
async fn log_flood() {
    let limits = Limits { log: 64 << 10, ..Limits::default() };
    let plugin = load("log-flood", guests::LOG_FLOOD).await.unwrap();
    let host = MockHost::new();
    let error = plugin.apply(host.clone(), &json!({}), &limits).await.unwrap_err();
    assert_limit(&error, "passed its limit of 64KiB for log messages and stderr", "\"log\": \"128KiB\"");
    let logged: usize = host.logged().iter().map(|(_, message)| message.len()).sum();
    assert!(logged <= 64 << 10, "{logged}");
}

#[tokio::test]
async fn effect_flood() {
    let limits = Limits { effects: 100, memory: 16 << 20, ..Limits::default() };
    let flood =
        |how: &'static str, limits: Limits| apply_error("flood", guests::EFFECT_FLOOD, json!(how), limits);
    for how in ["submit", "keep"] {
        let error = flood(how, limits.clone()).await;
        assert_limit(&error, "passed its limit of 100 effects and memos", "\"limits\": { \"effects\": 200 }");
    }
    let error = flood("keep large", limits).await;
    assert_limit(&error, "by the content of effects that it hasn't submitted", "\"memory\": \"32MiB\"");
    let error = flood("keep", Limits::default()).await;
    assert_limit(&error, "65536 effects that aren't submitted", "smaller batches");
}

#[tokio::test]
async fn forged_slot() {
    let plugin = load("forged-slot", guests::FORGED_SLOT).await.unwrap();
    let host = MockHost::new();
    let error = plugin.apply(host.clone(), &json!({}), &Limits::default()).await.unwrap_err();
    assert_eq!((error.kind, error.fault), (ErrorKind::Denied, Fault::Recipe));
    assert!(error.message.contains("slot `someone-elses` is not granted"), "{error}");
    assert!(error.hint.unwrap().contains("\"grant\""));
    assert!(host.effects().is_empty());
}

#[tokio::test]
async fn forged_objects() {
    let plugin = load("forged-objects", guests::FORGED_OBJECTS).await.unwrap();
    for how in ["source", "further source", "sink"] {
        let host = MockHost::new();
        let error = plugin.apply(host.clone(), &json!({ "how": how }), &Limits::default()).await.unwrap_err();
        assert_eq!((error.kind, error.fault), (ErrorKind::Denied, Fault::Recipe), "{how}");
        assert!(error.message.contains("slot `someone-elses` is not granted"), "{how}: {error}");
        assert!(host.effects().is_empty(), "{how}");
    }
}

#[tokio::test]
async fn broken_transform() {
    let name = "broken";
    let limits = Limits { cpu_ms: 200, ..Limits::default() };
    let open = |how: &'static str| pipe(name, guests::BROKEN_TRANSFORM, json!(how), limits.clone());
    let error = open("in-constructor").await.err().unwrap();
    assert!(error.message.starts_with("plugin `broken` panicked: the params are nonsense ("), "{error}");

    let mut panics = open("panic").await.unwrap();
    let error = panics.push(b"row\n").await.unwrap_err();
    assert!(error.message.contains("plugin `broken` panicked: row 7 has no column `email`"), "{error}");
    assert_eq!(error.fault, Fault::Plugin);
    let error = panics.finish().await.unwrap_err();
    assert!(error.message.contains("used after it had ended or failed"), "{error}");

    let error = open("error").await.unwrap().push(b"row\n").await.unwrap_err();
    assert_eq!(error.message, "transform `broken`: the rule for `public.users` names no column");
    assert_eq!(error.kind, ErrorKind::Invalid);

    let error = open("loop").await.unwrap().push(b"row\n").await.unwrap_err();
    assert_limit(&error, "plugin `broken` passed its CPU limit of 200ms", "\"cpu\": \"400ms\"");

    let plugin = load(name, guests::BROKEN_TRANSFORM).await.unwrap();
    for (how, expect) in [
        ("panic", "plugin `broken` panicked: the params are nonsense ("),
        ("error", "transform `broken`: the rule for `public.users` names no column"),
        ("loop", "plugin `broken` passed its CPU limit of 200ms"),
    ] {
        let error = plugin.selects(&json!(how), &limits).await.unwrap_err();
        assert!(error.message.starts_with(expect), "{error}");
    }
}

#[tokio::test]
async fn greedy_transform() {
    let limits = Limits { memory: 16 << 20, output: 1 << 20, ..Limits::default() };
    let mut keeps = pipe("greedy", guests::GREEDY_TRANSFORM, json!("keep"), limits.clone()).await.unwrap();
    let chunk = vec![0_u8; 1 << 20];
    let error = loop {
        if let Err(error) = keeps.push(&chunk).await {
            break error;
        }
    };
    assert_limit(&error, "plugin `greedy` passed its memory limit of 16MiB", "\"memory\": \"32MiB\"");

    let mut grows = pipe("greedy", guests::GREEDY_TRANSFORM, json!("grow"), limits.clone()).await.unwrap();
    let error = grows.push(&chunk[..4096]).await.unwrap_err();
    assert_limit(&error, "passed its output limit of 1MiB: a chunk", "\"output\": ");
    let plugin = load("greedy", guests::GREEDY_TRANSFORM).await.unwrap();
    let error = plugin.selects(&json!("grow"), &limits).await.unwrap_err();
    assert_limit(&error, "passed its output limit of 1MiB: the list of selectors", "\"output\": ");
}

async fn refused(name: &str, bytes: &[u8], expect: &str) -> Error {
    let error = load(name, bytes).await.err().expect("the plugin was loaded");
    assert!(error.message.contains(&format!("`{name}`")), "the plugin isn't named: {error}");
    assert!(error.message.contains(expect), "{error}");
    assert_eq!(error.fault, Fault::Plugin);
    assert!(error.hint.is_some(), "no next step: {error}");
    error
}

#[tokio::test]
async fn imports_filesystem() {
    let error = refused("fs", guests::IMPORTS_FILESYSTEM, "imports what no plugin may have").await;
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("`wasi:filesystem/types@0.2"), "{error}");
    assert!(!error.message.contains("wasi:cli"), "{error}");
}

#[tokio::test]
async fn imports_sockets() {
    let error = refused("net", guests::IMPORTS_SOCKETS, "imports what no plugin may have").await;
    assert!(error.message.contains("`wasi:sockets/tcp@0.2"), "{error}");
    assert!(error.message.contains("(the network)"), "{error}");
}

#[tokio::test]
async fn undeclared_slot() {
    let expect = "imports `godwit:plugin/postgres`, but declares no slot of kind `postgres`";
    refused("undeclared", guests::UNDECLARED_SLOT, expect).await;
}

#[tokio::test]
async fn abi_too_new() {
    let error = refused("new", guests::ABI_TOO_NEW, "needs version 9.0.0 of the plugin contract").await;
    assert!(error.hint.unwrap().starts_with("upgrade godwit"));
}

#[tokio::test]
async fn abi_too_old() {
    refused("old", guests::ABI_TOO_OLD, "is too old: it was built for version 0.0.1").await;
}

#[tokio::test]
async fn no_plugin() {
    refused("greeter", guests::NO_PLUGIN, "is a WebAssembly component, but not a Godwit plugin").await;
}

#[tokio::test]
async fn impure_describe() {
    let error = refused("impure", guests::IMPURE_DESCRIBE, "called the host while it described itself").await;
    assert!(
        error.message.starts_with("while it described itself: plugin `impure` broke the contract"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_component_is_refused() {
    refused("text", b"#!/bin/sh\necho hello\n", "is no WebAssembly").await;
    refused("empty", b"", "is no WebAssembly").await;
    refused("module", b"\0asm\x01\0\0\0", "is a core WebAssembly module, not a component").await;
    refused("cut", &guests::ECHO_STEP[..1000], "can't be compiled").await;
}

/// One folder, several runtimes: what a first process has compiled, a second one doesn't compile again.
#[tokio::test]
async fn compiled_code_is_kept_and_distrusted_when_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let runtime = || Runtime::new(Some(cache.clone())).unwrap();
    let params = json!({"do": "quick"});
    let cold = runtime().load("echo", guests::ECHO_STEP).await.unwrap();
    let file = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with(cold.digest().as_str()) && name.ends_with(".cwasm"), "{name}");

    let warm_runtime = runtime();
    let started = Instant::now();
    let warm = warm_runtime.load("echo", guests::ECHO_STEP).await.unwrap();
    let took = started.elapsed();
    assert_eq!(warm.manifest(), cold.manifest());
    assert_eq!(warm.kind(), cold.kind());
    eprintln!("a cached plugin loads in {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(warm.apply(MockHost::new(), &params, &Limits::default()).await.unwrap(), params);
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), written, "it was compiled again");
    assert_eq!(warm_runtime.inspect("echo", guests::ECHO_STEP).await.unwrap().imports.kinds.len(), 3);

    // One flipped bit in the code: the header still reads, the code is made anew.
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let healed = runtime().load("echo", guests::ECHO_STEP).await.unwrap();
    assert_eq!(healed.apply(MockHost::new(), &params, &Limits::default()).await.unwrap(), params);
    assert_ne!(std::fs::read(&file).unwrap(), bytes);

    // Code of another engine under the digest it has: wasmtime refuses it, and it is made anew.
    let entry_end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let mut entry: Json = serde_json::from_slice(&bytes[..entry_end]).unwrap();
    let folded = xxhash_rust::xxh3::xxh3_128(b"no code at all");
    entry["code"] = json!(format!("xxh3:{folded:032x}"));
    std::fs::write(&file, format!("{entry}\nno code at all")).unwrap();
    let healed = runtime().load("echo", guests::ECHO_STEP).await.unwrap();
    assert_eq!(healed.apply(MockHost::new(), &params, &Limits::default()).await.unwrap(), params);
}

/// Every call has a store of its own: a call that dies takes nothing with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_do_not_share_anything() {
    let plugin = load("broken", guests::BROKEN_TRANSFORM).await.unwrap();
    let limits = Limits::default();
    let mut good = plugin.pipe(&json!("fine"), &json!({}), &limits).await.unwrap();
    for _ in 0..20 {
        let mut bad = plugin.pipe(&json!("panic"), &json!({}), &limits).await.unwrap();
        assert!(bad.push(b"x").await.is_err());
        assert_eq!(good.push(b"y").await.unwrap(), b"y");
    }
    let steps = (0..8).map(|n| {
        tokio::spawn(async move {
            let plugin = load("echo", guests::ECHO_STEP).await?;
            plugin.apply(MockHost::new(), &json!({"do": "quick", "n": n}), &Limits::default()).await
        })
    });
    for (n, step) in steps.enumerate() {
        assert_eq!(step.await.unwrap().unwrap()["n"], json!(n));
    }
}
