//! The recipe's `with`: which columns are masked, and how.

use std::collections::BTreeMap;

use godwit_sdk::prelude::*;

/// Which columns are masked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Masks of columns by table: `{ "public.users": { "email": { "mask": "hash" } } }`. Tables are schema-qualified; a
    /// partition is selected by the name of its partitioned table, too.
    tables: BTreeMap<String, BTreeMap<String, Mask>>,
    /// The key of `hash`, at least 16 bytes. One key makes one value the same hash everywhere, so that joins still
    /// hold. It is no credential to Godwit: who knows it can test guesses at the values.
    #[serde(default)]
    key: Option<String>,
}

/// What becomes of a value. NULL stays NULL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "mask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mask {
    /// HMAC-SHA256 of the value in hexadecimal digits.
    Hash {
        /// How many digits, 8 to 64. A column of type uuid takes 32.
        #[serde(default)]
        length: Option<usize>,
        /// Put before the digits.
        #[serde(default)]
        prefix: String,
        /// Put after the digits, such as `@example.com`.
        #[serde(default)]
        suffix: String,
    },
    /// NULL.
    Null {},
    /// Always this value, written as PostgreSQL prints it: `1.50` for a `numeric(9,2)`. Otherwise the verification finds
    /// another text in the target than was sent.
    Fixed { value: String },
    /// The value with all but some characters replaced. A value that is too short to hide anything is replaced whole.
    Partial {
        /// Characters kept at the start.
        #[serde(default)]
        keep_start: usize,
        /// Characters kept at the end.
        #[serde(default)]
        keep_end: usize,
        /// Replaces each other character.
        #[serde(default = "star")]
        with: char,
    },
}

fn star() -> char {
    '*'
}

/// The masks of one stream by the position of their column, in order.
pub type Masks = Vec<(usize, Mask, Form)>;

/// How a type writes a text that is put into it. What is sent has to be what the server will print, or the target would not
/// hold what the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    AsIs,
    /// Filled up with blanks to so many characters, which are no part of the value: `character(n)`.
    Blanks(usize),
    /// Digits in groups of 8, 4, 4, 4 and 12.
    Uuid,
}

/// Digits of a whole HMAC-SHA256.
pub const DIGITS: usize = 64;

impl Params {
    /// The key of `hash`; checked where a hash is asked for.
    pub fn key(&self) -> &[u8] {
        self.key.as_deref().unwrap_or_default().as_bytes()
    }

    /// The names of tables that have rules; each is the table's own or that of its partitioned table.
    pub fn selectors(&self) -> Result<Vec<String>> {
        self.check()?;
        Ok(self.tables.keys().cloned().collect())
    }

    /// The masks for a table. Fails where nothing selects it (a misspelt selector must not let rows through), where a
    /// selected column isn't in the stream, or can't hold what its mask makes.
    pub fn masks(&self, table: &TableShape) -> Result<Masks> {
        self.check()?;
        let label = table.label();
        let mut masks: Masks = Vec::new();
        for (selector, columns) in &self.tables {
            if *selector != label && Some(selector) != table.root.as_ref() {
                continue;
            }
            for (name, mask) in columns {
                let position = table.columns.iter().position(|column| column.name == *name).ok_or_else(|| {
                    Error::Invalid(format!(
                        "table `{label}` has no column `{name}`, which `{selector}` says to mask; its columns are {}",
                        list(table.columns.iter().map(|column| column.name.as_str()))
                    ))
                })?;
                if masks.iter().any(|(masked, ..)| *masked == position) {
                    return Err(Error::Invalid(format!(
                        "column `{name}` of table `{label}` is masked twice: by its own name and by `{}`",
                        table.root.as_deref().unwrap_or(selector)
                    )));
                }
                let type_name = &table.columns[position].type_name;
                let mask = fit(mask, type_name)
                    .map_err(|why| Error::Invalid(format!("column `{name}` of table `{label}`: {why}")))?;
                masks.push((position, mask, form(type_name)));
            }
        }
        if masks.is_empty() {
            return Err(Error::Invalid(format!(
                "table `{label}` goes through mask-columns, but `tables` names no column of it to mask; it names {}. \
                 Narrow the `labels` of the recipe's `transforms`, or mend the name",
                list(self.tables.keys().map(String::as_str))
            )));
        }
        masks.sort_by_key(|(position, ..)| *position);
        Ok(masks)
    }

    fn check(&self) -> Result<()> {
        if self.tables.is_empty() {
            return Err(Error::Invalid("`tables` names no table to mask".to_owned()));
        }
        for (table, columns) in &self.tables {
            if !table.contains('.') {
                return Err(Error::Invalid(format!(
                    "`{table}` names no schema: write it as `public.{table}`"
                )));
            }
            // As a selector it would be a pattern, which this rule is not.
            if table.contains('*') {
                return Err(Error::Invalid(format!(
                    "`{table}` is no table: masks are given table by table, without `*`"
                )));
            }
            if columns.is_empty() {
                return Err(Error::Invalid(format!("table `{table}` names no column to mask")));
            }
            for (column, mask) in columns {
                let Mask::Hash { length, .. } = mask else { continue };
                if length.is_some_and(|length| !(8..=DIGITS).contains(&length)) {
                    return Err(Error::Invalid(format!(
                        "`length` of column `{column}` of table `{table}` is not between 8 and {DIGITS}"
                    )));
                }
                self.check_key()?;
            }
        }
        Ok(())
    }

