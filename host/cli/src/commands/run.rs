//! plan, run, resume, verify, undo.

use std::sync::Arc;

use godwit_engine::{Capabilities, Engine, NewRun, Plan, RunEnd, UndoOptions};
use godwit_model::check::Verdict;
use godwit_model::journal::{Accepted, RunKind, RunRecord, RunStatus};
use godwit_model::{Error, Result, RunId};

use super::{Context, no_journal, run_id, stop_on_interrupt};
use crate::args::{AgainArgs, InputArgs, PlanArgs, ResumeArgs, RunArgs, UndoArgs};
use crate::observer::Watcher;
use crate::output::{Exit, Style, ask, complain, exit_of, note, say, say_json};
use crate::wiring::{self, Prepared, Refused};
use crate::{recipes, render};

pub async fn plan(context: &Context, args: PlanArgs) -> Result<Exit, Refused> {
    let run = godwit_engine::run_id();
    let prepared = wiring::prepare(recipes::find(&args.recipe)?, &args.inputs, &run).await?;
    let plan = make_plan(context, &prepared, wiring::capabilities(&prepared, &context.state)?).await?;
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&plan)
            .map_err(|error| Error::host(format!("the plan can't be written as JSON: {error}")))?;
        std::fs::write(path, text + "\n").map_err(|error| {
            Error::host(format!("the plan can't be written to {}: {error}", path.display()))
        })?;
    }
    if context.json {
        say_json(&plan);
    } else {
        say(render::plan(&plan, Style::stdout(), context.verbose).trim_end());
        if let Some(path) = &args.out {
            say(&format!(
                "\nstored; do exactly this with: godwit run {} --plan {}",
                args.recipe,
                path.display()
            ));
        }
    }
    Ok(match plan.failure() {
        Some((_, error)) => exit_of(error),
        None => Exit::Done,
    })
}

/// Plans with a journal that is only ever in memory: a plan creates nothing.
async fn make_plan(context: &Context, prepared: &Prepared, capabilities: Capabilities) -> Result<Plan> {
    let journal = Arc::new(godwit_journal::MemoryJournal::default());
    let observer = Arc::new(Watcher::for_plan(context.json, context.verbose));
    let engine = wiring::engine_with(prepared, capabilities, journal, observer, stop_on_interrupt());
    engine.plan().await.map_err(|error| match error.code.as_deref() {
        Some("stopped") => Error::host("stopped while planning; nothing was done").code("stopped"),
        _ => error,
    })
}

pub async fn run(context: &Context, args: RunArgs) -> Result<Exit, Refused> {
    let found = recipes::find(&args.recipe)?;
    let stored = match &args.plan {
        Some(path) => Some(read_plan(path)?),
        None => None,
    };
    let run = stored.as_ref().map(|plan| plan.run.clone()).unwrap_or_else(godwit_engine::run_id);
    let prepared = wiring::prepare(found, &args.inputs, &run).await?;
    let mut capabilities = wiring::capabilities(&prepared, &context.state)?;
    let accepted = match stored {
        Some(plan) => {
            let digest = godwit_model::Digest::of(prepared.checked.text.as_bytes());
            if plan.recipe_digest != digest || plan.inputs != prepared.checked.plain_inputs {
                return Err(Error::invalid("the stored plan was made for another recipe or other inputs")
                    .hint("make it anew with `godwit plan … --out FILE`")
                    .into());
            }
            plan.gated()
        }
        None => {
            let plan = make_plan(context, &prepared, capabilities.clone()).await?;
            if !context.json {
                note(render::plan(&plan, Style::stderr(), context.verbose).trim_end());
            }
            if let Some((step, error)) = plan.failure() {
                let error = error.clone().context(format!("step `{step}` would fail; nothing was done"));
                return Err(error.into());
            }
            if let Some(exit) = consent(args.consent.yes, "do this?") {
                return Ok(exit);
            }
            // Connections go from the plan into the run, unless somebody thought about it for as long as it took.
            if !args.consent.yes {
                capabilities = wiring::capabilities(&prepared, &context.state)?;
            }
            plan.gated()
        }
    };
    let journal = wiring::open_journal(&context.state, &context.hooks).await?;
    let observer = Arc::new(Watcher::new(context.json, context.verbose, args.consent.yes));
    let engine = wiring::engine_with(&prepared, capabilities, journal, observer, stop_on_interrupt())
        .accept_irreversible(args.consent.accept_irreversible);
    let end = start(&engine, &prepared, accepted).await?;
    Ok(show_end(context, &end))
}

