//! The recipe's `with`, raw and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use godwit_sdk::prelude::*;
use schemars::{Schema, SchemaGenerator};
use serde::Deserializer;
use serde::de::{self, MapAccess, Visitor};

use crate::edit::{Edit, Quoting};
use crate::envfile::is_key;
use crate::token::has_token;

/// What to change: either one file's fields, or `files`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Several files, each with its own changes.
    files: Option<Vec<FileParams>>,

    // The fields of `FileParams` again, since serde's `flatten` would let unknown fields through.
    /// One file: its path, relative to the folder of slot `env`.
    path: Option<String>,
    /// Keys to set, with their values. An existing key keeps its place, its quotes and its comment; a new one goes to
    /// the end.
    set: Ordered<Scalar>,
    /// Keys whose lines are removed.
    unset: Vec<String>,
    /// Keys to rename, old name to new name.
    rename: Ordered<String>,
    /// Values to replace by other values, by key: `{ "PORT": { "5433": "5432" } }`.
    map: Ordered<Ordered<Scalar>>,
    /// Whether a missing file is made. Without it, a missing file is an error.
    create: bool,
    /// The quotes of the values that are set.
    quote: Quoting,
    /// The example file that documents the same keys.
    example: Option<ExampleParams>,
}

/// The changes of one file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileParams {
    /// Relative to the folder of slot `env`.
    path: String,
    /// Keys to set, with their values. An existing key keeps its place, its quotes and its comment; a new one goes to
    /// the end.
    #[serde(default)]
    set: Ordered<Scalar>,
    /// Keys whose lines are removed.
    #[serde(default)]
    unset: Vec<String>,
    /// Keys to rename, old name to new name.
    #[serde(default)]
    rename: Ordered<String>,
    /// Values to replace by other values, by key: `{ "PORT": { "5433": "5432" } }`.
    #[serde(default)]
    map: Ordered<Ordered<Scalar>>,
    /// Whether a missing file is made. Without it, a missing file is an error.
    #[serde(default)]
    create: bool,
    /// The quotes of the values that are set.
    #[serde(default)]
    quote: Quoting,
    /// The example file that documents the same keys.
    #[serde(default)]
    example: Option<ExampleParams>,
}

/// An example file gets the same changes, with a placeholder where a value is secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExampleParams {
    /// Relative to the folder of slot `env`.
    path: String,
    /// What stands for a secret. A URL keeps its host, port and database.
    #[serde(default = "placeholder")]
    placeholder: String,
    /// Whether a missing file is made.
    #[serde(default)]
    create: bool,
}

fn placeholder() -> String {
    "change_me".to_owned()
}

/// The changes of one file, checked.
#[derive(Clone, Debug)]
pub struct FilePlan {
    pub path: String,
    pub create: bool,
    pub edit: Edit,
}

impl Params {
    /// The files to change in order, an example after its file.
    pub fn check(self) -> Result<Vec<FilePlan>> {
        let has_shorthand = self.path.is_some()
            || !self.set.0.is_empty()
            || !self.unset.is_empty()
            || !self.rename.0.is_empty()
            || !self.map.0.is_empty()
            || self.example.is_some();
        let files = match (self.files, self.path) {
            (Some(_), _) if has_shorthand => {
                return invalid("give either `files` or the fields of one file (`path`, `set`, …), not both");
            }
            (Some(files), _) => files,
            (None, Some(path)) => vec![FileParams {
                path,
                set: self.set,
                unset: self.unset,
                rename: self.rename,
                map: self.map,
                create: self.create,
                quote: self.quote,
                example: self.example,
            }],
            (None, None) => return invalid("`path` is missing: name the file to change, such as `.env`"),
        };
        let mut plans = Vec::new();
        for file in files {
            file.check(&mut plans)?;
        }
        let mut paths = BTreeSet::new();
        if let Some(twice) = plans.iter().find(|plan| !paths.insert(plan.path.as_str())) {
            return invalid(format!("file `{}` is named twice: put its changes into one entry", twice.path));
        }
        Ok(plans)
    }
}

