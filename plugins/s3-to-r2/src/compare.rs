//! What is to be copied, what is there already, what is in the way, what is to go: a page of verdicts at a time.

use std::collections::BTreeMap;

use godwit_s3_walk::{self as listed, Filter, Mapping, Named, Pages, Pair, Walk};
use godwit_sdk::prelude::*;

use crate::forms::{Forms, spelled};
use crate::params::{Overwrite, Params};
use crate::paths::{self, Paths};

/// Keys on one page of verdicts that something has to be done about.
const PAGE: usize = 1000;
/// Keys on one page at most: where nothing is to be done, pages are rare.
const STRETCH: usize = 50_000;

/// Verdicts over a stretch of keys: those after the page before, up to `upto`. Holds all that the copies' requests are
/// made of, so that a resumed call asks for the same ones, whatever has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// The last key of the stretch, without the prefix.
    pub upto: String,
    /// Nothing comes after it.
    pub last: bool,
    pub copy: Vec<Entry>,
    /// Objects that are at the target already.
    pub same: u64,
    /// Objects that are left as they are, since the target's is newer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub newer: u64,
    /// Objects that only the target has, to be deleted: key without the prefix, bytes, ETag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<(String, u64, String)>,
    /// Digests of keys that aren't in Unicode form C (see `forms`), where that matters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<u64>,
}

impl listed::Page for Verdicts {
    fn upto(&self) -> &str {
        &self.upto
    }

    fn is_last(&self) -> bool {
        self.last
    }
}

/// The memos of an entry of `buckets`.
pub fn memos(index: usize) -> String {
    format!("page/{index}")
}

fn is_zero(number: &u64) -> bool {
    *number == 0
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
    /// The storage class at the target; `None` for its standard one.
    pub storage_class: Option<String>,
}

/// An entry as it is memoised.
type Row = (String, u64, String, Option<String>, Option<String>);

impl From<Row> for Entry {
    fn from((rest, size, etag, replaces, storage_class): Row) -> Self {
        Self { rest, size, etag, replaces, storage_class }
    }
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        (entry.rest, entry.size, entry.etag, entry.replaces, entry.storage_class)
    }
}

/// Whether the target has a copy of the source's object, as far as listings tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alike {
    Same,
    Different,
}

/// Where listings don't tell, an object of the same size that isn't older than the source's is taken for its copy;
/// `"verify": "full"` proves it.
pub fn compare(source: &ObjectInfo, target: &ObjectInfo) -> Alike {
    match listed::alike(source, target) {
        listed::Alike::Same => Alike::Same,
        listed::Alike::Unknown if target.modified >= source.modified => Alike::Same,
        listed::Alike::Unknown | listed::Alike::Different => Alike::Different,
    }
}

/// What keeps the step from beginning.
#[derive(Debug, Default)]
pub struct Obstacles {
    /// At the target with other content.
    pub conflicts: Named,
    /// In a storage class that can't be read before it is restored.
    pub archived: Named,
    /// Larger, or with a longer or another key, than the target takes.
    pub unfit: Named,
    /// Of whose key the target takes another one's for, by its Unicode form.
    pub forms: Named,
    /// Below a key that is an object itself, where that can't be.
    pub folders: Named,
    /// Objects to delete, and how many may be.
    pub deletes: Option<(u64, u64)>,
}

impl Obstacles {
    pub fn is_empty(&self) -> bool {
        let all = [&self.conflicts, &self.archived, &self.unfit, &self.forms, &self.folders];
        all.iter().all(|named| named.count == 0)
    }

    /// Whether the target takes an object of this size under this key; notes one that it doesn't take.
    pub fn admits(&mut self, endpoint: &Endpoint, mapping: &Mapping, source: &ObjectInfo, key: &str) -> bool {
        let (bytes, long) = (source.size, key.len());
        let why = if bytes > endpoint.max_object || long > endpoint.max_key as usize {
            format!("{bytes} bytes, key of {long} bytes")
        } else if let Some(why) = paths::refusal(key).filter(|_| endpoint.path_keys) {
            why.to_owned()
        } else {
            return true;
        };
        self.unfit.add(|| format!("{}/{} ({why})", mapping.source, source.key));
        false
    }

    /// Notes a key that needs a folder where `file` is an object; both without the prefix.
    pub fn below(&mut self, mapping: &Mapping, rest: &str, file: &str) {
        self.folders.add(|| format!("{} (below {})", mapping.target_key(rest), mapping.target_key(file)));
    }

