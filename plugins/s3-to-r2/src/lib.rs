//! `s3-to-r2`: moves buckets, or prefixes of them, between any two S3 endpoints.
//!
//! It lists both sides as two sorted streams, compares them page by page, and copies what is missing. All is compared
//! before anything is written: an object that is at the target with other content ends the step, unless the recipe says
//! `"overwrite": "changed"`. Keys stay byte for byte.
//!
//! Verdicts are memoised page by page, since the step's own copies change what the target lists: a resumed call reads
//! them back, and lists on only from where the last one stopped.

mod compare;
mod forms;
mod params;
mod paths;
mod target;
mod verify;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use godwit_s3_walk::{Mapping, SHOWN, location, now};
use godwit_sdk::prelude::*;

use crate::compare::{Compared, Obstacles, Task, Verdicts};
pub use crate::params::{BucketEntry, Mirror, Overwrite, Params, Rule, Verification, Versions};
use crate::target::Target;
use crate::versions::ComparedVersions;

/// Effects that are submitted together.
const BATCH: usize = 1000;
/// Outcomes that may wait to be taken: the host holds them.
const UNTAKEN: usize = 8 * BATCH;

pub use godwit_s3_walk::{SOURCE, TARGET};

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
    /// Objects deleted at the target.
    pub deleted: u64,
    pub buckets: Vec<BucketOutputs>,
}

/// What the step did for one entry of `buckets`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketOutputs {
    /// Bucket at the source.
    pub source: String,
    /// Bucket at the target.
    pub target: String,
    pub objects: u64,
    pub bytes: u64,
    /// Versions copied, delete markers among them; 0 where only the latest are.
    pub versions: u64,
    pub already_there: u64,
    /// Objects of other content that were left, since the target's is newer.
    pub newer_at_target: u64,
    /// Of the copied ones, those that took another object's place.
    pub overwritten: u64,
    /// Objects deleted at the target.
    pub deleted: u64,
    /// The step made the bucket.
    pub created: bool,
    /// The step set the bucket's CORS rules.
    pub cors_set: bool,
    /// Settings that the step set.
    pub settings_set: Vec<BucketSetting>,
    /// Settings that the target can't have, and why.
    pub settings_lacking: BTreeMap<String, String>,
    /// What an object of the host's own found out; null where nothing was to be copied.
    pub probe: Option<Probe>,
}

/// What a bucket does with an object, found out by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// HTTP status of a PUT by a presigned URL.
    pub presigned_put: u16,
    /// HTTP status of a GET by a presigned URL.
    pub presigned_get: u16,
    /// The same bytes came back.
    pub content_kept: bool,
    /// A write under a condition that didn't hold was refused.
    pub conditions_honoured: bool,
}

/// What is to be done for one entry of `buckets`.
enum Found {
    Latest(Compared),
    All(ComparedVersions),
}

impl Found {
    fn is_empty(&self) -> bool {
        match self {
            Self::Latest(compared) => compared.counts.objects == 0,
            Self::All(compared) => compared.counts.objects == 0,
        }
    }

    fn summary(&self, mapping: &Mapping) -> String {
        match self {
            Self::Latest(compared) => compared.counts.summary(mapping),
            Self::All(compared) => compared.counts.summary(mapping),
        }
    }
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
        let filter = params.filter(now(host)?)?;
        let endpoint = host.describe_endpoint(TARGET)?;
        // A bucket that several entries name is made once and has one set of rules.
        let mut targets: Vec<Target> = Vec::new();
        for mapping in &mappings {
            if !targets.iter().any(|target| target.bucket == mapping.target) {
                targets.push(Target::look(host, &params, mapping, &endpoint)?);
            }
        }
        let target_of = |mapping: &Mapping| targets.iter().find(|target| target.bucket == mapping.target);

        // All is compared before anything is written.
        let mut obstacles = Obstacles::default();
        let mut found = Vec::new();
        for (index, mapping) in mappings.iter().enumerate() {
            found.push(match params.versions {
                Versions::All => Found::All(versions::look(
                    host,
                    index,
                    mapping,
                    &params,
                    &filter,
                    &endpoint,
                    &mut obstacles,
                )?),
                Versions::Latest => {
                    let target_exists = target_of(mapping).is_some_and(|target| target.exists);
                    let task = Task {
                        index,
                        mapping,
                        filter: &filter,
                        params: &params,
                        target_exists,
                        endpoint: &endpoint,
                    };
                    Found::Latest(task.compare(host, &mut obstacles)?)
                }
            });
        }
        if let Some(mirror) = &params.mirror {
            obstacles.deletes = Some((found.iter().map(deletes).sum(), mirror.max_delete));
        }
        obstacles.refuse()?;
        say(host, &params, &mappings, &found, &targets);

