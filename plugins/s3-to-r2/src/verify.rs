//! The step's checks: what was copied is at the target, what was there still is, what was deleted is gone, rules and
//! settings are set, an application could fetch an object and a browser ask for it.

use godwit_s3_walk::{Filter, Mapping, Named, Pages, SOURCE, TARGET, Walk, location, now, sampled};
use godwit_sdk::prelude::*;

use crate::compare::{self, Alike, Entry, Verdicts, compare};
use crate::params::{Params, Verification, Versions};
use crate::target::rules_of;
use crate::versions::{self, VersionEntry, VersionPage};
use crate::{Outputs, copy_key};

/// Objects that are asked for at once.
const AT_ONCE: usize = 256;

/// All checks, in the order of `buckets`.
pub fn checks<H: Host>(host: &H, params: &Params, outputs: &Outputs) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let filter = params.filter(now(host)?)?;
    for (index, mapping) in params.mappings()?.iter().enumerate() {
        let mut seen = Seen::new(host, params, mapping);
        match params.versions {
            Versions::Latest => seen.pages(index, &filter)?,
            Versions::All => seen.version_pages(index)?,
        }
        checks.push(seen.check());
        let smallest = seen.smallest.take();
        let rules = rules_of(host, params, mapping)?;
        // What the target can't have is told below.
        if !rules.is_empty() && host.describe_endpoint(TARGET)?.cors {
            let found = host.bucket_cors(TARGET, &mapping.target)?;
            let name = format!("CORS rules of {}", mapping.target);
            checks.push(
                Check::that(
                    name,
                    has_rules(found.as_deref(), &rules),
                    "the bucket's rules are not the ones that were due",
                )
                .detail(format!("{} rules", rules.len())),
            );
        }
        let key = smallest.as_ref().map_or("", |(key, _)| key.as_str());
        checks.extend(preflights(host, params, mapping, &rules, key)?);
        let Some(bucket) = outputs.buckets.get(index) else { continue };
        for name in &bucket.settings_set {
            let found = host.bucket_setting(TARGET, &mapping.target, *name)?;
            checks.push(Check::that(
                format!("{} of {}", name.name(), mapping.target),
                matches!(found, Setting::Document(_)),
                "the bucket has no such setting",
            ));
        }
        for (name, why) in &bucket.settings_lacking {
            checks.push(Check::not_comparable(format!("{name} of {}", mapping.target), why.clone()));
        }
        if let Some(probe) = &bucket.probe {
            let status = probe.presigned_put;
            checks.push(
                Check::that(
                    format!("presigned PUT to {}", mapping.target),
                    (200..300).contains(&status) && probe.content_kept,
                    format!("HTTP {status}; content kept: {}", probe.content_kept),
                )
                .detail(format!("HTTP {status}; conditions honoured: {}", probe.conditions_honoured)),
            );
        }
        if params.presigned_check {
            checks.push(presigned(host, mapping, smallest.as_ref())?);
        }
    }
    Ok(checks)
}

/// Whether a bucket's rules, as JSON, are these.
pub fn has_rules(found: Option<&str>, wanted: &[CorsRule]) -> bool {
    let Some(found) = found else { return wanted.is_empty() };
    let Ok(found) = serde_json::from_str::<Vec<crate::Rule>>(found) else { return false };
    found.iter().map(crate::Rule::to_cors).eq(wanted.iter().cloned())
}

/// What verification has come across in one bucket.
struct Seen<'a, H: Host> {
    host: &'a H,
    params: &'a Params,
    mapping: &'a Mapping,
    objects: u64,
    bytes: u64,
    already_there: u64,
    deleted: u64,
    /// Compared by checksum or content.
    compared: u64,
    wrong: Named,
    /// The smallest object that isn't empty, and its size at the target: the cheapest one to fetch.
    smallest: Option<(String, u64)>,
}

impl<'a, H: Host> Seen<'a, H> {
    fn new(host: &'a H, params: &'a Params, mapping: &'a Mapping) -> Self {
        Self {
            host,
            params,
            mapping,
            objects: 0,
            bytes: 0,
            already_there: 0,
            deleted: 0,
            compared: 0,
            wrong: Named::default(),
            smallest: None,
        }
    }

