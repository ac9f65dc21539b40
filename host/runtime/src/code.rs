//! One component, by its digest: what is known of it, and its code once it is needed.

use std::sync::Arc;

use godwit_model::plugin::{ConnectionKind, Limits, Manifest, PluginKind};
use godwit_model::{Digest, Error, Json, PluginName, Result};
use tokio::sync::OnceCell;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::abi::{self, Bound, RawManifest};
use crate::cache::{self, Cache, Entry};
use crate::engine::Ticker;
use crate::guest::Guest;
use crate::reflect::{self, Imports, Version};

/// Bounds of `describe`: far more than a constant answer needs.
fn describe_limits() -> Limits {
    Limits { cpu_ms: 5_000, ..Limits::default() }
}

/// What all plugins of a runtime share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Option<Cache>,
}

/// A component that was admitted.
pub(crate) struct Code {
    pub(crate) digest: Digest,
    pub(crate) abi: Version,
    pub(crate) kind: PluginKind,
    pub(crate) imports: Imports,
    pub(crate) manifest: Manifest,
    bytes: Arc<[u8]>,
    bound: OnceCell<Bound>,
}

impl Code {
    /// From the cache, or by compiling, reading its type, and letting it describe itself.
    pub(crate) async fn load(
        shared: &Arc<Shared>,
        plugin: &str,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Self> {
        if let Some(entry) = shared.cache.as_ref().and_then(|cache| cache.entry(&digest))
            && let Ok(abi) = entry.abi.parse()
        {
            let imports = Imports { kinds: entry.kinds, interfaces: entry.interfaces };
            let (kind, manifest) = (entry.kind, entry.manifest);
            return Ok(Self {
                digest,
                abi,
                kind,
                imports,
                manifest,
                bytes: bytes.into(),
                bound: OnceCell::new(),
            });
        }
        let bytes: Arc<[u8]> = bytes.into();
        let component = compile(shared, plugin, bytes.clone()).await?;
        let component_type = component.component_type();
        let (abi, kind) = reflect::abi(plugin, &component_type, &shared.engine)?;
        let imports = reflect::imports(plugin, &component_type, &shared.engine, abi, kind)?;
        let bound = bind(plugin, &component, abi, kind)?;
        let manifest = describe(shared, plugin, &bound, kind).await?;
        covers(plugin, &manifest, &imports)?;
        let code =
            Self { digest, abi, kind, imports, manifest, bytes, bound: OnceCell::new_with(Some(bound)) };
        code.keep(shared, &component);
        Ok(code)
    }

    /// The code bound to its imports: from the cache, or compiled anew where that doesn't fit.
    pub(crate) async fn bound(&self, shared: &Arc<Shared>, plugin: &str) -> Result<&Bound> {
        self.bound
            .get_or_try_init(|| async {
                let component = match self.cached(shared).await {
                    Some(component) => component,
                    None => {
                        let component = compile(shared, plugin, self.bytes.clone()).await?;
                        self.keep(shared, &component);
                        component
                    }
                };
                bind(plugin, &component, self.abi, self.kind)
            })
            .await
    }

    async fn cached(&self, shared: &Arc<Shared>) -> Option<Component> {
        let (shared, digest) = (shared.clone(), self.digest.clone());
        let read = move || {
            let code = shared.cache.as_ref()?.code(&digest)?;
            // `deserialize` runs what it is given as machine code. These bytes were written by this crate into a
            // folder that only this user may write to, and fit the digest beside them; wasmtime itself checks its
            // version and the engine's settings.
            #[allow(unsafe_code)]
            let component = unsafe { Component::deserialize(&shared.engine, code) };
            component.inspect_err(|error| tracing::debug!(%error, "compiled code doesn't fit")).ok()
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    fn keep(&self, shared: &Shared, component: &Component) {
        let Some(cache) = &shared.cache else { return };
        match component.serialize() {
            Ok(code) => cache.keep(
                &Entry {
                    plugin: self.digest.clone(),
                    abi: self.abi.to_string(),
                    kind: self.kind,
                    kinds: self.imports.kinds.clone(),
                    interfaces: self.imports.interfaces.clone(),
                    manifest: self.manifest.clone(),
                    code: cache::fold(&code),
                },
                &code,
            ),
            Err(error) => tracing::warn!(%error, "compiled code can't be kept"),
        }
    }
}

/// Compiles the very bytes that were digested.
async fn compile(shared: &Arc<Shared>, plugin: &str, bytes: Arc<[u8]>) -> Result<Component> {
    if !bytes.starts_with(b"\0asm") {
        return Err(Error::plugin(format!(
            "`{plugin}` is no WebAssembly: it doesn't begin as such a file does"
        ))
        .hint("name a component that was built for wasm32-wasip2"));
    }
    // Bytes 4..8 are version and layer; layer 0 is a core module (component model, Binary.md).
    if bytes.get(6..8) == Some(&[0, 0]) {
        return Err(Error::plugin(format!("`{plugin}` is a core WebAssembly module, not a component")).hint(
            "build it for wasm32-wasip2, or turn it into a component with `wasm-tools component new`",
        ));
    }
    let engine = shared.engine.clone();
    let compiled = tokio::task::spawn_blocking(move || Component::from_binary(&engine, &bytes)).await;
    match compiled {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(Error::plugin(format!("plugin `{plugin}` can't be compiled: {error:#}"))
            .hint("the file may be damaged, or use WebAssembly proposals that Godwit doesn't admit")),
        Err(_) => Err(Error::host(format!("compiling plugin `{plugin}` was cut short"))),
    }
}

fn bind(plugin: &str, component: &Component, abi: Version, kind: PluginKind) -> Result<Bound> {
    abi::bind(component, abi, kind).map_err(|error| {
        Error::plugin(format!(
            "plugin `{plugin}` doesn't fit version {abi} of the plugin contract: {error:#}"
        ))
        .hint("build it anew against the released WIT package `godwit:plugin`")
    })
}

async fn describe(shared: &Shared, plugin: &str, bound: &Bound, kind: PluginKind) -> Result<Manifest> {
    let mut store = Guest::store(&shared.engine, plugin.into(), None, &describe_limits());
    let clock = store.data().clock.clone();
    let _ticking = shared.ticker.tick()?;
    match clock.meter(bound.describe(&mut store)).await {
        Ok(raw) => manifest(plugin, raw, kind),
        Err(error) => Err(store.data().explain(&error).context("while it described itself")),
    }
}

/// Checks what a plugin says of itself.
fn manifest(plugin: &str, raw: RawManifest, kind: PluginKind) -> Result<Manifest> {
    let wrong = |what: String| {
        Error::plugin(format!("plugin `{plugin}` describes itself wrongly: {what}"))
            .hint("this is a fault of the plugin: report it to its author")
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if !is_name(&raw.name) {
        return Err(wrong(format!("its name `{}` isn't lower-case letters, digits and `-`", raw.name)));
    }
    if raw.version.is_empty() || raw.version.chars().any(char::is_whitespace) {
        return Err(wrong(format!("`{}` is no version", raw.version)));
    }
    if kind == PluginKind::Transform && !raw.slots.is_empty() {
        return Err(wrong("a transform has no slots".to_owned()));
    }
    for (index, slot) in raw.slots.iter().enumerate() {
        let name = slot.name.as_str();
        let is_slot = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c));
        if !is_slot {
            return Err(wrong(format!(
                "the slot name `{name}` isn't lower-case letters, digits, `-` and `_`"
            )));
        }
        if raw.slots[..index].iter().any(|other| other.name == slot.name) {
            return Err(wrong(format!("it has two slots named `{name}`")));
        }
    }
    let schema = |what: &str, text: &str, may_be_null: bool| {
        let schema: Json =
            serde_json::from_str(text).map_err(|e| wrong(format!("its schema of {what} is no JSON: {e}")))?;
        if schema.is_object() || schema.is_boolean() || (may_be_null && schema.is_null()) {
            Ok(schema)
        } else {
            Err(wrong(format!("its schema of {what} is no JSON Schema")))
        }
    };
    Ok(Manifest {
        params_schema: schema("params", &raw.params_schema, false)?,
        outputs_schema: schema("outputs", &raw.outputs_schema, kind == PluginKind::Transform)?,
        name: PluginName::new(raw.name),
        version: raw.version,
        summary: raw.summary,
        slots: raw.slots,
    })
}

/// Every imported capability needs a slot that it could work on; otherwise a recipe could never grant it.
fn covers(plugin: &str, manifest: &Manifest, imports: &Imports) -> Result<()> {
    let interface = |kind| match kind {
        ConnectionKind::Postgres => "postgres",
        ConnectionKind::S3 => "objects",
        ConnectionKind::Dir => "files",
    };
    let missing = imports.kinds.iter().find(|kind| manifest.slots.iter().all(|slot| slot.kind != **kind));
    missing.map_or(Ok(()), |&kind| {
        Err(Error::plugin(format!(
            "plugin `{plugin}` imports `godwit:plugin/{}`, but declares no slot of kind `{}`",
            interface(kind),
            kind.name()
        ))
        .hint("its author has to declare that slot in the manifest, or not use that interface"))
    })
}

#[cfg(test)]
mod tests {
    use godwit_model::plugin::{Access, SlotSpec};

    use super::*;

    fn raw() -> RawManifest {
        RawManifest {
            name: "echo".to_owned(),
            version: "1.0.0".to_owned(),
            summary: String::new(),
            slots: vec![slot("files")],
            params_schema: "{}".to_owned(),
            outputs_schema: "{}".to_owned(),
        }
    }

    fn slot(name: &str) -> SlotSpec {
        SlotSpec {
            name: name.into(),
            kind: ConnectionKind::Dir,
            access: Access::Write,
            required: true,
            summary: String::new(),
        }
    }

    #[test]
    fn a_manifest_is_checked() {
        let step = PluginKind::Step;
        assert!(manifest("p", raw(), step).is_ok());
        let cases: [(RawManifest, PluginKind, &str); 7] = [
            (RawManifest { name: "Echo".to_owned(), ..raw() }, step, "name `Echo`"),
            (RawManifest { version: String::new(), ..raw() }, step, "no version"),
            (raw(), PluginKind::Transform, "no slots"),
            (RawManifest { slots: vec![slot("a b")], ..raw() }, step, "slot name `a b`"),
            (RawManifest { slots: vec![slot("a"), slot("a")], ..raw() }, step, "two slots named `a`"),
            (RawManifest { params_schema: "{".to_owned(), ..raw() }, step, "schema of params is no JSON"),
            (RawManifest { outputs_schema: "null".to_owned(), ..raw() }, step, "schema of outputs"),
        ];
        for (raw, kind, expect) in cases {
            let error = manifest("p", raw, kind).unwrap_err();
            assert!(error.message.contains(expect), "{error}");
        }
    }

    #[test]
    fn an_import_without_a_slot_is_refused() {
        let manifest = manifest("p", raw(), PluginKind::Step).unwrap();
        let imports = |kind| Imports { kinds: vec![kind], interfaces: Vec::new() };
        assert!(covers("p", &manifest, &imports(ConnectionKind::Dir)).is_ok());
        let error = covers("p", &manifest, &imports(ConnectionKind::Postgres)).unwrap_err();
        assert!(error.message.contains("declares no slot of kind `postgres`"), "{error}");
    }
}
