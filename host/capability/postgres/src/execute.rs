//! Effects of SQL: statements in one transaction with their marker, or each by itself with a probe.

use godwit_model::capability::{Performed, StepScope, UndoAction};
use godwit_model::effect::{Class, Done, ExecuteSql, Execution, Preparation, SqlUndo};
use godwit_model::plugin::Grant;
use godwit_model::{EffectKey, Error, Fault, Result, RunId, SlotName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::errors::Failure;
use crate::gate::{self, Admitted, brief};
use crate::marker::{self, Marker};
use crate::place::{Place, reveal};
use crate::pool::Lease;
use crate::reads::first_value;
use crate::statements::{self, Setting};

/// What the marker's note of a finished transaction says.
const FINISHED: &str = "{}";

pub fn prepare(scope: &StepScope, request: &ExecuteSql) -> Result<Preparation> {
    let setting = setting(&request.execution);
    let mut class = Class::Creates;
    let mut unknown = None;
    for statement in &request.statements {
        let verdict = statements::read(statement, setting)?;
        class = class.max(verdict.class);
        if !verdict.known {
            unknown.get_or_insert(statement);
        }
    }
    if request.statements.is_empty() {
        return Err(Error::invalid("there are no statements to execute").fault(Fault::Plugin));
    }
    if let SqlUndo::Statements { statements } = &request.undo {
        for statement in statements {
            statements::read(statement, setting).map_err(|e| e.context("undo"))?;
        }
    }
    let mut details = Vec::new();
    let mut irreversible = None;
    match (&request.undo, unknown) {
        (SqlUndo::Irreversible, Some(statement)) => {
            irreversible = Some(format!("what it does can't be told from `{}`", brief(statement)));
        }
        (SqlUndo::Irreversible, None) => irreversible = Some("the plugin knows no way back".to_owned()),
        (SqlUndo::Statements { statements }, _) => {
            details.extend(statements.iter().map(|statement| format!("undo: {}", brief(statement))));
        }
        (SqlUndo::Nothing, _) => {}
    }
    if let Execution::Standalone { probe, repair } = &request.execution {
        match probe {
            Some(probe) => {
                gate::admit(probe).map_err(|e| e.context("probe"))?;
            }
            None => {
                irreversible.get_or_insert_with(|| {
                    "it runs outside of a transaction without a probe, so that a crash leaves it in doubt"
                        .to_owned()
                });
            }
        }
        for statement in repair {
            statements::read(statement, Setting::Standalone).map_err(|e| e.context("repair"))?;
        }
        details.push("outside of a transaction".to_owned());
    }
    let more = request.statements.len() - 1;
    let title = match (brief(&request.statements[0]), more) {
        (first, 0) => first,
        (first, more) => format!("{first} (and {more} more)"),
    };
    details.splice(0..0, request.statements.iter().cloned());
    Ok(Preparation {
        class,
        irreversible,
        title,
        details,
        diff: None,
        estimate: None,
        before: json!({ "run": scope.run }),
    })
}

fn setting(execution: &Execution) -> Setting {
    match execution {
        Execution::Atomic => Setting::Atomic,
        Execution::Standalone { .. } => Setting::Standalone,
    }
}

/// Performs the effect. The place's markers are prepared.
pub async fn perform(
    scope: &StepScope,
    place: &Place,
    grant: &Grant,
    key: &EffectKey,
    request: &ExecuteSql,
    resumed: bool,
) -> Result<Done> {
    let notes = match &request.execution {
        Execution::Atomic => {
            let marker = Marker::of(scope, key, 0);
            match atomic(scope, place, grant, marker, &request.statements).await? {
                Outcome::Done => Vec::new(),
                Outcome::WasDone => vec!["it was done already: its marker was there".to_owned()],
            }
        }
        Execution::Standalone { probe, repair } => {
            standalone(scope, place, grant, key, &request.statements, probe.as_deref(), repair, resumed)
                .await?
        }
    };
    Ok(Done {
        result: json!({ "statements": request.statements.len() }),
        evidence: None,
        fingerprint: json!({ "run": scope.run }),
        notes,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The marker was there: an earlier attempt has committed.
    WasDone,
}

/// Runs statements in one transaction that begins with the marker: one round trip in all.
pub async fn atomic(
    scope: &StepScope,
    place: &Place,
    grant: &Grant,
    marker: Marker<'_>,
    statements: &[String],
) -> Result<Outcome> {
    let mut text = format!("BEGIN;\n{};\n", marker.insert());
    let before = 2;
    let mut starts = Vec::with_capacity(statements.len());
    for statement in statements {
        statements::read(statement, Setting::Atomic)?;
        let statement = reveal(scope, grant, statement)?;
        starts.push(text.chars().count());
        text.push_str(statement.trim().trim_end_matches(';'));
        // The line break ends a trailing comment.
        text.push_str("\n;\n");
    }
    text.push_str(&marker.annotate(FINISHED));
    text.push_str(";\nCOMMIT");
    let mut session = place.wire().await?;
    match session.simple_quietly(&text).await {
        Ok(_) => {
            session.keep();
            Ok(Outcome::Done)
        }
        Err(failure) if marker::is_done(&failure) => {
            if session.simple("ROLLBACK").await.is_ok() {
                session.keep();
            }
            Ok(Outcome::WasDone)
        }
        Err(failure) => {
            if failure.error.code.is_some() && session.simple("ROLLBACK").await.is_ok() {
                session.keep();
            }
            Err(blame(scope, failure, statements, &starts, before))
        }
    }
}

/// Names the statement that failed: by the text's position, else by how many were completed before.
fn blame(
    scope: &StepScope,
    failure: Failure,
    statements: &[String],
    starts: &[usize],
    before: usize,
) -> Error {
    let by_position = failure
        .position
        .and_then(|position| starts.partition_point(|start| *start < position).checked_sub(1));
    let by_count = failure.completed.checked_sub(before).filter(|index| *index < statements.len());
    // A syntax error stops the whole text before anything is completed.
    let index = if failure.completed == 0 { by_position } else { by_count };
    let statement = index.and_then(|index| statements.get(index).map(|statement| (index, statement)));
    let mut error: Error = failure.into();
    error.message = scope.secrets.redact(&error.message);
    match statement {
        Some((index, statement)) => {
            let count = statements.len();
            let which =
                if count == 1 { String::new() } else { format!("statement {} of {count}: ", index + 1) };
            error.message = format!("{which}{}; the statement was: {}", error.message, brief(statement));
            error
        }
        None => error,
    }
}

/// What a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Done,
    Absent,
    Broken,
}

#[allow(clippy::too_many_arguments)] // one call site; a struct would only name the same things again
async fn standalone(
    scope: &StepScope,
    place: &Place,
    grant: &Grant,
    key: &EffectKey,
    statements: &[String],
    probe: Option<&str>,
    repair: &[String],
    resumed: bool,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut session = place.wire().await?;
    if resumed {
        let Some(probe) = probe else {
            return Err(Error::conflict(format!(
                "effect `{key}` was begun outside of a transaction, and nothing tells whether it was done: {}",
                statements.first().map_or_else(String::new, |s| brief(s))
            ))
            .hint("look at the target, take back by hand what is half done, then undo this run and run anew"));
        };
        match ask(&mut session, place, probe).await? {
            Found::Done => {
                session.keep();
                return Ok(vec!["it was done already: its probe says so".to_owned()]);
            }
            Found::Absent => {}
            Found::Broken => {
                for statement in repair {
                    let text = reveal(scope, grant, statement)?;
                    let run = session.simple_quietly(&text).await;
                    run.map_err(|failure| blame(scope, failure, std::slice::from_ref(statement), &[0], 0))?;
                }
                notes.push("it was half done: repaired and begun again".to_owned());
            }
        }
    }
    let mut sets = false;
    for statement in statements {
        sets |= statements::read(statement, Setting::Standalone)?.sets;
        let text = reveal(scope, grant, statement)?;
        let run = session.simple_quietly(&text).await;
        run.map_err(|failure| blame(scope, failure, std::slice::from_ref(statement), &[0], 0))?;
    }
    // Settings of this effect are nobody else's.
    if !sets {
        session.keep();
    }
    Ok(notes)
}

async fn ask(session: &mut Lease, place: &Place, probe: &str) -> Result<Found> {
    let Admitted::Rows(sql) = gate::admit(probe)? else {
        return Err(Error::invalid("a probe is a SELECT of one text").fault(Fault::Plugin));
    };
    let replies = session.simple(&format!("BEGIN READ ONLY; {sql}; COMMIT")).await?;
    let answer = replies.get(1).and_then(|reply| reply.one());
    match first_value(&place.identity(), answer)?.as_str() {
        "done" => Ok(Found::Done),
        "absent" => Ok(Found::Absent),
        "broken" => Ok(Found::Broken),
        other => Err(Error::invalid(format!("a probe answers done, absent or broken, not `{other}`"))
            .fault(Fault::Plugin)),
    }
}

/// The request of an undo action that runs SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoSql {
    pub slot: SlotName,
    pub statements: Vec<String>,
    pub standalone: bool,
    /// The run that is undone.
    pub run: Option<RunId>,
}

/// How a performed effect is taken back; `None` where there is nothing to do.
pub async fn plan_undo(
    place: &Place,
    performed: &Performed,
    request: &ExecuteSql,
    run: Option<RunId>,
    marked: bool,
) -> Result<Option<UndoAction>> {
    let key = &performed.effect.key;
    let mut doubt = None;
    if performed.done.is_none() {
        match &request.execution {
            // The transaction and its marker are one.
            Execution::Atomic if !marked => return Ok(None),
            Execution::Atomic => {}
            Execution::Standalone { probe: Some(probe), .. } => {
                let mut session = place.wire().await?;
                let found = ask(&mut session, place, probe).await?;
                session.keep();
                if found == Found::Absent {
                    return Ok(None);
                }
            }
            Execution::Standalone { probe: None, .. } => {
                doubt = Some("it was begun, and nothing tells whether it was done".to_owned());
            }
        }
    }
    let (statements, irreversible) = match &request.undo {
        SqlUndo::Nothing => return Ok(None),
        SqlUndo::Statements { statements } => (statements.clone(), doubt),
        SqlUndo::Irreversible => {
            let why = performed.preparation.irreversible.clone();
            (Vec::new(), Some(why.unwrap_or_else(|| "the plugin knows no way back".to_owned())))
        }
    };
    let title = match statements.as_slice() {
        [] => format!("take back: {}", performed.preparation.title),
        [one] => brief(one),
        [first, rest @ ..] => format!("{} (and {} more)", brief(first), rest.len()),
    };
    let details = statements.clone();
    let standalone = matches!(request.execution, Execution::Standalone { .. });
    let request = UndoSql { slot: request.slot.clone(), statements, standalone, run };
    Ok(Some(UndoAction {
        key: EffectKey::new(format!("undo/{key}")),
        title,
        takes_back: vec![key.clone()],
        irreversible,
        changed: None,
        details,
        request: crate::undo::Request::Sql(request).json()?,
    }))
}

/// Runs undo statements; the place's markers are prepared for the undo's run.
pub async fn undo(
    scope: &StepScope,
    place: &Place,
    key: &EffectKey,
    request: &UndoSql,
    resumed: bool,
) -> Result<()> {
    let grant = scope.grant(&request.slot)?;
    if !request.standalone {
        let marker = Marker::of(scope, key, 0);
        return atomic(scope, place, grant, marker, &request.statements).await.map(drop);
    }
    let mut session = place.wire().await?;
    for statement in &request.statements {
        statements::read(statement, Setting::Standalone)?;
        let text = reveal(scope, grant, statement)?;
        match session.simple_quietly(&text).await {
            Ok(_) => {}
            // A former attempt may have come as far as this.
            Err(failure) if resumed && is_gone(&failure) => {}
            Err(failure) => return Err(blame(scope, failure, std::slice::from_ref(statement), &[0], 0)),
        }
    }
    session.keep();
    Ok(())
}

/// The thing to be dropped isn't there.
fn is_gone(failure: &Failure) -> bool {
    ["42704", "42P01", "42883", "3F000", "3D000"].iter().any(|code| failure.is(code))
}
