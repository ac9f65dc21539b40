//! Runs of `godwit` in a folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use godwit_lab::s3::S3Server;
use serde_json::Value;

/// A folder with recipes and files, and the program to run in it.
pub struct Godwit {
    program: PathBuf,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What a run of the program printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Godwit {
    /// `program` is `env!("CARGO_BIN_EXE_godwit-under-test")`.
    pub fn new(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { program: PathBuf::from(program), folder, environment: Vec::new() }
    }

    /// Sets an environment variable for every run from now on.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the recipe `minio-to-r2` its two servers.
    pub fn between(self, source: &S3Server, target: &S3Server) -> Self {
        [("SOURCE", source), ("TARGET", target)].into_iter().fold(self, |godwit, (side, server)| {
            godwit
                .env(&format!("GODWIT_INPUT_{side}_ENDPOINT"), &server.endpoint())
                .env(&format!("GODWIT_INPUT_{side}_ACCESS_KEY_ID"), server.access_key())
                .env(&format!("GODWIT_INPUT_{side}_SECRET_ACCESS_KEY"), server.secret_key())
        })
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, with its folders.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("folders can be made");
        std::fs::write(path, content).expect("a file can be written");
    }

    pub fn read(&self, relative: &str) -> String {
        let path = self.path(relative);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            .env_remove("GODWIT_TEST_KILL")
            .env_remove("GODWIT_TEST_COUNT")
            .env_remove("GODWIT_TEST_JOURNAL")
            .env_remove("GODWIT_TEST_JOURNAL_TIMES")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A command that somebody else runs.
    pub fn to_run(&self, args: &[&str]) -> Command {
        self.command(args)
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().expect("godwit can be started"))
    }

    /// Runs to the end with more variables in its environment.
    pub fn run_with(&self, environment: &[(&str, &str)], args: &[&str]) -> Ran {
        let mut command = self.command(args);
        command.envs(environment.iter().copied());
        Ran::from(command.output().expect("godwit can be started"))
    }

    /// Runs to the end and expects exit code 0.
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "godwit {args:?}\n{ran}");
        ran
    }

    /// Runs to the end, expects exit code 0, and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let ran = self.ok(args);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("godwit {args:?}: {error}\n{ran}"))
    }

    /// Starts, and leaves it to the caller to wait for it or to kill it.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("godwit can be started")
    }

    /// Runs and dies around a journal write, as [`Moment`](crate::kill::Moment) reads it: `before:N`, `after:settle:N` …
    /// The code is `None` when it did.
    pub fn killed_at(&self, moment: &str, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        command.env("GODWIT_TEST_KILL", moment);
        Ran::from(command.output().expect("godwit can be started"))
    }

    /// Runs, and is killed after a time unless it ended before.
    pub fn killed_after(&self, time: Duration, args: &[&str]) -> Ran {
        let mut child = self.spawn(args);
        let began = std::time::Instant::now();
        while began.elapsed() < time {
            if child.try_wait().expect("a child can be waited for").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // It may have ended in between; then there is nothing to kill.
        let _ = child.kill();
        Ran::from(child.wait_with_output().expect("a child can be waited for"))
    }

    /// Runs to the end and returns how many journal writes it made.
    pub fn count_writes(&self, args: &[&str]) -> u64 {
        let file = self.path("writes.count");
        let mut command = self.command(args);
        command.env("GODWIT_TEST_COUNT", &file);
        let ran = Ran::from(command.output().expect("godwit can be started"));
        assert_eq!(ran.code, Some(0), "godwit {args:?}\n{ran}");
        let text = std::fs::read_to_string(&file).expect("the journal was written");
        text.parse().expect("the count is a number")
    }

    /// Resumes the newest run unless it is done, which is expected to do it; nothing where no run began.
    pub fn resume_newest(&self, context: &str) {
        if let Some((run, status)) = self.newest_run()
            && status != "done"
        {
            let ran = self.run(&["resume", &run, "--yes"]);
            assert_eq!(ran.code, Some(0), "{context}: {ran}");
        }
    }

    /// Takes a run back, killed after a time unless it ended before, and then to the end.
    pub fn undo_cut_off(&self, run: &str, time: Duration) {
        self.killed_after(time, &["undo", run, "--yes"]);
        match self.newest_run().expect("a run is there") {
            (newest, _) if newest == run => {
                self.ok(&["undo", run, "--yes"]);
            }
            (newest, status) if status != "done" => {
                self.ok(&["resume", &newest]);
            }
            _ => {}
        }
    }

    /// The newest run's id and status.
    pub fn newest_run(&self) -> Option<(String, String)> {
        let runs = self.json(&["runs", "--json"]);
        let newest = runs.as_array()?.first()?.clone();
        Some((newest["id"].as_str()?.to_owned(), newest["status"].as_str()?.to_owned()))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
