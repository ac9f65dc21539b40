//! `s3-to-r2`: moves buckets, or prefixes of them, between any two S3 endpoints.
//!
//! It lists both sides as two sorted streams, compares them page by page, and copies what is missing. All is compared
//! before anything is written: an object that is at the target with other content ends the step, unless the recipe says
//! `"overwrite": "changed"`. Keys stay byte for byte.
//!
//! Verdicts are memoised page by page, since the step's own copies change what the target lists: a resumed call reads
//! them back, and lists on only from where the last one stopped.

mod compare;
mod glob;
mod params;
mod verify;

use std::collections::BTreeSet;

use godwit_sdk::prelude::*;

use crate::compare::{Compared, Page, Task};
pub use crate::params::{BucketEntry, Mapping, Overwrite, Params, Rule, Verification};

/// Effects that are submitted together.
const BATCH: usize = 1000;
/// Names that a message spells out.
const SHOWN: usize = 10;

pub const SOURCE: &str = "source";
pub const TARGET: &str = "target";

/// The step.
pub struct S3ToR2;

/// What the step did.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// Objects copied, over all buckets.
    pub objects: u64,
    /// Bytes copied, over all buckets.
    pub bytes: u64,
    /// Objects that were at the target already.
    pub already_there: u64,
    pub buckets: Vec<BucketOutputs>,
}

/// What the step did for one entry of `buckets`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketOutputs {
    /// Bucket at the source.
    pub source: String,
    /// Bucket at the target.
    pub target: String,
    pub objects: u64,
    pub bytes: u64,
    pub already_there: u64,
    /// The step made the bucket.
    pub created: bool,
    /// The step set the bucket's CORS rules.
    pub cors_set: bool,
}

impl Step for S3ToR2 {
    const NAME: &str = "s3-to-r2";
    const VERSION: &str = "0.1.0";
    const SUMMARY: &str = "moves buckets or prefixes between S3 endpoints, and proves that they arrived";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![
            Slot::new(SOURCE, ConnectionKind::S3, Access::Read, "where the objects are"),
            Slot::new(TARGET, ConnectionKind::S3, Access::Write, "where they go"),
        ]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        let mappings = params.mappings()?;
        refuse_overlaps(host, &mappings)?;
        let filter = params.filter()?;
        // A bucket that several entries name is made once and has one set of rules.
        let mut targets: Vec<Target> = Vec::new();
        for mapping in &mappings {
            if !targets.iter().any(|target| target.bucket == mapping.target) {
                targets.push(Target::look(host, &params, mapping)?);
            }
        }
        let target_of = |mapping: &Mapping| targets.iter().find(|target| target.bucket == mapping.target);

        // All is compared before anything is written.
        let mut conflicts = Vec::new();
        let mut compared = Vec::new();
        for (index, mapping) in mappings.iter().enumerate() {
            let task = Task {
                index,
                mapping,
                filter: &filter,
                overwrite: params.overwrite,
                target_exists: target_of(mapping).is_some_and(|target| target.exists),
            };
            compared.push(task.compare(host, &mut conflicts)?);
        }
        refuse_conflicts(&conflicts)?;

        let mut outcomes = Outcomes::default();
        let mut batch = Vec::new();
        for target in &targets {
            batch.extend(target.effects(host)?);
        }
        outcomes.submit(host, std::mem::take(&mut batch))?;
        for (mapping, compared) in mappings.iter().zip(&compared) {
            let after = target_of(mapping).filter(|target| !target.exists).map(Target::create_key);
            compared.each_page(host, |page| {
                for entry in &page.copy {
                    let effect = host.copy_object(
                        &copy_key(mapping, &entry.rest),
                        location(SOURCE, &mapping.source, mapping.source_key(&entry.rest)),
                        location(TARGET, &mapping.target, mapping.target_key(&entry.rest)),
                        entry.size,
                        &entry.etag,
                        ObjectCopy::onto(entry.replaces.clone().map_or(Replaces::Nothing, Replaces::Object)),
                    )?;
                    batch.push(match &after {
                        Some(key) => effect.after([key]),
                        None => effect,
                    });
                    if batch.len() >= BATCH {
                        outcomes.submit(host, std::mem::take(&mut batch))?;
                    }
                }
                Ok(())
            })?;
        }
        outcomes.submit(host, batch)?;
        outcomes.settle(host)?;

        let buckets: Vec<BucketOutputs> = mappings
            .iter()
            .zip(&compared)
            .map(|(mapping, compared)| outputs_of(mapping, compared, target_of(mapping)))
            .collect();
        Ok(Outputs {
            objects: buckets.iter().map(|bucket| bucket.objects).sum(),
            bytes: buckets.iter().map(|bucket| bucket.bytes).sum(),
            already_there: buckets.iter().map(|bucket| bucket.already_there).sum(),
            buckets,
        })
    }

    fn verify<H: Host>(host: &H, params: Params, _outputs: Outputs) -> Result<Vec<Check>> {
        verify::checks(host, &params)
    }
}

godwit_sdk::export_step!(S3ToR2);

fn outputs_of(mapping: &Mapping, compared: &Compared, target: Option<&Target>) -> BucketOutputs {
    BucketOutputs {
        source: mapping.source.clone(),
        target: mapping.target.clone(),
        objects: compared.objects,
        bytes: compared.bytes,
        already_there: compared.same,
        created: target.is_some_and(|target| !target.exists),
        cors_set: target.is_some_and(|target| target.cors_due),
    }
}

