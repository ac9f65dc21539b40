//! `s3-verify`: two sets of buckets compared, with a report of every key.
//!
//! Both sides are listed as two sorted streams and compared page by page: by ETags where these compare, else by checksums
//! or contents, which the host reads. Nothing is written but the report. Verdicts are memoised page by page, so that a
//! resumed call goes on where the last one stopped, and writes the report that it would have written.

mod compare;
mod entry;
mod params;
mod report;

use std::collections::BTreeMap;

use godwit_s3_walk::{Filter, Mapping, Pages, now};
use godwit_sdk::prelude::*;
use serde_json::json;

pub use godwit_s3_walk::{SOURCE, TARGET};

use crate::compare::{Preview, Task};
pub use crate::entry::{BucketOutputs, Class, Counts};
use crate::entry::{Entry, Verdicts};
pub use crate::params::{BucketEntry, Extra, Listed, Params, Verification};
pub use crate::report::REPORT;
use crate::report::{Report, effect_key, refuse_others};

/// Entries that a plan shows in the report's place.
const PREVIEWED: usize = 100;

/// The step.
pub struct S3Verify;

/// What the comparison came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// No key differs, is missing, or could not be compared.
    pub equal: bool,
    /// Over all buckets.
    pub counts: Counts,
    pub buckets: Vec<BucketOutputs>,
    /// The report's files.
    pub report: Vec<String>,
}

impl Outputs {
    fn of(buckets: Vec<BucketOutputs>, params: &Params) -> Self {
        let mut counts = Counts::default();
        for bucket in &buckets {
            counts.add(&bucket.counts);
        }
        let equal = buckets.iter().all(|bucket| bucket.apart(params.tolerates_extra()).is_empty());
        Self { equal, counts, buckets, report: Vec::new() }
    }
}

impl Step for S3Verify {
    const NAME: &str = "s3-verify";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "compares buckets or prefixes of two S3 endpoints, and reports every key";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![
            Slot::new(SOURCE, ConnectionKind::S3, Access::Read, "the objects that are taken as right"),
            Slot::new(TARGET, ConnectionKind::S3, Access::Read, "the objects that are compared with them"),
            Slot::new(REPORT, ConnectionKind::Dir, Access::Write, "where the report goes").optional(),
        ]
    }

    /// A difference is no error here but a check that fails, so that the report is written.
    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        let mappings = params.mappings()?;
        let filter = params.filter(now(host)?)?;
        let reports = host.granted(REPORT).is_some();
        if let (false, Some(param)) = (reports, params.of_report()) {
            return Err(Error::Invalid(format!(
                "`{param}` speaks of a report, and the step has no folder for one: grant it slot `{REPORT}`"
            )));
        }
        look(host, &mappings)?;
        if reports {
            refuse_others(host, &params)?;
        }
        match host.mode() {
            Mode::Plan => plan(host, &params, &mappings, &filter, reports),
            _ => compare(host, &params, &mappings, &filter, reports),
        }
    }

    fn verify<H: Host>(host: &H, params: Params, mut outputs: Outputs) -> Result<Vec<Check>> {
        // Right after an apply nothing is to be learnt by comparing a second time.
        if host.mode() == Mode::Recheck {
            let filter = params.filter(now(host)?)?;
            let mut buckets = Vec::new();
            for mapping in &params.mappings()? {
                let mut bucket = BucketOutputs::of(mapping);
                task(&params, mapping, &filter, false).pages(host, None, 0, |page| {
                    bucket.add(&page);
                    Ok(())
                })?;
                buckets.push(bucket);
            }
            outputs = Outputs { report: outputs.report, ..Outputs::of(buckets, &params) };
        }
        let mut checks = Vec::new();
        for bucket in &outputs.buckets {
            checks.extend(checks_of(&params, bucket));
        }
        for path in &outputs.report {
            let key = effect_key(path);
            let name = format!("report {path}");
            let check = match (host.evidence(&key)?, host.observe_one(&key)) {
                (_, Err(Error::Missing(_))) => Check::failed(name, "the file is gone"),
                (written, found) => {
                    let found = found?;
                    Check::that(name, written.is_none_or(|w| w == found), "the file is not as it was written")
                        .detail(format!("{} bytes", found.bytes))
                }
            };
            checks.push(check);
        }
        Ok(checks)
    }
}

