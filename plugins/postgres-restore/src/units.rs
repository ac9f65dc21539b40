//! Effects to be, as data: what a layout is made of.

use godwit_sdk::prelude::*;

use crate::archive::Rows;
use crate::{ARCHIVE, TARGET};

/// One effect to be.
pub type Unit = godwit_pg_catalog::Unit<Work>;

/// What an effect does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Execute {
        request: Execute,
        /// The entries that the statements are of, each with its statements.
        entries: Vec<(String, Vec<String>)>,
    },
    LoadObjects(Vec<ObjectsFile>),
    Load {
        rows: Rows,
        schema: String,
        name: String,
        columns: Vec<String>,
    },
}

impl From<Execute> for Work {
    fn from(request: Execute) -> Self {
        Self::Execute { request, entries: Vec::new() }
    }
}

/// Submits the units and waits for all of them. An error names the entry that it came of.
pub fn submit<H: Host>(host: &H, units: &[Unit]) -> Result<()> {
    godwit_pg_catalog::submit_explained(host, units, |unit| effect(host, unit), explain)
}

fn effect<H: Host>(host: &H, unit: &Unit) -> Result<H::Effect> {
    let effect = match &unit.work {
        Work::Execute { request, .. } => host.execute(TARGET, &unit.key, request.clone())?,
        Work::LoadObjects(sources) => host.load_objects(&unit.key, sources.clone(), TARGET)?,
        Work::Load { rows, schema, name, columns } => {
            let source =
                RowsFile { slot: ARCHIVE.to_owned(), path: rows.path.clone(), compression: rows.compression };
            let sink = Table {
                slot: TARGET.to_owned(),
                schema: schema.clone(),
                name: name.clone(),
                columns: columns.clone(),
            };
            host.load_table(&unit.key, source, rows.block, rows.encoding.as_deref(), sink)?
        }
    };
    Ok(effect.after(&unit.after))
}

/// Puts the entry before the server's words: the one whose statement they show, or the only one.
fn explain(unit: &Unit, error: Error) -> Error {
    let Work::Execute { entries, .. } = &unit.work else { return error };
    let message = squeezed(error.message());
    let shown = |statements: &[String]| {
        statements.iter().any(|statement| {
            let begin: String = squeezed(statement).chars().take(60).collect();
            message.contains(&begin)
        })
    };
    let found = entries.iter().find(|(_, statements)| shown(statements));
    let only = entries.first().filter(|_| entries.len() == 1);
    let Some((title, _)) = found.or(only) else { return error };
    let text = format!("{title} can't be restored: {}", error.message());
    match error {
        Error::Invalid(_) => Error::Invalid(text),
        Error::Denied(_) => Error::Denied(text),
        Error::Missing(_) => Error::Missing(text),
        Error::Conflict(_) => Error::Conflict(text),
        Error::Unavailable(_) => Error::Unavailable(text),
        Error::Failed(_) => Error::Failed(text),
        Error::Pending(_) => Error::Pending(text),
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
