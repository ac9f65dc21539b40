//! Writing and deleting: looking before the leap, the leap, and the leap again after a crash.

use godwit_model::capability::{PlannedFile, StepScope};
use godwit_model::effect::{Action, Class, Content, Done, Effect, Evidence, Preparation};
use godwit_model::plugin::{Grant, Mode};
use godwit_model::secret::Secrets;
use godwit_model::{Digest, EffectKey, Error, Json, Result, RunId, SlotName, StepId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Inner;
use crate::diff;
use crate::folder::{Attributes, Found};

/// What was at a path: `Preparation.before` of this capability. Holds no content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The run that made the note; an undo is a run of its own.
    pub run: RunId,
    pub step: StepId,
    #[serde(flatten)]
    pub was: Was,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "kebab-case")]
pub enum Was {
    /// Nothing; these folders above it weren't there either, outermost first.
    Absent { folders: Vec<String> },
    File {
        sha256: Digest,
        attributes: Attributes,
        /// Name of the before-image.
        image: String,
    },
}

impl Before {
    pub fn of(preparation: &Preparation) -> Result<Self> {
        serde_json::from_value(preparation.before.clone())
            .map_err(|e| Error::host(format!("the journal's note of what a file was can't be read: {e}")))
    }

    pub fn digest(&self) -> Option<&Digest> {
        match &self.was {
            Was::Absent { .. } => None,
            Was::File { sha256, .. } => Some(sha256),
        }
    }

    fn attributes(&self) -> Option<Attributes> {
        match self.was {
            Was::Absent { .. } => None,
            Was::File { attributes, .. } => Some(attributes),
        }
    }

    /// Names the temporary file of an effect, the same in every attempt.
    pub fn tag(&self, key: &EffectKey) -> String {
        Digest::of(format!("{}\0{}\0{key}", self.run, self.step).as_bytes()).short().to_owned()
    }
}

/// What an effect left at a path: `Done.fingerprint` of this capability; `None` is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub sha256: Option<Digest>,
}

/// The slot and path of an action of this capability.
pub fn place(action: &Action) -> Result<(&SlotName, &str)> {
    match action {
        Action::WriteFile(write) => Ok((&write.slot, &write.path)),
        Action::DeleteFile(delete) => Ok((&delete.slot, &delete.path)),
        _ => Err(Error::host("an action on something else than a file came to the files capability")),
    }
}

/// See `Capability::prepare`.
pub fn prepare(inner: &Inner, scope: &StepScope, effect: &Effect) -> Result<Preparation> {
    let (slot, path) = place(&effect.action)?;
    let grant = scope.grant(slot)?;
    let folder = inner.open(grant)?;
    let found = folder.found(path)?;
    // A plan compares with what earlier planned effects would have left.
    let planned = (scope.mode == Mode::Plan).then(|| scope.overlay.file(&grant.connection, path)).flatten();
    let current = match &planned {
        Some(PlannedFile::Written(content)) => Some(content.as_slice()),
        Some(PlannedFile::Deleted) => None,
        Some(PlannedFile::Made(by)) => {
            return Err(Error::pending(format!(
                "what `{path}` will hold depends on step `{by}`, which is only planned"
            )));
        }
        None => found.as_ref().map(|found| found.content.as_slice()),
    };
    let mut details = Vec::new();
    let (class, title, after) = match &effect.action {
        Action::WriteFile(write) => {
            let revealed = write.content.bytes.as_deref().map(|bytes| reveal(bytes, grant, &scope.secrets));
            if let Some((_, true)) = revealed.transpose()? {
                details.push("secrets are written in place of their tokens".to_owned());
            }
            let class = if current.is_some() { Class::Overwrites } else { Class::Creates };
            let verb = if current.is_some() { "rewrite" } else { "create" };
            (class, format!("{verb} {path} ({} bytes)", write.content.len), write.content.bytes.as_deref())
        }
        _ => {
            let size = current
                .map(<[u8]>::len)
                .ok_or_else(|| Error::missing(format!("`{path}` can't be deleted: it isn't there")))?;
            (Class::Destroys, format!("delete {path} ({size} bytes)"), None)
        }
    };
    let diff = diff::masked(path, current, after, &scope.secrets, &scope.known_values);
    if diff.is_none() && current != after {
        let size =
            |content: Option<&[u8]>| content.map_or("nothing".to_owned(), |c| format!("{} bytes", c.len()));
        details.push(format!("{} → {} (not shown line by line)", size(current), size(after)));
    }
    let before = match scope.mode {
        Mode::Apply => {
            let was = match found {
                Some(found) => Was::File {
                    sha256: found.sha256(),
                    attributes: found.attributes,
                    image: inner.images.keep(&scope.run, &scope.step, &effect.key, &found.content)?,
                },
                None => Was::Absent { folders: folder.missing_parents(path)? },
            };
            let before = Before { run: scope.run.clone(), step: scope.step.clone(), was };
            serde_json::to_value(before)
                .map_err(|e| Error::host(format!("what `{path}` was can't be noted: {e}")))?
        }
        Mode::Plan | Mode::Verify | Mode::Recheck => Json::Null,
    };
    Ok(Preparation { class, irreversible: None, title, details, diff, estimate: None, before })
}