impl FileParams {
    fn check(self, plans: &mut Vec<FilePlan>) -> Result<()> {
        let path = self.path;
        let at = |what: String| Error::Invalid(format!("`{path}`: {what}"));
        let edit = Edit {
            set: self.set.0.into_iter().map(|(key, value)| (key, value.0)).collect(),
            unset: self.unset,
            rename: self.rename.0,
            map: self
                .map
                .0
                .into_iter()
                .map(|(key, values)| (key, values.0.into_iter().map(|(from, to)| (from, to.0)).collect()))
                .collect(),
            quoting: self.quote,
            lenient: false,
        };
        check_edit(&edit).map_err(at)?;
        let example = self.example.map(|example| {
            let edit = edit.for_example(&example.placeholder);
            FilePlan { path: example.path, create: example.create, edit }
        });
        plans.push(FilePlan { path, create: self.create, edit });
        plans.extend(example);
        Ok(())
    }
}

/// Whether an edit is absolute: applied again, it changes nothing more. A resumed step sees the file as it left it, and
/// has to ask for the very same content.
fn check_edit(edit: &Edit) -> std::result::Result<(), String> {
    if edit.set.is_empty() && edit.unset.is_empty() && edit.rename.is_empty() && edit.map.is_empty() {
        return Err("nothing to change: give `set`, `unset`, `rename` or `map`".to_owned());
    }
    let mut roles: BTreeMap<&str, &str> = BTreeMap::new();
    let leaving = edit.unset.iter().map(|key| (key.as_str(), "unset"));
    let renamed = edit.rename.iter().map(|(old, _)| (old.as_str(), "renamed"));
    for (key, role) in leaving.chain(renamed) {
        if let Some(other) = roles.insert(key, role) {
            return Err(format!("key `{key}` is {role} and {other}"));
        }
    }
    let mut staying: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, new) in &edit.rename {
        if staying.insert(new, "the new name of two keys").is_some() {
            return Err(format!("key `{new}` is the new name of two keys"));
        }
    }
    let set = edit.set.iter().map(|(key, _)| (key.as_str(), "set"));
    let mapped = edit.map.iter().map(|(key, _)| (key.as_str(), "mapped"));
    let target = edit.rename.iter().map(|(_, new)| (new.as_str(), "the new name of a key"));
    for (key, role) in set.clone().chain(mapped).chain(target) {
        if let Some(other) = roles.get(key) {
            return Err(format!("key `{key}` is {role}, but also {other}"));
        }
    }
    if let Some((key, _)) = set.clone().find(|(key, _)| edit.map.iter().any(|(mapped, _)| mapped == key)) {
        return Err(format!("key `{key}` is set and mapped: `set` alone decides its value"));
    }
    for key in roles.keys().chain(staying.keys()).copied().chain(edit.touched()) {
        if !is_key(key) {
            return Err(format!(
                "`{key}` can't be a key: use a letter or `_`, then letters, digits, `_`, `.` and `-`"
            ));
        }
    }
    for (key, values) in &edit.map {
        for (from, to) in values {
            if has_token(from) || has_token(to) {
                return Err(format!(
                    "`map` of key `{key}` holds a secret, which can't be compared: use `set` for it"
                ));
            }
            if from != to && values.iter().any(|(other, target)| other == to && other != target) {
                return Err(format!("`map` of key `{key}` maps a value twice: give the last value at once"));
            }
        }
        if values.is_empty() {
            return Err(format!("`map` of key `{key}` is empty"));
        }
    }
    Ok(())
}

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(message.into()))
}

/// A value: a text, a number or a truth value, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(truth) => Ok(Self(truth.to_string())),
            _ => Err(de::Error::custom(
                "a value is a text, a number, true or false; a key is removed by `unset`",
            )),
        }
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A JSON object that keeps its order and has no name twice.
#[derive(Debug)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if entries.iter().any(|(known, _)| *known == name) {
                        return Err(de::Error::custom(format!("`{name}` is given twice")));
                    }
                    entries.push((name, value));
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Ordered_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "object", "additionalProperties": values })
    }

    fn inline_schema() -> bool {
        true
    }
}
