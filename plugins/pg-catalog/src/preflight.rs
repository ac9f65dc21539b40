//! What is found before anything is touched: all of it at once, so that nobody mends one thing after the other.

use std::collections::BTreeSet;

use godwit_sdk::prelude::*;

use crate::catalog::release;
use crate::facts::Facts;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The step can't be done.
    Error,
    /// It can be done, but perhaps not as was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub severity: Severity,
    /// What it is about: the subject of a sentence.
    pub thing: String,
    /// What is the matter with it: the rest of the sentence.
    pub why: String,
    /// What to do about it; empty where there is nothing to do.
    pub next: String,
}

impl Finding {
    fn new(
        severity: Severity,
        thing: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { severity, thing: thing.into(), why: why.into(), next: next.into() }
    }

    pub fn error(thing: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Severity::Error, thing, why, next)
    }

    pub fn warning(thing: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Severity::Warning, thing, why, next)
    }

    pub fn note(thing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Note, thing, why, "")
    }

    /// The finding in one sentence, with what to do in brackets.
    pub fn sentence(&self) -> String {
        match self.next.as_str() {
            "" => format!("{} {}", self.thing, self.why),
            next => format!("{} {} ({next})", self.thing, self.why),
        }
    }
}

/// Writes what isn't an error to the log; fails by a `conflict` over all errors, of which `refusal` makes the message.
pub fn conclude<H: Host>(
    host: &H,
    findings: Vec<Finding>,
    refusal: impl FnOnce(&str) -> String,
) -> Result<Vec<Finding>> {
    let (errors, rest): (Vec<_>, Vec<_>) = findings.into_iter().partition(|f| f.severity == Severity::Error);
    for finding in &rest {
        let level = if finding.severity == Severity::Warning { Level::Warn } else { Level::Info };
        host.log(level, &format!("preflight: {}", finding.sentence()));
    }
    if errors.is_empty() {
        return Ok(rest);
    }
    let mut told = BTreeSet::new();
    let sentences: Vec<String> =
        errors.iter().map(Finding::sentence).filter(|sentence| told.insert(sentence.clone())).collect();
    Err(Error::Conflict(refusal(&sentences.join("; "))))
}

/// What is to be known of a server that is read. `unlogged` are the tables whose rows are read and that have no log.
pub fn of_source(facts: &Facts, unlogged: &[String], rows: bool) -> Vec<Finding> {
    let mut found = of_both(facts, "source");
    if facts.standby {
        found.push(Finding::warning(
            "the source",
            "is a standby: it may cancel long reads for what the primary does meanwhile",
            "raise `max_standby_streaming_delay` there, or set `hot_standby_feedback`",
        ));
        if rows && !unlogged.is_empty() {
            found.push(Finding::error(
                format!("unlogged tables ({})", unlogged.join(", ")),
                "have no rows on a standby",
                "read from the primary, or leave them out",
            ));
        }
    } else if rows && !unlogged.is_empty() {
        found.push(Finding::note(
            format!("unlogged tables ({})", unlogged.join(", ")),
            "are made unlogged: a crash of the target empties them",
        ));
    }
    if !facts.prepared.is_empty() {
        found.push(Finding::warning(
            format!("prepared transactions of the source ({})", facts.prepared.join(", ")),
            "are neither committed nor rolled back: what they wrote isn't read",
            "end them first by COMMIT PREPARED or ROLLBACK PREPARED",
        ));
    }
    if !facts.slots.is_empty() {
        found.push(Finding::warning(
            format!("replication slots of the source ({})", facts.slots.join(", ")),
            "are not carried over: whoever reads them goes on reading the source",
            "point their readers at the target once it is complete",
        ));
    }
    if !facts.outdated_collations.is_empty() {
        found.push(Finding::warning(
            format!("collations of the source ({})", facts.outdated_collations.join(", ")),
            "are of another version in its system than in its catalog: indexes over texts may be out of order",
            "REINDEX there, then ALTER DATABASE or COLLATION … REFRESH VERSION",
        ));
    }
    if rows {
        found.push(Finding::note(
            "the source's database",
            format!(
                "takes {} of disk with its indexes; what is free at the target no server tells, so see to it that \
                 there is as much",
                size(facts.bytes)
            ),
        ));
    }
    found
}

/// What is to be known of a server that is written. `makes` says whether objects are made there, beside rows.
pub fn of_target(facts: &Facts, makes: bool) -> Vec<Finding> {
    let mut found = of_both(facts, "target");
    if facts.standby {
        found.push(Finding::error(
            "the target",
            "is a standby, which takes no writes",
            "write to its primary",
        ));
    } else if facts.read_only {
        found.push(Finding::error(
            "the target",
            "takes no writes: `default_transaction_read_only` is on",
            "set it off for the database or the role",
        ));
    }
    if !facts.may_create && (makes || !facts.has_markers) {
        found.push(Finding::error(
            format!("the user `{}`", facts.user),
            format!("has no privilege CREATE on the target's database {}", facts.database),
            format!(
                "GRANT CREATE ON DATABASE {} TO {}",
                crate::sql::ident(&facts.database),
                crate::sql::ident(&facts.user)
            ),
        ));
    }
    found
}

/// What the two ends are to each other.
pub fn of_pair(source: &Facts, target: &Facts, rows: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if target.version / 10_000 < source.version / 10_000 {
        found.push(Finding::note(
            "the target",
            format!(
                "is older (PostgreSQL {}) than the source ({}): what it lacks is named where it is used",
                release(target.version),
                release(source.version)
            ),
        ));
    }
    if source.encoding != target.encoding {
        found.push(Finding::warning(
            "the target",
            format!(
                "is encoded in {}, and the source in {}: a character that it lacks ends the step",
                target.encoding, source.encoding
            ),
            "make the target's database with the source's encoding",
        ));
    }
    let (ours, theirs) = (source.locale(), target.locale());
    if ours != theirs {
        found.push(Finding::warning(
            "the target",
            format!("has the locale {theirs}, and the source {ours}: texts may be in another order"),
            "make the target's database with the source's locale",
        ));
    }
    // Checkpoints are forced whenever this much has been written.
    if rows && target.max_wal_size > 0 && source.bytes / 4 > target.max_wal_size {
        found.push(Finding::warning(
            "`max_wal_size` of the target",
            format!(
                "is {}, and the source has {}: checkpoints will slow the writing down",
                size(target.max_wal_size),
                size(source.bytes)
            ),
            "raise it while rows are written",
        ));
    }
    found
}

fn of_both(facts: &Facts, end: &str) -> Vec<Finding> {
    // One leads the snapshot or keeps the markers, one moves rows; the session that asks is one of them.
    const NEEDED: i64 = 1;
    const FEW: i64 = 3;
    let mut found = Vec::new();
    let limit = &facts.connections;
    let what = format!("the {end}'s server");
    let left = format!(
        "has {} connections left for `{}` beside those in use ({})",
        limit.free.max(0),
        facts.user,
        limit.bound
    );
    if limit.free < NEEDED {
        found.push(Finding::error(what, left, "end sessions there, or raise the limit"));
    } else if limit.free < FEW {
        found.push(Finding::warning(
            what,
            left,
            "lower `max_connections` of the connection, or end sessions there",
        ));
    }
    found
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 10 * 1024 && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}