        let mut outcomes = Outcomes::default();
        for target in &targets {
            let arriving = mappings
                .iter()
                .zip(&found)
                .find(|(mapping, found)| mapping.target == target.bucket && !found.is_empty());
            let prefix = arriving.filter(|_| params.probe).map(|(mapping, _)| mapping.target_prefix.as_str());
            outcomes.submit(host, target.effects(host, prefix)?)?;
        }
        for (mapping, found) in mappings.iter().zip(&found) {
            let after = target_of(mapping).map(Target::before_objects).unwrap_or_default();
            match found {
                Found::Latest(compared) => compared
                    .pages
                    .each(host, |page| copies(host, &params, mapping, page, &after, &mut outcomes))?,
                Found::All(compared) => compared.pages.each(host, |page| {
                    for entry in &page.copy {
                        let effect = host.copy_versions(
                            &copy_key(mapping, &entry.rest),
                            location(SOURCE, &mapping.source, mapping.source_key(&entry.rest)),
                            location(TARGET, &mapping.target, mapping.target_key(&entry.rest)),
                            entry.versions.clone(),
                            params.tags && endpoint.tags,
                        )?;
                        outcomes.add(host, effect.after(&after))?;
                    }
                    Ok(())
                })?,
            }
        }
        outcomes.settle(host)?;
        // Only once all has arrived, what the source hasn't is deleted.
        for (mapping, found) in mappings.iter().zip(&found) {
            if let Found::Latest(compared) = found {
                compared.pages.each(host, |page| {
                    for (rest, _, etag) in &page.delete {
                        let key = mapping.target_key(rest);
                        let effect = host.delete_object(
                            &format!("delete {}/{key}", mapping.target),
                            location(TARGET, &mapping.target, key),
                            etag,
                        )?;
                        outcomes.add(host, effect)?;
                    }
                    Ok(())
                })?;
            }
        }
        outcomes.settle(host)?;

        let mut buckets: Vec<BucketOutputs> = mappings
            .iter()
            .zip(&found)
            .map(|(mapping, found)| outputs_of(mapping, found, target_of(mapping)))
            .collect();
        for bucket in &mut buckets {
            bucket.probe = outcomes.probes.get(&format!("probe {}", bucket.target)).cloned();
        }
        Ok(Outputs {
            objects: buckets.iter().map(|bucket| bucket.objects).sum(),
            bytes: buckets.iter().map(|bucket| bucket.bytes).sum(),
            already_there: buckets.iter().map(|bucket| bucket.already_there).sum(),
            deleted: buckets.iter().map(|bucket| bucket.deleted).sum(),
            buckets,
        })
    }

    fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
        verify::checks(host, &params, &outputs)
    }
}

godwit_sdk::export_step!(S3ToR2);

fn deletes(found: &Found) -> u64 {
    match found {
        Found::Latest(compared) => compared.counts.deletes,
        Found::All(_) => 0,
    }
}

/// Tells a person what was found: in a plan these are lines of it.
fn say<H: Host>(host: &H, params: &Params, mappings: &[Mapping], found: &[Found], targets: &[Target]) {
    for (mapping, found) in mappings.iter().zip(found) {
        host.log(Level::Info, &found.summary(mapping));
    }
    for target in targets {
        for (name, why) in target.lacking() {
            host.log(Level::Warn, &format!("{name} of bucket {} can't be set: {why}", target.bucket));
        }
    }
    if let Some(mirror) = &params.mirror {
        host.log(Level::Info, &format!("at most {} objects may be deleted", mirror.max_delete));
    }
}

