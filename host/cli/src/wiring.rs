//! Putting the rooms together for one command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use godwit_engine::{Capabilities, Engine, Observer, Plugins, Rooms, Stop};
use godwit_journal::SqliteJournal;
use godwit_model::capability::StateDir;
use godwit_model::journal::{Journal, RunRecord};
use godwit_model::plugin::{ConnectionKind, Plugin};
use godwit_model::{Error, Json, Result, RunId};
use godwit_recipe::{Catalogue, Checked, Diagnostic, Given, GivenValue, PluginInfo, Source};
use godwit_runtime::Runtime;

use crate::Hooks;
use crate::args::InputArgs;
use crate::recipes::Found;

/// The plugins of one command: the bundled ones by name, others by path.
pub struct PluginStore {
    runtime: Arc<Runtime>,
    /// Where relative plugin paths start: the recipe's folder.
    base: PathBuf,
    loaded: BTreeMap<String, std::result::Result<Loaded, String>>,
}

#[derive(Clone)]
struct Loaded {
    plugin: Arc<dyn Plugin>,
    info: PluginInfo,
}

impl PluginStore {
    /// Loads every plugin that the recipe's text names, as far as it can be read at all.
    pub async fn for_recipe(source: &Source, path: Option<&Path>) -> Result<Self> {
        let base = path.and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
        let mut store = Self { runtime: runtime()?, base, loaded: BTreeMap::new() };
        for name in plugin_names(&source.text) {
            let loaded = store.load_one(&name).await.map_err(|error| error.to_string());
            store.loaded.insert(name, loaded);
        }
        Ok(store)
    }

    async fn load_one(&self, name: &str) -> Result<Loaded> {
        let bytes = plugin_bytes(name, &self.base)?;
        load(&self.runtime, name, &bytes).await
    }
}

async fn load(runtime: &Arc<Runtime>, name: &str, bytes: &[u8]) -> Result<Loaded> {
    let plugin = runtime.load(name, bytes).await?;
    let info = PluginInfo {
        kind: plugin.kind(),
        digest: plugin.digest().clone(),
        manifest: plugin.manifest().clone(),
        needs_kinds: plugin.manifest().slots.iter().map(|slot| slot.kind).collect::<Vec<ConnectionKind>>(),
    };
    Ok(Loaded { plugin, info })
}

/// The plugin runtime with its compile cache.
pub fn runtime() -> Result<Arc<Runtime>> {
    Runtime::new(Some(godwit_lab::cache::dir().join("plugins")))
}

/// A plugin's bytes: by path where the name looks like one, else a bundled one's.
pub fn plugin_bytes(name: &str, base: &Path) -> Result<std::borrow::Cow<'static, [u8]>> {
    if name.contains('/') || name.ends_with(".wasm") {
        let path = base.join(name);
        return std::fs::read(&path).map(Into::into).map_err(|error| {
            Error::invalid(format!("plugin {} can't be read: {error}", path.display()))
                .hint("a plugin's path is relative to the recipe's folder; build it first (`cargo build --release --target wasm32-wasip2`)")
        });
    }
    match godwit_bundle::plugins().iter().find(|plugin| plugin.name == name) {
        Some(plugin) => Ok(plugin.bytes.into()),
        None => Err(Error::invalid(format!("there is no bundled plugin named `{name}`")).hint(
            "`godwit plugin list` shows them; a plugin of your own is named by its path (./my-step.wasm)",
        )),
    }
}

