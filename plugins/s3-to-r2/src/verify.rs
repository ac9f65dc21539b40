//! The step's checks: what was copied is at the target, what was there still is, the rules are set, an application could
//! fetch an object.

use godwit_sdk::prelude::*;

use crate::compare::{Entry, Likeness, Page, Walk, compare};
use crate::params::{Mapping, Params, Verification};
use crate::{SHOWN, SOURCE, TARGET, copy_key, page_memo, read_page};

/// Objects whose HEAD is asked for at once.
const AT_ONCE: usize = 256;

/// All checks, in the order of `buckets`.
pub fn checks<H: Host>(host: &H, params: &Params) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let filter = params.filter()?;
    for (index, mapping) in params.mappings()?.iter().enumerate() {
        let mut seen = Seen::default();
        let mut walk = None;
        let mut before: Option<String> = None;
        for number in 0.. {
            let Some(text) = host.memo_json(&page_memo(index, number), None) else {
                return Err(Error::Failed(format!(
                    "memo `{}` is gone: run the step again",
                    page_memo(index, number)
                )));
            };
            let page = read_page(&text)?;
            if page.same > 0 || params.verify == Verification::List {
                let walk = match &mut walk {
                    Some(walk) => walk,
                    none => none.insert(Walk::open(host, mapping, &filter, true)?),
                };
                // Pages without anything to list were passed over.
                if let Some(before) = &before {
                    walk.skip_to_after(before)?;
                }
                seen.listed(host, mapping, &page, walk, params.verify)?;
            }
            if params.verify != Verification::List {
                seen.copied(host, mapping, &page.copy, params.verify)?;
            }
            host.progress(&format!("verify {}", mapping.target), seen.objects, None, "objects");
            if page.last {
                break;
            }
            before = Some(page.upto);
        }
        checks.push(seen.check(mapping, params.verify));
        let rules: Vec<CorsRule> = params.cors_of(mapping).iter().map(crate::Rule::to_cors).collect();
        if !rules.is_empty() {
            let found = host.bucket_cors(TARGET, &mapping.target)?;
            let name = format!("CORS rules of {}", mapping.target);
            checks.push(
                Check::that(
                    name,
                    has_rules(found.as_deref(), &rules),
                    "the bucket's rules are not the recipe's",
                )
                .detail(format!("{} rules", rules.len())),
            );
        }
        if params.presigned_check {
            checks.push(presigned(host, mapping, seen.smallest.as_ref())?);
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
#[derive(Default)]
struct Seen {
    objects: u64,
    bytes: u64,
    already_there: u64,
    wrong: u64,
    named: Vec<String>,
    /// The smallest object that isn't empty, and its size at the target: the cheapest one to fetch.
    smallest: Option<(String, u64)>,
}

impl Seen {
    fn fault(&mut self, what: String) {
        self.wrong += 1;
        if self.named.len() < SHOWN {
            self.named.push(what);
        }
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

    /// Evidence of the copies against HEAD, and with `full` content against content.
    fn copied<H: Host>(
        &mut self,
        host: &H,
        mapping: &Mapping,
        entries: &[Entry],
        verification: Verification,
    ) -> Result<()> {
        for entries in entries.chunks(AT_ONCE) {
            let keys: Vec<String> = entries.iter().map(|entry| copy_key(mapping, &entry.rest)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let observed = host.observe(&keys);
            for ((entry, key), observed) in entries.iter().zip(&keys).zip(observed) {
                let sent = host.evidence(key)?;
                self.one(host, mapping, &entry.rest, sent, observed, verification)?;
            }
        }
        Ok(())
    }

    fn one<H: Host>(
        &mut self,
        host: &H,
        mapping: &Mapping,
        rest: &str,
        sent: Option<Evidence>,
        observed: Result<Evidence>,
        verification: Verification,
    ) -> Result<()> {
        let key = mapping.target_key(rest);
        let place = format!("{}/{key}", mapping.target);
        let Some(sent) = sent else {
            self.fault(format!("{place} has no evidence"));
            return Ok(());
        };
        match observed {
            Ok(observed) if observed == sent => {}
            Ok(observed) => {
                self.fault(format!(
                    "{place} is {} bytes with {} instead of {} bytes with {}",
                    observed.bytes, observed.digest, sent.bytes, sent.digest
                ));
                return Ok(());
            }
            Err(Error::Missing(_)) => {
                self.fault(format!("{place} is missing"));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if verification == Verification::Full {
            self.content(host, mapping, rest)?;
        }
        self.objects += 1;
        self.bytes += sent.bytes;
        self.candidate(key, sent.bytes);
        Ok(())
    }

    /// Reads both sides.
    fn content<H: Host>(&mut self, host: &H, mapping: &Mapping, rest: &str) -> Result<()> {
        let (from, to) = (mapping.source_key(rest), mapping.target_key(rest));
        let source = host.presigned_get(SOURCE, &mapping.source, &from)?;
        let target = host.presigned_get(TARGET, &mapping.target, &to)?;
        if source.status != 200 || target.status != 200 {
            let statuses = format!("HTTP {} and {}", source.status, target.status);
            self.fault(format!("{}/{to} can't be compared with its source: {statuses}", mapping.target));
        } else if (source.bytes, &source.sha256) != (target.bytes, &target.sha256) {
            self.fault(format!("{}/{to} has other content than its source", mapping.target));
        }
        Ok(())
    }

    /// A page's stretch of both listings: what was there already still is; with `list`, what was copied too.
    fn listed<H: Host>(
        &mut self,
        host: &H,
        mapping: &Mapping,
        page: &Page,
        walk: &mut Walk<'_, H>,
        verification: Verification,
    ) -> Result<()> {
        let mut copied = page.copy.iter().peekable();
        let mut same = 0;
        while page.last || walk.ahead().is_some_and(|ahead| ahead <= page.upto.as_str()) {
            let Some((rest, source, target)) = walk.next()? else { break };
            // What the source has lost since is not this loop's to judge.
            while let Some(gone) = copied.next_if(|entry| entry.rest < rest) {
                self.by_list(host, mapping, gone, None, verification)?;
            }
            if let Some(entry) = copied.next_if(|entry| entry.rest == rest) {
                self.by_list(host, mapping, entry, target.as_ref(), verification)?;
            } else if target.is_some_and(|target| compare(&source, &target) == Likeness::Same) {
                same += 1;
                if verification == Verification::Full {
                    self.content(host, mapping, &rest)?;
                }
                self.candidate(mapping.target_key(&rest), source.size);
            }
        }
        for entry in copied {
            self.by_list(host, mapping, entry, None, verification)?;
        }
        self.already_there += same;
        if same < page.same {
            let upto = &page.upto;
            self.fault(format!(
                "{} of {} objects up to {}/{} that were there already are not any more, or have changed",
                page.same - same,
                page.same,
                mapping.target,
                mapping.target_key(upto)
            ));
        }
        Ok(())
    }

    /// A copied object by the listing, and by HEAD where the listing doesn't agree: it may lag.
    fn by_list<H: Host>(
        &mut self,
        host: &H,
        mapping: &Mapping,
        entry: &Entry,
        target: Option<&ObjectInfo>,
        verification: Verification,
    ) -> Result<()> {
        if verification != Verification::List {
            return Ok(());
        }
        let listed = target.map(|target| Evidence {
            items: 1,
            bytes: target.size,
            digest: format!("etag:{}", target.etag),
        });
        let evidence = host.evidence(&copy_key(mapping, &entry.rest))?;
        match evidence {
            Some(evidence) if listed.as_ref() == Some(&evidence) => {
                self.objects += 1;
                self.bytes += evidence.bytes;
                self.candidate(mapping.target_key(&entry.rest), evidence.bytes);
                Ok(())
            }
            _ => self.copied(host, mapping, std::slice::from_ref(entry), verification),
        }
    }

    fn check(&self, mapping: &Mapping, verification: Verification) -> Check {
        let name = format!("objects of {}", mapping.target);
        let how = match verification {
            Verification::List => "by listing",
            Verification::Head => "by HEAD",
            Verification::Full => "by HEAD and content",
        };
        let mut detail = format!("{} objects, {} bytes, {how}", self.objects, self.bytes);
        if self.already_there > 0 {
            detail.push_str(&format!("; {} were there already", self.already_there));
        }
        if self.wrong == 0 {
            return Check::passed(name).detail(detail);
        }
        let more = match self.wrong.saturating_sub(self.named.len() as u64) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Check::failed(name, format!("{}{more}", self.named.join("; "))).detail(detail)
    }
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