/// See `Capability::perform`.
pub fn perform(
    inner: &Inner,
    scope: &StepScope,
    effect: &Effect,
    preparation: &Preparation,
    resumed: bool,
) -> Result<Done> {
    let (slot, path) = place(&effect.action)?;
    let grant = scope.grant(slot)?;
    let folder = inner.open(grant)?;
    let before = Before::of(preparation)?;
    let after = match &effect.action {
        Action::WriteFile(write) => Some(reveal(content(&write.content, path)?, grant, &scope.secrets)?),
        _ => None,
    };
    let after_digest = after.as_ref().map(|(bytes, _)| Digest::of(bytes));
    let current = folder.found(path)?;
    let current_digest = current.as_ref().map(Found::sha256);
    let mut notes = Vec::new();
    let is_done = resumed && current_digest == after_digest;
    if !is_done {
        if current_digest.as_ref() != before.digest() {
            return Err(Error::conflict(format!(
                "`{path}` has changed since the run looked at it: somebody else writes to it"
            ))
            .hint("undo the run or begin a new one; its plan shows the file as it is now"));
        }
        match &after {
            Some((bytes, holds_secret)) => {
                inner.images.note_after(&scope.run, &scope.step, &effect.key, &Digest::of(bytes))?;
                let mode = if *holds_secret { 0o600 } else { 0o644 };
                let tag = before.tag(&effect.key);
                notes = folder.replace(path, bytes, before.attributes(), mode, &tag)?;
                let kept = before.attributes().map_or(mode, |attributes| attributes.mode);
                if *holds_secret && kept & 0o004 != 0 {
                    notes.push(format!(
                        "`{path}` holds a secret now and can be read by every user of this machine (mode {kept:04o})"
                    ));
                }
            }
            None => folder.remove(path)?,
        }
    }
    let evidence = after.as_ref().map(|(bytes, _)| Evidence {
        items: 1,
        bytes: bytes.len() as u64,
        digest: format!("sha256:{}", Digest::of(bytes)),
    });
    let fingerprint = serde_json::to_value(Fingerprint { sha256: after_digest })
        .map_err(|e| Error::host(format!("the fingerprint of `{path}` can't be written: {e}")))?;
    let result = json!({ "path": path, "bytes": evidence.as_ref().map_or(0, |evidence| evidence.bytes) });
    Ok(Done { result, evidence, fingerprint, notes })
}

fn content<'a>(content: &'a Content, path: &str) -> Result<&'a [u8]> {
    content.bytes.as_deref().ok_or_else(|| {
        Error::host(format!("the content of `{path}` is not at hand: the journal keeps its digest only"))
            .hint("resume the run, so that the plugin makes it again")
    })
}

/// The content with tokens replaced by their values, and whether there was one. A secret that the grant doesn't name
/// is denied.
fn reveal(content: &[u8], grant: &Grant, secrets: &Secrets) -> Result<(Vec<u8>, bool)> {
    let mut out = Vec::with_capacity(content.len());
    let mut holds_secret = false;
    // A token is valid UTF-8, so it lies within one valid chunk.
    for chunk in content.utf8_chunks() {
        if secrets.holds_token(chunk.valid()) {
            holds_secret = true;
            let revealed = secrets.reveal(chunk.valid(), Some(&grant.secrets)).map_err(|name| {
                Error::denied(format!(
                    "secret `{name}` may not be written through slot `{}`: its grant doesn't name it",
                    grant.slot
                ))
                .hint(format!("add it to the grant of slot `{}`: `\"secrets\": [\"{name}\"]`", grant.slot))
            })?;
            out.extend_from_slice(revealed.as_bytes());
        } else {
            out.extend_from_slice(chunk.valid().as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    Ok((out, holds_secret))
}
