//! runs, show, report, forget.

use godwit_engine::Report;
use godwit_model::capability::StateDir;
use godwit_model::journal::{RunKind, RunStatus};
use godwit_model::{Error, Result};

use super::{Context, no_journal, run_id};
use crate::args::{ForgetArgs, ReportArgs, ReportFormat, ShowArgs};
use crate::output::{Exit, Style, ask, complain, note, say, say_json};
use crate::render;
use crate::wiring::{self, Refused};

pub async fn runs(context: &Context) -> Result<Exit, Refused> {
    let records = match wiring::existing_journal(&context.state).await? {
        Some(journal) => journal.runs().await?,
        None => Vec::new(),
    };
    if context.json {
        let list: Vec<serde_json::Value> = records
            .iter()
            .map(|record| {
                serde_json::json!({
                    "id": record.id,
                    "recipe": record.recipe,
                    "kind": record.kind,
                    "of": record.of,
                    "status": record.status.name(),
                    "started_at": record.started_at,
                    "ended_at": record.ended_at,
                })
            })
            .collect();
        say_json(&list);
        return Ok(Exit::Done);
    }
    if records.is_empty() {
        note(&format!("no runs in {}", context.state.display()));
    }
    let style = Style::stdout();
    for record in records {
        let status = match record.status {
            RunStatus::Done => style.green(record.status.name()),
            RunStatus::Failed => style.red(record.status.name()),
            RunStatus::Running | RunStatus::Stopped => style.yellow(record.status.name()),
            RunStatus::Undone => style.dim(record.status.name()),
        };
        let what = match (record.kind, &record.of) {
            (RunKind::Undo, Some(of)) => format!("undo of {of} ({})", record.recipe),
            _ => record.recipe.clone(),
        };
        say(&format!("{}  {}  {status}  {what}", record.id, record.started_at));
    }
    Ok(Exit::Done)
}

async fn read(context: &Context, run: &str) -> Result<Report> {
    let run = run_id(context, run).await?;
    let journal =
        wiring::existing_journal(&context.state).await?.ok_or_else(|| no_journal(&context.state))?;
    if journal.run(&run).await?.is_none() {
        return Err(Error::invalid(format!("there is no run {run} in {}", context.state.display()))
            .hint("`godwit runs` lists them; `--state DIR` names another folder"));
    }
    Report::read(journal.as_ref(), &run).await
}

pub async fn show(context: &Context, args: ShowArgs) -> Result<Exit, Refused> {
    let report = read(context, &args.run).await?;
    if context.json {
        say_json(&report);
        return Ok(Exit::Done);
    }
    say(&format!("run {} of {}: {}", report.run, report.recipe, report.status.name()));
    for step in &report.steps {
        let done = step.effects.iter().filter(|effect| effect.status == "done").count();
        say(&format!(
            "  {} ({}): {}, {done} of {} effects done, {} checks",
            step.step,
            step.plugin,
            step.status.name(),
            step.effects.len(),
            step.checks.len()
        ));
        if let Some(error) = &step.error {
            say(&format!("    {error}"));
        }
    }
    for undone in &report.undone {
        say(&format!("  {} {}: {}", if undone.done { "✓" } else { "·" }, undone.step, undone.title));
    }
    let next = match report.status {
        RunStatus::Done if report.kind == RunKind::Apply => {
            format!("godwit report {0}; godwit undo {0}", report.run)
        }
        RunStatus::Running | RunStatus::Stopped | RunStatus::Failed => {
            format!("godwit resume {}", report.run)
        }
        RunStatus::Done | RunStatus::Undone => format!("godwit report {}", report.run),
    };
    say(&format!("  next: {next}"));
    Ok(Exit::Done)
}

pub async fn report(context: &Context, args: ReportArgs) -> Result<Exit, Refused> {
    let report = read(context, &args.run).await?;
    match args.format {
        ReportFormat::Json => say_json(&report),
        _ if context.json => say_json(&report),
        ReportFormat::Text => say(render::report(&report, false).trim_end()),
        ReportFormat::Md => say(render::report(&report, true).trim_end()),
    }
    Ok(Exit::Done)
}

pub async fn forget(context: &Context, args: ForgetArgs) -> Result<Exit, Refused> {
    let report = read(context, &args.run).await?;
    if matches!(report.status, RunStatus::Running | RunStatus::Stopped | RunStatus::Failed) {
        note(&format!(
            "run {} is {}: once forgotten it can be neither resumed nor undone, and its markers stay in its targets (`godwit target release`)",
            report.run,
            report.status.name()
        ));
    }
    if !args.yes {
        match ask(&format!("forget run {} with its journal and before-images?", report.run)) {
            Some(true) => {}
            Some(false) => {
                note("nothing was forgotten");
                return Ok(Exit::Stopped);
            }
            None => {
                complain(
                    "there is no terminal to ask on, so nothing was forgotten",
                    Some("`--yes` answers beforehand"),
                );
                return Ok(Exit::Usage);
            }
        }
    }
    let journal = wiring::open_journal(&context.state, &context.hooks).await?;
    // The journal first: it refuses a run that another process is working on.
    journal.forget(&report.run).await?;
    godwit_files::Files::forget(&StateDir(context.state.clone()), &report.run)?;
    if context.json {
        say_json(&serde_json::json!({ "forgotten": report.run }));
    } else {
        say(&format!("run {} is forgotten", report.run));
    }
    Ok(Exit::Done)
}
