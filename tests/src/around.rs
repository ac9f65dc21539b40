//! A journal with something done around each of its calls.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use godwit_model::capability::Part;
use godwit_model::journal::{
    Accepted, EffectRecord, EffectStatus, Intent, Journal, RunRecord, RunStatus, StepRecord, UndoRecord,
};
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};

/// What is done around the calls of a journal.
pub trait Around: Send + Sync {
    /// Makes a call that writes; `method` is one of [`WRITES`].
    fn write<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Makes a call that only reads.
    fn read<T: Send>(
        &self,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;
}

/// The journal inside, called by way of `around`.
pub struct Wrapped<A> {
    pub inner: Arc<dyn Journal>,
    pub around: A,
}

macro_rules! journal {
    (
        writes { $(fn $write:ident($($write_arg:ident: $write_type:ty),*) -> $write_result:ty;)* }
        reads { $(fn $read:ident($($read_arg:ident: $read_type:ty),*) -> $read_result:ty;)* }
    ) => {
        /// The methods of a journal that write.
        pub const WRITES: &[&str] = &[$(stringify!($write)),*];

        #[async_trait]
        impl<A: Around> Journal for Wrapped<A> {
            $(async fn $write(&self, $($write_arg: $write_type),*) -> Result<$write_result> {
                self.around.write(stringify!($write), self.inner.$write($($write_arg),*)).await
            })*
            $(async fn $read(&self, $($read_arg: $read_type),*) -> Result<$read_result> {
                self.around.read(self.inner.$read($($read_arg),*)).await
            })*
        }
    };
}

journal! {
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
        fn plan_undo(undo_run: &RunId, actions: Vec<UndoRecord>) -> ();
        fn finish_undo(undo_run: &RunId, step: &StepId, key: &EffectKey, result: &Json) -> ();
    }
    reads {
        fn run(run: &RunId) -> Option<RunRecord>;
        fn runs() -> Vec<RunRecord>;
        fn steps(run: &RunId) -> Vec<StepRecord>;
        fn kept_memo(run: &RunId, step: &StepId, key: &str) -> Option<Json>;
        fn memos(run: &RunId, step: &StepId) -> Vec<(String, Json)>;
        fn effects_before(run: &RunId, step: &StepId, before: Option<u64>, limit: u32) -> Vec<EffectRecord>;
        fn effects_of(run: &RunId, step: &StepId, keys: &[EffectKey]) -> Vec<EffectRecord>;
        fn effect_count(run: &RunId, step: &StepId) -> u64;
        fn effect(run: &RunId, step: &StepId, key: &EffectKey) -> Option<EffectRecord>;
        fn effects_from(run: &RunId, step: &StepId, from: &EffectKey, limit: u32) -> Vec<EffectRecord>;
        fn parts(run: &RunId, step: &StepId, key: &EffectKey) -> Vec<Part>;
        fn note(run: &RunId, step: &StepId, key: Option<&EffectKey>, name: &str) -> Option<Json>;
        fn undo_actions(undo_run: &RunId) -> Vec<UndoRecord>;
    }
}
