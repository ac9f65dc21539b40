//! Effects to be, as data: what a layout is made of.

use std::collections::BTreeSet;

use godwit_sdk::prelude::*;

use crate::{SOURCE, TARGET};

/// One effect to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub key: String,
    pub after: BTreeSet<String>,
    pub work: Work,
}

/// What an effect does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Execute(Execute),
    Copy { schema: String, name: String, columns: Vec<String>, only: bool },
    Sequences(Vec<(String, String)>),
}

impl Unit {
    /// The effect itself.
    pub fn effect<H: Host>(&self, host: &H, consistency: Consistency) -> Result<H::Effect> {
        let effect = match &self.work {
            Work::Execute(request) => host.execute(TARGET, &self.key, request.clone())?,
            Work::Copy { schema, name, columns, only } => {
                let table = |slot: &str| Table {
                    slot: slot.to_owned(),
                    schema: schema.clone(),
                    name: name.clone(),
                    columns: columns.clone(),
                };
                let options = CopyOptions { consistency, only: *only, filter: None };
                host.copy_table(&self.key, table(SOURCE), table(TARGET), options)?
            }
            Work::Sequences(sequences) => host.copy_sequences(&self.key, SOURCE, TARGET, sequences)?,
        };
        Ok(effect.after(&self.after))
    }
}

/// The key of the transfer of a table.
pub fn copy_key(schema: &str, name: &str) -> String {
    format!("copy/{schema}.{name}")
}

/// The keys of the units that no other waits for: whoever waits for these waits for all.
pub fn frontier(units: &[Unit]) -> BTreeSet<String> {
    let waited: BTreeSet<&String> = units.iter().flat_map(|unit| &unit.after).collect();
    units.iter().map(|unit| &unit.key).filter(|key| !waited.contains(key)).cloned().collect()
}
