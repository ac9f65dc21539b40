//! `godwit:plugin@0.1.0`.

mod convert;
mod imports;

use async_trait::async_trait;
use godwit_model::check::Check;
use godwit_model::plugin::PluginKind;
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, ResourceAny};

use super::{Answer, Bound, PipeAbi, RawManifest, StepAbi, TransformAbi, linker};
use crate::guest::Guest;

/// The step world, generated from the WIT.
mod step {
    wasmtime::component::bindgen!({
        path: "../../wit/godwit-plugin-0.1.0",
        world: "step-plugin",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "godwit:plugin/effects.effect": crate::guest::Pending,
            "godwit:plugin/postgres.cursor": super::imports::Rows,
            "godwit:plugin/objects.listing": super::imports::Objects,
            "godwit:plugin/objects.version-listing": super::imports::Versions,
        },
        trappable_error_type: {
            "godwit:plugin/types.error" => crate::failure::Trouble,
        },
    });
}

/// The transform world. Its types are those of the step world.
mod transform {
    wasmtime::component::bindgen!({
        path: "../../wit/godwit-plugin-0.1.0",
        world: "transform-plugin",
        exports: { default: async },
        with: { "godwit:plugin/types": super::step::godwit::plugin::types },
    });
}

use step::godwit::plugin as wit;

pub(super) fn bind(component: &Component, kind: PluginKind) -> wasmtime::Result<Bound> {
    let mut linker = linker(component.engine())?;
    Ok(match kind {
        PluginKind::Step => {
            step::StepPlugin::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
            Bound::Step(Box::new(Step(step::StepPluginPre::new(linker.instantiate_pre(component)?)?)))
        }
        PluginKind::Transform => {
            wit::types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
            let pre = transform::TransformPluginPre::new(linker.instantiate_pre(component)?)?;
            Bound::Transform(Box::new(Transform(pre)))
        }
    })
}

struct Step(step::StepPluginPre<Guest>);

#[async_trait]
impl StepAbi for Step {
    async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<RawManifest> {
        let plugin = self.0.instantiate_async(&mut *store).await?;
        Ok(convert::manifest(plugin.godwit_plugin_step().call_describe(store).await?))
    }

    async fn apply(&self, store: &mut Store<Guest>, params: String) -> Answer<String> {
        let plugin = self.0.instantiate_async(&mut *store).await?;
        let answer = plugin.godwit_plugin_step().call_apply(store, &params).await?;
        Ok(answer.map_err(convert::reply))
    }

    async fn verify(&self, store: &mut Store<Guest>, params: String, outputs: String) -> Answer<Vec<Check>> {
        let plugin = self.0.instantiate_async(&mut *store).await?;
        let answer = plugin.godwit_plugin_step().call_verify(store, &params, &outputs).await?;
        Ok(answer.map(|checks| checks.into_iter().map(convert::check).collect()).map_err(convert::reply))
    }
}

struct Transform(transform::TransformPluginPre<Guest>);

#[async_trait]
impl TransformAbi for Transform {
    async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<RawManifest> {
        let plugin = self.0.instantiate_async(&mut *store).await?;
        Ok(convert::manifest(plugin.godwit_plugin_transform().call_describe(store).await?))
    }

    async fn selects(&self, store: &mut Store<Guest>, params: String) -> Answer<Vec<String>> {
        let plugin = self.0.instantiate_async(&mut *store).await?;
        let answer = plugin.godwit_plugin_transform().call_selects(store, &params).await?;
        Ok(answer.map_err(convert::reply))
    }

    async fn open(
        &self,
        store: &mut Store<Guest>,
        params: String,
        shape: String,
    ) -> wasmtime::Result<Box<dyn PipeAbi>> {
        let plugin = self.0.instantiate_async(&mut *store).await?;
        let pipe = plugin.godwit_plugin_transform().pipe().call_constructor(store, &params, &shape).await?;
        Ok(Box::new(Pipe { plugin, pipe }))
    }
}

struct Pipe {
    plugin: transform::TransformPlugin,
    pipe: ResourceAny,
}

#[async_trait]
impl PipeAbi for Pipe {
    async fn push(&self, store: &mut Store<Guest>, chunk: &[u8]) -> Answer<Vec<u8>> {
        let pipes = self.plugin.godwit_plugin_transform().pipe();
        Ok(pipes.call_push(store, self.pipe, chunk).await?.map_err(convert::reply))
    }

    async fn finish(&self, store: &mut Store<Guest>) -> Answer<Vec<u8>> {
        let pipes = self.plugin.godwit_plugin_transform().pipe();
        Ok(pipes.call_finish(store, self.pipe).await?.map_err(convert::reply))
    }
}
