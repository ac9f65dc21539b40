//! Throughput of transforms: the same Rust code, compiled for this machine and as a guest.

use std::hint::black_box;

use godwit_model::plugin::{Limits, Pipe};
use godwit_plugin_mask_columns::MaskColumns;
use godwit_runtime::Runtime;
use godwit_sdk::open_pipe;
use godwit_sdk::prelude::*;
use serde_json::{Value, json};

use super::{Effort, median};
use crate::cpu;

#[path = "../../guests/programs/examples/upper_transform.rs"]
mod upper;

pub use upper::Upper;

/// Hands every chunk on.
struct Echo;

#[derive(Deserialize, JsonSchema)]
struct NoParams {}

impl Transform for Echo {
    const NAME: &str = "echo-transform";
    const VERSION: &str = "1.0.0";
    const SUMMARY: &str = "what the guest of that name does";
    type Params = NoParams;

    fn open(_params: NoParams, _shape: Shape) -> Result<Self> {
        Ok(Self)
    }

    fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>> {
        Ok(chunk.to_vec())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// What a transform gets at once.
const CHUNK: usize = 1 << 20;

/// Bytes of input per second of CPU time.
#[derive(Clone, Debug)]
pub struct Throughput {
    pub name: &'static str,
    pub native: f64,
    pub guest: f64,
    /// The median of the rounds' own ratios of guest to native.
    pub ratio: f64,
}

/// Compares a transform that does next to nothing, and the bundled one with its cheap and with its dear mask.
pub async fn measure(effort: Effort) -> Vec<Throughput> {
    let runtime = Runtime::new(None).expect("the runtime starts");
    let mask = godwit_bundle::plugin(MaskColumns::NAME).expect("it is bundled").bytes;
    let masks = |columns: Value| json!({ "key": "an example key of no worth", "tables": { "public.people": columns } });
    let cheap = masks(json!({
        "email": { "mask": "fixed", "value": "someone@example.com" },
        "phone": { "mask": "partial", "keep_end": 3 },
        "note": { "mask": "null" }
    }));
    let one = masks(json!({ "email": { "mask": "fixed", "value": "someone@example.com" } }));
    let hash = masks(json!({ "email": { "mask": "hash", "length": 16, "suffix": "@example.com" } }));
    let (echo, upper) = (godwit_test_guests::ECHO_TRANSFORM, godwit_test_guests::UPPER_TRANSFORM);
    vec![
        compare::<Echo>(&runtime, "nothing done: the way alone", echo, &json!({}), effort).await,
        compare::<Upper>(&runtime, "upper case", upper, &json!({}), effort).await,
        compare::<MaskColumns>(&runtime, "mask-columns, fixed", mask, &one, effort).await,
        compare::<MaskColumns>(&runtime, "mask-columns, fixed + partial + null", mask, &cheap, effort).await,
        compare::<MaskColumns>(&runtime, "mask-columns, hash", mask, &hash, effort).await,
    ]
}

async fn compare<T: Transform>(
    runtime: &Runtime,
    name: &'static str,
    component: &[u8],
    params: &Value,
    effort: Effort,
) -> Throughput {
    let chunk = rows();
    let plugin = runtime.load(name, component).await.expect("the guest loads");
    let mut guest = plugin.pipe(params, &shape(), &Limits::default()).await.expect("the guest opens");
    let mut native = open_pipe::<T>(&params.to_string(), &shape().to_string()).expect("the native one opens");

    // The work has to be the same; the first chunk also warms both up.
    let expected = native.push(&chunk).expect("the native one takes rows");
    assert!(
        guest.push(&chunk).await.expect("the guest takes rows") == expected,
        "{name}: other bytes come out"
    );

    let mut rounds = Vec::new();
    for round in 0..effort.rounds {
        let (mine, theirs) = if round % 2 == 0 {
            let mine = push_native(&mut native, &chunk, effort.chunks);
            (mine, push_guest(guest.as_mut(), &chunk, effort.chunks).await)
        } else {
            let theirs = push_guest(guest.as_mut(), &chunk, effort.chunks).await;
            (push_native(&mut native, &chunk, effort.chunks), theirs)
        };
        rounds.push((mine, theirs));
    }
    let bytes = (chunk.len() * effort.chunks) as f64;
    Throughput {
        name,
        native: bytes / median(rounds.iter().map(|round| round.0)),
        guest: bytes / median(rounds.iter().map(|round| round.1)),
        ratio: median(rounds.iter().map(|(native, guest)| native / guest)),
    }
}

/// Seconds of CPU time of this thread.
fn push_native<T: Transform>(pipe: &mut T, chunk: &[u8], times: usize) -> f64 {
    let began = cpu::of_thread();
    for _ in 0..times {
        black_box(pipe.push(black_box(chunk)).expect("it takes rows"));
    }
    (cpu::of_thread() - began).as_secs_f64()
}

/// Seconds of CPU time of this thread, on which the guest runs too.
async fn push_guest(pipe: &mut dyn Pipe, chunk: &[u8], times: usize) -> f64 {
    let began = cpu::of_thread();
    for _ in 0..times {
        black_box(pipe.push(black_box(chunk)).await.expect("it takes rows"));
    }
    (cpu::of_thread() - began).as_secs_f64()
}

pub fn shape() -> Value {
    let text = |name: &str| json!({ "name": name, "type": "text" });
    json!({
        "kind": "table", "schema": "public", "table": "people", "root": null, "format": "text",
        "columns": [
            { "name": "id", "type": "bigint" }, text("name"), text("email"), text("phone"), text("note"),
            { "name": "created_at", "type": "timestamp with time zone" },
        ]
    })
}

/// Whole rows of COPY text, about 1 MiB of them.
fn rows() -> Vec<u8> {
    let mut rows = Vec::with_capacity(CHUNK + 512);
    for id in 0_u64.. {
        if rows.len() >= CHUNK {
            break;
        }
        let note = match id % 5 {
            0 => "\\N".to_owned(),
            n => format!("the {id}th note\\n").repeat(n as usize),
        };
        let row = format!(
            "{id}\tName Number {id}\tperson{id}@mail.example.com\t+49 30 {:07}\t{note}\t2026-01-02 03:04:05+00\n",
            id * 7919 % 10_000_000
        );
        rows.extend_from_slice(row.as_bytes());
    }
    rows
}
