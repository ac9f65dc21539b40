//! Loads plugins.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use godwit_model::plugin::{Manifest, Plugin, PluginKind};
use godwit_model::{Digest, Result};

use crate::cache::Cache;
use crate::code::{Code, Shared};
use crate::engine::{Ticker, engine};
use crate::plugin::Loaded;
use crate::reflect::{Imports, Version};

/// Loads plugins and runs them.
///
/// One runtime serves a whole process; components with the same digest are loaded once.
pub struct Runtime {
    shared: Arc<Shared>,
    known: Mutex<HashMap<Digest, Arc<Code>>>,
}

/// What is known of a component without running a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// SHA-256 of the component's bytes.
    pub digest: Digest,
    /// The version of the contract it was built for.
    pub abi: Version,
    pub kind: PluginKind,
    /// What it asks for.
    pub imports: Imports,
    pub manifest: Manifest,
}

impl Runtime {
    /// A runtime that keeps compiled code in `cache_dir`, or nowhere. The folder is created 0700 when there is
    /// something to keep, and not used where others may write to it.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Arc<Self>> {
        let engine = engine()?;
        let cache = cache_dir.map(|folder| Cache::new(folder, &engine));
        let shared = Arc::new(Shared { ticker: Ticker::new(engine.clone()), engine, cache });
        Ok(Arc::new(Self { shared, known: Mutex::default() }))
    }

    /// Loads a plugin. `name` is what messages call it. Nothing but `describe` of it runs, and that only where the cache
    /// doesn't know it.
    ///
    /// # Errors
    /// With [`godwit_model::Fault::Plugin`] where the bytes aren't a plugin that this Godwit may run.
    pub async fn load(&self, name: &str, bytes: &[u8]) -> Result<Arc<dyn Plugin>> {
        let code = self.code(name, bytes).await?;
        Ok(Arc::new(Loaded::new(self.shared.clone(), name, code)))
    }

    /// What a component asks for and says of itself. Fails where [`Runtime::load`] does.
    pub async fn inspect(&self, name: &str, bytes: &[u8]) -> Result<Inspection> {
        let code = self.code(name, bytes).await?;
        Ok(Inspection {
            digest: code.digest.clone(),
            abi: code.abi,
            kind: code.kind,
            imports: code.imports.clone(),
            manifest: code.manifest.clone(),
        })
    }

    async fn code(&self, name: &str, bytes: &[u8]) -> Result<Arc<Code>> {
        let digest = Digest::of(bytes);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = known().get(&digest) {
            return Ok(code.clone());
        }
        // Two tasks may load the same plugin at once; the first to finish is kept.
        let code = Arc::new(Code::load(&self.shared, name, digest.clone(), bytes).await?);
        Ok(known().entry(digest).or_insert(code).clone())
    }
}
