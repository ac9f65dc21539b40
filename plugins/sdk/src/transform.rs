//! A transform plugin as a Rust type.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::step::read_json;
use crate::types::{Error, Result};

/// A transform plugin: changes one stream of bytes and is granted nothing.
///
/// There is one value per stream, and a stream may be one part of a table: nothing may depend on having seen all rows.
pub trait Transform: Sized + 'static {
    /// Lower-case letters, digits and `-`; what a recipe's `transforms` name.
    const NAME: &str;
    /// Semantic version.
    const VERSION: &str;
    /// One line for people.
    const SUMMARY: &str;

    /// The `with` of one use in a recipe.
    type Params: DeserializeOwned + JsonSchema;

    /// The selectors of transfers that these params name; none where they suit any transfer.
    ///
    /// A selector is a transfer's label (`schema.table`, `bucket/key`) or another name of it (of a partition, the
    /// qualified name of its root); `*` stands for any text. Each has to fit at least one transfer that the recipe puts
    /// through this use of the transform, or the plan and the run fail. Say here what must not be missed: a rule for a
    /// table that never comes by changes nothing, and nobody would notice.
    fn selects(_params: &Self::Params) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Begins a stream. An error here ends the transfer before its first byte.
    fn open(params: Self::Params, shape: Shape) -> Result<Self>;

    /// Changes one chunk. A table's chunk holds whole rows of COPY text: about 1 MiB, or one larger row.
    fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>>;

    /// Ends the stream; returns what was held back.
    fn finish(&mut self) -> Result<Vec<u8>>;
}

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Shape {
    Table(TableShape),
    /// A kind that this version of the kit doesn't know.
    #[serde(other)]
    Other,
}

/// The rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TableShape {
    pub schema: String,
    pub table: String,
    /// The qualified name of the partitioned table that it is a partition of, however deep.
    #[serde(default)]
    pub root: Option<String>,
    /// In the order of the stream.
    pub columns: Vec<Column>,
    /// `text`: the text format of COPY.
    pub format: String,
}

impl TableShape {
    /// `schema.table`, unquoted.
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// A column of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Column {
    pub name: String,
    /// As `format_type` writes it.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// Asks a transform for its selectors as the host does: params are a JSON text.
pub fn run_selects<T: Transform>(params: &str) -> Result<Vec<String>> {
    T::selects(&read_json::<T::Params>(T::NAME, "params", params)?)
}

/// Opens a transform as the host does: params and shape are JSON texts.
pub fn open_pipe<T: Transform>(params: &str, shape: &str) -> Result<T> {
    let params = read_json::<T::Params>(T::NAME, "params", params)?;
    let shape = serde_json::from_str(shape).map_err(|e| {
        Error::Invalid(format!("the host gave plugin `{}` a shape it can't read: {e}", T::NAME))
    })?;
    T::open(params, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_shape_of_the_contract() {
        let table = r#"{"kind":"table","schema":"public","table":"u_1","root":"public.u",
            "columns":[{"name":"id","type":"bigint"}],"format":"text"}"#;
        let Shape::Table(table) = serde_json::from_str(table).unwrap() else { panic!("not a table") };
        assert_eq!(table.label(), "public.u_1");
        assert_eq!(table.root.as_deref(), Some("public.u"));
        assert_eq!(table.columns[0].type_name, "bigint");
        let other: Shape = serde_json::from_str(r#"{"kind":"object","bucket":"b"}"#).unwrap();
        assert_eq!(other, Shape::Other);
    }
}
