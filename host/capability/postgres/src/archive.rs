//! Archives: rows of tables into files and out of them, in the framing and compression of pg_dump.
//!
//! A file is made beside its place and gets its name once it is whole and durable, so a name means a whole file. What an
//! archive's table of contents says is the plugin's business; here are bytes.

mod codec;
mod custom;
mod dump;
mod load;
mod objects;
mod seal;

use std::sync::Arc;

use godwit_model::capability::{FileStreams, Performed, StepScope};
use godwit_model::plugin::Grant;
use godwit_model::{Digest, EffectKey, Error, Json, Result};
use serde::{Deserialize, Serialize};

pub use custom::blocks;
pub use dump::{Dump, observe as observe_dump};
pub use load::Load;
pub use objects::tag_of_files;
pub use seal::{Seal, beside as beside_seal, digest as seal_digest, observe as observe_seal};

/// What was at a file's place: `Preparation.before` of what makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Names the temporary file, the same in every attempt and in the undo.
    pub tag: String,
    /// Folders above it that weren't there, outermost first.
    pub folders: Vec<String>,
}

/// What is journalled before a file gets its name, and with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub sha256: Digest,
    /// The snapshot that its rows are of; 0 where it has none.
    #[serde(default)]
    pub generation: u32,
}

impl Before {
    /// Notes what isn't there yet; a file that is there is a conflict.
    async fn of(scope: &StepScope, key: &EffectKey, place: &FilePlace) -> Result<Self> {
        let tag = Digest::of(format!("{}\0{}\0{key}", scope.run, scope.step).as_bytes()).short().to_owned();
        let folders = place
            .blocking(|files, grant, path| {
                if files.exists(grant, path)? {
                    return Err(Error::conflict(format!("`{path}` is there already"))
                        .hint("choose a path where nothing is, or move away what is there"));
                }
                files.missing_folders(grant, path)
            })
            .await?;
        Ok(Self { tag, folders })
    }

    pub fn read(performed: &Json) -> Result<Self> {
        Self::deserialize(performed)
            .map_err(|e| Error::host(format!("the journal's note of a file's place can't be read: {e}")))
    }
}

impl Written {
    /// `None` where the effect has no outcome.
    pub fn of(performed: &Performed) -> Result<Option<Self>> {
        let Some(done) = &performed.done else { return Ok(None) };
        Self::deserialize(&done.fingerprint)
            .map(Some)
            .map_err(|e| Error::host(format!("the fingerprint of a file can't be read: {e}")))
    }
}

/// One path behind a grant.
#[derive(Clone)]
pub struct FilePlace {
    pub files: Arc<dyn FileStreams>,
    pub grant: Grant,
    pub path: String,
}

impl FilePlace {
    /// Another path behind the same grant.
    pub fn beside(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// Runs file work where it blocks nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn FileStreams, &Grant, &str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = self.clone();
        tokio::task::spawn_blocking(move || work(place.files.as_ref(), &place.grant, &place.path))
            .await
            .map_err(|e| Error::host(format!("work on files was cut off: {e}")))?
    }

    pub async fn digest(&self) -> Result<Option<Digest>> {
        self.blocking(|files, grant, path| files.digest(grant, path)).await
    }

    /// Removes the file, what attempts to make it left, and the folders made for it that are empty now.
    pub async fn remove(&self, before: Before) -> Result<()> {
        self.blocking(move |files, grant, path| files.remove(grant, path, &before.tag, &before.folders)).await
    }

    async fn commit(&self, tag: &str) -> Result<()> {
        let tag = tag.to_owned();
        self.blocking(move |files, grant, path| files.commit(grant, path, &tag)).await
    }

    /// Somebody else's file is where ours should be.
    fn taken(&self) -> Error {
        Error::conflict(format!("`{}` is there, and it isn't what this run wrote", self.path))
            .hint("move it away and resume the run, or begin a new run with another path")
    }
}

/// An error of reading or writing a file.
fn io_error(what: &str, error: &std::io::Error) -> Error {
    use std::io::ErrorKind as Kind;
    let message = format!("{what}: {error}");
    match error.kind() {
        Kind::StorageFull => {
            Error::failed(message).code("ENOSPC").hint("free some space, then resume the run")
        }
        Kind::UnexpectedEof | Kind::InvalidData | Kind::InvalidInput => {
            Error::failed(message).hint("the archive is truncated or damaged; make it anew")
        }
        _ => Error::failed(message),
    }
}
