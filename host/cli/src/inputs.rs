//! Gathering input values: `-i`, `--inputs`, the environment, `--env-file`, in this order.

use std::collections::BTreeMap;
use std::path::Path;

use godwit_model::{Error, Json, Result};
use godwit_plugin_env_rewrite::envfile::EnvFile;
use godwit_plugin_env_rewrite::value::decode;
use godwit_recipe::{Given, GivenValue, InputSpec};

use crate::args::InputArgs;

/// Finds a value for each declared input, as far as one was given.
pub fn gather(args: &InputArgs, specs: &[InputSpec]) -> Result<Given> {
    // An empty variable counts as none, as in most programs; `-i name=` gives an empty text.
    gather_with(args, specs, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn gather_with(
    args: &InputArgs,
    specs: &[InputSpec],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Given> {
    let mut given = Given::default();
    let mut put = |name: &str, value: GivenValue| {
        given.values.entry(name.to_owned()).or_insert(value);
    };

    for text in &args.input {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Error::invalid(format!("`-i {text}` isn't of the form NAME=VALUE"))
                .hint("write `-i name=value`; quote it where the value has spaces"));
        };
        put(name.trim(), GivenValue::text(value, "-i"));
    }
    if let Some(path) = &args.inputs {
        let origin = format!("file {}", path.display());
        for (name, value) in read_json(path)? {
            put(&name, GivenValue::json(value, origin.clone()));
        }
    }
    let files = read_env_files(&args.env_file)?;
    for spec in specs {
        if let Some(value) = environment(&spec.env) {
            put(&spec.name, GivenValue::text(value, format!("environment variable {}", spec.env)));
        } else if let Some((value, path)) = files.get(&spec.env) {
            put(&spec.name, GivenValue::text(value.clone(), format!("{} in {path}", spec.env)));
        }
    }
    Ok(given)
}

fn read_json(path: &Path) -> Result<serde_json::Map<String, Json>> {
    let text = read_text(path)?;
    match serde_json::from_str(&text) {
        Ok(Json::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::invalid(format!("{} doesn't hold a JSON object", path.display()))
            .hint("write {\"input_name\": value, …}")),
        Err(error) => Err(Error::invalid(format!("{}: {error}", path.display()))),
    }
}

/// The last file that sets a variable wins, as with shells that source them in turn.
fn read_env_files(paths: &[std::path::PathBuf]) -> Result<BTreeMap<String, (String, String)>> {
    let mut values = BTreeMap::new();
    for path in paths {
        let text = read_text(path)?;
        for pair in EnvFile::parse(text.as_bytes()).pairs() {
            let value = String::from_utf8_lossy(&decode(pair)).into_owned();
            values.insert(pair.key.clone(), (value, path.display().to_string()));
        }
    }
    Ok(values)
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("{} can't be read: {error}", path.display()))
            .hint("give the path of a readable UTF-8 file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> InputSpec {
        InputSpec {
            name: name.to_owned(),
            kind: godwit_recipe::InputType::String,
            description: None,
            default: None,
            env: format!("GODWIT_INPUT_{}", name.to_uppercase()),
            choices: Vec::new(),
            span: 0..0,
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let env_file = folder.path().join("x.env");
        std::fs::write(&env_file, "export GODWIT_INPUT_A=\"from file\" # why\nGODWIT_INPUT_C='c # c'\n")
            .unwrap();
        let args =
            InputArgs { input: vec!["a=x=y".to_owned()], inputs: None, env_file: vec![env_file.clone()] };
        let given = gather_with(&args, &[spec("a"), spec("b"), spec("c")], |name| {
            (name == "GODWIT_INPUT_B").then(|| "from environment".to_owned())
        })
        .unwrap();
        assert_eq!(given.values["a"], GivenValue::text("x=y", "-i"));
        assert_eq!(
            given.values["b"],
            GivenValue::text("from environment", "environment variable GODWIT_INPUT_B")
        );
        let origin = format!("GODWIT_INPUT_C in {}", env_file.display());
        assert_eq!(given.values["c"], GivenValue::text("c # c", origin));
    }

    #[test]
    fn a_pair_without_an_equals_sign_is_refused() {
        let args = InputArgs { input: vec!["oops".to_owned()], ..InputArgs::default() };
        let error = gather_with(&args, &[], |_| None).unwrap_err();
        assert!(error.message.contains("NAME=VALUE"), "{error}");
    }
}