/// The texts under `plugin` anywhere in a recipe; an unreadable recipe has none, and the check says why.
fn plugin_names(text: &str) -> BTreeSet<String> {
    fn walk(value: &Json, names: &mut BTreeSet<String>) {
        match value {
            Json::Object(fields) => {
                if let Some(Json::String(name)) = fields.get("plugin") {
                    names.insert(name.clone());
                }
                fields.values().for_each(|value| walk(value, names));
            }
            Json::Array(items) => items.iter().for_each(|value| walk(value, names)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    if let Ok(value) = serde_json::from_str::<Json>(text) {
        walk(&value, &mut names);
    }
    names
}

impl Catalogue for PluginStore {
    fn plugin(&self, name: &str) -> std::result::Result<PluginInfo, String> {
        match self.loaded.get(name) {
            Some(Ok(loaded)) => Ok(loaded.info.clone()),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("there is no plugin named `{name}`")),
        }
    }

    fn names(&self) -> Vec<String> {
        godwit_bundle::plugins().iter().map(|plugin| plugin.name.to_owned()).collect()
    }
}

#[async_trait]
impl Plugins for PluginStore {
    async fn load(&self, name: &str) -> Result<Arc<dyn Plugin>> {
        match self.loaded.get(name) {
            Some(Ok(loaded)) => Ok(Arc::clone(&loaded.plugin)),
            Some(Err(why)) => Err(Error::invalid(format!("plugin `{name}`: {why}"))),
            None => Err(Error::invalid(format!("there is no plugin named `{name}`"))),
        }
    }
}

/// What can go wrong before a run: faults of the recipe, or anything else.
pub enum Refused {
    Faults(Source, Vec<Diagnostic>),
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A recipe that was found, checked, and can be run.
pub struct Prepared {
    pub checked: Arc<Checked>,
    pub plugins: Arc<PluginStore>,
    pub path: Option<PathBuf>,
}

/// Gathers inputs and checks the recipe for run `run`.
pub async fn prepare(found: Found, inputs: &InputArgs, run: &RunId) -> Result<Prepared, Refused> {
    let specs = match godwit_recipe::inputs_of(&found.source) {
        Ok(specs) => specs,
        Err(faults) => return Err(Refused::Faults(found.source, faults)),
    };
    let given = crate::inputs::gather(inputs, &specs)?;
    prepare_given(found, &given, run).await
}

async fn prepare_given(found: Found, given: &Given, run: &RunId) -> Result<Prepared, Refused> {
    let plugins = PluginStore::for_recipe(&found.source, found.path.as_deref()).await?;
    match godwit_recipe::check(&found.source, given, run, &plugins) {
        Ok(checked) => {
            Ok(Prepared { checked: Arc::new(checked), plugins: Arc::new(plugins), path: found.path })
        }
        Err(faults) => Err(Refused::Faults(found.source, faults)),
    }
}

/// Checks the recipe of a journalled run again, with the inputs it remembers and the secrets given anew.
pub async fn prepare_again(record: &RunRecord, inputs: &InputArgs) -> Result<Prepared, Refused> {
    let path = record.recipe_path.as_ref().map(PathBuf::from);
    let name = record.recipe_path.clone().unwrap_or_else(|| record.recipe.clone());
    let source = Source::new(name, record.recipe_text.clone());
    let specs = match godwit_recipe::inputs_of(&source) {
        Ok(specs) => specs,
        Err(faults) => return Err(Refused::Faults(source, faults)),
    };
    let mut given = crate::inputs::gather(inputs, &specs)?;
    if let Json::Object(remembered) = &record.inputs {
        for (name, value) in remembered {
            // A url with a credential is remembered without it, and so must be given again like a secret.
            if record.secret_inputs.contains(name) {
                continue;
            }
            let remembered = GivenValue::json(value.clone(), format!("run {}", record.id));
            given.values.insert(name.clone(), remembered);
        }
    }
    let missing: Vec<&str> = record
        .secret_inputs
        .iter()
        .filter(|name| !given.values.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let variables: Vec<&str> = specs
            .iter()
            .filter(|spec| missing.contains(&spec.name.as_str()))
            .map(|spec| spec.env.as_str())
            .collect();
        return Err(Refused::Error(
            Error::invalid(format!(
                "run {} needs its secret input(s) again, as secrets are never stored: {}",
                record.id,
                missing.join(", ")
            ))
            .hint(format!(
                "give them as before: -i NAME=VALUE, --env-file, or the environment ({})",
                variables.join(", ")
            )),
        ));
    }
    let run = record.of.clone().unwrap_or_else(|| record.id.clone());
    let plugins = PluginStore::for_recipe(&source, path.as_deref()).await?;
    match godwit_recipe::check(&source, &given, &run, &plugins) {
        Ok(checked) => Ok(Prepared { checked: Arc::new(checked), plugins: Arc::new(plugins), path }),
        Err(faults) => Err(Refused::Faults(source, faults)),
    }
}

/// Opens the journal, creating the state folder.
pub async fn open_journal(state: &Path, hooks: &Hooks) -> Result<Arc<dyn Journal>> {
    let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::open(state).await?);
    Ok(match &hooks.wrap_journal {
        Some(wrap) => wrap(journal),
        None => journal,
    })
}

/// Opens the journal of a command that only reads: creates nothing.
pub async fn existing_journal(state: &Path) -> Result<Option<Arc<dyn Journal>>> {
    Ok(SqliteJournal::open_existing(state).await?.map(|journal| Arc::new(journal) as Arc<dyn Journal>))
}

/// The engine of a prepared recipe, with nothing open yet.
pub fn engine(
    prepared: &Prepared,
    state: &Path,
    journal: Arc<dyn Journal>,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Result<Engine> {
    Ok(engine_with(prepared, capabilities(prepared, state)?, journal, observer, stop))
}

/// The same, with what an earlier engine of this recipe has opened.
pub fn engine_with(
    prepared: &Prepared,
    capabilities: Capabilities,
    journal: Arc<dyn Journal>,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Engine {
    let plugins = Arc::clone(&prepared.plugins) as Arc<dyn Plugins>;
    let rooms = Rooms { journal, capabilities, plugins, observer };
    Engine::new(Arc::clone(&prepared.checked), rooms, stop)
}

/// The capabilities of a prepared recipe, with nothing open yet.
pub fn capabilities(prepared: &Prepared, state: &Path) -> Result<Capabilities> {
    let of = |kind: ConnectionKind| {
        let all = prepared.checked.connections.iter();
        all.filter(|connection| connection.kind == kind).cloned().collect::<Vec<_>>()
    };
    let mut folders = of(ConnectionKind::Dir);
    for folder in &mut folders {
        if let Some(Json::String(path)) = folder.settings.get_mut("path") {
            // Relative to the recipe's file, so that a resume from elsewhere means the same folder; a bundled
            // recipe has no file, and means the current folder.
            let base = prepared.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
            *path = absolute(&base.join(&*path))?.display().to_string();
        }
    }
    let files = Arc::new(godwit_files::Files::new(StateDir(absolute(state)?), folders));
    let postgres = godwit_postgres::Postgres::new(of(ConnectionKind::Postgres))?.with_files(files.clone());
    let postgres = Arc::new(postgres);
    let objects = Arc::new(godwit_objects::Objects::new(of(ConnectionKind::S3))?);
    Ok(Capabilities {
        files: files.clone(),
        file_reads: files,
        postgres: postgres.clone(),
        postgres_reads: postgres.clone(),
        archive_reads: postgres,
        objects: objects.clone(),
        object_reads: objects,
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::host(format!("{} has no absolute path: {error}", path.display())))
}

/// This process, as the journal's `own_run` takes it.
pub fn owner() -> String {
    godwit_journal::owner::Owner::current().to_string()
}