    /// All of them in one error.
    pub fn refuse(&self) -> Result<()> {
        let mut said = Vec::new();
        if self.conflicts.count > 0 {
            said.push(format!(
                "{} objects are at the target with other content: {}. Move them away, or set \
                 `\"overwrite\": \"changed\"` or `\"newer\"`",
                self.conflicts.count,
                self.conflicts.list()
            ));
        }
        if self.archived.count > 0 {
            said.push(format!(
                "{} objects are archived at the source and can't be read: {}. Restore them there first, or leave them \
                 out by `exclude`",
                self.archived.count,
                self.archived.list()
            ));
        }
        if self.unfit.count > 0 {
            said.push(format!(
                "the target can't take {} objects: {}. Leave them out by `exclude` or `max_size`, or name them anew by \
                 `rename`",
                self.unfit.count,
                self.unfit.list()
            ));
        }
        if self.forms.count > 0 {
            said.push(format!(
                "the target takes keys that differ in their Unicode form alone (NFC, NFD) for one key, and {} keys of the \
                 source differ so from another one: {}. Rename one of each at the source, or leave it out by `exclude`",
                self.forms.count,
                self.forms.list()
            ));
        }
        if self.folders.count > 0 {
            said.push(format!(
                "the target keeps objects as files in folders, and {} keys need a folder where another key is a file: {}. \
                 Leave one of each out by `exclude`, or rename it at the source",
                self.folders.count,
                self.folders.list()
            ));
        }
        if let Some((due, most)) = self.deletes.filter(|(due, most)| due > most) {
            said.push(format!(
                "{due} objects that only the target has would be deleted, and `mirror.max_delete` is {most}. Look at \
                 them (`godwit plan` with a higher number lists them), then raise it or narrow the prefixes"
            ));
        }
        if said.is_empty() {
            return Ok(());
        }
        Err(Error::Conflict(format!("nothing was copied. {}", said.join(". "))))
    }
}

/// The comparison of one mapping.
pub struct Task<'a> {
    /// Position in `buckets`.
    pub index: usize,
    pub mapping: &'a Mapping,
    pub filter: &'a Filter,
    pub params: &'a Params,
    pub target_exists: bool,
    /// What is known of the target's endpoint.
    pub endpoint: &'a Endpoint,
}

/// What a comparison came to.
#[derive(Debug)]
pub struct Compared {
    pub pages: Pages<Verdicts>,
    pub counts: Counts,
}

/// Counts over all pages.
#[derive(Debug, Default)]
pub struct Counts {
    pub objects: u64,
    pub bytes: u64,
    pub same: u64,
    pub newer: u64,
    pub overwritten: u64,
    pub deletes: u64,
    /// Objects and bytes to copy by their class at the target.
    pub classes: BTreeMap<String, (u64, u64)>,
}

