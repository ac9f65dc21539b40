//! Taking back what a step did: what has to be done, in which order, and doing it.

use std::collections::{BTreeMap, HashMap};

use godwit_model::capability::{Performed, StepScope, UndoAction};
use godwit_model::effect::{Action, CopyTable, LoadTable, SealArchive};
use godwit_model::{Digest, EffectKey, Error, Json, Result, RunId, SlotName, StepId};
use serde::{Deserialize, Serialize};

use crate::archive::{self, Before, FilePlace, Written};
use crate::copy::{Fingerprint as Copied, PartDone};
use crate::emptying::{self, Filled};
use crate::execute::{self, UndoSql};
use crate::marker::{Found, Marker};
use crate::place::Place;
use crate::sequences::{self, Fingerprint as Sequences, State};
use crate::{database, marker, orphans};

/// What an undo action asks for, as it is journalled.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    Sql(UndoSql),
    Empty {
        slot: SlotName,
        tables: Vec<Filled>,
        run: Option<RunId>,
    },
    Sequences {
        slot: SlotName,
        before: Vec<State>,
        set: Vec<State>,
        run: Option<RunId>,
    },
    DropDatabase {
        slot: SlotName,
        name: String,
    },
    RemoveFile {
        slot: SlotName,
        path: String,
        before: Before,
        /// What the run left there, where that is known.
        sha256: Option<Digest>,
        /// What made it, where that made files beside it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seal: Option<SealArchive>,
    },
}

impl Request {
    pub fn json(&self) -> Result<Json> {
        serde_json::to_value(self).map_err(|e| Error::host(format!("an undo action can't be written: {e}")))
    }

    pub fn read(json: &Json) -> Result<Self> {
        Self::deserialize(json).map_err(|e| Error::host(format!("an undo action can't be read: {e}")))
    }

    pub fn slot(&self) -> &SlotName {
        match self {
            Self::Sql(sql) => &sql.slot,
            Self::Empty { slot, .. }
            | Self::Sequences { slot, .. }
            | Self::DropDatabase { slot, .. }
            | Self::RemoveFile { slot, .. } => slot,
        }
    }

    /// The run that is undone, whose markers may be in the target.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Self::Sql(sql) => sql.run.as_ref(),
            Self::Empty { run, .. } | Self::Sequences { run, .. } => run.as_ref(),
            Self::DropDatabase { .. } | Self::RemoveFile { .. } => None,
        }
    }
}

/// The run that performed an effect.
pub fn run_of(performed: &Performed) -> Option<RunId> {
    let fingerprint = performed.done.as_ref().and_then(|done| done.fingerprint.get("run"));
    let run = fingerprint.or_else(|| performed.preparation.before.get("run"))?;
    run.as_str().map(RunId::from)
}

/// Plans the undo of one step's effects.
pub struct Planner<'a> {
    pub scope: &'a StepScope,
    /// Finds the database behind a slot.
    pub place: &'a (dyn Fn(&SlotName) -> Result<Place> + Sync),
    /// Finds a file behind a slot.
    pub file: &'a (dyn Fn(&SlotName, &str) -> Result<FilePlace> + Sync),
    pub process: &'a str,
    /// By target; none where the run has no claim on it (any more).
    markers: HashMap<String, Option<Vec<Found>>>,
    /// By slot: the action that empties all tables.
    emptying: BTreeMap<SlotName, Emptying>,
    actions: Vec<Option<UndoAction>>,
}

/// The action that empties what a step filled behind one slot.
struct Emptying {
    /// Its place in the order: where the last copy stood.
    at: usize,
    keys: Vec<EffectKey>,
    tables: Vec<Filled>,
    run: Option<RunId>,
}

