//! One function per command.

mod journal;
mod plugin;
mod run;
mod target;

use std::path::Path;

use godwit_engine::Stop;
use godwit_model::{Error, Result, RunId};

use crate::Hooks;
use crate::args::{Args, CheckArgs, Command, RecipeCommand};
use crate::output::{Exit, Style, complain, note, report_error, say, say_json};
use crate::wiring::{PluginStore, Refused};
use crate::{recipes, render};

/// What every command is handed.
pub struct Context {
    pub state: std::path::PathBuf,
    pub json: bool,
    pub verbose: bool,
    pub hooks: Hooks,
}

/// Does what the arguments say.
pub async fn dispatch(args: Args, hooks: Hooks) -> Exit {
    let context = Context { state: args.state, json: args.json, verbose: args.verbose, hooks };
    let result = match args.command {
        Command::Check(args) => check(&context, args).await,
        Command::Plan(args) => run::plan(&context, args).await,
        Command::Run(args) => run::run(&context, args).await,
        Command::Resume(args) => run::resume(&context, args).await,
        Command::Verify(args) => run::verify(&context, args).await,
        Command::Undo(args) => run::undo(&context, args).await,
        Command::Runs => journal::runs(&context).await,
        Command::Show(args) => journal::show(&context, args).await,
        Command::Report(args) => journal::report(&context, args).await,
        Command::Forget(args) => journal::forget(&context, args).await,
        Command::Target(command) => target::dispatch(&context, command).await,
        Command::Plugin(command) => plugin::dispatch(&context, command).await,
        Command::Recipe(command) => recipe(&context, command),
        Command::Schema => {
            say_json(&godwit_recipe::json_schema());
            Ok(Exit::Done)
        }
        Command::Demo(args) => crate::demo::demo(&context, args).await,
    };
    match result {
        Ok(exit) => exit,
        Err(Refused::Error(error)) => report_error(&error),
        Err(Refused::Faults(source, faults)) => {
            if context.json {
                say_json(&faults_json(&faults));
            } else {
                note(&render::faults(&source, &faults, Style::stderr().is_on()));
            }
            Exit::Usage
        }
    }
}

fn faults_json(faults: &[godwit_recipe::Diagnostic]) -> serde_json::Value {
    let faults: Vec<serde_json::Value> = faults
        .iter()
        .map(|fault| {
            serde_json::json!({
                "code": fault.code,
                "message": fault.message,
                "file": fault.file,
                "line": fault.line,
                "column": fault.column,
                "hint": fault.hint,
            })
        })
        .collect();
    serde_json::json!({ "faults": faults })
}

async fn check(context: &Context, args: CheckArgs) -> Result<Exit, Refused> {
    let found = recipes::find(&args.recipe)?;
    // Where the inputs are unreadable, all other faults are found all the same.
    let specs = godwit_recipe::inputs_of(&found.source).unwrap_or_default();
    let given = crate::inputs::gather(&args.inputs, &specs)?;
    let plugins = PluginStore::for_recipe(&found.source, found.path.as_deref()).await?;
    let (outline, faults) = godwit_recipe::lint(&found.source, &given, &plugins);
    if !faults.is_empty() {
        return Err(Refused::Faults(found.source, faults));
    }
    let Some(outline) = outline else {
        return Err(Error::host(format!("{} has no fault and no outline", found.source.name)).into());
    };
    if context.json {
        let steps: Vec<serde_json::Value> = outline
            .steps
            .iter()
            .map(|step| {
                serde_json::json!({
                    "id": step.id, "plugin": step.plugin, "needs": step.needs,
                    "cutover": step.cutover, "grants": step.grants,
                })
            })
            .collect();
        say_json(&serde_json::json!({ "recipe": outline.name, "faults": [], "steps": steps }));
        return Ok(Exit::Done);
    }
    let style = Style::stdout();
    say(&format!("{} {} is a valid recipe", style.green("✓"), outline.name));
    for input in &outline.inputs {
        let missing = input.required() && !given.values.contains_key(&input.name);
        say(&format!(
            "  input {} ({}){}{}",
            input.name,
            input.kind.name(),
            if missing {
                format!(", not given: -i {}=… or {}", input.name, input.env)
            } else {
                String::new()
            },
            input.description.as_ref().map(|text| format!(": {text}")).unwrap_or_default(),
        ));
    }
    for step in &outline.steps {
        let grants: Vec<String> = step
            .grants
            .iter()
            .map(|grant| format!("{} {} {}", grant.slot, grant.access.name(), grant.connection))
            .collect();
        say(&format!("  step {} ({}): {}", step.id, step.plugin, grants.join(", ")));
    }
    Ok(Exit::Done)
}

fn recipe(context: &Context, command: RecipeCommand) -> Result<Exit, Refused> {
    match command {
        RecipeCommand::List => {
            let recipes = godwit_bundle::recipes();
            if context.json {
                let list: Vec<serde_json::Value> = recipes
                    .iter()
                    .map(|recipe| {
                        serde_json::json!({ "name": recipe.name, "description": description(recipe.text) })
                    })
                    .collect();
                say_json(&list);
            } else {
                let width = recipes.iter().map(|recipe| recipe.name.len()).max().unwrap_or(0);
                for recipe in recipes {
                    say(&format!("{:width$}  {}", recipe.name, description(recipe.text)));
                }
            }
        }
        RecipeCommand::Show { name } => say(recipes::find(&name)?.source.text.trim_end()),
    }
    Ok(Exit::Done)
}

fn description(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|recipe| recipe.get("description").and_then(|text| text.as_str()).map(str::to_owned))
        .unwrap_or_default()
}

/// The id that an argument names: the whole of it, or `last` for the newest run.
async fn run_id(context: &Context, given: &str) -> Result<RunId> {
    if given != "last" {
        return Ok(RunId::new(given));
    }
    let journal = crate::wiring::existing_journal(&context.state).await?;
    let newest = match journal {
        Some(journal) => journal.runs().await?.into_iter().next(),
        None => None,
    };
    newest.map(|record| record.id).ok_or_else(|| no_journal(&context.state))
}

fn no_journal(state: &Path) -> Error {
    Error::invalid(format!("there are no runs in {}", state.display()))
        .hint("`--state DIR` names the folder that runs are journalled in")
}

/// Asks the run to stop at the first Ctrl-C; a second one ends the process at once, which a resume survives.
fn stop_on_interrupt() -> Stop {
    let stop = Stop::default();
    let handle = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            note("stopping; press Ctrl-C again to stop at once");
            handle.stop();
            if tokio::signal::ctrl_c().await.is_ok() {
                complain("stopped at once", Some("`godwit resume RUN` goes on from the journal"));
                std::process::exit(Exit::Stopped as i32);
            }
        }
    });
    stop
}
