//! Arguments as typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  a step failed
  2  wrong usage, recipe or inputs
  3  verification failed
  4  denied: a grant is missing
  5  stopped; `godwit resume RUN` goes on";

/// Moves applications between homes: recipes of sandboxed plugins, planned, journalled, resumable, verified, undoable.
#[derive(Debug, Parser)]
#[command(name = "godwit", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Args {
    /// Where runs are journalled.
    #[arg(long, global = true, value_name = "DIR", default_value = ".godwit")]
    pub state: PathBuf,
    /// Machine-readable output on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// Also show debug messages of plugins.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find every fault of a recipe, offline; touches nothing.
    Check(CheckArgs),
    /// Show what a run would do, without doing it.
    Plan(PlanArgs),
    /// Plan, show, ask once, then do it.
    Run(RunArgs),
    /// Go on with a run that was stopped, cut off or failed.
    Resume(ResumeArgs),
    /// Run the checks of a run's complete steps again.
    Verify(AgainArgs),
    /// Take a run back.
    Undo(UndoArgs),
    /// List runs, newest first.
    Runs,
    /// Show the state of a run.
    Show(ShowArgs),
    /// Say what a run did, when, by which plugin, with what evidence.
    Report(ReportArgs),
    /// The markers that runs keep in target databases while they are under way.
    #[command(subcommand)]
    Target(TargetCommand),
    /// Forget a run: its journal, its before-images. It can't be resumed or undone then.
    Forget(ForgetArgs),
    /// Plugins: list, inspect, begin one of your own.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// The bundled recipes.
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Print the JSON Schema of recipes.
    Schema,
    /// Start servers on loopback, fill them with a sample application, and migrate it.
    Demo(DemoArgs),
}

/// How inputs are given: the first that names an input wins, in this order, then the recipe's default.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct InputArgs {
    /// An input: NAME=VALUE. Secrets are better given by the environment.
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE")]
    pub input: Vec<String>,
    /// A JSON file with an object of inputs.
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// A .env file that stands in for the environment.
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// A recipe's path, or the name of a bundled one.
    pub recipe: String,
    #[command(flatten)]
    pub inputs: InputArgs,
}

#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// A recipe's path, or the name of a bundled one.
    pub recipe: String,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Store the plan, for `run --plan`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// A recipe's path, or the name of a bundled one.
    pub recipe: String,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub consent: ConsentArgs,
    /// Accept exactly what this stored plan shows.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

/// Answers given beforehand.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ConsentArgs {
    /// Answer yes to the question before effects, and to each cut-over.
    #[arg(long, short)]
    pub yes: bool,
    /// Accept effects that overwrite, destroy or can't be undone even where the plan could not show them.
    #[arg(long)]
    pub accept_irreversible: bool,
}

#[derive(Debug, ClapArgs)]
pub struct ResumeArgs {
    /// The run's id.
    pub run: String,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub consent: ConsentArgs,
    /// Of an undo: throw away what has changed since: STEP/KEY, or `all`.
    #[arg(long, value_name = "STEP/KEY")]
    pub discard_later_changes: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct AgainArgs {
    /// The run's id.
    pub run: String,
    #[command(flatten)]
    pub inputs: InputArgs,
}

#[derive(Debug, ClapArgs)]
pub struct UndoArgs {
    /// The run's id.
    pub run: String,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Only show what would be undone.
    #[arg(long)]
    pub plan: bool,
    /// Answer yes to the question before effects.
    #[arg(long, short)]
    pub yes: bool,
    /// Throw away what has changed since: STEP/KEY as the plan names it, or `all`.
    #[arg(long, value_name = "STEP/KEY")]
    pub discard_later_changes: Vec<String>,
    /// Leave what can't be undone as it is, and undo the rest.
    #[arg(long)]
    pub keep_irreversible: bool,
}

#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// The run's id.
    pub run: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
    Md,
}

#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// The run's id.
    pub run: String,
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
}

#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// Show the runs that have markers in a database.
    Status(TargetArgs),
    /// Remove a run's markers. Only for a run that will not be resumed.
    Release {
        #[command(flatten)]
        target: TargetArgs,
        /// The run whose markers are removed.
        #[arg(long)]
        run: String,
        /// Answer yes to the question before it.
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub struct TargetArgs {
    /// The database: postgres://…; or give it in the environment variable GODWIT_TARGET_URL.
    #[arg(env = "GODWIT_TARGET_URL", hide_env_values = true)]
    pub url: String,
}

#[derive(Debug, ClapArgs)]
pub struct ForgetArgs {
    /// The run's id.
    pub run: String,
    /// Answer yes to the question before it.
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NewKind {
    Step,
    Transform,
}

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// The bundled plugins.
    List,
    /// What a plugin is, asks for and takes: by bundled name or by path.
    Inspect { plugin: String },
    /// Make a crate for a plugin of your own, which builds and passes its test at once.
    New {
        /// Lower-case letters, digits and `-`; also the folder's name.
        name: String,
        #[arg(long, value_enum, default_value = "step")]
        kind: NewKind,
        /// The folder of Godwit's plugin kit (`plugins/sdk` of its repository).
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// The names of the bundled recipes.
    List,
    /// Print a bundled recipe, to begin one of your own.
    Show { name: String },
}

#[derive(Debug, ClapArgs)]
pub struct DemoArgs {
    /// A server of your own as the source: postgres://…, with the right to create databases.
    #[arg(long, requires = "target_url")]
    pub source_url: Option<String>,
    /// A server of your own as the target.
    #[arg(long, requires = "source_url")]
    pub target_url: Option<String>,
    /// The folder of the demo's servers and files.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Stop the servers of an earlier demo and remove its folder.
    #[arg(long)]
    pub stop: bool,
    /// Serve the demo's objects until its folder goes.
    #[arg(long, hide = true)]
    pub serve: bool,
}
