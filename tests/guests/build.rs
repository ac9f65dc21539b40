//! Compiles the test guests, one constant for each.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use godwit_guest_build::{Kind, Workspace};

fn main() {
    if let Err(error) = guests() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn guests() -> Result<(), Box<dyn std::error::Error>> {
    let workspace = Workspace::of_build_script("../..")?;
    workspace.watch(&["tests/guests/programs", "plugins/sdk", "wit", "Cargo.toml", "Cargo.lock"]);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let components = workspace.compile(&workspace.guests("tests/guests", Kind::Examples)?)?;
    let mut code = String::new();
    let mut names = String::new();
    for component in components {
        let file = out.join(format!("{}.wasm", component.name));
        fs::copy(&component.file, &file)?;
        writeln!(code, "pub const {}: &[u8] = include_bytes!({file:?});", component.name.to_uppercase())?;
        writeln!(names, "        $macro!({});", component.name)?;
    }
    writeln!(
        code,
        "/// Calls a macro with the name of each guest.\n#[macro_export]\nmacro_rules! for_each_guest {{\n    \
         ($macro:ident) => {{\n{names}    }};\n}}"
    )?;
    fs::write(out.join("guests.rs"), code)?;
    Ok(())
}
