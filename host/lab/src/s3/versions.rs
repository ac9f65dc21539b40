//! The versions of a bucket's objects (S3 user guide, "Using versioning in S3 buckets"). They are not kept in a folder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::store::StoredObject;

/// What a bucket was told about versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Versioning {
    /// Never.
    #[default]
    Off,
    Enabled,
    /// What is written now has the id `null` and replaces what had it before.
    Suspended,
}

/// An object as it was, or the marker of its deletion.
#[derive(Debug, Clone)]
pub struct Version {
    pub id: String,
    /// `None` for a marker.
    pub object: Option<Arc<StoredObject>>,
    pub modified: SystemTime,
}

/// All versions by key, the oldest first. Empty where the bucket never kept any.
#[derive(Debug, Default)]
pub struct History {
    pub versioning: Versioning,
    versions: BTreeMap<String, Vec<Version>>,
    counter: u64,
}

/// The id of what was written while no versions were kept.
const NULL: &str = "null";

impl History {
    /// The id of what is written next, if it gets one.
    pub fn next_id(&mut self) -> Option<String> {
        match self.versioning {
            Versioning::Off => None,
            Versioning::Suspended => Some(NULL.to_owned()),
            Versioning::Enabled => {
                self.counter += 1;
                // As opaque as S3's: nobody should find an order in it.
                Some(format!("v{:016x}", self.counter.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
            }
        }
    }

    /// After an object was written over another, or over none.
    pub fn wrote(&mut self, key: &str, former: Option<Arc<StoredObject>>, object: Arc<StoredObject>) {
        if let Some(id) = object.version.clone() {
            let modified = object.modified;
            self.push(key, former, Version { id, object: Some(object), modified });
        }
    }

    /// After an object was taken out of sight, or none: the marker's id, where there is one.
    pub fn deleted(&mut self, key: &str, former: Option<Arc<StoredObject>>) -> Option<String> {
        let id = self.next_id()?;
        self.push(key, former, Version { id: id.clone(), object: None, modified: SystemTime::now() });
        Some(id)
    }

    fn push(&mut self, key: &str, former: Option<Arc<StoredObject>>, version: Version) {
        let held = self.versions.entry(key.to_owned()).or_default();
        if let (true, Some(former)) = (held.is_empty(), former) {
            // From before versions were kept.
            let modified = former.modified;
            held.push(Version { id: NULL.to_owned(), object: Some(former), modified });
        }
        if version.id == NULL {
            held.retain(|held| held.id != NULL);
        }
        held.push(version);
    }

    /// One version; an object that was there before versions were kept is `null`.
    pub fn find(&self, key: &str, id: &str, current: Option<&Arc<StoredObject>>) -> Option<Version> {
        match self.versions.get(key) {
            Some(held) => held.iter().find(|version| version.id == id).cloned(),
            None => current.filter(|_| id == NULL).map(|object| Version {
                id: NULL.to_owned(),
                object: Some(Arc::clone(object)),
                modified: object.modified,
            }),
        }
    }

    /// Removes one for good: whether it was a marker, and what is the current object then.
    pub fn remove(
        &mut self,
        key: &str,
        id: &str,
        current: Option<&Arc<StoredObject>>,
    ) -> Option<(bool, Option<Arc<StoredObject>>)> {
        let Some(held) = self.versions.get_mut(key) else {
            return (id == NULL && current.is_some()).then_some((false, None));
        };
        let at = held.iter().position(|version| version.id == id)?;
        let removed = held.remove(at);
        let newest = held.last().and_then(|version| version.object.clone());
        if held.is_empty() {
            self.versions.remove(key);
        }
        Some((removed.object.is_none(), newest))
    }

    /// All of them by key, the newest of each first, with those of `objects` that have no history.
    pub fn listed<'a>(
        &'a self,
        objects: &'a BTreeMap<String, Arc<StoredObject>>,
    ) -> Vec<(&'a str, Version, bool)> {
        let mut keys: Vec<&str> = objects.keys().chain(self.versions.keys()).map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut all = Vec::new();
        for key in keys {
            match self.versions.get(key) {
                Some(held) => {
                    let newest_first = held.iter().rev().enumerate();
                    all.extend(newest_first.map(|(at, version)| (key, version.clone(), at == 0)));
                }
                None => all.extend(self.find(key, NULL, objects.get(key)).map(|only| (key, only, true))),
            }
        }
        all
    }

    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Tells a version's tags; an object is shared, so it is replaced.
    pub fn replace(&mut self, key: &str, object: &Arc<StoredObject>) {
        for version in self.versions.get_mut(key).into_iter().flatten() {
            if object.version.as_deref() == Some(&version.id) {
                version.object = Some(Arc::clone(object));
            }
        }
    }
}
