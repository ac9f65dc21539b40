//! An S3 server in the process: `s3s` speaks the protocol and checks signatures, a backend of our own holds
//! objects under opaque keys, and the door logs every request and lets faults in.

mod access;
mod backend;
mod conditions;
mod cors;
mod folder;
mod generated;
mod listing;
mod multipart;
pub mod pattern;
mod r2;
mod receive;
mod service;
mod settings;
mod store;
mod tagging;
mod traffic;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

pub use self::generated::Generated;
pub use self::receive::zeros;
pub use self::store::{Checksums, Settings, StoredObject};
pub use self::traffic::{Fault, Injection, Request};
pub use self::versions::{Version, Versioning};
pub use s3s::dto::CORSRule;

use self::access::Access;
use self::backend::{Backend, Rules, lock};
use self::folder::Folder;
use self::service::Door;
use self::store::Store;
use self::traffic::Traffic;
use crate::error::{LabError, Result, io};

/// The credentials of every server here.
const ACCESS_KEY: &str = "lab-access-key";
const SECRET_KEY: &str = "lab-secret-key-for-tests-only";

/// How a server is to be started; [`S3Server::builder`] makes one.
#[derive(Debug, Clone)]
pub struct Builder {
    rules: Rules,
    folder: Option<PathBuf>,
    port: Option<u16>,
    unlogged: bool,
}

impl Builder {
    /// The region it calls itself by; default `us-east-1`. (Signatures for any region are taken.)
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.rules.region = region.into();
        self
    }

    /// Keeps buckets and objects in a folder too, and begins with what is there. Open uploads are not kept.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Entries of a listing's page at most; default 1000.
    pub fn page_size(mut self, entries: usize) -> Self {
        self.rules.page_size = entries.max(1);
        self
    }

    /// The smallest part but the last of an upload, in bytes; default 5 MiB.
    pub fn min_part_size(mut self, bytes: usize) -> Self {
        self.rules.min_part_size = bytes;
        self
    }

    /// Cloudflare R2's rule: all parts but the last of one size.
    pub fn equal_parts(mut self) -> Self {
        self.rules.equal_parts = true;
        self
    }

    /// Cloudflare R2's habits: region `auto`, equal parts, and no tags, versions, ACLs, policies or foreign storage
    /// classes, which it answers with NotImplemented.
    pub fn r2(mut self) -> Self {
        self.rules.r2 = true;
        self.region("auto").equal_parts()
    }

    /// If-Match and If-None-Match of writing requests are ignored, as Garage does.
    pub fn ignores_conditions(mut self) -> Self {
        self.rules.ignores_conditions = true;
        self
    }

    /// Each PUT is answered with a version's id though no versions are kept, and `versionId` in a request is ignored: a
    /// DELETE of a version takes away what is there, as Garage does.
    pub fn claims_versions(mut self) -> Self {
        self.rules.claims_versions = true;
        self
    }

    /// Says that it encrypts by a key of its own service, so that ETags mean nothing to those who believe it.
    pub fn encrypts(mut self) -> Self {
        self.rules.encrypts = true;
        self
    }

    /// Keeps lengths and digests of what is written and not the bytes, which read as zeros: for benches of large objects.
    /// Objects of up to 256 bytes are kept as they are, so that a client can see that its writes arrive.
    pub fn discards(mut self) -> Self {
        self.rules.discards = true;
        self
    }

    /// Keeps no log of requests, which would grow with a bench.
    pub fn unlogged(mut self) -> Self {
        self.unlogged = true;
        self
    }

    /// Listens on 127.0.0.1; serves until the server is dropped.
    pub async fn start(self) -> Result<S3Server> {
        let address = format!("127.0.0.1:{}", self.port.unwrap_or(0));
        let path = PathBuf::from(&address);
        let mut store = Store::default();
        if let Some(folder) = self.folder {
            let opened = folder.clone();
            let (folder, buckets) = tokio::task::spawn_blocking(move || Folder::open(opened))
                .await?
                .map_err(io("open the objects in", &folder))?;
            store.buckets = buckets;
            store.folder = Some(folder);
        }
        let listener = std::net::TcpListener::bind(&address).map_err(io("listen on", &path))?;
        listener.set_nonblocking(true).map_err(io("listen on", &path))?;
        let port = listener.local_addr().map_err(io("listen on", &path))?.port();

        // A runtime of its own: a test may block its thread while a process it started talks to this server.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("lab-s3")
            .enable_all()
            .build()
            .map_err(io("start threads for", &path))?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).map_err(io("listen on", &path))?
        };
        let (store, traffic) =
            (Arc::new(Mutex::new(store)), Arc::new(Mutex::new(Traffic::new(!self.unlogged))));
        let region = self.rules.region.clone();
        let mut service =
            S3ServiceBuilder::new(Backend { store: Arc::clone(&store), rules: self.rules.clone() });
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        service.set_access(Access(Arc::clone(&store)));
        let generated = Arc::default();
        let door = Door {
            service: service.build(),
            store: Arc::clone(&store),
            traffic: Arc::clone(&traffic),
            rules: self.rules,
            generated: Arc::clone(&generated),
        };
        runtime.spawn(door.serve(listener));
        Ok(S3Server { port, region, store, traffic, generated, runtime: Some(runtime) })
    }
}

