//! What a call across the wall costs, in either direction.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use godwit_model::capability::{
    Bucketed, Comparison, Cursor, EndpointInfo, FileStat, Listing, ObjectHead, ObjectInfo, Preflight,
    PreflightAsk, PresignedGet, SettingState, VersionListing,
};
use godwit_model::effect::{Action, Block, BucketSetting, Effect, Evidence, Outcome};
use godwit_model::plugin::{
    Access, ConnectionKind, Grant, HostResult, Level, Limits, Mode, Plugin, Question, StepHost,
};
use godwit_model::{EffectKey, Error, Json, Result};
use godwit_runtime::Runtime;
use godwit_sdk::{Transform as _, open_pipe};
use serde_json::json;

use super::transforms::{Upper, shape};
use super::{Effort, median};
use crate::cpu;

/// Seconds of CPU time for one call.
#[derive(Clone, Debug)]
pub struct PerCall {
    pub name: &'static str,
    /// The same without a wall in between, where there is such a thing.
    pub native: Option<f64>,
    pub guest: f64,
}

pub async fn measure(effort: Effort) -> Vec<PerCall> {
    let runtime = Runtime::new(None).expect("the runtime starts");
    let calling = runtime.load("calling", godwit_test_guests::CALLING_STEP).await.expect("the guest loads");
    vec![
        PerCall {
            name: "guest → host, context.mode",
            native: None,
            guest: to_host(calling.as_ref(), "mode", effort).await,
        },
        PerCall {
            name: "guest → host, context.granted",
            native: None,
            guest: to_host(calling.as_ref(), "granted", effort).await,
        },
        to_guest(&runtime, effort).await,
    ]
}

/// Calls of the host within one `apply`, without what `apply` costs by itself.
async fn to_host(plugin: &dyn Plugin, call: &str, effort: Effort) -> f64 {
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        let none = apply(plugin, call, 0).await;
        let some = apply(plugin, call, effort.calls).await;
        rounds.push((some - none) / f64::from(effort.calls));
    }
    median(rounds)
}

async fn apply(plugin: &dyn Plugin, call: &str, times: u32) -> f64 {
    let params = json!({ "call": call, "times": times });
    let began = cpu::of_thread();
    let outputs = plugin.apply(Arc::new(NoHost), &params, &Limits::default()).await.expect("it calls");
    let spent = cpu::of_thread() - began;
    assert_eq!(outputs, json!({ "answered": times }));
    spent.as_secs_f64()
}

/// Chunks of one byte through a pipe.
async fn to_guest(runtime: &Runtime, effort: Effort) -> PerCall {
    let plugin = runtime.load("upper", godwit_test_guests::UPPER_TRANSFORM).await.expect("the guest loads");
    let mut guest = plugin.pipe(&json!({}), &shape(), &Limits::default()).await.expect("the guest opens");
    let mut native = open_pipe::<Upper>("{}", &shape().to_string()).expect("the native one opens");
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        let began = cpu::of_thread();
        for _ in 0..effort.calls {
            black_box(native.push(black_box(b"x")).expect("it takes a byte"));
        }
        let turned = cpu::of_thread();
        for _ in 0..effort.calls {
            black_box(guest.push(black_box(b"x")).await.expect("it takes a byte"));
        }
        rounds.push(((turned - began).as_secs_f64(), (cpu::of_thread() - turned).as_secs_f64()));
    }
    let calls = f64::from(effort.calls);
    PerCall {
        name: "host → guest, pipe.push of one byte",
        native: Some(median(rounds.iter().map(|round| round.0)) / calls),
        guest: median(rounds.iter().map(|round| round.1)) / calls,
    }
}

/// A host that grants one folder and has nothing in it.
pub struct NoHost;

fn nothing<T>() -> HostResult<T> {
    Err(Error::missing("nothing is here").into())
}

