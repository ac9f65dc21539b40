//! plugin list, inspect, new.

use std::path::{Path, PathBuf};

use godwit_model::{Error, Result};

use super::Context;
use crate::args::{NewKind, PluginCommand};
use crate::output::{Exit, Style, bytes, say, say_json};
use crate::wiring::{self, Refused};

pub async fn dispatch(context: &Context, command: PluginCommand) -> Result<Exit, Refused> {
    match command {
        PluginCommand::List => list(context).await,
        PluginCommand::Inspect { plugin } => inspect(context, &plugin).await,
        PluginCommand::New { name, kind, sdk } => Ok(new(context, &name, kind, sdk.as_deref())?),
    }
}

async fn list(context: &Context) -> Result<Exit, Refused> {
    let runtime = wiring::runtime()?;
    let mut rows = Vec::new();
    for bundled in godwit_bundle::plugins() {
        let plugin = runtime.load(bundled.name, bundled.bytes).await?;
        rows.push(plugin);
    }
    if context.json {
        let list: Vec<serde_json::Value> = rows
            .iter()
            .map(|plugin| {
                let manifest = plugin.manifest();
                serde_json::json!({
                    "name": manifest.name, "version": manifest.version, "summary": manifest.summary,
                    "kind": plugin.kind(), "digest": plugin.digest(),
                })
            })
            .collect();
        say_json(&list);
        return Ok(Exit::Done);
    }
    let width = rows.iter().map(|plugin| plugin.manifest().name.as_str().len()).max().unwrap_or(0);
    for plugin in rows {
        let manifest = plugin.manifest();
        let name = manifest.name.as_str();
        say(&format!("{name:width$}  {}  {}", manifest.version, manifest.summary));
    }
    Ok(Exit::Done)
}

async fn inspect(context: &Context, name: &str) -> Result<Exit, Refused> {
    let runtime = wiring::runtime()?;
    let content = wiring::plugin_bytes(name, Path::new(""))?;
    let plugin = runtime.load(name, &content).await?;
    let inspection = runtime.inspect(name, &content).await?;
    let manifest = plugin.manifest();
    if context.json {
        say_json(&serde_json::json!({
            "manifest": manifest,
            "kind": plugin.kind(),
            "digest": plugin.digest(),
            "size": content.len(),
            "imports": inspection.imports.interfaces,
        }));
        return Ok(Exit::Done);
    }
    let style = Style::stdout();
    say(&format!("{} {} ({:?})", style.bold(manifest.name.as_str()), manifest.version, plugin.kind()));
    say(&format!("  {}", manifest.summary));
    say(&format!("  digest  {}", plugin.digest()));
    say(&format!("  size    {}", bytes(content.len() as u64)));
    say("  imports, which is all it can ever ask of the host:");
    for interface in &inspection.imports.interfaces {
        say(&format!("    {interface}"));
    }
    if !manifest.slots.is_empty() {
        say("  slots:");
    }
    for slot in &manifest.slots {
        say(&format!(
            "    {} ({}, {}{}): {}",
            slot.name,
            slot.kind.name(),
            slot.access.name(),
            if slot.required { "" } else { ", optional" },
            slot.summary
        ));
    }
    say("  params (JSON Schema):");
    let schema = serde_json::to_string_pretty(&manifest.params_schema).unwrap_or_default();
    for line in schema.lines() {
        say(&format!("    {line}"));
    }
    Ok(Exit::Done)
}

/// Makes a crate for a plugin. The kit comes with it, so that it builds wherever crates can be had.
fn new(context: &Context, name: &str, kind: NewKind, sdk: Option<&Path>) -> Result<Exit> {
    let well_named = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !well_named {
        return Err(Error::invalid(format!("`{name}` isn't a plugin's name"))
            .hint("begin with a lower-case letter; then lower-case letters, digits and `-`"));
    }
    let folder = PathBuf::from(name);
    if folder.exists() {
        return Err(Error::invalid(format!("{} exists already", folder.display()))
            .hint("choose another name, or remove it first"));
    }
    let kit = match sdk {
        Some(path) => std::path::absolute(path)
            .map_err(|error| Error::host(format!("{} has no absolute path: {error}", path.display())))?
            .display()
            .to_string(),
        None => "godwit/plugins/sdk".to_owned(),
    };
    if sdk.is_none() {
        for file in godwit_bundle::kit() {
            write(&folder.join("godwit").join(file.path), file.bytes)?;
        }
    }
    let struct_name: String = name
        .split('-')
        .map(|part| {
            let mut chars = part.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        })
        .collect();
    let fill = |template: &str| {
        template
            .replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{struct}}", &struct_name)
            .replace("{{kit}}", &kit)
    };
    let lib = match kind {
        NewKind::Step => include_str!("../../templates/step.rs.txt"),
        NewKind::Transform => include_str!("../../templates/transform.rs.txt"),
    };
    write(&folder.join("Cargo.toml"), fill(include_str!("../../templates/Cargo.toml.txt")).as_bytes())?;
    write(&folder.join("src/lib.rs"), fill(lib).as_bytes())?;
    write(&folder.join(".gitignore"), b"/target\n")?;
    if kind == NewKind::Step {
        write(&folder.join("recipe.json"), fill(include_str!("../../templates/recipe.json.txt")).as_bytes())?;
    }
    if context.json {
        say_json(&serde_json::json!({ "made": folder }));
    } else {
        say(&format!("made {name}/; next:"));
        say(&format!("  cd {name} && cargo test"));
        say("  cargo build --release --target wasm32-wasip2");
        if kind == NewKind::Step {
            say("  godwit check recipe.json");
        }
    }
    Ok(Exit::Done)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let done = match path.parent() {
        Some(folder) => std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, bytes)),
        None => std::fs::write(path, bytes),
    };
    done.map_err(|error| Error::host(format!("{} can't be written: {error}", path.display())))
}
