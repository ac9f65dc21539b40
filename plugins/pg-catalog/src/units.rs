//! Effects to be, as data: what a plan of a step is made of.

use std::collections::BTreeSet;

use godwit_sdk::host::Host;
use godwit_sdk::types::{Error, Execute, Mode, Outcome, Result, Undo};

use crate::sql::ident;
use crate::target::TargetMemo;

/// Effects to a submission: each is one durable commit of the journal.
const SUBMISSION: usize = 1000;
/// Relations to a transaction of ANALYZE, which holds its locks to the end.
const ANALYZED: usize = 50;

/// One effect to be; `W` says what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit<W> {
    pub key: String,
    pub after: BTreeSet<String>,
    pub work: W,
}

impl<W: From<Execute>> Unit<W> {
    /// Statements in one transaction.
    pub fn statements(key: String, after: BTreeSet<String>, statements: Vec<String>, undo: Undo) -> Self {
        Self { key, after, work: Execute::atomic(statements, undo).into() }
    }

    /// What is made of copied rows by a REFRESH, and so is done again whenever they are. The view itself goes with the
    /// undo of what made it.
    pub fn refresh(key: String, after: BTreeSet<String>, statements: Vec<String>) -> Self {
        let request = Execute { data_dependent: true, ..Execute::atomic(statements, Undo::Nothing) };
        Self { key, after, work: request.into() }
    }
}

/// What a step does before anything else, as its [`TargetMemo`] has it: roles are made, and room.
pub fn prelude<W: From<Execute>>(target: &TargetMemo) -> Vec<Unit<W>> {
    /// Objects to a transaction that drops them: each is locked to its end.
    const DROPPED: usize = 200;
    let mut units = Vec::new();
    if !target.roles.is_empty() {
        let names = || target.roles.iter().map(|role| ident(role));
        let mut statements: Vec<String> = names().map(|role| format!("CREATE ROLE {role} NOLOGIN")).collect();
        if !target.superuser {
            // To hand something over to a role one has to be a member of it.
            statements.extend(names().map(|role| format!("GRANT {role} TO CURRENT_USER")));
        }
        let undo = Undo::Statements(names().map(|role| format!("DROP ROLE {role}")).collect());
        units.push(Unit::statements("roles".to_owned(), BTreeSet::new(), statements, undo));
    }
    units.extend(chain("clean", &target.clean, DROPPED, &Undo::Irreversible, frontier(&units)));
    units
}

/// Statements in transactions of at most `batch`, one after the other.
pub fn chain<W: From<Execute>>(
    name: &str,
    statements: &[String],
    batch: usize,
    undo: &Undo,
    first: BTreeSet<String>,
) -> Vec<Unit<W>> {
    let mut after = first;
    let mut units = Vec::new();
    for (number, statements) in statements.chunks(batch).enumerate() {
        let key = format!("{name}/{:04}", number + 1);
        units.push(Unit::statements(
            key.clone(),
            std::mem::take(&mut after),
            statements.to_vec(),
            undo.clone(),
        ));
        after.insert(key);
    }
    units
}

/// The units that take the planner's statistics of relations, whose names are qualified and quoted.
pub fn analyze<W: From<Execute>>(names: &[String], after: &BTreeSet<String>) -> Vec<Unit<W>> {
    let batches = names.chunks(ANALYZED).enumerate();
    batches
        .map(|(number, names)| {
            let statements = names.iter().map(|name| format!("ANALYZE {name}")).collect();
            Unit::statements(format!("analyze/{:04}", number + 1), after.clone(), statements, Undo::Nothing)
        })
        .collect()
}

/// The keys of the units that no other waits for: whoever waits for these waits for all.
pub fn frontier<W>(units: &[Unit<W>]) -> BTreeSet<String> {
    let waited: BTreeSet<&String> = units.iter().flat_map(|unit| &unit.after).collect();
    units.iter().map(|unit| &unit.key).filter(|key| !waited.contains(key)).cloned().collect()
}

/// Submits the units, each made an effect by `effect`, and waits for all of them; the first failure is returned when all
/// have ended. A plan has no outcomes to wait for.
pub fn submit<H: Host, W>(
    host: &H,
    units: &[Unit<W>],
    effect: impl FnMut(&Unit<W>) -> Result<H::Effect>,
) -> Result<()> {
    submit_explained(host, units, effect, |_, error| error)
}

/// [`submit`], where `explain` is handed the failed unit with its error.
pub fn submit_explained<H: Host, W>(
    host: &H,
    units: &[Unit<W>],
    mut effect: impl FnMut(&Unit<W>) -> Result<H::Effect>,
    explain: impl Fn(&Unit<W>, Error) -> Error,
) -> Result<()> {
    for batch in units.chunks(SUBMISSION) {
        let effects = batch.iter().map(&mut effect).collect::<Result<Vec<_>>>()?;
        host.submit(effects)?;
    }
    let mut first = None;
    loop {
        let outcomes = host.next(1024)?;
        if outcomes.is_empty() {
            return first.map_or(Ok(()), Err);
        }
        for Outcome { key, result } in outcomes {
            match result {
                Ok(_) => {}
                Err(Error::Pending(_)) if host.mode() == Mode::Plan => {}
                Err(error) if first.is_none() => {
                    first = Some(match units.iter().find(|unit| unit.key == key) {
                        Some(unit) => explain(unit, error),
                        None => error,
                    });
                }
                Err(_) => {}
            }
        }
    }
}