    fn pages(&mut self, index: usize, filter: &Filter) -> Result<()> {
        let mut walk = None;
        let mut before: Option<String> = None;
        Pages::<Verdicts>::each_of_done(self.host, &compare::memos(index), |page| {
            if page.same > 0 || self.params.verify == Verification::List {
                let walk = match &mut walk {
                    Some(walk) => walk,
                    none => {
                        none.insert(Walk::open(self.host, self.mapping, filter, true, before.as_deref())?)
                    }
                };
                // Pages without anything to list were passed over.
                if let Some(before) = &before {
                    walk.skip_to_after(before)?;
                }
                self.listed(page, walk)?;
            }
            if self.params.verify != Verification::List {
                let copied: Vec<(&str, bool)> =
                    page.copy.iter().map(|entry| (entry.rest.as_str(), true)).collect();
                self.copied(&copied)?;
            }
            self.gone(page)?;
            self.progress();
            before = Some(page.upto.clone());
            Ok(())
        })
    }

    fn version_pages(&mut self, index: usize) -> Result<()> {
        Pages::each_of_done(self.host, &versions::memos(index), |page: &VersionPage| {
            // A key whose newest version is a delete marker has no object to compare or to fetch.
            let newest = |entry: &VersionEntry| entry.versions.last().is_some_and(|v| !v.deleted);
            let copied: Vec<(&str, bool)> =
                page.copy.iter().map(|entry| (entry.rest.as_str(), newest(entry))).collect();
            self.copied(&copied)?;
            self.already_there += page.same;
            self.progress();
            Ok(())
        })
    }

    fn progress(&self) {
        let done = self.objects + self.already_there;
        self.host.progress(&format!("verify {}", self.mapping.target), done, None, "objects");
    }

    fn candidate(&mut self, key: String, size: u64) {
        let better = match &self.smallest {
            None => true,
            Some((_, known)) => size > 0 && (*known == 0 || size < *known),
        };
        if better {
            self.smallest = Some((key, size));
        }
    }