async fn start(engine: &Engine, prepared: &Prepared, accepted: Vec<Accepted>) -> Result<RunEnd> {
    let recipe_path = match &prepared.path {
        Some(path) => Some(
            std::path::absolute(path)
                .map_err(|error| Error::host(format!("{} has no absolute path: {error}", path.display())))?
                .display()
                .to_string(),
        ),
        None => None,
    };
    engine.start(NewRun { recipe_path, accepted, owner: wiring::owner() }).await
}

fn read_plan(path: &std::path::Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("plan {} can't be read: {error}", path.display())))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| {
        Error::invalid(format!("{} isn't a plan of this version of godwit: {error}", path.display()))
            .hint("make it with `godwit plan … --out FILE`")
    })?;
    if plan.format != godwit_engine::plan::FORMAT_VERSION {
        return Err(Error::invalid(format!("{} has plan format {}", path.display(), plan.format))
            .hint("make it anew with `godwit plan … --out FILE`"));
    }
    Ok(plan)
}

/// Asks unless it was answered; an exit where the answer is no.
fn consent(yes: bool, question: &str) -> Option<Exit> {
    if yes {
        return None;
    }
    match ask(question) {
        Some(true) => None,
        Some(false) => {
            note("nothing was done");
            Some(Exit::Stopped)
        }
        None => {
            complain(
                "there is no terminal to ask on, so nothing was done",
                Some("`--yes` answers beforehand"),
            );
            Some(Exit::Usage)
        }
    }
}

pub async fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, Refused> {
    let (record, prepared) = again(context, &args.run, &args.inputs).await?;
    let journal = wiring::open_journal(&context.state, &context.hooks).await?;
    let observer = Arc::new(Watcher::new(context.json, context.verbose, args.consent.yes));
    let engine = wiring::engine(&prepared, &context.state, journal, observer, stop_on_interrupt())?
        .accept_irreversible(args.consent.accept_irreversible);
    let end = match record.kind {
        RunKind::Apply => engine.resume(&wiring::owner()).await?,
        RunKind::Undo => {
            engine.resume_undo(&record.id, &wiring::owner(), &args.discard_later_changes).await?
        }
    };
    Ok(show_end(context, &end))
}

/// A journalled run with its recipe, checked again.
async fn again(context: &Context, run: &str, inputs: &InputArgs) -> Result<(RunRecord, Prepared), Refused> {
    let run = run_id(context, run).await?;
    let journal =
        wiring::existing_journal(&context.state).await?.ok_or_else(|| no_journal(&context.state))?;
    let record = journal.run(&run).await?.ok_or_else(|| {
        Error::invalid(format!("there is no run {run} in {}", context.state.display()))
            .hint("`godwit runs` lists them; `--state DIR` names another folder")
    })?;
    let prepared = wiring::prepare_again(&record, inputs).await?;
    Ok((record, prepared))
}

