//! A journal that ends its process with SIGKILL around one of its writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use godwit_model::capability::Part;
use godwit_model::journal::{
    Accepted, EffectRecord, EffectStatus, Intent, Journal, RunRecord, RunStatus, StepRecord, UndoRecord,
};
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};

/// At which write the process ends, and on which side of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    side: Side,
    /// Counts the calls of this method of the journal alone, such as `settle`; without it, every write.
    method: Option<String>,
    /// From 1.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Just before the write.
    Before,
    /// Just after it became durable.
    After,
}

impl Moment {
    /// Reads `before:N`, `after:N`, `before:METHOD:N` or `after:METHOD:N`.
    pub fn parse(text: &str) -> Option<Self> {
        let (side, rest) = text.split_once(':')?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return None,
        };
        let (method, number) = match rest.split_once(':') {
            Some((method, number)) if WRITES.contains(&method) => (Some(method.to_owned()), number),
            Some(_) => return None,
            None => (None, rest),
        };
        Some(Self { side, method, number: number.parse().ok()? })
    }
}

/// Counts the writes of the journal it wraps.
pub struct KillingJournal {
    inner: Arc<dyn Journal>,
    moment: Option<Moment>,
    writes: AtomicU64,
    /// Those of the method that the moment names.
    named: AtomicU64,
    /// Where the count is written at each write, so that a test knows how many there are.
    count_file: Option<std::path::PathBuf>,
}

impl KillingJournal {
    /// Without a moment it never ends the process.
    pub fn new(
        inner: Arc<dyn Journal>,
        moment: Option<Moment>,
        count_file: Option<std::path::PathBuf>,
    ) -> Self {
        Self { inner, moment, writes: AtomicU64::new(0), named: AtomicU64::new(0), count_file }
    }

    /// Called before each write; tells whether the process is to end after it.
    fn before(&self, method: &str) -> bool {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(path) = &self.count_file {
            std::fs::write(path, number.to_string()).expect("the count file can be written");
        }
        let Some(moment) = &self.moment else { return false };
        let number = match &moment.method {
            None => number,
            Some(named) if named == method => self.named.fetch_add(1, Ordering::SeqCst) + 1,
            Some(_) => return false,
        };
        if number != moment.number {
            return false;
        }
        if moment.side == Side::Before {
            die();
        }
        true
    }
}

#[allow(unsafe_code)]
fn die() -> ! {
    // SAFETY: kill and getpid have no preconditions; SIGKILL leaves no code of this process to run.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    // The signal ends every thread; this one may be scheduled once more before it arrives.
    loop {
        std::thread::park();
    }
}

/// The journal of [`KillingJournal`]: every method goes to the one inside, and those that write are counted.
macro_rules! delegate {
    (
        writes { $(fn $write:ident($($write_arg:ident: $write_type:ty),*) -> $write_result:ty;)* }
        reads { $(fn $read:ident($($read_arg:ident: $read_type:ty),*) -> $read_result:ty;)* }
    ) => {
        /// The methods that write.
        const WRITES: &[&str] = &[$(stringify!($write)),*];

        #[async_trait]
        impl Journal for KillingJournal {
            $(async fn $write(&self, $($write_arg: $write_type),*) -> Result<$write_result> {
                let dies = self.before(stringify!($write));
                let result = self.inner.$write($($write_arg),*).await;
                if dies {
                    die();
                }
                result
            })*
            $(async fn $read(&self, $($read_arg: $read_type),*) -> Result<$read_result> {
                self.inner.$read($($read_arg),*).await
            })*
        }
    };
}

delegate! {
    writes {
        fn insert_run(run: &RunRecord) -> ();
        fn set_run_status(run: &RunId, status: RunStatus, error: Option<&Error>) -> ();
        fn own_run(run: &RunId, owner: &str) -> ();
        fn accept(run: &RunId, accepted: &[Accepted]) -> ();
        fn forget(run: &RunId) -> ();
        fn put_step(run: &RunId, step: &StepRecord) -> ();
        fn memo(run: &RunId, step: &StepId, key: &str, value: &Json) -> Json;
        fn intend(run: &RunId, step: &StepId, batch: &[Intent]) -> ();
        fn settle(run: &RunId, step: &StepId, key: &EffectKey, status: &EffectStatus) -> ();
        fn plan_parts(run: &RunId, step: &StepId, key: &EffectKey, ranges: &[Json]) -> ();
        fn finish_part(run: &RunId, step: &StepId, key: &EffectKey, index: u32, outcome: &Json) -> ();
        fn reset_parts(run: &RunId, step: &StepId, key: &EffectKey) -> ();
        fn set_note(run: &RunId, step: &StepId, key: Option<&EffectKey>, name: &str, value: &Json) -> ();
        fn plan_undo(undo_run: &RunId, actions: &[UndoRecord]) -> ();
        fn finish_undo(undo_run: &RunId, step: &StepId, key: &EffectKey, result: &Json) -> ();
    }
    reads {
        fn run(run: &RunId) -> Option<RunRecord>;
        fn runs() -> Vec<RunRecord>;
        fn steps(run: &RunId) -> Vec<StepRecord>;
        fn kept_memo(run: &RunId, step: &StepId, key: &str) -> Option<Json>;
        fn memos(run: &RunId, step: &StepId) -> Vec<(String, Json)>;
        fn effects(run: &RunId, step: &StepId) -> Vec<EffectRecord>;
        fn effect(run: &RunId, step: &StepId, key: &EffectKey) -> Option<EffectRecord>;
        fn effects_from(run: &RunId, step: &StepId, from: &EffectKey, limit: u32) -> Vec<EffectRecord>;
        fn parts(run: &RunId, step: &StepId, key: &EffectKey) -> Vec<Part>;
        fn note(run: &RunId, step: &StepId, key: Option<&EffectKey>, name: &str) -> Option<Json>;
        fn undo_actions(undo_run: &RunId) -> Vec<UndoRecord>;
    }
}
