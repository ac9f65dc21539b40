//! Taking back what was written and deleted.

use std::collections::BTreeMap;

use godwit_model::capability::{Performed, StepScope, UndoAction};
use godwit_model::{Digest, EffectKey, Error, Json, Result, SlotName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Inner;
use crate::effects::{Before, Fingerprint, Was, place};
use crate::folder::{Folder, Found};

/// `UndoAction.request` of this capability.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Request {
    slot: SlotName,
    path: String,
    /// What the run left; `None` is nothing.
    left: Option<Digest>,
    /// What was there before the run.
    to: Before,
    /// Names the temporary file that a write that was cut off may have left.
    tag: String,
}

/// See `Capability::plan_undo`. Later effects are taken back first, so an earlier one on the same path finds what the
/// later one had found.
pub fn plan(inner: &Inner, scope: &StepScope, performed: &[Performed]) -> Result<Vec<UndoAction>> {
    let mut actions = Vec::new();
    let mut expected: BTreeMap<(SlotName, String), Option<Digest>> = BTreeMap::new();
    for effect in performed.iter().rev() {
        let key = &effect.effect.key;
        let (slot, path) = place(&effect.effect.action)?;
        let before = Before::of(&effect.preparation)?;
        let tag = before.tag(key);
        let at = (slot.clone(), path.to_owned());
        let now = match expected.get(&at) {
            Some(digest) => digest.clone(),
            None => open(inner, scope, slot)?.found(path)?.map(|found| found.sha256()),
        };
        let left = match &effect.done {
            Some(done) => {
                let fingerprint: Fingerprint =
                    serde_json::from_value(done.fingerprint.clone()).map_err(|e| {
                        Error::host(format!("the fingerprint of effect `{key}` can't be read: {e}"))
                    })?;
                fingerprint.sha256
            }
            // In doubt. Where the file is as it was, the effect didn't happen or is taken back already.
            None if now.as_ref() == before.digest() => {
                if !open(inner, scope, slot)?.has_unfinished(path, &tag)? {
                    continue;
                }
                now.clone()
            }
            // What it would have left was noted before the file was touched.
            None => inner.images.after(&before.run, &before.step, key)?,
        };
        expected.insert(at, before.digest().cloned());
        let changed = (now != left && now.as_ref() != before.digest()).then(|| match &now {
            Some(_) => format!("`{path}` has been changed since the run left it"),
            None => format!("`{path}` has been deleted since the run left it"),
        });
        let title = match &before.was {
            Was::Absent { .. } => format!("delete {path}, which the run created"),
            Was::File { .. } => format!("put {path} back as it was before the run"),
        };
        let request = Request { slot: slot.clone(), path: path.to_owned(), left, to: before, tag };
        actions.push(UndoAction {
            key: EffectKey::new(format!("undo:{key}")),
            title,
            takes_back: vec![key.clone()],
            irreversible: None,
            changed,
            details: Vec::new(),
            request: serde_json::to_value(request)
                .map_err(|e| Error::host(format!("the undo of effect `{key}` can't be written: {e}")))?,
        });
    }
    Ok(actions)
}

fn open(inner: &Inner, scope: &StepScope, slot: &SlotName) -> Result<Folder> {
    inner.open(scope.grant(slot)?)
}

/// See `Capability::undo`. Idempotent: where the file is as it was, nothing is done.
pub fn perform(inner: &Inner, scope: &StepScope, action: &UndoAction, discard: bool) -> Result<Json> {
    let request: Request = serde_json::from_value(action.request.clone())
        .map_err(|e| Error::host(format!("undo `{}` can't be read: {e}", action.key)))?;
    let Request { slot, path, left, to, tag } = &request;
    let folder = open(inner, scope, slot)?;
    let found = folder.found(path)?;
    let now = found.as_ref().map(Found::sha256);
    folder.remove_unfinished(path, tag)?;
    if now.as_ref() != to.digest() {
        if now != *left {
            if !discard {
                return Err(Error::conflict(format!("`{path}` has been changed since the run left it"))
                    .hint(format!(
                        "save what you need of it, then name it: `--discard-later-changes {path}`"
                    )));
            }
            if let Some(found) = &found {
                // What is discarded is kept, like anything else that is replaced.
                inner.images.keep(&scope.run, &scope.step, &action.key, &found.content)?;
            }
        }
        match &to.was {
            Was::Absent { .. } => folder.remove(path)?,
            Was::File { sha256, attributes, image } => {
                let content = inner.images.load(image, sha256)?;
                folder.replace(path, &content, Some(*attributes), attributes.mode, tag)?;
            }
        }
    }
    if let Was::Absent { folders } = &to.was {
        folder.remove_empty(folders)?;
    }
    Ok(match &to.was {
        Was::Absent { .. } => json!({ "deleted": path }),
        Was::File { sha256, .. } => json!({ "restored": path, "sha256": sha256 }),
    })
}