godwit_sdk::export_step!(S3Verify);

fn task<'a>(params: &'a Params, mapping: &'a Mapping, filter: &'a Filter, lists_all: bool) -> Task<'a> {
    Task { mapping, filter, params, lists_all }
}

/// Both buckets of each entry have to be there, and be two.
fn look<H: Host>(host: &H, mappings: &[Mapping]) -> Result<()> {
    let identity = |slot: &str| host.granted(slot).map(|granted| granted.identity);
    let one_store = identity(SOURCE).is_some() && identity(SOURCE) == identity(TARGET);
    for mapping in mappings {
        let place = |bucket: &str, prefix: &str| format!("`{bucket}/{prefix}`");
        if one_store
            && (&mapping.source, &mapping.prefix) == (&mapping.target, &mapping.target_prefix)
            && mapping.names.is_empty()
        {
            return Err(Error::Invalid(format!(
                "source and target are one store, and {} would be compared with itself: name another bucket or prefix",
                place(&mapping.source, &mapping.prefix)
            )));
        }
        for (slot, bucket) in [(SOURCE, &mapping.source), (TARGET, &mapping.target)] {
            if !host.bucket_exists(slot, bucket)? {
                return Err(Error::Missing(format!(
                    "bucket `{bucket}` isn't at the {slot}: check its name, or make it and run the step again"
                )));
            }
        }
    }
    Ok(())
}

/// Lists, and says what would be compared and written.
fn plan<H: Host>(
    host: &H,
    params: &Params,
    mappings: &[Mapping],
    filter: &Filter,
    reports: bool,
) -> Result<Outputs> {
    let (mut buckets, mut entries, mut due) = (Vec::new(), Vec::new(), 0);
    for mapping in mappings {
        let most = PREVIEWED - entries.len();
        let (preview, some) = task(params, mapping, filter, params.lists_all()).preview(host, most)?;
        host.log(Level::Info, &summary(params, mapping, &preview));
        due += preview.due;
        entries.extend(some.into_iter().map(|entry| (mapping, entry)));
        let page = Verdicts { counts: preview.counts, ..Verdicts::default() };
        let mut bucket = BucketOutputs::of(mapping);
        bucket.add(&page);
        buckets.push(bucket);
    }
    let outputs = Outputs::of(buckets, params);
    if !reports {
        return Ok(outputs);
    }
    let which = if params.lists_all() { "every key" } else { "the keys that don't match" };
    host.log(
        Level::Info,
        &format!(
            "the report of {which} goes to {0}.json and {0}.csv, each in as many files as it takes at {1} bytes of \
             entries; the plan shows how it begins by the listings",
            params.stem(),
            params.file_bytes()
        ),
    );
    let mut report = Report::new(host, params);
    for (mapping, entry) in &entries {
        report.add(mapping, entry)?;
    }
    let planned = json!({ "planned": "by the listings alone, the first entries", "to_compare": due });
    let report = report.finish(&outputs, planned)?;
    Ok(Outputs { report, ..outputs })
}