impl<'a> Planner<'a> {
    pub fn new(
        scope: &'a StepScope,
        place: &'a (dyn Fn(&SlotName) -> Result<Place> + Sync),
        file: &'a (dyn Fn(&SlotName, &str) -> Result<FilePlace> + Sync),
        process: &'a str,
    ) -> Self {
        Self {
            scope,
            place,
            file,
            process,
            markers: HashMap::new(),
            emptying: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    /// Actions in the order in which they have to be done: backwards; all tables at once where the last copy stands.
    pub async fn plan(mut self, performed: &[Performed]) -> Result<Vec<UndoAction>> {
        for effect in performed.iter().rev() {
            self.take(effect).await.map_err(|e| e.context(format!("undo of `{}`", effect.effect.key)))?;
        }
        for (slot, emptying) in std::mem::take(&mut self.emptying) {
            let at = emptying.at;
            self.actions[at] = Some(self.empty(slot, emptying).await?);
        }
        Ok(self.actions.into_iter().flatten().collect())
    }

    async fn take(&mut self, performed: &Performed) -> Result<()> {
        let key = &performed.effect.key;
        let run = run_of(performed);
        let slot = performed.effect.action.sink().clone();
        match &performed.effect.action {
            Action::DumpTable(request) => return self.made(performed, slot, &request.sink.path, None).await,
            Action::SealArchive(request) => {
                let seal = request.object_files().is_some().then(|| request.clone());
                return self.made(performed, slot, &request.path, seal).await;
            }
            _ => {}
        }
        let place = (self.place)(&slot)?;
        match &performed.effect.action {
            Action::ExecuteSql(request) => {
                let marked =
                    performed.done.is_some() || self.marker(&place, run.as_ref(), key).await?.is_some();
                let action = execute::plan_undo(&place, performed, request, run, marked).await?;
                self.actions.push(action);
            }
            Action::CopyTable(CopyTable { sink, .. }) | Action::LoadTable(LoadTable { sink, .. }) => {
                let journalled = match &performed.done {
                    Some(done) => Some(read::<Copied>(&done.fingerprint)?.filled),
                    None => None,
                };
                // While the run claims its target, its markers know better than the journal: a copy whose snapshot was
                // lost was emptied, and perhaps begun again, before the journal heard of it.
                let claimed = self.markers(&place, run.as_ref()).await?.is_some();
                let filled = match journalled {
                    Some(filled) if !claimed => Some(filled),
                    known => {
                        let mut filled =
                            self.partly(&place, run.as_ref(), key, &sink.schema, &sink.name).await?;
                        if let (Some(filled), Some(known)) = (&mut filled, known) {
                            filled.found_rows = known.found_rows;
                        }
                        filled
                    }
                };
                let Some(filled) = filled else { return Ok(()) };
                let at = self.actions.len();
                let entry = self.emptying.entry(slot).or_insert_with(|| Emptying {
                    at,
                    keys: Vec::new(),
                    tables: Vec::new(),
                    run,
                });
                if entry.at == at {
                    self.actions.push(None);
                }
                entry.keys.push(key.clone());
                // Several copies may have filled one table.
                match entry.tables.iter_mut().find(|known| known.sql() == filled.sql()) {
                    Some(known) => {
                        known.rows += filled.rows;
                        known.xids.extend(filled.xids);
                        // The one that came first found it as it was before the run.
                        known.found_rows = filled.found_rows;
                    }
                    None => entry.tables.push(filled),
                }
            }
            Action::CopySequences(_) => {
                let fingerprint = match &performed.done {
                    Some(done) => Some(read::<Sequences>(&done.fingerprint)?),
                    None => match (self.marker(&place, run.as_ref(), key).await?, &run) {
                        (Some(found), Some(run)) => {
                            found.note.as_deref().and_then(|note| sequences::from_note(run.clone(), note))
                        }
                        _ => None,
                    },
                };
                let Some(fingerprint) = fingerprint.filter(|f| !f.set.is_empty()) else { return Ok(()) };
                let mut session = place.wire().await?;
                let changes = sequences::changes(&mut session, &fingerprint.set).await?;
                session.keep();
                let count = fingerprint.set.len();
                let request =
                    Request::Sequences { slot, before: fingerprint.before, set: fingerprint.set, run };
                self.actions.push(Some(UndoAction {
                    key: EffectKey::new(format!("undo/{key}")),
                    title: format!("put {count} {} back", if count == 1 { "sequence" } else { "sequences" }),
                    takes_back: vec![key.clone()],
                    irreversible: None,
                    changed: joined(changes),
                    details: Vec::new(),
                    request: request.json()?,
                }));
            }
            Action::CreateDatabase(_) => {
                let grant = self.scope.grant(&slot)?;
                let name = database::name(grant)?;
                let created = match &performed.done {
                    Some(done) => done.fingerprint.get("created") == Some(&Json::Bool(true)),
                    None => performed.preparation.before.get("existed") == Some(&Json::Bool(false)),
                };
                if !created {
                    return Ok(());
                }
                let place = (self.place)(&slot)?;
                let own = place.beside(&place.server.config.database);
                let details = database::foreseen(&own, name).await?;
                self.actions.push(Some(UndoAction {
                    key: EffectKey::new(format!("undo/{key}")),
                    title: format!("drop database {name}"),
                    takes_back: vec![key.clone()],
                    irreversible: None,
                    changed: None,
                    details,
                    request: Request::DropDatabase { slot, name: name.to_owned() }.json()?,
                }));
            }
            other => {
                return Err(Error::host(format!("{other:?} isn't an effect of the postgres capability")));
            }
        }
        Ok(())
    }

    /// A file that an effect has made, wholly or in part.
    async fn made(
        &mut self,
        performed: &Performed,
        slot: SlotName,
        path: &str,
        seal: Option<SealArchive>,
    ) -> Result<()> {
        let key = &performed.effect.key;
        let before = Before::read(&performed.preparation.before)?;
        let written = Written::of(performed)?.map(|written| written.sha256);
        let there = there(&(self.file)(&slot, path)?, seal.as_ref()).await?;
        let changed = match (&written, &there) {
            // It went into a sealed file, or somebody has removed it.
            (Some(_), None) => return Ok(()),
            (None, None) => None,
            (Some(written), Some(there)) if written == there => None,
            (Some(_), Some(_)) => Some(format!("`{path}` has been changed since the run wrote it")),
            (None, Some(_)) => {
                Some(format!("`{path}` is there, and the run was cut off before it noted what it wrote"))
            }
        };
        self.actions.push(Some(UndoAction {
            key: EffectKey::new(format!("undo/{key}")),
            title: format!("delete {path}"),
            takes_back: vec![key.clone()],
            irreversible: None,
            changed,
            details: Vec::new(),
            request: Request::RemoveFile { slot, path: path.to_owned(), before, sha256: written, seal }
                .json()?,
        }));
        Ok(())
    }

    async fn empty(&self, slot: SlotName, emptying: Emptying) -> Result<UndoAction> {
        let Emptying { keys, tables, run, .. } = emptying;
        let place = (self.place)(&slot)?;
        let mut session = place.wire().await?;
        let changes = emptying::changes(&mut session, &tables).await?;
        session.keep();
        let rows: u64 = tables.iter().map(|table| table.rows).sum();
        let details = tables.iter().map(|table| format!("{}: {} rows", table.label(), table.rows)).collect();
        let count = tables.len();
        Ok(UndoAction {
            key: EffectKey::new(format!("undo/empty/{slot}")),
            title: format!(
                "empty {count} {} of {rows} copied rows",
                if count == 1 { "table" } else { "tables" }
            ),
            takes_back: keys,
            irreversible: None,
            changed: joined(changes),
            details,
            request: Request::Empty { slot, tables, run }.json()?,
        })
    }

    /// What a copy that didn't come to its end has left.
    async fn partly(
        &mut self,
        place: &Place,
        run: Option<&RunId>,
        key: &EffectKey,
        schema: &str,
        name: &str,
    ) -> Result<Option<Filled>> {
        let parts: Vec<Found> =
            self.found(place, run).await?.iter().filter(|found| found.key == *key).cloned().collect();
        let filled = filled(schema, name, &parts);
        Ok((!parts.is_empty()).then_some(filled))
    }

    async fn marker(&mut self, place: &Place, run: Option<&RunId>, key: &EffectKey) -> Result<Option<Found>> {
        Ok(self.found(place, run).await?.iter().find(|found| found.key == *key).cloned())
    }

    async fn found(&mut self, place: &Place, run: Option<&RunId>) -> Result<&[Found]> {
        Ok(self.markers(place, run).await?.unwrap_or_default())
    }

    /// The markers of the step in one target, read once, when nobody can add to them any more.
    async fn markers(&mut self, place: &Place, run: Option<&RunId>) -> Result<Option<&[Found]>> {
        let Some(run) = run else { return Ok(None) };
        let at = place.identity();
        if !self.markers.contains_key(&at) {
            let found = match place.wire().await {
                Ok(mut session) => {
                    let alive = orphans::alive(place, run, self.process).await?;
                    if alive > 0 {
                        return Err(Error::unavailable(format!(
                            "{at}: {alive} sessions of run {run} are still at work"
                        ))
                        .hint("wait until they have ended, or end them by pg_terminate_backend"));
                    }
                    let found = match marker::claims(&mut session, run).await? {
                        true => Some(marker::of_step(&mut session, run, &self.scope.step).await?),
                        false => None,
                    };
                    session.keep();
                    found
                }
                Err(e) if e.code.as_deref() == Some("3D000") => None,
                Err(e) => return Err(e),
            };
            self.markers.insert(at.clone(), found);
        }
        Ok(self.markers.get(&at).and_then(Option::as_deref))
    }
}

/// What markers of a copy's parts say was filled.
pub fn filled(schema: &str, name: &str, parts: &[Found]) -> Filled {
    let mut filled = Filled {
        schema: schema.to_owned(),
        name: name.to_owned(),
        rows: 0,
        xids: Vec::new(),
        found_rows: false,
    };
    for part in parts {
        if let Some(done) = part_done(part) {
            filled.rows += done.sum.rows;
            filled.found_rows |= done.found_rows;
        }
        filled.xids.extend(part.xid.as_deref().and_then(|xid| xid.parse::<u64>().ok()));
    }
    filled
}

/// The note of a part's marker.
pub fn part_done(found: &Found) -> Option<PartDone> {
    serde_json::from_str(found.note.as_deref()?).ok()
}

fn read<T: serde::de::DeserializeOwned>(fingerprint: &Json) -> Result<T> {
    T::deserialize(fingerprint).map_err(|e| Error::host(format!("the fingerprint can't be read: {e}")))
}

fn joined(changes: Vec<String>) -> Option<String> {
    (!changes.is_empty()).then(|| changes.join("; "))
}

/// Deletes a file that a run has made.
pub async fn remove_file(
    file: &FilePlace,
    step: &StepId,
    action: &UndoAction,
    before: &Before,
    sha256: Option<&Digest>,
    seal: Option<&SealArchive>,
    discard: bool,
) -> Result<Json> {
    if let Some(there) = there(file, seal).await?
        && !discard
        && sha256 != Some(&there)
    {
        return Err(Error::conflict(format!("`{}` isn't what the run left there", file.path))
            .hint(format!("look at it, then allow it by `--discard-later-changes {step}/{}`", action.key)));
    }
    if let Some(seal) = seal {
        let unfinished = Before { tag: archive::tag_of_files(&before.tag), folders: Vec::new() };
        for path in archive::beside_seal(file, seal).await? {
            file.beside(&path).remove(unfinished.clone()).await?;
        }
    }
    file.remove(before.clone()).await?;
    Ok(serde_json::json!({ "deleted": file.path }))
}

/// The digest of a file, and of those that sealing made beside it.
async fn there(file: &FilePlace, seal: Option<&SealArchive>) -> Result<Option<Digest>> {
    match seal {
        Some(seal) => Ok(archive::seal_digest(file, seal).await?.map(|(digest, _)| digest)),
        None => file.digest().await,
    }
}

/// Performs an action in a database; the place's markers are prepared for the undo's run, except to drop a database.
pub async fn perform(
    scope: &StepScope,
    place: &Place,
    action: &UndoAction,
    request: &Request,
    discard: bool,
    resumed: bool,
) -> Result<Json> {
    match request {
        Request::Sql(sql) => execute::undo(scope, place, &action.key, sql, resumed).await?,
        Request::Empty { tables, .. } => {
            guarded(scope, place, action, discard, Guarded::Tables(tables)).await?;
        }
        Request::Sequences { before, set, .. } => {
            guarded(scope, place, action, discard, Guarded::Sequences { before, set }).await?;
        }
        Request::RemoveFile { .. } => {
            return Err(Error::host("deleting a file isn't done in a database"));
        }
        Request::DropDatabase { name, .. } => {
            let dropped = database::drop_it(place, name, discard).await?;
            return Ok(serde_json::json!({ "dropped": dropped }));
        }
    }
    Ok(Json::Null)
}

enum Guarded<'a> {
    Tables(&'a [Filled]),
    Sequences { before: &'a [State], set: &'a [State] },
}

/// One transaction: marker, locks, a last look at what has changed, statements.
async fn guarded(
    scope: &StepScope,
    place: &Place,
    action: &UndoAction,
    discard: bool,
    what: Guarded<'_>,
) -> Result<()> {
    let marker = Marker::of(scope, &action.key, 0);
    let changed = |changes: &str| {
        Error::conflict(format!("{} has changed since the run: {changes}", place.identity())).hint(format!(
            "look at it, then allow it by `--discard-later-changes {}/{}`",
            scope.step, action.key
        ))
    };
    let mut session = place.wire().await?;
    let lock = match &what {
        Guarded::Tables(tables) => {
            if let Some(changes) = joined(emptying::unlink(&mut session, tables, discard).await?) {
                session.keep();
                return Err(changed(&changes));
            }
            emptying::lock(&mut session, tables).await?
        }
        Guarded::Sequences { .. } => None,
    };
    let begin = format!("BEGIN; {}; {}", marker.insert(), lock.unwrap_or_default());
    if let Err(failure) = session.simple(&begin).await {
        if marker::is_done(&failure) {
            session.simple("ROLLBACK").await?;
            session.keep();
            return Ok(());
        }
        return Err(failure.into());
    }
    if !discard {
        let changes = match &what {
            Guarded::Tables(tables) => emptying::changes(&mut session, tables).await?,
            Guarded::Sequences { set, .. } => sequences::changes(&mut session, set).await?,
        };
        if let Some(changes) = joined(changes) {
            session.simple("ROLLBACK").await?;
            session.keep();
            return Err(changed(&changes));
        }
    }
    let statements = match &what {
        Guarded::Tables(tables) => emptying::statements(&mut session, tables).await?,
        Guarded::Sequences { before, .. } => sequences::restore(&mut session, before).await?,
    };
    let mut sql = statements.join(";\n");
    sql.push_str(";\nCOMMIT");
    session.simple_quietly(&sql).await?;
    session.keep();
    Ok(())
}
