//! The report: every key apart (or every key) as JSON and as CSV.
//!
//! Entries go into files of a bounded size, one of each kind in memory: `NAME.json`, `NAME-2.json`, …, and the same with
//! `.csv`. The first JSON file has the totals and names all files, so it is written last: without it, a report is
//! unfinished.

use godwit_s3_walk::Mapping;
use godwit_sdk::prelude::*;
use serde_json::{Value, json};

use crate::Outputs;
use crate::entry::{Class, Entry, Side};
use crate::params::Params;

/// Slot of the folder.
pub const REPORT: &str = "report";
/// Version of the files' form.
const FORMAT: &str = "1";
const COLUMNS: [&str; 11] = [
    "bucket",
    "key",
    "class",
    "source_size",
    "target_size",
    "source_etag",
    "target_etag",
    "by",
    "reason",
    "target_bucket",
    "target_key",
];

/// An entry as the files show it, in the order of [`COLUMNS`].
#[derive(Serialize)]
struct Row<'a> {
    bucket: &'a str,
    key: String,
    class: Class,
    source_size: Option<u64>,
    target_size: Option<u64>,
    source_etag: Option<&'a str>,
    target_etag: Option<&'a str>,
    by: &'a str,
    reason: &'a str,
    target_bucket: &'a str,
    target_key: String,
}

impl<'a> Row<'a> {
    fn new(mapping: &'a Mapping, entry: &'a Entry) -> Self {
        let size = |side: &Option<Side>| side.as_ref().map(|side| side.size);
        let (source, target) = (entry.source.as_ref(), entry.target.as_ref());
        Self {
            bucket: &mapping.source,
            key: mapping.source_key(&entry.rest),
            class: entry.class,
            source_size: size(&entry.source),
            target_size: size(&entry.target),
            source_etag: source.map(|side| side.etag.as_str()),
            target_etag: target.map(|side| side.etag.as_str()),
            by: &entry.by,
            reason: &entry.reason,
            target_bucket: &mapping.target,
            target_key: mapping.target_key(&entry.rest),
        }
    }

    fn fields(&self) -> [String; COLUMNS.len()] {
        let number = |size: Option<u64>| size.map_or_else(String::new, |size| size.to_string());
        [
            self.bucket.to_owned(),
            self.key.clone(),
            self.class.name().to_owned(),
            number(self.source_size),
            number(self.target_size),
            self.source_etag.unwrap_or_default().to_owned(),
            self.target_etag.unwrap_or_default().to_owned(),
            self.by.to_owned(),
            self.reason.to_owned(),
            self.target_bucket.to_owned(),
            self.target_key.clone(),
        ]
    }
}

/// The key of the effect that writes a file.
pub fn effect_key(path: &str) -> String {
    format!("report {path}")
}

/// Refuses a report whose files, or those of another one under its name, are there.
pub fn refuse_others<H: Host>(host: &H, params: &Params) -> Result<()> {
    host.memo("report", || {
        let stem = params.stem();
        let folder = stem.rsplit_once('/').map_or("", |(folder, _)| folder);
        let there = match host.list_files(REPORT, folder) {
            Err(Error::Missing(_)) => Vec::new(),
            found => found?,
        };
        match there.iter().find(|file| is_of(stem, &file.path)) {
            None => Ok(()),
            Some(file) => Err(Error::Conflict(format!(
                "`{}` is there already: give the report another name by `report_path`, or move that file away",
                file.path
            ))),
        }
    })
}

/// Whether a path is one that a report under this name may write.
fn is_of(stem: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(stem) else { return false };
    let Some(number) = rest.strip_suffix(".json").or_else(|| rest.strip_suffix(".csv")) else { return false };
    number.is_empty()
        || number
            .strip_prefix('-')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Files of one kind: those that are full are on their way, the last one is filled.
struct Files {
    ending: &'static str,
    /// Entries of the file that is filled.
    body: Vec<u8>,
    names: Vec<String>,
}

impl Files {
    fn new(ending: &'static str, stem: &str) -> Self {
        Self { ending, body: Vec::new(), names: vec![format!("{stem}.{ending}")] }
    }

    /// Adds an entry; gives the former file's name and entries where a new one is begun for it.
    fn add(&mut self, params: &Params, entry: &[u8]) -> Option<(String, Vec<u8>)> {
        let begins = !self.body.is_empty() && (self.body.len() + entry.len()) as u64 > params.file_bytes();
        let full = begins.then(|| {
            let number = self.names.len() + 1;
            let next = format!("{}-{number}.{}", params.stem(), self.ending);
            let name = self.names.last().cloned().unwrap_or_default();
            self.names.push(next);
            (name, std::mem::take(&mut self.body))
        });
        self.body.extend_from_slice(entry);
        full
    }

    fn rest(&mut self) -> (String, Vec<u8>) {
        (self.names.last().cloned().unwrap_or_default(), std::mem::take(&mut self.body))
    }
}

/// A report that is being written.
pub struct Report<'a, H> {
    host: &'a H,
    params: &'a Params,
    json: Files,
    csv: Files,
    /// Entries of the first JSON file, once it is full.
    first: Option<Vec<u8>>,
}

