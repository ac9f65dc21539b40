//! Garage, an S3 server that no one here wrote: one node on free loopback ports, in a temporary folder. It ignores
//! If-Match and If-None-Match on PUT, and drops a leading slash of a key.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::error::{LabError, Result, io};
use crate::postgres::free_port;
use crate::process::{self, Signal, Watchdog};

/// Credentials of every server here, of the form that Garage asks for.
const ACCESS_KEY: &str = "GK0123456789abcdef01234567";
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const REGION: &str = "garage";
const ADMIN_TOKEN: &str = "lab-admin-token-for-tests-only";
const RPC_SECRET: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
/// What `--default-bucket` makes; the server doesn't start with a key and without a bucket.
const FIRST_BUCKET: &str = "first";

/// A server of one node. It ends, and its folder goes, when it is dropped.
#[derive(Debug)]
pub struct Garage {
    port: u16,
    admin_port: u16,
    child: Child,
    /// `Some` until it is dropped.
    watchdog: Option<Watchdog>,
    _folder: tempfile::TempDir,
}

impl Garage {
    /// Starts an empty one; the program is in the cache folder since `cargo xtask setup`.
    pub async fn start() -> Result<Self> {
        let garage = tokio::task::spawn_blocking(Self::spawn).await??;
        // The key may make buckets by the S3 API, as those of other servers here may.
        let allow = json!({ "allow": { "createBucket": true } });
        garage.admin("POST", &format!("/v2/UpdateKey?id={ACCESS_KEY}"), Some(&allow)).await?;
        garage.remove_bucket(FIRST_BUCKET).await?;
        Ok(garage)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn region(&self) -> &str {
        REGION
    }

    pub fn access_key(&self) -> &str {
        ACCESS_KEY
    }

    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes a bucket that the key may do everything with.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let made = self.admin("POST", "/v2/CreateBucket", Some(&json!({ "globalAlias": name }))).await?;
        let allow = json!({
            "bucketId": made["id"],
            "accessKeyId": ACCESS_KEY,
            "permissions": { "read": true, "write": true, "owner": true }
        });
        self.admin("POST", "/v2/AllowBucketKey", Some(&allow)).await.map(drop)
    }

    /// Removes a bucket, which has to be empty.
    pub async fn remove_bucket(&self, name: &str) -> Result<()> {
        let held = self.admin("GET", &format!("/v2/GetBucketInfo?globalAlias={name}"), None).await?;
        let id = held["id"].as_str().unwrap_or_default();
        self.admin("POST", &format!("/v2/DeleteBucket?id={id}"), None).await.map(drop)
    }

    fn spawn() -> Result<Self> {
        let program = crate::crates::garage(&crate::cache::dir()).ok_or_else(|| LabError::Missing {
            what: "Garage".into(),
            hint: "run `cargo xtask setup`, which compiles it into the cache folder".into(),
        })?;
        // Ports are free when they are chosen, and may be taken a moment later.
        let mut last = Self::try_spawn(&program);
        for _ in 0..2 {
            if !matches!(last, Err(LabError::Start { .. })) {
                break;
            }
            last = Self::try_spawn(&program);
        }
        last
    }

    fn try_spawn(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(io("make a folder in", &std::env::temp_dir()))?;
        // Where the watchdog looks for whom to end.
        let data = folder.path().join("data");
        fs::create_dir(&data).map_err(io("make", &data))?;
        let (port, rpc_port, admin_port) = (free_port()?, free_port()?, free_port()?);
        let (config, log) = (data.join("garage.toml"), data.join("garage.log"));
        let text = format!(
            "metadata_dir = {meta:?}\ndata_dir = {blocks:?}\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
             metadata_fsync = false\ndata_fsync = false\n\
             rpc_bind_addr = \"127.0.0.1:{rpc_port}\"\nrpc_public_addr = \"127.0.0.1:{rpc_port}\"\n\
             rpc_secret = \"{RPC_SECRET}\"\n\
             [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{port}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin_port}\"\nadmin_token = \"{ADMIN_TOKEN}\"\n",
            meta = data.join("meta"),
            blocks = data.join("blocks"),
        );
        fs::write(&config, text).map_err(io("write", &config))?;
        let watchdog = Watchdog::over(folder.path())?;
        let out = fs::File::create(&log).map_err(io("write", &log))?;
        let errors = out.try_clone().map_err(io("write", &log))?;
        let mut command = process::command(program, None);
        command
            .arg("-c")
            .arg(&config)
            .args(["server", "--single-node", "--default-bucket"])
            .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY)
            .env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY)
            .env("GARAGE_DEFAULT_BUCKET", FIRST_BUCKET)
            .env("RUST_LOG", "garage=warn")
            .stdout(Stdio::from(out))
            .stderr(Stdio::from(errors));
        let child = command.spawn().map_err(io("run", program))?;
        let pid = data.join("postmaster.pid");
        let mut garage = Self { port, admin_port, child, watchdog: Some(watchdog), _folder: folder };
        fs::write(&pid, garage.child.id().to_string()).map_err(io("write", &pid))?;

        let mut ended = false;
        let listens = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let up = process::wait(Duration::from_secs(60), || {
            ended = garage.child.try_wait().is_ok_and(|status| status.is_some());
            ended || (listens(port) && listens(admin_port))
        });
        if up && !ended {
            return Ok(garage);
        }
        let why = if ended { "it ended" } else { "it does not listen" };
        let log = fs::read(&log).unwrap_or_default();
        let lines = String::from_utf8_lossy(&log).into_owned();
        Err(LabError::Start { what: "Garage".into(), why: why.into(), log: lines })
    }

    /// One request to the admin API, asked again where the server closes the connection instead of an answer, as it
    /// does now and then just after its start.
    async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        for _ in 0..10 {
            match self.admin_once(method, path, body).await {
                Err(LabError::Io { .. }) => tokio::time::sleep(Duration::from_millis(200)).await,
                other => return other,
            }
        }
        self.admin_once(method, path, body).await
    }

    /// An answer other than 2xx is an error that has its text.
    async fn admin_once(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let what = PathBuf::from(format!("Garage's admin API {path}"));
        let other = |error: hyper::Error| std::io::Error::other(error);
        let address = SocketAddr::from(([127, 0, 0, 1], self.admin_port));
        let stream = tokio::net::TcpStream::connect(address).await.map_err(io("reach", &what))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| io("reach", &what)(other(error)))?;
        let driver = tokio::spawn(connection);
        let bytes = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .header("content-type", "application/json")
            .body(Full::new(bytes))
            .map_err(|error| io("ask", &what)(std::io::Error::other(error)))?;
        let answer = sender.send_request(request).await.map_err(|error| io("ask", &what)(other(error)))?;
        let status = answer.status();
        let text = answer
            .into_body()
            .collect()
            .await
            .map_err(|error| io("read the answer of", &what)(other(error)))?
            .to_bytes();
        driver.abort();
        if !status.is_success() {
            return Err(LabError::Command {
                program: what.display().to_string(),
                status: status.to_string(),
                stderr: String::from_utf8_lossy(&text).into_owned(),
            });
        }
        Ok(serde_json::from_slice(&text).unwrap_or(Value::Null))
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        process::signal(self.child.id(), Signal::Kill);
        // It is gone already, or will be.
        let _ = self.child.wait();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
    }
}