fn summary(params: &Params, mapping: &Mapping, preview: &Preview) -> String {
    let counts = &preview.counts;
    let mut parts = vec![format!("{} objects match by the listings", counts.matching)];
    for (count, what) in [
        (counts.differ, "differ"),
        (counts.missing_on_target, "missing on the target"),
        (counts.missing_on_source, "missing on the source"),
        (counts.by_size(), "of the matching ones by size alone"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if preview.due > 0 {
        let how = match params.verify {
            Verification::Full => "by their contents",
            _ => "by checksums, else by their contents",
        };
        parts.push(format!("{} to compare {how}, {} bytes", preview.due, preview.due_bytes));
    }
    if params.verify == Verification::Head {
        parts.push("HEAD of each on both sides".to_owned());
    }
    format!("{} → {}: {}", mapping.source, mapping.target, parts.join("; "))
}

/// Takes all verdicts, then writes the report.
fn compare<H: Host>(
    host: &H,
    params: &Params,
    mappings: &[Mapping],
    filter: &Filter,
    reports: bool,
) -> Result<Outputs> {
    let (mut buckets, mut all) = (Vec::new(), Vec::new());
    for (index, mapping) in mappings.iter().enumerate() {
        let mut bucket = BucketOutputs::of(mapping);
        let mut pages: Pages<Verdicts> = Pages::new(format!("page/{index}"));
        let upto = pages.recall(host, |page| bucket.add(page))?;
        if !pages.is_complete() {
            let known = bucket.counts.apart();
            let task = task(params, mapping, filter, reports && params.lists_all());
            task.pages(host, upto.as_deref(), known, |page| {
                bucket.add(&page);
                pages.keep(host, page)
            })?;
        }
        let counts = &bucket.counts;
        let line = format!("{} objects match, {} don't", counts.matching, counts.apart());
        host.log(Level::Info, &format!("{} → {}: {line}", mapping.source, mapping.target));
        buckets.push(bucket);
        all.push(pages);
    }
    let outputs = Outputs::of(buckets, params);
    if !reports {
        return Ok(outputs);
    }
    let mut report = Report::new(host, params);
    for (mapping, pages) in mappings.iter().zip(&all) {
        let add = |entry: &Entry| report.add(mapping, entry);
        let mut add = add;
        pages.each(host, |page| page.entries.iter().try_for_each(&mut add))?;
    }
    let how = json!({
        "compared_at": now(host)?,
        "verify": params.verify,
        "sample_percent": params.sample_percent,
        "lists": params.report.unwrap_or(Listed::Differences),
    });
    let report = report.finish(&outputs, how)?;
    Ok(Outputs { report, ..outputs })
}

fn checks_of(params: &Params, bucket: &BucketOutputs) -> Vec<Check> {
    let counts = &bucket.counts;
    let apart = bucket.apart(params.tolerates_extra());
    let by: BTreeMap<&str, u64> = counts.matching_by.iter().map(|(by, n)| (by.as_str(), *n)).collect();
    let by: Vec<String> = by.iter().map(|(by, count)| format!("{count} by {by}")).collect();
    let mut detail = format!("{} objects match, {} bytes", counts.matching, counts.matching_bytes);
    if !by.is_empty() {
        detail.push_str(&format!(": {}", by.join(", ")));
    }
    if params.tolerates_extra() && counts.missing_on_source > 0 {
        detail.push_str(&format!("; only the target has {} more", counts.missing_on_source));
    }
    let pair = format!("{} and {}", bucket.source, bucket.target);
    let mut checks =
        vec![Check::that(format!("objects of {pair}"), apart.is_empty(), apart.join("; ")).detail(detail)];
    if counts.by_size() > 0 {
        let why = format!(
            "{} objects are as large on both sides, and their ETags don't compare: {}",
            counts.by_size(),
            match params.verify {
                Verification::List | Verification::Head =>
                    "`\"verify\": \"checksum\"` compares their contents",
                _ => "a higher `sample_percent` compares more contents",
            }
        );
        checks.push(Check::not_comparable(format!("contents of {pair}"), why));
    }
    if !params.rename.is_empty() {
        let why = "what only the target has isn't looked for where `rename` gives other names";
        checks.push(Check::not_comparable(format!("further objects of {}", bucket.target), why));
    }
    checks
}
