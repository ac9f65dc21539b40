//! All versions of the objects below a prefix, each object's the oldest first.

use godwit_s3_walk::{Filter, Mapping, Named, Page, Pages, SOURCE, TARGET};
use godwit_sdk::prelude::*;

use crate::compare::{Alike, Obstacles, compare};
use crate::params::Params;
use crate::paths::Paths;

/// Objects on one page of verdicts.
const PAGE: usize = 500;
/// Versions of one object at most: they are one effect.
const MOST_VERSIONS: usize = 10_000;

/// Verdicts over a stretch of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionPage {
    /// The last key of the stretch, as it is at the source.
    pub upto: String,
    pub last: bool,
    pub copy: Vec<VersionEntry>,
    pub same: u64,
}

/// An object whose versions are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEntry {
    /// The key without the prefix.
    pub rest: String,
    /// The oldest first.
    pub versions: Vec<VersionCopy>,
}

impl VersionEntry {
    pub fn bytes(&self) -> u64 {
        self.versions.iter().map(|version| version.size).sum()
    }
}

impl Page for VersionPage {
    fn upto(&self) -> &str {
        &self.upto
    }

    fn is_last(&self) -> bool {
        self.last
    }
}

/// What a look at all versions came to.
#[derive(Debug)]
pub struct ComparedVersions {
    pub pages: Pages<VersionPage>,
    pub counts: VersionCounts,
}

/// Counts over all pages.
#[derive(Debug, Default)]
pub struct VersionCounts {
    pub objects: u64,
    pub versions: u64,
    pub bytes: u64,
    pub same: u64,
}

/// The memos of an entry of `buckets`.
pub fn memos(index: usize) -> String {
    format!("versions/{index}")
}

/// A listing's versions, gathered by key.
struct Gathered<V> {
    pages: V,
    page: std::vec::IntoIter<ObjectVersion>,
    ahead: Option<ObjectVersion>,
}

impl<V: VersionSource> Gathered<V> {
    fn open(pages: V) -> Result<Self> {
        let mut gathered = Self { pages, page: Vec::new().into_iter(), ahead: None };
        gathered.step()?;
        Ok(gathered)
    }

    fn step(&mut self) -> Result<Option<ObjectVersion>> {
        let mut next = self.page.next();
        if next.is_none() {
            self.page = self.pages.next_page()?.into_iter();
            next = self.page.next();
        }
        Ok(std::mem::replace(&mut self.ahead, next))
    }

    /// The versions of the next key, the oldest first.
    fn next(&mut self) -> Result<Option<Vec<ObjectVersion>>> {
        let Some(newest) = self.step()? else { return Ok(None) };
        let mut versions = vec![newest];
        while self.ahead.as_ref().is_some_and(|ahead| ahead.info.key == versions[0].info.key) {
            versions.extend(self.step()?);
            if versions.len() > MOST_VERSIONS {
                return Err(Error::Invalid(format!(
                    "object `{}` has more than {MOST_VERSIONS} versions: leave it out by `exclude`, or copy the latest \
                     alone",
                    versions[0].info.key
                )));
            }
        }
        versions.reverse();
        Ok(Some(versions))
    }
}

