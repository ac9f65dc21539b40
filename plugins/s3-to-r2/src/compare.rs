//! Two listings side by side: what is to be copied, what is there already, what is in the way.

use godwit_sdk::prelude::*;

use crate::glob::Filter;
use crate::params::{Mapping, Overwrite};
use crate::{SOURCE, TARGET, page_memo, read_page};

/// Source objects on one page of verdicts.
const PAGE: usize = 1000;

/// Verdicts over a stretch of keys: those after the page before, up to `upto`. Holds all that the copies' requests are
/// made of, so that a resumed call asks for the same ones, whatever has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The last key of the stretch, without the prefix.
    pub upto: String,
    /// Nothing comes after it.
    pub last: bool,
    pub copy: Vec<Entry>,
    /// Objects that are at the target already.
    pub same: u64,
}

/// An object to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Entry {
    /// The key without the prefix.
    pub rest: String,
    pub size: u64,
    pub etag: String,
    /// The ETag of what is overwritten.
    pub replaces: Option<String>,
}

/// An entry as it is memoised.
type Row = (String, u64, String, Option<String>);

impl From<Row> for Entry {
    fn from((rest, size, etag, replaces): Row) -> Self {
        Self { rest, size, etag, replaces }
    }
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        (entry.rest, entry.size, entry.etag, entry.replaces)
    }
}

/// Whether two objects hold the same content, as far as listings tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    Same,
    Different,
}

/// Equal ETags are equal content. Two ETags that are both MD5 digests of a whole content compare it. Otherwise (parts of
/// other sizes, encryption, stores with ETags of their own) an object of the same size that isn't older than the source's
/// is taken for its copy; `"verify": "full"` proves it.
pub fn compare(source: &ObjectInfo, target: &ObjectInfo) -> Likeness {
    let md5 = |etag: &str| etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    if source.size != target.size {
        return Likeness::Different;
    }
    if !source.etag.is_empty() && source.etag == target.etag {
        return Likeness::Same;
    }
    if (md5(&source.etag) && md5(&target.etag)) || target.modified < source.modified {
        return Likeness::Different;
    }
    Likeness::Same
}

/// A listing with one object in view.
struct Stream<S> {
    pages: S,
    page: std::vec::IntoIter<ObjectInfo>,
    ahead: Option<ObjectInfo>,
    prefix: usize,
}

impl<S: ObjectSource> Stream<S> {
    fn open(pages: S, prefix: &str) -> Result<Self> {
        let mut stream = Self { pages, page: Vec::new().into_iter(), ahead: None, prefix: prefix.len() };
        stream.step()?;
        Ok(stream)
    }

    /// Takes the object in view and looks at the next one.
    fn step(&mut self) -> Result<Option<ObjectInfo>> {
        let mut next = self.page.next();
        if next.is_none() {
            self.page = self.pages.next_page()?.into_iter();
            next = self.page.next();
        }
        Ok(std::mem::replace(&mut self.ahead, next))
    }

    /// The key in view, without the prefix.
    fn rest(&self) -> Option<&str> {
        self.ahead.as_ref().map(|object| object.key.get(self.prefix..).unwrap_or_default())
    }
}

/// Both listings of a mapping as one stream of the source's objects, each with its counterpart.
pub struct Walk<'a, H: Host> {
    source: Stream<H::Objects>,
    target: Option<Stream<H::Objects>>,
    filter: &'a Filter,
}

impl<'a, H: Host> Walk<'a, H> {
    pub fn open(host: &H, mapping: &Mapping, filter: &'a Filter, target_exists: bool) -> Result<Self> {
        let source = host.list_objects(SOURCE, &mapping.source, &mapping.prefix, None)?;
        let target = match target_exists {
            true => {
                let pages = host.list_objects(TARGET, &mapping.target, &mapping.target_prefix, None)?;
                Some(Stream::open(pages, &mapping.target_prefix)?)
            }
            false => None,
        };
        Ok(Self { source: Stream::open(source, &mapping.prefix)?, target, filter })
    }

    /// The next key that the source will give, without the prefix; the filter may leave it out.
    pub fn ahead(&self) -> Option<&str> {
        self.source.rest()
    }

    /// Passes over the keys up to this one.
    pub fn skip_to_after(&mut self, upto: &str) -> Result<()> {
        while self.ahead().is_some_and(|ahead| ahead <= upto) {
            self.source.step()?;
        }
        Ok(())
    }

    /// The next object that the filter admits: its key without the prefix, itself, and what is at the target.
    pub fn next(&mut self) -> Result<Option<(String, ObjectInfo, Option<ObjectInfo>)>> {
        loop {
            let Some(rest) = self.source.rest().map(str::to_owned) else { return Ok(None) };
            let Some(object) = self.source.step()? else { return Ok(None) };
            let mut counterpart = None;
            if let Some(target) = &mut self.target {
                while target.rest().is_some_and(|there| *there < *rest) {
                    target.step()?;
                }
                if target.rest() == Some(rest.as_str()) {
                    counterpart = target.step()?;
                }
            }
            if self.filter.admits(&object.key) {
                return Ok(Some((rest, object, counterpart)));
            }
        }
    }
}