impl Task<'_> {
    /// Compares what no memo has a verdict on yet. Adds what is in the way to `obstacles`; from the first such object
    /// on nothing is memoised, so that a resumed call looks again.
    pub fn compare<H: Host>(&self, host: &H, obstacles: &mut Obstacles) -> Result<Compared> {
        let mut pages = Pages::new(memos(self.index));
        let mut counts = Counts::default();
        let mut forms = self.endpoint.folds_unicode.then(Forms::default);
        let mut paths = self.endpoint.path_keys.then(Paths::default);
        let upto = pages.recall(host, |page: &Verdicts| {
            counts.add(page);
            if let Some(forms) = &mut forms {
                forms.recall(&page.forms);
            }
        })?;
        if pages.is_complete() {
            return Ok(Compared { pages, counts });
        }
        let mut walk = Walk::open(host, self.mapping, self.filter, self.target_exists, upto.as_deref())?;
        loop {
            let page = self.page(host, &mut walk, (forms.as_mut(), paths.as_mut()), obstacles)?;
            let last = page.last;
            if obstacles.is_empty() {
                counts.add(&page);
                pages.keep(host, page)?;
                let label = format!("compare {}", self.mapping.source);
                host.progress(&label, counts.objects + counts.same, None, "objects");
            }
            if last {
                if let Some(remark) = forms.and_then(|forms| forms.remark()) {
                    host.log(Level::Warn, &format!("bucket {}: {remark}", self.mapping.source));
                }
                return Ok(Compared { pages, counts });
            }
        }
    }

    fn page<H: Host>(
        &self,
        host: &H,
        walk: &mut Walk<'_, H>,
        (mut forms, mut paths): (Option<&mut Forms>, Option<&mut Paths>),
        obstacles: &mut Obstacles,
    ) -> Result<Verdicts> {
        let mut page = Verdicts::default();
        for _ in 0..STRETCH {
            if page.copy.len() + page.delete.len() >= PAGE {
                break;
            }
            let Some(pair) = walk.next_pair()? else { break };
            page.upto.clone_from(&pair.rest);
            if let (Some(forms), Some(_)) = (&mut forms, &pair.source)
                && forms.meets(&pair.rest, &mut page.forms)
            {
                obstacles.forms.add(|| self.spelled(&pair.rest));
            }
            if let Some(paths) = &mut paths
                && let Some(file) = paths.meets(&pair.rest, pair.source.is_some())
            {
                obstacles.below(self.mapping, &pair.rest, &file);
            }
            self.judge(pair, &mut page, obstacles);
        }
        page.last = walk.ahead().is_none();
        if let Some(forms) = forms {
            for rest in forms.ask(host, self.mapping, self.filter)? {
                obstacles.forms.add(|| self.spelled(&rest));
            }
        }
        Ok(page)
    }

    /// A key of the source in which forms can be told apart.
    fn spelled(&self, rest: &str) -> String {
        format!("{}/{}", self.mapping.source, spelled(&self.mapping.source_key(rest)))
    }

    fn judge(&self, pair: Pair, page: &mut Verdicts, obstacles: &mut Obstacles) {
        let Pair { rest, source, target } = pair;
        let target_key = || format!("{}/{}", self.mapping.target, self.mapping.target_key(&rest));
        let Some(source) = source else {
            if let (Some(target), Some(_)) = (target, &self.params.mirror) {
                page.delete.push((rest, target.size, target.etag));
            }
            return;
        };
        let mut replaces = None;
        if let Some(target) = target {
            match (compare(&source, &target), self.params.overwrite) {
                (Alike::Same, _) => {
                    page.same += 1;
                    return;
                }
                (Alike::Different, Overwrite::Newer) if target.modified >= source.modified => {
                    page.newer += 1;
                    return;
                }
                (Alike::Different, Overwrite::Never) => {
                    obstacles.conflicts.add(target_key);
                    return;
                }
                (Alike::Different, Overwrite::Changed | Overwrite::Newer) => replaces = Some(target.etag),
            }
        }
        if matches!(source.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE")) {
            obstacles.archived.add(|| format!("{}/{}", self.mapping.source, source.key));
            return;
        }
        let key = self.mapping.target_key(&rest);
        if !obstacles.admits(self.endpoint, self.mapping, &source, &key) {
            return;
        }
        let storage_class =
            self.params.class_of(source.storage_class.as_deref(), self.endpoint.storage_classes);
        page.copy.push(Entry { rest, size: source.size, etag: source.etag, replaces, storage_class });
    }
}

impl Counts {
    fn add(&mut self, page: &Verdicts) {
        self.same += page.same;
        self.newer += page.newer;
        self.deletes += page.delete.len() as u64;
        for entry in &page.copy {
            self.objects += 1;
            self.bytes += entry.size;
            self.overwritten += u64::from(entry.replaces.is_some());
            let class = entry.storage_class.as_deref().unwrap_or("STANDARD");
            if !self.classes.contains_key(class) {
                self.classes.insert(class.to_owned(), (0, 0));
            }
            if let Some((objects, bytes)) = self.classes.get_mut(class) {
                *objects += 1;
                *bytes += entry.size;
            }
        }
    }

    /// What is to be done, in one line.
    pub fn summary(&self, mapping: &Mapping) -> String {
        let mut parts = vec![format!("{} objects to copy, {} bytes", self.objects, self.bytes)];
        if self.classes.keys().any(|class| class != "STANDARD") {
            let classes: Vec<String> =
                self.classes.iter().map(|(class, (objects, _))| format!("{objects} {class}")).collect();
            parts.push(classes.join(", "));
        }
        for (count, what) in [
            (self.overwritten, "of them overwrite"),
            (self.same, "there already"),
            (self.newer, "newer at the target and left"),
            (self.deletes, "to delete at the target"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        format!("{} → {}: {}", mapping.source, mapping.target, parts.join("; "))
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
            assert_eq!(compare(&source, &target) == Alike::Same, same, "{source:?} {target:?}");
        }
    }

    #[test]
    fn pages_survive_their_memo() {
        let entry = Entry {
            rest: "a/ü".into(),
            size: 7,
            etag: "e".into(),
            replaces: Some("f".into()),
            storage_class: None,
        };
        let page =
            Verdicts { upto: "z".into(), last: true, copy: vec![entry], same: 2, ..Verdicts::default() };
        let text = serde_json::to_string(&page).unwrap();
        assert!(text.contains(r#"["a/ü",7,"e","f",null]"#), "{text}");
        assert_eq!(serde_json::from_str::<Verdicts>(&text).unwrap(), page);
    }
}