/// Looks at all versions that no memo has a verdict on yet.
pub fn look<H: Host>(
    host: &H,
    index: usize,
    mapping: &Mapping,
    params: &Params,
    filter: &Filter,
    endpoint: &Endpoint,
    obstacles: &mut Obstacles,
) -> Result<ComparedVersions> {
    let mut pages = Pages::new(memos(index));
    let mut counts = VersionCounts::default();
    let mut paths = endpoint.path_keys.then(Paths::default);
    let upto = pages.recall(host, |page| counts.add(page))?;
    if pages.is_complete() {
        return Ok(ComparedVersions { pages, counts });
    }
    let mut gathered = Gathered::open(host.list_versions(SOURCE, &mapping.source, &mapping.prefix)?)?;
    while gathered.ahead.as_ref().is_some_and(|ahead| Some(&ahead.info.key) <= upto.as_ref()) {
        gathered.step()?;
    }
    loop {
        let (mut group, mut end) = (Vec::new(), String::new());
        while group.len() < PAGE {
            let Some(versions) = gathered.next()? else { break };
            let newest = &versions[versions.len() - 1].info;
            end.clone_from(&newest.key);
            if filter.admits(newest) {
                let rest = rest_of(mapping, &versions);
                if let Some(file) = paths.as_mut().and_then(|paths| paths.meets(&rest, true)) {
                    obstacles.below(mapping, &rest, &file);
                }
                group.push(versions);
            }
        }
        let stretch = VersionPage { upto: end, last: gathered.ahead.is_none(), ..VersionPage::default() };
        let page = judge(host, mapping, params, endpoint, group, stretch, obstacles)?;
        let last = page.last;
        if obstacles.is_empty() {
            counts.add(&page);
            pages.keep(host, page)?;
        }
        if last {
            return Ok(ComparedVersions { pages, counts });
        }
    }
}

fn judge<H: Host>(
    host: &H,
    mapping: &Mapping,
    params: &Params,
    endpoint: &Endpoint,
    group: Vec<Vec<ObjectVersion>>,
    mut page: VersionPage,
    obstacles: &mut Obstacles,
) -> Result<VersionPage> {
    let keys: Vec<String> =
        group.iter().map(|versions| mapping.target_key(&rest_of(mapping, versions))).collect();
    let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
    // A bucket that is yet to be made has nothing.
    let exists =
        host.memo(&format!("bucket/{}", mapping.target), || host.bucket_exists(TARGET, &mapping.target))?;
    let there = match exists && !asked.is_empty() {
        true => host.stat_objects(TARGET, &mapping.target, &asked),
        false => asked.iter().map(|_| Ok(None)).collect(),
    };
    for ((versions, key), there) in group.into_iter().zip(&keys).zip(there) {
        let newest = &versions[versions.len() - 1];
        if let Some(there) = there? {
            match compare(&newest.info, &there) {
                Alike::Same if !newest.deleted => page.same += 1,
                _ => obstacles.conflicts.add(|| format!("{}/{key}", mapping.target)),
            }
            continue;
        }
        let archived: Vec<&ObjectVersion> = versions
            .iter()
            .filter(|v| matches!(v.info.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE")))
            .collect();
        if let Some(version) = archived.first() {
            name(&mut obstacles.archived, mapping, version);
            continue;
        }
        if !versions.iter().all(|version| obstacles.admits(endpoint, mapping, &version.info, key)) {
            continue;
        }
        let copy = |version: &ObjectVersion| VersionCopy {
            version: version.version.clone(),
            size: version.info.size,
            etag: version.info.etag.clone(),
            deleted: version.deleted,
            storage_class: params.class_of(version.info.storage_class.as_deref(), endpoint.storage_classes),
        };
        let rest = rest_of(mapping, &versions);
        page.copy.push(VersionEntry { rest, versions: versions.iter().map(copy).collect() });
    }
    Ok(page)
}

/// The key of these versions without the prefix.
fn rest_of(mapping: &Mapping, versions: &[ObjectVersion]) -> String {
    versions[0].info.key.get(mapping.prefix.len()..).unwrap_or_default().to_owned()
}

fn name(named: &mut Named, mapping: &Mapping, version: &ObjectVersion) {
    named.add(|| format!("{}/{} (version {})", mapping.source, version.info.key, version.version));
}

impl VersionCounts {
    fn add(&mut self, page: &VersionPage) {
        self.same += page.same;
        for entry in &page.copy {
            self.objects += 1;
            self.versions += entry.versions.len() as u64;
            self.bytes += entry.bytes();
        }
    }

    pub fn summary(&self, mapping: &Mapping) -> String {
        format!(
            "{} → {}: {} versions of {} objects to copy, {} bytes; {} objects there already",
            mapping.source, mapping.target, self.versions, self.objects, self.bytes, self.same
        )
    }
}