#[async_trait]
impl StepHost for NoHost {
    fn mode(&self) -> Mode {
        Mode::Apply
    }
    fn grant(&self, slot: &str) -> Option<Grant> {
        Some(Grant {
            slot: slot.into(),
            connection: "here".into(),
            kind: ConnectionKind::Dir,
            access: Access::Read,
            database: None,
            secrets: Vec::new(),
        })
    }
    fn identity(&self, _: &str) -> Option<String> {
        Some("dir:/nowhere".to_owned())
    }
    async fn log(&self, _: Level, _: &str) -> HostResult<()> {
        Ok(())
    }
    fn progress(&self, _: &str, _: u64, _: Option<u64>, _: &str) {}
    async fn memo(&self, _: &str, value: Option<Json>) -> HostResult<Option<Json>> {
        Ok(value)
    }
    fn admit(&self, _: &Action) -> HostResult<()> {
        nothing()
    }
    async fn submit(&self, _: Vec<Effect>) -> HostResult<()> {
        nothing()
    }
    async fn next(&self, _: u32) -> HostResult<Vec<Outcome>> {
        Ok(Vec::new())
    }
    async fn evidence(&self, _: &EffectKey) -> HostResult<Option<Evidence>> {
        Ok(None)
    }
    async fn observe(&self, _: &[EffectKey]) -> HostResult<Vec<godwit_model::Result<Evidence>>> {
        nothing()
    }
    async fn answers(&self, _: &[Question]) -> HostResult<Vec<godwit_model::Result<Vec<String>>>> {
        nothing()
    }
    async fn query(&self, _: &str, _: &str, _: &[Option<String>]) -> HostResult<Box<dyn Cursor>> {
        nothing()
    }
    async fn read_file(&self, _: &str, _: &str) -> HostResult<Vec<u8>> {
        nothing()
    }
    async fn read_file_range(&self, _: &str, _: &str, _: u64, _: u32) -> HostResult<Vec<u8>> {
        nothing()
    }
    async fn stat_file(&self, _: &str, _: &str) -> HostResult<Option<FileStat>> {
        Ok(None)
    }
    async fn list_files(&self, _: &str, _: &str) -> HostResult<Vec<FileStat>> {
        Ok(Vec::new())
    }
    async fn archive_blocks(&self, _: &str, _: &str, _: u64) -> HostResult<Vec<Block>> {
        nothing()
    }
    fn describe_endpoint(&self, _: &str) -> HostResult<EndpointInfo> {
        nothing()
    }
    async fn list_objects(&self, _: &str, _: &str, _: &str, _: Option<&str>) -> HostResult<Box<dyn Listing>> {
        nothing()
    }
    async fn list_versions(&self, _: &str, _: &str, _: &str) -> HostResult<Box<dyn VersionListing>> {
        nothing()
    }
    async fn stat_objects(
        &self,
        _: &str,
        _: &str,
        _: &[String],
    ) -> HostResult<Vec<Result<Option<ObjectInfo>>>> {
        nothing()
    }
    async fn compare_objects(
        &self,
        _: &[((String, Bucketed), (String, Bucketed))],
        _: bool,
    ) -> HostResult<Vec<Result<Comparison>>> {
        nothing()
    }
    async fn bucket_setting(&self, _: &str, _: &str, _: BucketSetting) -> HostResult<SettingState> {
        nothing()
    }
    async fn cors_preflight(&self, _: &str, _: &Bucketed, _: &PreflightAsk) -> HostResult<Preflight> {
        nothing()
    }
    async fn head_object(&self, _: &str, _: &Bucketed) -> HostResult<Option<ObjectHead>> {
        Ok(None)
    }
    async fn bucket_exists(&self, _: &str, _: &str) -> HostResult<bool> {
        Ok(false)
    }
    async fn bucket_cors(&self, _: &str, _: &str) -> HostResult<Option<Json>> {
        Ok(None)
    }
    async fn presigned_get(&self, _: &str, _: &Bucketed) -> HostResult<PresignedGet> {
        nothing()
    }
}