fn copies<H: Host>(
    host: &H,
    params: &Params,
    mapping: &Mapping,
    page: &Verdicts,
    after: &[String],
    outcomes: &mut Outcomes<H>,
) -> Result<()> {
    for entry in &page.copy {
        let effect = host.copy_object(
            &copy_key(mapping, &entry.rest),
            location(SOURCE, &mapping.source, mapping.source_key(&entry.rest)),
            location(TARGET, &mapping.target, mapping.target_key(&entry.rest)),
            entry.size,
            &entry.etag,
            ObjectCopy {
                replaces: entry.replaces.clone().map_or(Replaces::Nothing, Replaces::Object),
                storage_class: entry.storage_class.clone(),
                tags: params.tags,
            },
        )?;
        outcomes.add(host, if after.is_empty() { effect } else { effect.after(after) })?;
    }
    Ok(())
}

fn outputs_of(mapping: &Mapping, found: &Found, target: Option<&Target>) -> BucketOutputs {
    let settings = target.map(|target| target.settings.as_slice()).unwrap_or_default();
    let common = BucketOutputs {
        source: mapping.source.clone(),
        target: mapping.target.clone(),
        created: target.is_some_and(|target| !target.exists),
        cors_set: target.is_some_and(|target| target.cors_due),
        settings_set: settings.iter().filter(|due| due.document.is_some()).map(|due| due.name).collect(),
        settings_lacking: target
            .into_iter()
            .flat_map(Target::lacking)
            .map(|(name, why)| (name.to_owned(), why.clone()))
            .collect(),
        ..BucketOutputs::default()
    };
    match found {
        Found::Latest(compared) => BucketOutputs {
            objects: compared.counts.objects,
            bytes: compared.counts.bytes,
            already_there: compared.counts.same,
            newer_at_target: compared.counts.newer,
            overwritten: compared.counts.overwritten,
            deleted: compared.counts.deletes,
            ..common
        },
        Found::All(compared) => BucketOutputs {
            objects: compared.counts.objects,
            bytes: compared.counts.bytes,
            versions: compared.counts.versions,
            already_there: compared.counts.same,
            ..common
        },
    }
}

/// The key of the effect that copies an object. Entries never write to the same place, so it is unique.
fn copy_key(mapping: &Mapping, rest: &str) -> String {
    format!("copy {}/{}", mapping.target, mapping.target_key(rest))
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

/// What became of the effects, without keeping an outcome for each.
struct Outcomes<H: Host> {
    batch: Vec<H::Effect>,
    /// Submitted, and their outcomes not taken.
    untaken: usize,
    failed: u64,
    first: Option<Error>,
    seen: BTreeSet<String>,
    /// By the keys of their effects.
    probes: BTreeMap<String, Probe>,
}

impl<H: Host> Default for Outcomes<H> {
    fn default() -> Self {
        Self {
            batch: Vec::new(),
            untaken: 0,
            failed: 0,
            first: None,
            seen: BTreeSet::new(),
            probes: BTreeMap::new(),
        }
    }
}

impl<H: Host> Outcomes<H> {
    fn add(&mut self, host: &H, effect: H::Effect) -> Result<()> {
        self.batch.push(effect);
        if self.batch.len() < BATCH { Ok(()) } else { self.submit(host, Vec::new()) }
    }

    /// Submits what was added and `more`.
    fn submit(&mut self, host: &H, more: Vec<H::Effect>) -> Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.extend(more);
        if batch.is_empty() {
            return Ok(());
        }
        self.untaken += batch.len();
        host.submit(batch)?;
        while self.untaken > UNTAKEN && self.take(host)? {}
        Ok(())
    }

    /// Waits for outcomes; false where none is left.
    fn take(&mut self, host: &H) -> Result<bool> {
        let outcomes = host.next(1024)?;
        self.untaken = self.untaken.saturating_sub(outcomes.len());
        let any = !outcomes.is_empty();
        for outcome in outcomes {
            match outcome.result {
                Ok(found) if outcome.key.starts_with("probe ") => {
                    let probe = serde_json::from_str(&found).map_err(|e| {
                        Error::Failed(format!("the outcome of `{}` can't be read: {e}", outcome.key))
                    })?;
                    self.probes.insert(outcome.key, probe);
                }
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
        Ok(any)
    }

    /// Waits for all. In a plan every outcome is pending, which nothing here depends on.
    fn settle(&mut self, host: &H) -> Result<()> {
        self.submit(host, Vec::new())?;
        while self.take(host)? {}
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