/// The comparison of one mapping.
pub struct Task<'a> {
    /// Position in `buckets`.
    pub index: usize,
    pub mapping: &'a Mapping,
    pub filter: &'a Filter,
    pub overwrite: Overwrite,
    pub target_exists: bool,
}

/// What a comparison came to. Its pages are memoised; in a plan, which remembers nothing, they are held here.
#[derive(Debug, Default)]
pub struct Compared {
    index: usize,
    pages: usize,
    held: Vec<Page>,
    pub objects: u64,
    pub bytes: u64,
    pub same: u64,
}

impl Task<'_> {
    /// Compares what no memo has a verdict on yet. Adds what is in the way to `conflicts`; from the first such object
    /// on nothing is memoised, so that a resumed call looks again.
    pub fn compare<H: Host>(&self, host: &H, conflicts: &mut Vec<String>) -> Result<Compared> {
        let mut compared = Compared { index: self.index, ..Compared::default() };
        let mut upto = None;
        while let Some(text) = host.memo_json(&page_memo(self.index, compared.pages), None) {
            let page = read_page(&text)?;
            let last = page.last;
            compared.add(&page);
            upto = Some(page.upto);
            if last {
                return Ok(compared);
            }
        }
        let mut walk = Walk::open(host, self.mapping, self.filter, self.target_exists)?;
        if let Some(upto) = &upto {
            walk.skip_to_after(upto)?;
        }
        loop {
            let page = self.page(&mut walk, conflicts)?;
            let last = page.last;
            if conflicts.is_empty() {
                compared.add(&page);
                if host.mode() == Mode::Plan {
                    compared.held.push(page);
                } else {
                    let text = serde_json::to_string(&page).map_err(|e| {
                        Error::Failed(format!("a page of verdicts can't be written as JSON: {e}"))
                    })?;
                    host.memo_json(&page_memo(self.index, compared.pages - 1), Some(text));
                }
                let label = format!("compare {}", self.mapping.source);
                host.progress(&label, compared.objects + compared.same, None, "objects");
            }
            if last {
                return Ok(compared);
            }
        }
    }

    fn page<H: Host>(&self, walk: &mut Walk<'_, H>, conflicts: &mut Vec<String>) -> Result<Page> {
        let mut page = Page::default();
        for _ in 0..PAGE {
            let Some((rest, source, target)) = walk.next()? else { break };
            let replaces = match &target {
                Some(target) if compare(&source, target) == Likeness::Same => {
                    page.same += 1;
                    page.upto = rest;
                    continue;
                }
                Some(_) if self.overwrite == Overwrite::Never => {
                    conflicts.push(format!("{}/{}", self.mapping.target, self.mapping.target_key(&rest)));
                    page.upto = rest;
                    continue;
                }
                other => other.as_ref().map(|target| target.etag.clone()),
            };
            page.upto.clone_from(&rest);
            page.copy.push(Entry { rest, size: source.size, etag: source.etag, replaces });
        }
        page.last = walk.ahead().is_none();
        Ok(page)
    }
}

impl Compared {
    fn add(&mut self, page: &Page) {
        self.pages += 1;
        self.objects += page.copy.len() as u64;
        self.bytes += page.copy.iter().map(|entry| entry.size).sum::<u64>();
        self.same += page.same;
    }

    /// Goes through all pages, with one of them in memory.
    pub fn each_page<H: Host>(&self, host: &H, mut each: impl FnMut(&Page) -> Result<()>) -> Result<()> {
        for number in 0..self.pages {
            // Pages of a plan are held; where some are memoised, they come first.
            let memoised = self.pages - self.held.len();
            match number.checked_sub(memoised).and_then(|at| self.held.get(at)) {
                Some(page) => each(page)?,
                None => {
                    let name = page_memo(self.index, number);
                    let text = host
                        .memo_json(&name, None)
                        .ok_or_else(|| Error::Failed(format!("memo `{name}` is gone")))?;
                    each(&read_page(&text)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(size: u64, etag: &str, modified: i64) -> ObjectInfo {
        ObjectInfo { key: "k".into(), size, etag: etag.into(), modified, storage_class: None }
    }

    #[test]
    fn listings_are_compared_by_size_etag_and_age() {
        let (a, b) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        for (source, target, same) in [
            (object(1, a, 5), object(1, a, 1), true),
            (object(1, a, 5), object(2, a, 9), false),
            (object(1, a, 5), object(1, b, 9), false),
            (object(1, a, 5), object(1, "0123456789abcdef0123456789abcdef-3", 5), true),
            (object(1, a, 5), object(1, "0123456789abcdef0123456789abcdef-3", 4), false),
            (object(1, "x-2", 5), object(1, "x-2", 0), true),
            (object(1, "", 5), object(1, "", 6), true),
        ] {
            assert_eq!(compare(&source, &target) == Likeness::Same, same, "{source:?} {target:?}");
        }
    }

    #[test]
    fn pages_survive_their_memo() {
        let entry = Entry { rest: "a/ü".into(), size: 7, etag: "e".into(), replaces: Some("f".into()) };
        let page = Page { upto: "z".into(), last: true, copy: vec![entry], same: 2 };
        let text = serde_json::to_string(&page).unwrap();
        assert!(text.contains(r#"["a/ü",7,"e","f"]"#), "{text}");
        assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page);
    }
}