/// The key of the effect that copies an object. Entries never write to the same place, so it is unique.
fn copy_key(mapping: &Mapping, rest: &str) -> String {
    format!("copy {}/{}", mapping.target, mapping.target_key(rest))
}

fn location(slot: &str, bucket: &str, key: String) -> Location {
    Location { slot: slot.to_owned(), bucket: bucket.to_owned(), key }
}

/// A bucket at the target, as it was before the step touched it.
struct Target {
    bucket: String,
    exists: bool,
    /// What the recipe wants; empty: leave the rules alone.
    cors: Vec<CorsRule>,
    /// The bucket's rules are others than those.
    cors_due: bool,
}

impl Target {
    /// Both facts are memoised: the step's own effects change them.
    fn look<H: Host>(host: &H, params: &Params, mapping: &Mapping) -> Result<Self> {
        let bucket = mapping.target.clone();
        let exists = host.memo(&format!("bucket/{bucket}"), || host.bucket_exists(TARGET, &bucket))?;
        if !exists && !params.create_buckets {
            return Err(Error::Missing(format!(
                "bucket `{bucket}` isn't at the target; make it there, or let the step do so by \
                 `\"create_buckets\": true`"
            )));
        }
        let cors: Vec<CorsRule> = params.cors_of(mapping).iter().map(Rule::to_cors).collect();
        let cors_due = match (cors.is_empty(), exists) {
            (true, _) => false,
            (false, false) => true,
            (false, true) => host.memo(&format!("cors/{bucket}"), || {
                Ok(!verify::has_rules(host.bucket_cors(TARGET, &bucket)?.as_deref(), &cors))
            })?,
        };
        Ok(Self { bucket, exists, cors, cors_due })
    }

    fn create_key(&self) -> String {
        format!("bucket {}", self.bucket)
    }

    fn effects<H: Host>(&self, host: &H) -> Result<Vec<H::Effect>> {
        let mut effects = Vec::new();
        if !self.exists {
            effects.push(host.create_bucket(TARGET, &self.create_key(), &self.bucket)?);
        }
        if self.cors_due {
            let effect = host.set_cors(TARGET, &format!("cors {}", self.bucket), &self.bucket, &self.cors)?;
            effects.push(if self.exists { effect } else { effect.after([self.create_key()]) });
        }
        Ok(effects)
    }
}

/// A source that overlaps the target would be copied over itself; two entries that write to one place would race.
fn refuse_overlaps<H: Host>(host: &H, mappings: &[Mapping]) -> Result<()> {
    let identity = |slot: &str| host.granted(slot).map(|granted| granted.identity);
    let one_store = identity(SOURCE).is_some() && identity(SOURCE) == identity(TARGET);
    let overlap = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
    for (index, a) in mappings.iter().enumerate() {
        for b in mappings {
            if one_store && a.source == b.target && overlap(&a.prefix, &b.target_prefix) {
                return Err(Error::Invalid(format!(
                    "source and target are one store, and `{}/{}` is read while `{}/{}` is written: choose another \
                     target bucket or prefix",
                    a.source, a.prefix, b.target, b.target_prefix
                )));
            }
        }
        if let Some(b) = mappings[index + 1..]
            .iter()
            .find(|b| a.target == b.target && overlap(&a.target_prefix, &b.target_prefix))
        {
            return Err(Error::Invalid(format!(
                "two entries of `buckets` write to `{}/{}` and `{}/{}`: give them prefixes that don't overlap",
                a.target, a.target_prefix, b.target, b.target_prefix
            )));
        }
    }
    Ok(())
}

fn refuse_conflicts(conflicts: &[String]) -> Result<()> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let shown = conflicts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = match conflicts.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Error::Conflict(format!(
        "{} objects are at the target with other content: {shown}{more}. Nothing was copied. Move them away, or set \
         `\"overwrite\": \"changed\"`",
        conflicts.len()
    )))
}

/// What became of the effects, without keeping an outcome for each.
#[derive(Default)]
struct Outcomes {
    failed: u64,
    first: Option<Error>,
    seen: BTreeSet<String>,
}

impl Outcomes {
    fn submit<H: Host>(&mut self, host: &H, batch: Vec<H::Effect>) -> Result<()> {
        if batch.is_empty() { Ok(()) } else { host.submit(batch) }
    }

    /// Waits for all. In a plan every outcome is pending, which nothing here depends on.
    fn settle<H: Host>(&mut self, host: &H) -> Result<()> {
        loop {
            let outcomes = host.next(1024)?;
            if outcomes.is_empty() {
                break;
            }
            for outcome in outcomes {
                match outcome.result {
                    Ok(_) | Err(Error::Pending(_)) => {}
                    Err(error) => {
                        self.failed += 1;
                        if self.seen.len() < SHOWN {
                            self.seen.insert(outcome.key);
                        }
                        self.first.get_or_insert(error);
                    }
                }
            }
        }
        match self.first.take() {
            None => Ok(()),
            Some(error) if self.failed == 1 => Err(error),
            Some(error) => {
                let keys = self.seen.iter().cloned().collect::<Vec<_>>().join(", ");
                host.log(Level::Warn, &format!("{} effects failed, among them: {keys}", self.failed));
                Err(error)
            }
        }
    }
}

/// Pages as they are memoised; see `compare`.
fn page_memo(index: usize, number: usize) -> String {
    format!("page/{index}/{number}")
}

fn read_page(text: &str) -> Result<Page> {
    serde_json::from_str(text).map_err(|e| Error::Conflict(format!("a memoised page can't be read: {e}")))
}
