//! Compiles every plugin of the workspace, and embeds them with the ready recipes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use godwit_guest_build::{Kind, Workspace};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() {
    if let Err(error) = bundle() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn bundle() -> Result<()> {
    let workspace = Workspace::of_build_script("../..")?;
    workspace.watch(&["plugins", "recipes", "wit", "Cargo.toml", "Cargo.lock"]);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut code = String::new();
    plugins(&workspace, &out, &mut code)?;
    recipes(&workspace.root().join("recipes"), &mut code)?;
    kit(workspace.root(), &out, &mut code)?;
    fs::write(out.join("bundle.rs"), code)?;
    Ok(())
}

fn plugins(workspace: &Workspace, out: &Path, code: &mut String) -> Result<()> {
    let components = workspace.compile(&workspace.guests("plugins", Kind::Library)?)?;
    writeln!(code, "static PLUGINS: &[Bundled] = &[")?;
    for component in components {
        let file = out.join(format!("{}.wasm", component.name));
        fs::copy(&component.file, &file)?;
        writeln!(code, "    Bundled {{ name: {:?}, bytes: include_bytes!({file:?}) }},", component.name)?;
    }
    writeln!(code, "];")?;
    Ok(())
}

/// Embeds `recipes/<name>/`: `recipe.json`, `README.md`, and every other file below it.
fn recipes(folder: &Path, code: &mut String) -> Result<()> {
    writeln!(code, "static RECIPES: &[BundledRecipe] = &[")?;
    for home in entries(folder)?.into_iter().filter(|home| home.join("recipe.json").is_file()) {
        let name = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let readme = home.join("README.md");
        writeln!(code, "    BundledRecipe {{")?;
        writeln!(code, "        name: {name:?},")?;
        writeln!(code, "        text: include_str!({:?}),", home.join("recipe.json"))?;
        // A recipe without a README fails a test, not every build while it is being written.
        if readme.is_file() {
            writeln!(code, "        readme: include_str!({readme:?}),")?;
        } else {
            writeln!(code, "        readme: \"\",")?;
        }
        writeln!(code, "        files: &[")?;
        let mut files = Vec::new();
        collect(&home, &mut files)?;
        for file in files.iter().filter(|file| **file != readme && **file != home.join("recipe.json")) {
            let path: Vec<_> = file.strip_prefix(&home)?.iter().map(|part| part.to_string_lossy()).collect();
            writeln!(
                code,
                "            BundledFile {{ path: {:?}, bytes: include_bytes!({file:?}) }},",
                path.join("/")
            )?;
        }
        writeln!(code, "        ],\n    }},")?;
    }
    writeln!(code, "];")?;
    Ok(())
}

/// Embeds the kit for plugins of one's own, laid out as in this repository: `plugins/sdk` and `wit`.
fn kit(root: &Path, out: &Path, code: &mut String) -> Result<()> {
    let manifest = out.join("kit-Cargo.toml");
    fs::write(&manifest, kit_manifest(&fs::read_to_string(root.join("Cargo.toml"))?)?)?;
    writeln!(code, "static KIT: &[BundledFile] = &[")?;
    writeln!(
        code,
        "    BundledFile {{ path: \"plugins/sdk/Cargo.toml\", bytes: include_bytes!({manifest:?}) }},"
    )?;
    let mut files = Vec::new();
    collect(&root.join("plugins/sdk/src"), &mut files)?;
    collect(&root.join("wit"), &mut files)?;
    for file in files {
        let path: Vec<_> = file.strip_prefix(root)?.iter().map(|part| part.to_string_lossy()).collect();
        writeln!(code, "    BundledFile {{ path: {:?}, bytes: include_bytes!({file:?}) }},", path.join("/"))?;
    }
    writeln!(code, "];")?;
    Ok(())
}

/// The kit's manifest outside of this workspace, with the workspace's own versions.
fn kit_manifest(workspace: &str) -> Result<String> {
    let line = |name: &str| {
        let found = workspace.lines().find(|line| line.starts_with(&format!("{name} = ")));
        found.ok_or_else(|| format!("the workspace's Cargo.toml has no dependency `{name}`"))
    };
    Ok(format!(
        "[package]\nname = \"godwit-sdk\"\nversion = \"{}\"\nedition = \"2024\"\nlicense = \"Apache-2.0\"\n\n\
         [dependencies]\n{}\n{}\n{}\n\n[target.'cfg(target_family = \"wasm\")'.dependencies]\n{}\n",
        env::var("CARGO_PKG_VERSION")?,
        line("schemars")?,
        line("serde")?,
        line("serde_json")?,
        line("wit-bindgen")?
    ))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in entries(folder)? {
        if entry.is_dir() {
            collect(&entry, files)?;
        } else {
            files.push(entry);
        }
    }
    Ok(())
}

/// The entries of a folder, sorted; none where there is no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}
