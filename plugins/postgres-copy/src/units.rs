//! Effects to be, as data: what a layout is made of.

use godwit_sdk::prelude::*;

use crate::{SOURCE, TARGET};

/// One effect to be.
pub type Unit = godwit_pg_catalog::Unit<Work>;

/// What an effect does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Execute(Execute),
    Copy { schema: String, name: String, columns: Vec<String>, only: bool, filter: Option<String> },
    Sequences(Vec<(String, String)>),
}

impl From<Execute> for Work {
    fn from(request: Execute) -> Self {
        Self::Execute(request)
    }
}

/// The effect of a unit.
pub fn effect<H: Host>(unit: &Unit, host: &H, consistency: Consistency) -> Result<H::Effect> {
    let effect = match &unit.work {
        Work::Execute(request) => host.execute(TARGET, &unit.key, request.clone())?,
        Work::Copy { schema, name, columns, only, filter } => {
            let table = |slot: &str| Table {
                slot: slot.to_owned(),
                schema: schema.clone(),
                name: name.clone(),
                columns: columns.clone(),
            };
            let options = CopyOptions { consistency, only: *only, filter: filter.clone() };
            host.copy_table(&unit.key, table(SOURCE), table(TARGET), options)?
        }
        Work::Sequences(sequences) => host.copy_sequences(&unit.key, SOURCE, TARGET, sequences)?,
    };
    Ok(effect.after(&unit.after))
}

/// The key of the transfer of a table.
pub fn copy_key(schema: &str, name: &str) -> String {
    format!("copy/{schema}.{name}")
}
