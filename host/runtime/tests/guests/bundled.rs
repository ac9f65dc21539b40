//! What every plugin that comes with Godwit has to pass.

use godwit_model::plugin::{Limits, Mode, PluginKind};
use godwit_model::{Error, Fault, Json};
use serde_json::json;

use crate::host::MockHost;
use crate::{RUNTIME, load};

/// Params that no schema expects; the engine checks them first, but a plugin may not rely on it.
fn nonsense() -> [Json; 4] {
    [json!(null), json!({}), json!([1, "two"]), json!({"no-such-param": {"deep": [[]]}})]
}

fn assert_own_error(name: &str, params: &Json, error: &Error) {
    assert_ne!(error.fault, Fault::Plugin, "`{name}` breaks on {params}: {error}");
    assert!(!error.message.is_empty(), "`{name}` says nothing about {params}");
}

#[tokio::test]
async fn every_bundled_plugin_loads_under_its_own_name() {
    for bundled in godwit_bundle::plugins() {
        let known = RUNTIME
            .inspect(bundled.name, bundled.bytes)
            .await
            .unwrap_or_else(|e| panic!("{e}: {:?}", e.hint));
        let manifest = &known.manifest;
        assert_eq!(manifest.name.as_str(), bundled.name);
        assert!(!manifest.summary.is_empty(), "`{}` has no summary", bundled.name);
        assert!(manifest.params_schema.is_object(), "`{}` has no schema of its params", bundled.name);
        // A slot that no imported interface could use is a grant asked for nothing.
        for slot in &manifest.slots {
            assert!(known.imports.kinds.contains(&slot.kind), "`{}`: slot `{}`", bundled.name, slot.name);
            assert!(!slot.summary.is_empty(), "`{}`: slot `{}` has no summary", bundled.name, slot.name);
        }
    }
}

#[tokio::test]
async fn no_bundled_plugin_breaks_on_nonsense() {
    let limits = Limits::default();
    for bundled in godwit_bundle::plugins() {
        let name = bundled.name;
        let plugin = load(name, bundled.bytes).await.unwrap();
        for params in &nonsense() {
            match plugin.kind() {
                PluginKind::Step => {
                    for mode in [Mode::Plan, Mode::Apply] {
                        if let Err(error) = plugin.apply(MockHost::in_mode(mode), params, &limits).await {
                            assert_own_error(name, params, &error);
                        }
                    }
                    let host = MockHost::in_mode(Mode::Verify);
                    if let Err(error) = plugin.verify(host, params, &json!(null), &limits).await {
                        assert_own_error(name, params, &error);
                    }
                }
                PluginKind::Transform => {
                    let result = async {
                        let mut pipe = plugin.pipe(params, &json!({"kind": "nonsense"}), &limits).await?;
                        pipe.push(b"\\N\tno table\n\xff\xfe\n").await?;
                        pipe.finish().await
                    };
                    if let Err(error) = result.await {
                        assert_own_error(name, params, &error);
                    }
                    if let Err(error) = plugin.selects(params, &limits).await {
                        assert_own_error(name, params, &error);
                    }
                }
            }
        }
    }
}