/// An S3 server on 127.0.0.1, path-style addressing, one pair of credentials. It ends when it is dropped.
#[derive(Debug)]
pub struct S3Server {
    port: u16,
    region: String,
    store: Arc<Mutex<Store>>,
    traffic: Arc<Mutex<Traffic>>,
    generated: Arc<Mutex<BTreeMap<String, Generated>>>,
    /// `Some` until it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl S3Server {
    /// Starts an empty server on a free port, all in memory.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// For a server with rules, a port or a folder of its own.
    pub fn builder() -> Builder {
        let rules = Rules {
            region: "us-east-1".into(),
            page_size: 1000,
            min_part_size: 5 << 20,
            equal_parts: false,
            r2: false,
            ignores_conditions: false,
            discards: false,
            encrypts: false,
            claims_versions: false,
        };
        Builder { rules, folder: None, port: None, unlogged: false }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn access_key(&self) -> &str {
        ACCESS_KEY
    }

    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// Makes a bucket; one that exists stays as it is.
    pub fn create_bucket(&self, name: &str) -> Result<()> {
        let path = PathBuf::from(name);
        lock(&self.store).create_bucket(name).map_err(io("keep the bucket", &path))
    }

    /// Makes a bucket of objects that are made when they are asked for. They can be listed and read, by anybody; what is
    /// written to the bucket lies beside them and isn't listed.
    pub fn generate(&self, name: &str, objects: Generated) -> Result<()> {
        self.create_bucket(name)?;
        lock(&self.generated).insert(name.to_owned(), objects);
        Ok(())
    }

    /// Lets anybody read a bucket and list it, without a signature.
    pub fn make_public(&self, name: &str) -> Result<()> {
        let path = PathBuf::from(name);
        lock(&self.store).set(name, |held| held.public = true).map_err(io("keep the bucket", &path))
    }

    /// Tells a bucket that is there about versions.
    pub fn set_versioning(&self, name: &str, versioning: Versioning) -> Result<()> {
        let mut store = lock(&self.store);
        let held = store.buckets.get_mut(name);
        held.ok_or_else(|| LabError::NoObject(format!("bucket {name}")))?.history.versioning = versioning;
        Ok(())
    }

    /// All versions of a bucket's objects by key, the newest of each first; a marker has no object.
    pub fn versions(&self, bucket: &str) -> Vec<(String, Version)> {
        let store = lock(&self.store);
        let Some(held) = store.buckets.get(bucket) else { return Vec::new() };
        let all = held.history.listed(&held.objects).into_iter();
        all.map(|(key, version, _)| (key.to_owned(), version)).collect()
    }

    /// What a bucket was told besides its objects.
    pub fn settings(&self, bucket: &str) -> Option<Settings> {
        lock(&self.store).buckets.get(bucket).map(|held| held.settings.clone())
    }

    /// Puts an object straight into the store; tags as the header `x-amz-tagging`, other header names as in HTTP, user metadata as `x-amz-meta-…`.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<()> {
        let mut headers: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        let mut store = lock(&self.store);
        if !store.buckets.contains_key(bucket) {
            return Err(LabError::NoObject(format!("bucket {bucket}")));
        }
        let path = PathBuf::from(format!("{bucket}/{key}"));
        let tags = headers.remove("x-amz-tagging").map(|text| store::tag_pairs(&text)).unwrap_or_default();
        let object = StoredObject { tags, ..StoredObject::new(bytes.into(), headers) };
        store.put(bucket, key, object).map(drop).map_err(io("keep the object", &path))
    }