pub async fn verify(context: &Context, args: AgainArgs) -> Result<Exit, Refused> {
    let (record, prepared) = again(context, &args.run, &args.inputs).await?;
    if record.kind == RunKind::Undo || record.status == RunStatus::Undone {
        let what = if record.kind == RunKind::Undo { "is an undo" } else { "was undone" };
        return Err(Error::invalid(format!("run {} {what}; there is nothing of it to verify", record.id))
            .hint("`godwit runs` lists the runs")
            .into());
    }
    let journal =
        wiring::existing_journal(&context.state).await?.ok_or_else(|| no_journal(&context.state))?;
    let observer = Arc::new(Watcher::new(context.json, context.verbose, false));
    let engine = wiring::engine(&prepared, &context.state, journal, observer, stop_on_interrupt())?;
    let all = engine.verify().await?;
    let failed = all
        .iter()
        .flat_map(|step| &step.checks)
        .filter(|check| matches!(check.verdict, Verdict::Failed(_)))
        .count();
    if context.json {
        say_json(&all);
    } else {
        let style = Style::stdout();
        for step in &all {
            say(&style.bold(step.step.as_str()));
            for check in &step.checks {
                let detail = check.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
                match &check.verdict {
                    Verdict::Passed => say(&format!("  {} {}{detail}", style.green("✓"), check.name)),
                    Verdict::Failed(why) => {
                        say(&format!("  {} {}: {why}{detail}", style.red("✗"), check.name))
                    }
                    Verdict::NotComparable(why) => say(&format!("  ? {}: {why}{detail}", check.name)),
                }
            }
        }
    }
    if failed > 0 {
        complain(&format!("{failed} check(s) failed"), Some("`godwit report` shows the evidence of the run"));
        return Ok(Exit::VerificationFailed);
    }
    Ok(Exit::Done)
}

pub async fn undo(context: &Context, args: UndoArgs) -> Result<Exit, Refused> {
    let (_, prepared) = again(context, &args.run, &args.inputs).await?;
    let observer = Arc::new(Watcher::new(context.json, context.verbose, args.yes));
    let stop = stop_on_interrupt();
    if args.plan {
        let journal =
            wiring::existing_journal(&context.state).await?.ok_or_else(|| no_journal(&context.state))?;
        let engine = wiring::engine(&prepared, &context.state, journal, observer, stop)?;
        let plan = engine.plan_undo().await?;
        if context.json {
            say_json(&plan);
        } else {
            say(render::undo_plan(&plan, Style::stdout()).trim_end());
        }
        return Ok(Exit::Done);
    }
    let journal = wiring::open_journal(&context.state, &context.hooks).await?;
    let engine = wiring::engine(&prepared, &context.state, journal, observer, stop)?;
    if !args.yes {
        let plan = engine.plan_undo().await?;
        note(render::undo_plan(&plan, Style::stderr()).trim_end());
        if let Some(exit) = consent(false, "undo this?") {
            return Ok(exit);
        }
    }
    let options = UndoOptions {
        discard_later_changes: args.discard_later_changes,
        keep_irreversible: args.keep_irreversible,
        owner: wiring::owner(),
    };
    let end = engine.undo(godwit_engine::run_id(), &options).await?;
    Ok(show_end(context, &end))
}

fn show_end(context: &Context, end: &RunEnd) -> Exit {
    if context.json {
        say_json(&serde_json::json!({
            "run": end.run,
            "status": end.status.name(),
            "failed_step": end.failed.as_ref().map(|(step, _)| step),
            "error": end.failed.as_ref().map(|(_, error)| error),
            "outputs": end.outputs,
        }));
    }
    match &end.failed {
        None => {
            if !context.json {
                let style = Style::stdout();
                say(&format!("{} run {} is done", style.green("✓"), style.bold(end.run.as_str())));
                if let Some(outputs) = end.outputs.as_object().filter(|outputs| !outputs.is_empty()) {
                    for (name, value) in outputs {
                        say(&format!("  {name}: {value}"));
                    }
                }
                say(&format!("  godwit report {}", end.run));
            }
            Exit::Done
        }
        Some((step, error)) => {
            let place = if step.as_str().is_empty() { String::new() } else { format!("step `{step}`: ") };
            complain(&format!("{place}{error}"), error.hint.as_deref());
            note(&hint_after(&end.run, end.status));
            if end.verification_failed { Exit::VerificationFailed } else { exit_of_step(error) }
        }
    }
}

fn hint_after(run: &RunId, status: RunStatus) -> String {
    format!(
        "  run {run} is {}; go on with `godwit resume {run}`, or take it back with `godwit undo {run}`",
        status.name()
    )
}

/// A step's invalid request is the step's failure, not a fault of the command line.
fn exit_of_step(error: &Error) -> Exit {
    match exit_of(error) {
        Exit::Usage => Exit::Failed,
        other => other,
    }
}