    fn check_key(&self) -> Result<()> {
        let Some(key) = &self.key else {
            return Err(Error::Invalid("`hash` needs a `key` of at least 16 bytes".to_owned()));
        };
        // A token follows from the run's id and the secret's name: anybody can make it.
        if key.contains("⟦gws_") {
            return Err(Error::Invalid(
                "`key` is a secret input, whose value a plugin never sees: give it by an input of type `string`"
                    .to_owned(),
            ));
        }
        if key.len() < 16 {
            return Err(Error::Invalid(
                "`key` is shorter than 16 bytes, so its hashes could be undone".to_owned(),
            ));
        }
        Ok(())
    }
}

/// The mask with its length fixed for a column's type, or why the type can't hold what it makes.
fn fit(mask: &Mask, type_name: &str) -> std::result::Result<Mask, String> {
    let limit = limit(type_name);
    match mask {
        Mask::Hash { length, prefix, suffix } if type_name == "uuid" => {
            if length.is_some_and(|length| length != 32) || !prefix.is_empty() || !suffix.is_empty() {
                return Err("a hash in a uuid has 32 digits, no prefix and no suffix".to_owned());
            }
            Ok(Mask::Hash { length: Some(32), prefix: String::new(), suffix: String::new() })
        }
        Mask::Hash { length, prefix, suffix } => {
            check_text(type_name, "hash")?;
            let digits = length.unwrap_or(DIGITS);
            let size = digits + prefix.chars().count() + suffix.chars().count();
            if limit.is_some_and(|limit| size > limit) {
                return Err(format!(
                    "`{type_name}` can't hold a hash of {size} characters: give a smaller `length`"
                ));
            }
            Ok(Mask::Hash { length: Some(digits), prefix: prefix.clone(), suffix: suffix.clone() })
        }
        Mask::Partial { .. } => check_text(type_name, "partial").map(|()| mask.clone()),
        Mask::Fixed { value } if limit.is_some_and(|limit| value.chars().count() > limit) => {
            Err(format!("`{type_name}` can't hold the fixed value of {} characters", value.chars().count()))
        }
        Mask::Fixed { value } => Ok(Mask::Fixed { value: printed(value, type_name)? }),
        Mask::Null {} => Ok(Mask::Null {}),
    }
}

/// A fixed value as the server prints it, for types where that is easily told; another type's is left as it is.
fn printed(value: &str, type_name: &str) -> std::result::Result<String, String> {
    let wrong = || format!("`{value}` is no value of type `{type_name}`: give one, or use `null`");
    match type_name {
        "boolean" => match value {
            "t" | "true" => Ok("t".to_owned()),
            "f" | "false" => Ok("f".to_owned()),
            _ => Err(wrong()),
        },
        "smallint" => value.parse::<i16>().map(|number| number.to_string()).map_err(|_| wrong()),
        "integer" => value.parse::<i32>().map(|number| number.to_string()).map_err(|_| wrong()),
        "bigint" => value.parse::<i64>().map(|number| number.to_string()).map_err(|_| wrong()),
        "uuid" => {
            let digits: String =
                value.chars().filter(|c| *c != '-').map(|digit| digit.to_ascii_lowercase()).collect();
            match digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                true => Ok(digits),
                false => Err(wrong()),
            }
        }
        _ => Ok(value.to_owned()),
    }
}

fn form(type_name: &str) -> Form {
    match type_name {
        "uuid" => Form::Uuid,
        name if name.starts_with("character(") => limit(name).map_or(Form::AsIs, Form::Blanks),
        _ => Form::AsIs,
    }
}

/// The most characters that a type holds, as `format_type` writes it.
fn limit(type_name: &str) -> Option<usize> {
    let (name, rest) = type_name.split_once('(')?;
    matches!(name, "character varying" | "character").then(|| rest.strip_suffix(')')?.parse().ok()).flatten()
}

/// Fails for built-in types that don't hold any text. What a type of the user's own holds, the server says.
fn check_text(type_name: &str, mask: &str) -> std::result::Result<(), String> {
    const OTHERS: &[&str] = &[
        "bigint",
        "bit",
        "bit varying",
        "boolean",
        "bytea",
        "cidr",
        "date",
        "double precision",
        "inet",
        "integer",
        "interval",
        "json",
        "jsonb",
        "macaddr",
        "money",
        "numeric",
        "oid",
        "real",
        "smallint",
        "time",
        "timestamp",
        "tsvector",
        "vector",
        "xml",
    ];
    let base = type_name.split_once('(').map_or(type_name, |(base, _)| base);
    let base = base.split_once(" with").map_or(base, |(base, _)| base).trim();
    if OTHERS.contains(&base) || type_name.ends_with(']') || type_name == "uuid" {
        return Err(format!(
            "`{mask}` makes text, which type `{type_name}` doesn't hold: use `null` or `fixed`"
        ));
    }
    Ok(())
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