    /// Puts an object that is said to have been uploaded in parts, by the ETag that this gave it.
    pub fn put_uploaded(&self, bucket: &str, key: &str, bytes: Bytes, etag: &str) -> Result<()> {
        let mut store = lock(&self.store);
        if !store.buckets.contains_key(bucket) {
            return Err(LabError::NoObject(format!("bucket {bucket}")));
        }
        let object =
            StoredObject { bytes, etag: etag.to_owned(), ..StoredObject::new(Bytes::new(), BTreeMap::new()) };
        let path = PathBuf::from(format!("{bucket}/{key}"));
        store.put(bucket, key, object).map(drop).map_err(io("keep the object", &path))
    }

    /// The object as it lies in the store, if it does.
    pub fn get(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        lock(&self.store).object(bucket, key).map(|object| StoredObject::clone(object))
    }

    /// Takes an object away behind everybody's back; one that is not there is fine.
    pub fn remove(&self, bucket: &str, key: &str) -> Result<()> {
        let path = PathBuf::from(format!("{bucket}/{key}"));
        lock(&self.store).delete(bucket, key).map(drop).map_err(io("remove the object", &path))
    }

    /// All keys of a bucket in the order of their bytes; empty for a bucket that is not there.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        lock(&self.store)
            .buckets
            .get(bucket)
            .map(|held| held.objects.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// All buckets by name.
    pub fn buckets(&self) -> Vec<String> {
        lock(&self.store).buckets.keys().cloned().collect()
    }

    /// A bucket's CORS rules, if it has any.
    pub fn cors(&self, bucket: &str) -> Option<Vec<CORSRule>> {
        lock(&self.store).buckets.get(bucket).and_then(|held| held.settings.cors.clone())
    }

    /// Ids of the uploads that are neither completed nor aborted.
    pub fn open_uploads(&self) -> Vec<String> {
        lock(&self.store).uploads.keys().cloned().collect()
    }

    /// Every request seen since the start or the last [`forget_requests`](Self::forget_requests), refused ones
    /// included.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.traffic).requests.clone()
    }

    /// How many requests for an operation were seen since then.
    pub fn seen(&self, operation: &str) -> usize {
        lock(&self.traffic).requests.iter().filter(|request| request.operation == operation).count()
    }

    pub fn forget_requests(&self) {
        lock(&self.traffic).requests.clear();
    }

    /// Lets something go wrong from now on: a [`Fault`], or one narrowed by [`Fault::on`] and [`Fault::key`].
    /// Faults add up.
    pub fn inject(&self, fault: impl Into<Injection>) {
        lock(&self.traffic).injections.push(fault.into());
    }

    /// Nothing goes wrong from now on.
    pub fn clear_faults(&self) {
        lock(&self.traffic).injections.clear();
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Without waiting, which would panic where the drop happens in async code.
            runtime.shutdown_background();
        }
    }
}
