//! The world as planned effects would leave it: what a plan's reads must not answer from the real one.

use std::collections::HashMap;
use std::sync::Mutex;

use godwit_model::capability::{Overlay, PlannedFile};
use godwit_model::effect::Action;
use godwit_model::plugin::Grant;
use godwit_model::{ConnectionName, Error, StepId};

/// What planned effects touch.
#[derive(Default)]
pub(crate) struct PlannedWorld {
    inner: Mutex<Touched>,
}

#[derive(Default)]
struct Touched {
    files: HashMap<(ConnectionName, String), PlannedFile>,
    /// By identity of the database.
    databases: HashMap<String, TouchedDatabase>,
    /// By identity of the endpoint and bucket.
    buckets: HashMap<(String, String), StepId>,
}

struct TouchedDatabase {
    by: StepId,
    /// It isn't there before the run.
    created: bool,
}

impl PlannedWorld {
    /// Records what a planned effect would touch. `identity` is that of its sink.
    pub fn touch(&self, step: &StepId, action: &Action, sink: &Grant, identity: &str) {
        let mut touched = self.lock();
        match action {
            Action::WriteFile(write) => {
                let bytes = write.content.bytes.clone().unwrap_or_default();
                let at = (sink.connection.clone(), normal_path(&write.path));
                touched.files.insert(at, PlannedFile::Written(bytes));
            }
            Action::DeleteFile(delete) => {
                touched
                    .files
                    .insert((sink.connection.clone(), normal_path(&delete.path)), PlannedFile::Deleted);
            }
            Action::CreateDatabase(_) => {
                touched
                    .databases
                    .insert(identity.to_owned(), TouchedDatabase { by: step.clone(), created: true });
            }
            Action::DumpTable(dump) => {
                let at = (sink.connection.clone(), normal_path(&dump.sink.path));
                touched.files.insert(at, PlannedFile::Made(step.clone()));
            }
            Action::SealArchive(seal) => {
                let at = (sink.connection.clone(), normal_path(&seal.path));
                touched.files.insert(at, PlannedFile::Made(step.clone()));
            }
            Action::ExecuteSql(_)
            | Action::CopyTable(_)
            | Action::LoadTable(_)
            | Action::CopySequences(_) => {
                touched
                    .databases
                    .entry(identity.to_owned())
                    .or_insert_with(|| TouchedDatabase { by: step.clone(), created: false });
            }
            Action::CopyObject(copy) => {
                touched.buckets.insert((identity.to_owned(), copy.sink.bucket.clone()), step.clone());
            }
            Action::PutObject(put) => {
                touched.buckets.insert((identity.to_owned(), put.sink.bucket.clone()), step.clone());
            }
            Action::DeleteObject(delete) => {
                touched.buckets.insert((identity.to_owned(), delete.sink.bucket.clone()), step.clone());
            }
            Action::CreateBucket(create) => {
                touched.buckets.insert((identity.to_owned(), create.bucket.clone()), step.clone());
            }
            Action::SetCors(cors) => {
                touched.buckets.insert((identity.to_owned(), cors.bucket.clone()), step.clone());
            }
            Action::CopyVersions(copy) => {
                touched.buckets.insert((identity.to_owned(), copy.sink.bucket.clone()), step.clone());
            }
            Action::SetBucketSetting(set) => {
                touched.buckets.insert((identity.to_owned(), set.bucket.clone()), step.clone());
            }
            // Leaves nothing behind.
            Action::ProbeBucket(_) => {}
        }
    }

    /// `pending` where a planned effect has touched the database.
    pub fn database(&self, identity: &str) -> Result<(), Error> {
        match self.lock().databases.get(identity) {
            Some(touched) => Err(pending(identity, &touched.by)),
            None => Ok(()),
        }
    }

    /// Whether the database exists only once the run has made it.
    pub fn is_planned_database(&self, identity: &str) -> bool {
        self.lock().databases.get(identity).is_some_and(|touched| touched.created)
    }

    /// `pending` where a planned effect has touched the bucket.
    pub fn bucket(&self, identity: &str, bucket: &str) -> Result<(), Error> {
        match self.lock().buckets.get(&(identity.to_owned(), bucket.to_owned())) {
            Some(step) => Err(pending(&format!("bucket `{bucket}` at {identity}"), step)),
            None => Ok(()),
        }
    }

    /// The step that will make something below a folder.
    pub fn maker_below(&self, connection: &ConnectionName, folder: &str) -> Option<StepId> {
        let folder = normal_path(folder);
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.lock().files.iter().find_map(|((at, path), file)| match file {
            PlannedFile::Made(by) if at == connection && path.starts_with(&prefix) => Some(by.clone()),
            _ => None,
        })
    }

    /// Planned files of one folder, for a listing.
    pub fn files_under(&self, connection: &ConnectionName, folder: &str) -> Vec<(String, PlannedFile)> {
        let folder = normal_path(folder);
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.lock()
            .files
            .iter()
            .filter(|((at, path), _)| {
                at == connection && path.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/'))
            })
            .map(|((_, path), file)| (path.clone(), file.clone()))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Touched> {
        // The map is only ever replaced entry by entry; a panic elsewhere leaves it whole.
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Overlay for PlannedWorld {
    fn file(&self, connection: &ConnectionName, path: &str) -> Option<PlannedFile> {
        self.lock().files.get(&(connection.clone(), normal_path(path))).cloned()
    }
}

/// The answer to who asks for a file that a planned step will make.
pub(crate) fn unknown_file(path: &str, by: &StepId) -> Error {
    pending(&format!("file `{path}`"), by)
}

fn pending(what: &str, by: &StepId) -> Error {
    Error::pending(format!("what {what} will hold depends on step `{by}`, which is only planned"))
}

/// One spelling per path: no empty and no `.` components.
pub(crate) fn normal_path(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}
