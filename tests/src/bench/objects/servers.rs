//! The servers that objects are copied between, as processes of their own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use godwit_lab::Garage;
use serde_json::Value;

use super::floor;
use super::sets::{BUCKET, Set};
use super::wire::Store;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The lab's own. A target keeps lengths and digests of what arrives, and not the bytes.
    Lab,
    Garage,
}

impl Place {
    pub const ALL: [Self; 2] = [Self::Lab, Self::Garage];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::Garage => "garage",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }

    /// Starts one that holds so much of a set, or an empty bucket. `program` is the path of `s3-server`.
    pub async fn start(self, program: &Path, held: Option<(Set, usize)>) -> Result<Server, String> {
        match self {
            Self::Lab => Server::lab(program, held),
            Self::Garage => {
                let garage = Garage::start().await.map_err(|e| e.to_string())?;
                garage.create_bucket(BUCKET).await.map_err(|e| e.to_string())?;
                let store = Store {
                    endpoint: garage.endpoint(),
                    region: garage.region().to_owned(),
                    access_key: garage.access_key().to_owned(),
                    secret_key: garage.secret_key().to_owned(),
                };
                if let Some((set, share)) = held {
                    floor::put(&store, set, share)?;
                }
                Ok(Server { store, _held: Held::Garage(garage) })
            }
        }
    }
}

/// A server, which ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    pub store: Store,
    _held: Held,
}

#[derive(Debug)]
#[expect(dead_code, reason = "they are held until they are dropped")]
enum Held {
    Lab(Process),
    Garage(Garage),
}

#[derive(Debug)]
struct Process(Child);

impl Server {
    fn lab(program: &Path, held: Option<(Set, usize)>) -> Result<Self, String> {
        let mut command = Command::new(program);
        match held {
            Some((set, share)) => command.args(["--set", set.name(), "--share", &share.to_string()]),
            None => command.args(["--bucket", BUCKET, "--discard", "yes"]),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|e| format!("{}: {e}", program.display()))?;
        let mut process = Process(child);
        let mut line = String::new();
        let stdout = process.0.stdout.take().ok_or("the server has no stdout")?;
        BufReader::new(stdout).read_line(&mut line).map_err(|e| e.to_string())?;
        let said: Value = serde_json::from_str(&line)
            .map_err(|_| format!("{} ended before it listened", program.display()))?;
        let of = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let store = Store {
            endpoint: of("endpoint"),
            region: of("region"),
            access_key: of("access_key"),
            secret_key: of("secret_key"),
        };
        Ok(Self { store, _held: Held::Lab(process) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