    /// Evidence of the copies against HEAD; keys without the prefix, and whether there is an object to compare.
    fn copied(&mut self, keys: &[(&str, bool)]) -> Result<()> {
        for rests in keys.chunks(AT_ONCE) {
            let keys: Vec<String> = rests.iter().map(|(rest, _)| copy_key(self.mapping, rest)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let observed = self.host.observe(&keys);
            let mut right = Vec::new();
            for (((rest, readable), key), observed) in rests.iter().zip(&keys).zip(observed) {
                let sent = self.host.evidence(key)?;
                if self.one(rest, *readable, sent, observed)? && *readable {
                    right.push(*rest);
                }
            }
            self.contents(&right)?;
        }
        Ok(())
    }

    /// Whether an object is as it was sent.
    fn one(
        &mut self,
        rest: &str,
        readable: bool,
        sent: Option<Evidence>,
        observed: Result<Evidence>,
    ) -> Result<bool> {
        let key = self.mapping.target_key(rest);
        let place = format!("{}/{key}", self.mapping.target);
        let Some(sent) = sent else {
            self.wrong.add(|| format!("{place} has no evidence"));
            return Ok(false);
        };
        match observed {
            Ok(observed) if observed == sent => {}
            Ok(observed) => {
                self.wrong.add(|| {
                    format!(
                        "{place} is {} bytes with {} instead of {} bytes with {}",
                        observed.bytes, observed.digest, sent.bytes, sent.digest
                    )
                });
                return Ok(false);
            }
            Err(Error::Missing(_)) => {
                self.wrong.add(|| format!("{place} is missing"));
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.objects += 1;
        self.bytes += sent.bytes;
        if readable {
            self.candidate(key, sent.bytes);
        }
        Ok(true)
    }

    /// Compares both sides of a sample of these keys, where the recipe asks for it.
    fn contents(&mut self, rests: &[&str]) -> Result<()> {
        let deep = match self.params.verify {
            Verification::List | Verification::Head => return Ok(()),
            Verification::Checksum => false,
            Verification::Full => true,
        };
        let sample: Vec<&str> =
            rests.iter().copied().filter(|rest| sampled(rest, self.params.sample_percent)).collect();
        for rests in sample.chunks(AT_ONCE) {
            let pairs: Vec<(Location, Location)> = rests
                .iter()
                .map(|rest| {
                    (
                        location(SOURCE, &self.mapping.source, self.mapping.source_key(rest)),
                        location(TARGET, &self.mapping.target, self.mapping.target_key(rest)),
                    )
                })
                .collect();
            let found = self.host.compare_objects(&pairs, deep);
            for ((_, target), compared) in pairs.iter().zip(found) {
                let compared = compared?;
                self.compared += 1;
                let place = format!("{}/{}", target.bucket, target.key);
                let detail = compared.detail.map_or_else(String::new, |detail| format!(": {detail}"));
                match compared.likeness {
                    Likeness::Same => {}
                    Likeness::Differs => self.wrong.add(|| {
                        format!("{place} has other content than its source, by {}{detail}", compared.by)
                    }),
                    Likeness::MissingLeft => {
                        self.wrong.add(|| format!("{place} can't be compared: its source is gone"));
                    }
                    Likeness::MissingRight => self.wrong.add(|| format!("{place} is missing")),
                }
            }
        }
        Ok(())
    }

    /// A page's stretch of both listings: what was there already still is; with `list`, what was copied too.
    fn listed(&mut self, page: &Verdicts, walk: &mut Walk<'_, H>) -> Result<()> {
        let mut copied = page.copy.iter().peekable();
        let (mut same, mut rests) = (0, Vec::new());
        while page.last || walk.ahead().is_some_and(|ahead| ahead <= page.upto.as_str()) {
            let Some(pair) = walk.next_pair()? else { break };
            // What the source has lost since is not this loop's to judge.
            while let Some(gone) = copied.next_if(|entry| entry.rest < pair.rest) {
                self.by_list(gone, None)?;
            }
            if let Some(entry) = copied.next_if(|entry| entry.rest == pair.rest) {
                self.by_list(entry, pair.target.as_ref())?;
            } else if let (Some(source), Some(target)) = (&pair.source, &pair.target)
                && compare(source, target) == Alike::Same
            {
                same += 1;
                self.candidate(self.mapping.target_key(&pair.rest), source.size);
                rests.push(pair.rest);
            }
            if rests.len() >= AT_ONCE {
                self.contents(&rests.iter().map(String::as_str).collect::<Vec<_>>())?;
                rests.clear();
            }
        }
        self.contents(&rests.iter().map(String::as_str).collect::<Vec<_>>())?;
        for entry in copied {
            self.by_list(entry, None)?;
        }
        self.already_there += same;
        if same < page.same {
            let (lost, upto) = (page.same - same, self.mapping.target_key(&page.upto));
            let target = &self.mapping.target;
            self.wrong.add(|| {
                format!(
                    "{lost} of {} objects up to {target}/{upto} that were there already are not any more, or have \
                     changed",
                    page.same
                )
            });
        }
        Ok(())
    }

    /// A copied object by the listing, and by HEAD where the listing doesn't agree: it may lag.
    fn by_list(&mut self, entry: &Entry, target: Option<&ObjectInfo>) -> Result<()> {
        if self.params.verify != Verification::List {
            return Ok(());
        }
        let listed = target.map(|target| Evidence {
            items: 1,
            bytes: target.size,
            digest: format!("etag:{}", target.etag),
        });
        let evidence = self.host.evidence(&copy_key(self.mapping, &entry.rest))?;
        match evidence {
            Some(evidence) if listed.as_ref() == Some(&evidence) => {
                self.objects += 1;
                self.bytes += evidence.bytes;
                self.candidate(self.mapping.target_key(&entry.rest), evidence.bytes);
                Ok(())
            }
            _ => self.copied(&[(entry.rest.as_str(), true)]),
        }
    }

    /// What was deleted is gone.
    fn gone(&mut self, page: &Verdicts) -> Result<()> {
        for chunk in page.delete.chunks(AT_ONCE) {
            let keys: Vec<String> = chunk.iter().map(|(rest, ..)| self.mapping.target_key(rest)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let found = self.host.stat_objects(TARGET, &self.mapping.target, &keys);
            for (key, found) in keys.iter().zip(found) {
                match found? {
                    None => self.deleted += 1,
                    Some(_) => {
                        let target = &self.mapping.target;
                        self.wrong.add(|| format!("{target}/{key} was deleted, but is there"));
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Check {
        let name = format!("objects of {}", self.mapping.target);
        let how = match self.params.verify {
            Verification::List => "by listing",
            Verification::Head => "by HEAD",
            Verification::Checksum => "by HEAD and checksum",
            Verification::Full => "by HEAD and content",
        };
        let mut detail = format!("{} objects, {} bytes, {how}", self.objects, self.bytes);
        if self.compared > 0 {
            detail.push_str(&format!("; {} compared with the source", self.compared));
        }
        if self.already_there > 0 {
            detail.push_str(&format!("; {} were there already", self.already_there));
        }
        if self.deleted > 0 {
            detail.push_str(&format!("; {} were deleted", self.deleted));
        }
        match self.wrong.count {
            0 => Check::passed(name).detail(detail),
            _ => Check::failed(name, self.wrong.list()).detail(detail),
        }
    }
}

/// What a browser would be told before it asks for an object: one check for each origin.
fn preflights<H: Host>(
    host: &H,
    params: &Params,
    mapping: &Mapping,
    rules: &[CorsRule],
    key: &str,
) -> Result<Vec<Check>> {
    let spelt: Vec<String> = rules
        .iter()
        .flat_map(|rule| rule.allowed_origins.iter().filter(|origin| !origin.contains('*')).cloned())
        .collect();
    let origins = params.check_origins.as_ref().unwrap_or(&spelt);
    let mut checks = Vec::new();
    for origin in origins {
        // What the rules allow this origin; GET where the rules aren't ours to know.
        let rule = rules.iter().find(|rule| rule.allowed_origins.contains(origin));
        let method = rule.and_then(|rule| rule.allowed_methods.first()).map_or("GET", String::as_str);
        let headers = match rule.is_some_and(|rule| rule.allowed_headers.iter().any(|header| header == "*")) {
            true => vec!["x-requested-with".to_owned()],
            false => Vec::new(),
        };
        let ask = PreflightAsk { origin: origin.clone(), method: method.to_owned(), headers };
        let answer = host.cors_preflight(TARGET, &mapping.target, key, &ask)?;
        let header = |name: &str| {
            answer.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
        };
        let allowed = header("access-control-allow-origin");
        let methods = header("access-control-allow-methods");
        let names_method = methods.split(',').any(|name| name.trim() == method || name.trim() == "*");
        let passed = (200..300).contains(&answer.status)
            && (allowed == origin.as_str() || allowed == "*")
            && names_method;
        let why = format!(
            "HTTP {}, allowed origin `{allowed}`, allowed methods `{methods}`: a browser would refuse",
            answer.status
        );
        let name = format!("{method} of {} from {origin}", mapping.target);
        checks.push(Check::that(name, passed, why).detail(format!("HTTP {}", answer.status)));
    }
    Ok(checks)
}

/// Fetches one object by a presigned URL.
fn presigned<H: Host>(host: &H, mapping: &Mapping, object: Option<&(String, u64)>) -> Result<Check> {
    let name = format!("presigned GET from {}", mapping.target);
    let Some((key, size)) = object else {
        return Ok(Check::not_comparable(name, "the bucket has no object to fetch"));
    };
    let got = host.presigned_get(TARGET, &mapping.target, key)?;
    let why = format!("{key}: HTTP {} with {} bytes instead of HTTP 200 with {size}", got.status, got.bytes);
    Ok(Check::that(name, got.status == 200 && got.bytes == *size, why).detail(format!("{key}, {size} bytes")))
}
