//! The `files` capability: folders of the machine Godwit runs on.
//!
//! A slot is a folder, and nothing leaves it: paths are resolved below it by the kernel, symbolic links that lead out are
//! denied, and so is Godwit's own state folder where it lies inside. Files are replaced atomically; what was there
//! before is kept as a before-image, and undo puts it back.

mod before;
mod diff;
mod effects;
mod folder;
mod streams;
mod undo;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use godwit_model::capability::{
    Capability, Connection, FileReads, FileStat, History, Ledger, Performed, StateDir, StepScope, UndoAction,
};
use godwit_model::effect::{Action, Done, Effect, Evidence, Preparation};
use godwit_model::plugin::{ConnectionKind, Grant};
use godwit_model::{ConnectionName, EffectKey, Error, Json, Result, RunId};

use before::Images;
use folder::Folder;

/// Performs effects on files and answers reads of them.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    images: Images,
    /// The state folder's real path, where it exists: no guest gets at it.
    state: PathBuf,
    connections: Vec<Connection>,
}

impl Files {
    /// A capability over the connections of kind `dir`. Creates nothing; paths are absolute.
    pub fn new(state: StateDir, connections: Vec<Connection>) -> Self {
        let images = Images::new(&state);
        let connections = connections.into_iter().filter(|c| c.kind == ConnectionKind::Dir).collect();
        Self { inner: Arc::new(Inner { images, state: real_path(&state.0), connections }) }
    }

    /// Removes the before-images of a run; it can't be undone afterwards. False when there were none.
    pub fn forget(state: &StateDir, run: &RunId) -> Result<bool> {
        Images::new(state).forget(run)
    }

    fn path_of(&self, connection: &ConnectionName) -> Result<PathBuf> {
        self.inner.path_of(connection)
    }

    /// Runs file work where it blocks nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|e| Error::host(format!("work on files was cut off: {e}")))?
    }
}

impl Inner {
    fn path_of(&self, connection: &ConnectionName) -> Result<PathBuf> {
        let found = self.connections.iter().find(|c| c.name == *connection).ok_or_else(|| {
            Error::invalid(format!("connection `{connection}` is no folder of this recipe"))
                .hint("give the slot a connection of kind `dir`")
        })?;
        match found.reveal("path") {
            Some(path) => Ok(PathBuf::from(path.expose())),
            None => Err(Error::invalid(format!("connection `{connection}` has no `path`"))),
        }
    }

    fn open(&self, grant: &Grant) -> Result<Folder> {
        Folder::open(&grant.connection, &self.path_of(&grant.connection)?, &self.state)
    }
}

/// The real path; of what isn't there yet, the real path of the nearest folder above with the rest as it is.
fn real_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        std::fs::canonicalize(above).ok().map(|above| above.join(rest))
    });
    // `join` of an empty rest leaves a trailing slash, which `components` drops.
    real.map_or(path.clone(), |real| real.components().collect())
}

#[async_trait]
impl Capability for Files {
    fn identity(&self, grant: &Grant) -> Result<String> {
        Ok(format!("dir:{}", real_path(&self.path_of(&grant.connection)?).display()))
    }

    /// Nothing to settle: `perform` finds out by itself what a crash left behind.
    async fn open_step(&self, _: &StepScope, _: &dyn History) -> Result<Vec<EffectKey>> {
        Ok(Vec::new())
    }

    async fn close_step(&self, _: &StepScope) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, scope: &StepScope, effect: &Effect) -> Result<Preparation> {
        let (scope, effect) = (scope.clone(), effect.clone());
        self.blocking(move |inner| effects::prepare(inner, &scope, &effect)).await
    }

    async fn perform(
        &self,
        scope: &StepScope,
        effect: &Effect,
        preparation: &Preparation,
        _: &dyn Ledger,
        resumed: bool,
    ) -> Result<Done> {
        let (scope, effect, preparation) = (scope.clone(), effect.clone(), preparation.clone());
        self.blocking(move |inner| effects::perform(inner, &scope, &effect, &preparation, resumed)).await
    }

    async fn observe(&self, scope: &StepScope, performed: &Performed) -> Result<Evidence> {
        let Action::WriteFile(write) = &performed.effect.action else {
            return Err(Error::invalid(format!("effect `{}` moved no content", performed.effect.key)));
        };
        let (grant, path) = (scope.grant(&write.slot)?.clone(), write.path.clone());
        self.blocking(move |inner| {
            let found = inner.open(&grant)?.found(&path)?;
            found
                .map(|found| found.evidence())
                .ok_or_else(|| Error::missing(format!("there is no file `{path}`")))
        })
        .await
    }

    async fn plan_undo(&self, scope: &StepScope, performed: &dyn History) -> Result<Vec<UndoAction>> {
        let (scope, performed) = (scope.clone(), performed.all().await?);
        self.blocking(move |inner| undo::plan(inner, &scope, &performed)).await
    }

    async fn undo(&self, scope: &StepScope, action: &UndoAction, discard: bool, _: bool) -> Result<Json> {
        let (scope, action) = (scope.clone(), action.clone());
        self.blocking(move |inner| undo::perform(inner, &scope, &action, discard)).await
    }

    /// Files carry no markers.
    async fn cleanup(&self, _: &RunId, _: &Grant) -> Result<Option<String>> {
        Ok(None)
    }
}

#[async_trait]
impl FileReads for Files {
    async fn read(&self, grant: &Grant, path: &str) -> Result<Vec<u8>> {
        let (grant, path) = (grant.clone(), path.to_owned());
        self.blocking(move |inner| inner.open(&grant)?.read(&path)).await
    }

    async fn read_range(&self, grant: &Grant, path: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        let (grant, path) = (grant.clone(), path.to_owned());
        self.blocking(move |inner| inner.open(&grant)?.read_range(&path, offset, length)).await
    }

    async fn stat(&self, grant: &Grant, path: &str) -> Result<Option<FileStat>> {
        let (grant, path) = (grant.clone(), path.to_owned());
        self.blocking(move |inner| inner.open(&grant)?.stat(&path)).await
    }

    async fn list(&self, grant: &Grant, path: &str) -> Result<Vec<FileStat>> {
        let (grant, path) = (grant.clone(), path.to_owned());
        self.blocking(move |inner| inner.open(&grant)?.list(&path)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_path_of_what_is_not_there_yet_follows_links_above_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.path().join("link")).unwrap();
        let real = std::fs::canonicalize(root.path().join("real")).unwrap();
        assert_eq!(real_path(&root.path().join("link")), real);
        assert_eq!(real_path(&root.path().join("link/.godwit/x")), real.join(".godwit/x"));
    }
}
