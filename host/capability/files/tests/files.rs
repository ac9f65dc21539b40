//! Effects on files, their resumption after a crash, and their undo.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use godwit_files::Files;
use godwit_model::capability::*;
use godwit_model::effect::*;
use godwit_model::plugin::{Access, ConnectionKind, Grant, Mode, Pipe};
use godwit_model::secret::{Secret, Secrets};
use godwit_model::{ConnectionName, Error, ErrorKind, Json, Result, RunId};
use serde_json::json;

const SECRET: &str = "fake-s3cret-value";

/// The services of the engine that files don't use.
struct Nothing;

#[async_trait]
impl Notes for Nothing {
    async fn get(&self, _: &str) -> Result<Option<Json>> {
        Ok(None)
    }
    async fn set(&self, name: &str, _: Json) -> Result<()> {
        Err(Error::host(format!("files keep no notes, but `{name}` was set")))
    }
}

#[async_trait]
impl Ledger for Nothing {
    async fn parts(&self) -> Result<Vec<Part>> {
        Ok(Vec::new())
    }
    async fn plan_parts(&self, _: Vec<Json>) -> Result<Vec<Part>> {
        Err(Error::host("files have no parts"))
    }
    async fn finish_part(&self, _: u32, _: Json) -> Result<()> {
        Err(Error::host("files have no parts"))
    }
    async fn reset_parts(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Transforms for Nothing {
    fn applies(&self, _: &str) -> bool {
        false
    }
    async fn open(&self, _: &str, _: &Json) -> Result<Vec<Box<dyn Pipe>>> {
        Ok(Vec::new())
    }
}

impl Progress for Nothing {
    fn transfer(&self, _: &str, _: u64, _: u64) {}
}

/// A planned file, where there is one.
struct Planned(Option<(String, PlannedFile)>);

impl Overlay for Planned {
    fn file(&self, _: &ConnectionName, path: &str) -> Option<PlannedFile> {
        self.0.as_ref().filter(|(planned, _)| planned == path).map(|(_, file)| file.clone())
    }
}

struct Lab {
    folder: tempfile::TempDir,
    state: PathBuf,
    _state: tempfile::TempDir,
    files: Files,
    scope: StepScope,
    token: String,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state_parent = tempfile::tempdir().unwrap();
        let state = state_parent.path().join(".godwit");
        let run = RunId::new("20260101-000000-abcd");
        let mut secrets = Secrets::default();
        let token = secrets.insert(&run, "password", Secret::new(SECRET));
        let secrets = Arc::new(secrets);
        let connection = Connection {
            name: "project".into(),
            kind: ConnectionKind::Dir,
            settings: [("path".to_owned(), json!(folder.path()))].into(),
            secrets: secrets.clone(),
        };
        let grant = Grant {
            slot: "env".into(),
            connection: "project".into(),
            kind: ConnectionKind::Dir,
            access: Access::Write,
            database: None,
            secrets: vec!["password".to_owned()],
        };
        let scope = StepScope {
            run,
            step: "rewrite".into(),
            mode: Mode::Apply,
            grants: Arc::new(vec![grant]),
            secrets,
            known_values: Arc::new(vec!["db.example.com".to_owned()]),
            notes: Arc::new(Nothing),
            transforms: Arc::new(Nothing),
            progress: Arc::new(Nothing),
            overlay: Arc::new(Planned(None)),
        };
        let files = Files::new(StateDir(state.clone()), vec![connection]);
        Self { folder, state, _state: state_parent, files, scope, token }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn put(&self, path: &str, content: &str, mode: u32) {
        fs::write(self.path(path), content).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    async fn run(&self, effect: &Effect) -> Result<Performed> {
        let preparation = self.files.prepare(&self.scope, effect).await?;
        let done = self.files.perform(&self.scope, effect, &preparation, &Nothing, false).await?;
        Ok(journalled(effect, preparation, Some(done)))
    }

    /// The scope of an undo: a run of its own.
    fn undo_scope(&self) -> StepScope {
        StepScope { run: "20260101-000001-efgh".into(), ..self.scope.clone() }
    }

    /// Undoes, each action twice as if it had been cut off.
    async fn undo(&self, performed: &[Performed], discard: bool) -> Result<()> {
        let scope = self.undo_scope();
        for action in self.files.plan_undo(&scope, &performed).await? {
            let action: UndoAction = serde_json::from_str(&serde_json::to_string(&action).unwrap()).unwrap();
            let first = self.files.undo(&scope, &action, discard, false).await?;
            assert_eq!(self.files.undo(&scope, &action, discard, true).await?, first);
        }
        assert!(
            self.files.plan_undo(&scope, &performed).await?.iter().all(|action| action.changed.is_none())
        );
        Ok(())
    }

    fn leftovers(&self) -> Vec<String> {
        let names = |folder: &Path| -> Vec<String> {
            let entries = fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        names(self.folder.path()).into_iter().filter(|name| name.ends_with(".tmp")).collect()
    }
}

fn write(key: &str, path: &str, content: impl Into<Vec<u8>>) -> Effect {
    let content = Content::new(content.into());
    let action = Action::WriteFile(WriteFile { slot: "env".into(), path: path.to_owned(), content });
    Effect { key: key.into(), after: Vec::new(), action }
}

fn delete(key: &str, path: &str) -> Effect {
    let action = Action::DeleteFile(DeleteFile { slot: "env".into(), path: path.to_owned() });
    Effect { key: key.into(), after: Vec::new(), action }
}

/// An effect as it comes back from the journal, which must hold no secret and no content.
fn journalled(effect: &Effect, preparation: Preparation, done: Option<Done>) -> Performed {
    let performed = Performed { effect: effect.clone(), preparation, done, sequence: 0 };
    let text = serde_json::to_string(&performed).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn writes_secrets_where_the_grant_names_them_and_undoes() {
    let lab = Lab::new();
    lab.put(".env", "HOST=localhost\nPASSWORD=old-hunter22\n", 0o640);
    let effect = write("w", ".env", format!("HOST=db.example.com\nPASSWORD={}\n", lab.token));
    let performed = lab.run(&effect).await.unwrap();
    assert_eq!(lab.text(".env").unwrap(), format!("HOST=db.example.com\nPASSWORD={SECRET}\n"));
    assert_eq!(lab.mode(".env"), 0o640);
    assert_eq!(performed.preparation.class, Class::Overwrites);
    let diff = performed.preparation.diff.as_deref().unwrap();
    assert!(diff.contains("+HOST=db.example.com\n+PASSWORD=***"), "{diff}");
    assert!(!diff.contains("hunter22") && !diff.contains("localhost"), "{diff}");
    let evidence = lab.files.observe(&lab.scope, &performed).await.unwrap();
    assert_eq!(Some(evidence), performed.done.as_ref().unwrap().evidence);

    lab.undo(&[performed], false).await.unwrap();
    assert_eq!(lab.text(".env").unwrap(), "HOST=localhost\nPASSWORD=old-hunter22\n");
    assert_eq!(lab.mode(".env"), 0o640);
    assert!(lab.leftovers().is_empty());
    assert!(Files::forget(&StateDir(lab.state.clone()), &lab.scope.run).unwrap());
}

#[tokio::test]
async fn a_secret_that_the_grant_does_not_name_is_denied() {
    let mut lab = Lab::new();
    let mut grants = lab.scope.grants.as_ref().clone();
    grants[0].secrets.clear();
    lab.scope.grants = Arc::new(grants);
    for mode in [Mode::Plan, Mode::Apply] {
        lab.scope.mode = mode;
        let error = lab.run(&write("w", ".env", lab.token.clone())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.hint.unwrap().contains(r#""secrets": ["password"]"#));
    }
    assert!(lab.text(".env").is_none());
}

#[tokio::test]
async fn new_files_are_private_when_they_hold_a_secret() {
    let lab = Lab::new();
    let secret = lab.run(&write("s", "conf/deep/.env", format!("P={}", lab.token))).await.unwrap();
    let plain = lab.run(&write("p", "plain.txt", "text")).await.unwrap();
    assert_eq!(secret.preparation.class, Class::Creates);
    assert_eq!(lab.mode("conf/deep/.env"), 0o600);
    assert_eq!(lab.mode("plain.txt") & 0o022, 0);
    lab.undo(&[secret, plain], false).await.unwrap();
    assert_eq!(fs::read_dir(lab.folder.path()).unwrap().count(), 0);

    lab.put("open.env", "P=x\n", 0o644);
    let open = lab.run(&write("o", "open.env", format!("P={}", lab.token))).await.unwrap();
    assert!(open.done.unwrap().notes[0].contains("every user"));
}

#[tokio::test]
async fn a_plan_changes_nothing_and_sees_planned_files() {
    let mut lab = Lab::new();
    lab.put("a.txt", "one\n", 0o644);
    lab.scope.mode = Mode::Plan;
    let preparation = lab.files.prepare(&lab.scope, &write("w", "a.txt", "two\n")).await.unwrap();
    assert!(preparation.diff.unwrap().contains("-one\n+two"));
    assert!(preparation.before.is_null() && !lab.state.exists());
    let planned = PlannedFile::Written(b"planned\n".to_vec());
    lab.scope.overlay = Arc::new(Planned(Some(("a.txt".to_owned(), planned))));
    let preparation = lab.files.prepare(&lab.scope, &write("w", "a.txt", "two\n")).await.unwrap();
    assert!(preparation.diff.unwrap().contains("-planned\n+two"));
    lab.scope.overlay = Arc::new(Planned(Some(("a.txt".to_owned(), PlannedFile::Deleted))));
    let preparation = lab.files.prepare(&lab.scope, &write("w", "a.txt", "two\n")).await.unwrap();
    assert_eq!(preparation.class, Class::Creates);
    let gone = lab.files.prepare(&lab.scope, &delete("d", "a.txt")).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::Missing);
}

#[tokio::test]
async fn deletes_and_brings_back() {
    let lab = Lab::new();
    lab.put("old.txt", "keep me", 0o604);
    let performed = lab.run(&delete("d", "old.txt")).await.unwrap();
    assert_eq!(performed.preparation.class, Class::Destroys);
    assert!(lab.text("old.txt").is_none());
    lab.undo(&[performed], false).await.unwrap();
    assert_eq!(lab.text("old.txt").unwrap(), "keep me");
    assert_eq!(lab.mode("old.txt"), 0o604);
}

#[tokio::test]
async fn a_resumed_write_is_done_once_and_refuses_what_somebody_else_wrote() {
    let lab = Lab::new();
    lab.put("a.txt", "one", 0o644);
    let effect = write("w", "a.txt", format!("two {}", lab.token));
    let preparation = lab.files.prepare(&lab.scope, &effect).await.unwrap();
    let perform =
        async |resumed| lab.files.perform(&lab.scope, &effect, &preparation, &Nothing, resumed).await;
    // The crash came before the effect, then after it, then again.
    let first = perform(true).await.unwrap();
    assert_eq!(lab.text("a.txt").unwrap(), format!("two {SECRET}"));
    assert_eq!(perform(true).await.unwrap().fingerprint, first.fingerprint);
    lab.put("a.txt", "somebody else's", 0o644);
    for resumed in [false, true] {
        assert_eq!(perform(resumed).await.unwrap_err().kind, ErrorKind::Conflict);
    }
    assert_eq!(lab.text("a.txt").unwrap(), "somebody else's");

    lab.put("b.txt", "gone soon", 0o644);
    let effect = delete("d", "b.txt");
    let preparation = lab.files.prepare(&lab.scope, &effect).await.unwrap();
    for _ in 0..2 {
        lab.files.perform(&lab.scope, &effect, &preparation, &Nothing, true).await.unwrap();
    }
    assert!(lab.text("b.txt").is_none());
}

#[tokio::test]
async fn several_effects_on_one_path_are_undone_backwards() {
    let lab = Lab::new();
    let mut performed = vec![lab.run(&write("1", "a.txt", "one")).await.unwrap()];
    performed.push(lab.run(&write("2", "a.txt", "two")).await.unwrap());
    performed.push(lab.run(&delete("3", "a.txt")).await.unwrap());
    performed.push(lab.run(&write("4", "a.txt", "four")).await.unwrap());
    let actions = lab.files.plan_undo(&lab.undo_scope(), &performed).await.unwrap();
    assert_eq!(actions.len(), 4);
    assert!(actions.iter().all(|action| action.changed.is_none()), "{actions:?}");
    assert_eq!(actions[0].takes_back, vec!["4".into()]);
    for action in &actions {
        lab.files.undo(&lab.undo_scope(), action, false, false).await.unwrap();
    }
    assert!(lab.text("a.txt").is_none());
}

#[tokio::test]
async fn undo_refuses_what_has_changed_since() {
    let lab = Lab::new();
    lab.put("a.txt", "one", 0o644);
    let performed = [lab.run(&write("w", "a.txt", "two")).await.unwrap()];
    lab.put("a.txt", "edited by hand", 0o644);
    let actions = lab.files.plan_undo(&lab.undo_scope(), &performed).await.unwrap();
    assert!(actions[0].changed.is_some());
    let refused = lab.files.undo(&lab.undo_scope(), &actions[0], false, false).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    assert_eq!(lab.text("a.txt").unwrap(), "edited by hand");
    lab.files.undo(&lab.undo_scope(), &actions[0], true, false).await.unwrap();
    assert_eq!(lab.text("a.txt").unwrap(), "one");
    let kept: Vec<_> = fs::read_dir(lab.state.join("before/20260101-000001-efgh")).unwrap().collect();
    assert_eq!(fs::read_to_string(kept[0].as_ref().unwrap().path()).unwrap(), "edited by hand");
}

#[tokio::test]
async fn an_effect_in_doubt_is_undone_by_what_it_noted() {
    let lab = Lab::new();
    lab.put("a.txt", "one", 0o644);
    let (change, create) = (write("w", "a.txt", format!("two {}", lab.token)), write("c", "new.txt", "new"));
    let mut doubtful = Vec::new();
    for effect in [&change, &create] {
        let preparation = lab.files.prepare(&lab.scope, effect).await.unwrap();
        doubtful.push(journalled(effect, preparation, None));
    }
    assert!(lab.files.plan_undo(&lab.undo_scope(), &doubtful).await.unwrap().is_empty());
    for (effect, performed) in [&change, &create].into_iter().zip(&doubtful) {
        lab.files.perform(&lab.scope, effect, &performed.preparation, &Nothing, false).await.unwrap();
    }
    lab.undo(&doubtful, false).await.unwrap();
    assert_eq!(lab.text("a.txt").unwrap(), "one");
    assert!(lab.text("new.txt").is_none());

    // Somebody else's file under the name of one that the run never made.
    lab.put("other.txt", "theirs", 0o644);
    let effect = write("never", "other2.txt", "mine");
    let preparation = lab.files.prepare(&lab.scope, &effect).await.unwrap();
    lab.put("other2.txt", "theirs", 0o644);
    let actions =
        lab.files.plan_undo(&lab.undo_scope(), &[journalled(&effect, preparation, None)]).await.unwrap();
    assert!(actions[0].changed.is_some());
}

#[tokio::test]
async fn a_forgotten_run_can_not_be_undone_and_says_so() {
    let lab = Lab::new();
    lab.put("a.txt", "one", 0o644);
    let performed = [lab.run(&write("w", "a.txt", "two")).await.unwrap()];
    Files::forget(&StateDir(lab.state.clone()), &lab.scope.run).unwrap();
    let error = lab.undo(&performed, false).await.unwrap_err();
    assert!(error.message.contains("before-image") && error.hint.is_some(), "{error:?}");
    assert_eq!(lab.text("a.txt").unwrap(), "two");
}

#[tokio::test]
async fn reads_and_names_what_is_not_there() {
    let lab = Lab::new();
    lab.put("a.txt", "one", 0o644);
    let grant = &lab.scope.grants[0];
    assert_eq!(lab.files.read(grant, "a.txt").await.unwrap(), b"one");
    assert_eq!(lab.files.stat(grant, "a.txt").await.unwrap().unwrap().size, 3);
    assert!(lab.files.stat(grant, "b.txt").await.unwrap().is_none());
    assert_eq!(lab.files.list(grant, "").await.unwrap().len(), 1);
    let real = fs::canonicalize(lab.folder.path()).unwrap();
    assert_eq!(lab.files.identity(grant).unwrap(), format!("dir:{}", real.display()));
    let missing = lab.files.read(grant, "b.txt").await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::Missing);
    let stranger = Grant { connection: "stranger".into(), ..grant.clone() };
    assert_eq!(lab.files.read(&stranger, "a.txt").await.unwrap_err().kind, ErrorKind::Invalid);
}