impl<'a, H: Host> Report<'a, H> {
    pub fn new(host: &'a H, params: &'a Params) -> Self {
        let stem = params.stem();
        Self { host, params, json: Files::new("json", stem), csv: Files::new("csv", stem), first: None }
    }

    pub fn add(&mut self, mapping: &Mapping, entry: &Entry) -> Result<()> {
        let row = Row::new(mapping, entry);
        if let Some((name, body)) = self.csv.add(self.params, csv_line(&row.fields()).as_bytes()) {
            self.write(&name, csv_file(&body))?;
        }
        let line = serde_json::to_vec(&row).map_err(|e| unwritable(&e))?;
        if let Some((name, body)) = self.json.add(self.params, &[b"    ".as_slice(), &line, b",\n"].concat())
        {
            match &self.first {
                None => self.first = Some(body),
                Some(_) => self.write_later(&name, body)?,
            }
        }
        Ok(())
    }

    /// Writes what is left, and gives the names of all files. `more`: fields beside the totals.
    pub fn finish(mut self, outputs: &Outputs, more: Value) -> Result<Vec<String>> {
        let (name, body) = self.csv.rest();
        self.write(&name, csv_file(&body))?;
        let (name, body) = self.json.rest();
        let first = match self.first.take() {
            None => body,
            Some(first) => {
                self.write_later(&name, body)?;
                first
            }
        };
        let files = [self.json.names.as_slice(), &self.csv.names].concat();
        let mut head = json!({ "format": FORMAT, "files": files });
        if let (Some(head), Value::Object(more)) = (head.as_object_mut(), more) {
            head.extend(more);
            head.insert("equal".to_owned(), outputs.equal.into());
            head.insert("counts".to_owned(), to_value(&outputs.counts)?);
            head.insert("buckets".to_owned(), to_value(&outputs.buckets)?);
        }
        self.write(&self.json.names[0], json_file(&head, first)?)?;
        Ok(files)
    }

    fn write_later(&self, name: &str, body: Vec<u8>) -> Result<()> {
        self.write(name, json_file(&json!({ "format": FORMAT, "first": self.json.names[0] }), body)?)
    }

    /// One file at a time, so that no more of them lie in memory.
    fn write(&self, path: &str, content: Vec<u8>) -> Result<()> {
        self.host.submit(vec![self.host.write_file(REPORT, &effect_key(path), path, &content)?])?;
        drop(content);
        match self.host.settle() {
            // A plan depends on none of them.
            Err(Error::Pending(_)) => Ok(()),
            ended => ended.map(drop),
        }
    }
}

fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| unwritable(&e))
}

fn unwritable(error: &dyn std::fmt::Display) -> Error {
    Error::Failed(format!("the report can't be put into words: {error}"))
}

/// One line of CSV (RFC 4180). What a reader might take for more than text is quoted: separators, quotes, ends of lines
/// and other control characters, blanks at either end.
fn csv_line(fields: &[String]) -> String {
    let mut line = String::new();
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let special = |char: char| matches!(char, ',' | '"') || char.is_control();
        if field.contains(special) || field.trim() != field {
            line.push('"');
            line.push_str(&field.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(field);
        }
    }
    line.push_str("\r\n");
    line
}

fn csv_file(body: &[u8]) -> Vec<u8> {
    let mut file = csv_line(&COLUMNS.map(str::to_owned)).into_bytes();
    file.extend(body);
    file
}

/// The fields of `head`, then the entries, one a line; each ends in a comma so far.
fn json_file(head: &Value, body: Vec<u8>) -> Result<Vec<u8>> {
    let mut file = serde_json::to_vec_pretty(head).map_err(|e| unwritable(&e))?;
    file.truncate(file.len().saturating_sub("\n}".len()));
    file.extend(b",\n  \"entries\": [\n");
    file.extend(body.strip_suffix(b",\n").unwrap_or_default());
    file.extend(if body.is_empty() { b"  ]\n}\n".as_slice() } else { b"\n  ]\n}\n" });
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_could_be_misread_by_is_quoted() {
        for (field, expected) in [
            ("plain/key.jpg", "plain/key.jpg"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("\"", "\"\"\"\""),
            ("cr\r\nlf", "\"cr\r\nlf\""),
            ("bell\u{7}", "\"bell\u{7}\""),
            (" blank", "\" blank\""),
            ("\u{fc}", "\u{fc}"),
        ] {
            assert_eq!(
                csv_line(&[field.to_owned(), "x".to_owned()]),
                format!("{expected},x\r\n"),
                "{field:?}"
            );
        }
    }

    #[test]
    fn names_of_a_report_are_known() {
        for (path, expected) in [
            ("r/x.json", true),
            ("r/x.csv", true),
            ("r/x-2.json", true),
            ("r/x-12.csv", true),
            ("r/x-.csv", false),
            ("r/x-a.csv", false),
            ("r/xy.json", false),
            ("r/x.txt", false),
            ("x.json", false),
        ] {
            assert_eq!(is_of("r/x", path), expected, "{path}");
        }
    }
}
