//! `env-rewrite`: changes keys of `.env` files and nothing else.
//!
//! Sets, unsets, renames and maps keys; comments, order, quotes, `export`, line ends and bytes that aren't understood
//! stay as they are. An example file can be kept in step, with placeholders where a value is secret.

mod edit;
pub mod envfile;
mod params;
mod token;
pub mod value;

use godwit_sdk::prelude::*;

use edit::{Edited, Facts, SecretShape};
use params::{FilePlan, Params};

const SLOT: &str = "env";

/// The step.
pub struct EnvRewrite;

/// What was changed. Holds names of keys, never values.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    pub files: Vec<FileOutput>,
}

/// What was changed in one file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileOutput {
    pub path: String,
    /// The file was not there before.
    pub created: bool,
    /// False where the file already was as it should be: nothing was written.
    pub changed: bool,
    /// Keys that were set.
    pub set: Vec<String>,
    /// Those of them that were not there before.
    pub added: Vec<String>,
    /// Keys that were to be removed.
    pub unset: Vec<String>,
    /// Those of them that were not there.
    pub absent: Vec<String>,
    /// Keys that were renamed, old name and new name.
    pub renamed: Vec<(String, String)>,
    /// Keys whose values were mapped.
    pub mapped: Vec<String>,
    /// Lines afterwards; a value over several lines counts as one.
    pub lines: usize,
    /// How the lines with secrets are built.
    pub secrets: Vec<SecretShape>,
}

impl FileOutput {
    fn new(plan: &FilePlan, facts: Facts) -> Self {
        let edit = &plan.edit;
        Self {
            path: plan.path.clone(),
            created: facts.created,
            changed: facts.changed,
            set: edit.set.iter().map(|(key, _)| key.clone()).collect(),
            added: facts.added,
            unset: edit.unset.clone(),
            absent: facts.absent,
            renamed: edit.rename.clone(),
            mapped: edit.map.iter().map(|(key, _)| key.clone()).collect(),
            lines: facts.lines,
            secrets: facts.secrets,
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            created: self.created,
            changed: self.changed,
            added: self.added.clone(),
            absent: self.absent.clone(),
            lines: self.lines,
            secrets: self.secrets.clone(),
        }
    }
}

impl Step for EnvRewrite {
    const NAME: &str = "env-rewrite";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str =
        "sets, unsets, renames and maps keys of .env files and leaves everything else as it is";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![Slot::new(SLOT, ConnectionKind::Dir, Access::Write, "the folder of the .env files")]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        let mut effects = Vec::new();
        let mut files = Vec::new();
        for plan in params.check()? {
            let edited = edit_file(host, &plan)?;
            // A resumed call reads the file as the first one left it: whether there was something to change, and
            // what was found, is what the first one said.
            let facts: Facts = host.memo(&format!("facts:{}", plan.path), || Ok(edited.facts))?;
            if !facts.absent.is_empty() {
                host.log(Level::Info, &format!("{}: not there: {}", plan.path, facts.absent.join(", ")));
            }
            if facts.changed {
                effects.push(host.write_file(
                    SLOT,
                    &format!("write:{}", plan.path),
                    &plan.path,
                    &edited.content,
                )?);
            }
            files.push(FileOutput::new(&plan, facts));
        }
        host.submit(effects)?;
        match host.settle() {
            // All that a plan can't say is that the files were written.
            Err(Error::Pending(_)) if host.mode() == Mode::Plan => {}
            settled => drop(settled?),
        }
        Ok(Outputs { files })
    }

    fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for plan in params.check()? {
            let output = outputs.files.iter().find(|file| file.path == plan.path).ok_or_else(|| {
                Error::Invalid(format!("the outputs of the step don't name file `{}`", plan.path))
            })?;
            match host.read_file(SLOT, &plan.path) {
                Ok(content) => checks.extend(plan.edit.verify(&plan.path, &content, &output.facts())),
                Err(Error::Missing(_)) => checks.push(Check::failed(plan.path, "the file isn't there")),
                Err(error) => return Err(error),
            }
        }
        Ok(checks)
    }
}

fn edit_file<H: Host>(host: &H, plan: &FilePlan) -> Result<Edited> {
    let path = &plan.path;
    let before = match host.read_file(SLOT, path) {
        Ok(content) => Some(content),
        Err(Error::Missing(_)) if plan.create => None,
        Err(Error::Missing(why)) => {
            return Err(Error::Missing(format!(
                "`{path}` can't be changed: {why}; set `\"create\": true` for it where it may be made"
            )));
        }
        Err(error) => return Err(error),
    };
    plan.edit.apply(before.as_deref()).map_err(|error| {
        let message = format!("`{path}`: {error}");
        match error {
            Error::Missing(_) => Error::Missing(message),
            _ => Error::Conflict(message),
        }
    })
}

godwit_sdk::export_step!(EnvRewrite);
