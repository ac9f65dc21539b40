//! What a recipe says to the step.

use godwit_pg_catalog::index_build::check_memory;
use godwit_sdk::prelude::*;

/// A type of pgvector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VectorType {
    #[default]
    Vector,
    Halfvec,
    Sparsevec,
}

impl VectorType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Halfvec => "halfvec",
            Self::Sparsevec => "sparsevec",
        }
    }

    /// Dimensions that an HNSW or IVFFlat index takes, at most (pgvector's README, "HNSW" and "IVFFlat").
    fn indexable(self) -> u32 {
        match self {
            Self::Vector => 2_000,
            Self::Halfvec => 4_000,
            // Counted in non-zero elements, which the type doesn't say.
            Self::Sparsevec => u32::MAX,
        }
    }
}

/// Kind of index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    #[default]
    Hnsw,
    Ivfflat,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Hnsw => "hnsw",
            Self::Ivfflat => "ivfflat",
        }
    }
}

/// How near two vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    #[default]
    Cosine,
    L2,
    InnerProduct,
    L1,
}

/// A table of embeddings of another table's rows, with these columns: `id`, the reference, `embedding`, `source_text`,
/// `embedding_model`, `metadata`, `created_at`, `updated_at`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embeddings {
    /// The table to make, such as `public.asset_embeddings`.
    pub table: String,
    /// The table whose rows are embedded, such as `public.assets`.
    pub of: String,
    /// The key of that table.
    #[serde(default = "id")]
    pub of_column: String,
    /// The column that references it, such as `asset_id`.
    pub column: String,
    pub dimensions: u32,
    #[serde(default, rename = "type")]
    pub ty: VectorType,
    /// Default of `embedding_model`.
    #[serde(default = "model")]
    pub model: String,
}

fn id() -> String {
    "id".to_owned()
}

fn model() -> String {
    "text-embedding-3-small".to_owned()
}

/// A vector column of a table that is there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorColumn {
    pub table: String,
    pub column: String,
    pub dimensions: u32,
    #[serde(default, rename = "type")]
    pub ty: VectorType,
}

/// An index over a vector column.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorIndex {
    pub table: String,
    #[serde(default = "embedding")]
    pub column: String,
    #[serde(default)]
    pub method: Method,
    #[serde(default)]
    pub metric: Metric,
    #[serde(default, rename = "type")]
    pub ty: VectorType,
    /// Default: `<table>_<column>_<method>`.
    #[serde(default)]
    pub name: Option<String>,
    /// HNSW: connections per layer, 2 to 100 (pgvector's default is 16).
    #[serde(default)]
    pub m: Option<u32>,
    /// HNSW: candidates while building, 4 to 1000 and at least twice `m` (default 64).
    #[serde(default)]
    pub ef_construction: Option<u32>,
    /// IVFFlat: lists, 1 to 32768 (default 100). Build it over rows: the lists are made of them.
    #[serde(default)]
    pub lists: Option<u32>,
}

fn embedding() -> String {
    "embedding".to_owned()
}

/// Params of `pgvector-setup`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The oldest version of pgvector that will do, such as `0.7.0`. An older one in the database is updated where the
    /// server has a newer one.
    pub min_version: Option<String>,
    /// Where the extension goes, unless the database has it.
    pub schema: String,
    pub embeddings: Vec<Embeddings>,
    pub columns: Vec<VectorColumn>,
    pub indexes: Vec<VectorIndex>,
    /// `maintenance_work_mem` while an index is built. An HNSW graph that doesn't fit is built many times slower. Default: by
    /// the table's size, from 64 MB to 1 GB, where the server's own setting isn't larger.
    pub memory: Option<String>,
    /// `max_parallel_maintenance_workers` while an index is built. Default: the server's own setting. An HNSW index is built
    /// by one process where the server hasn't the shared memory that several need.
    pub workers: Option<u32>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            min_version: None,
            schema: "public".to_owned(),
            embeddings: Vec::new(),
            columns: Vec::new(),
            indexes: Vec::new(),
            memory: None,
            workers: None,
        }
    }
}

/// A name as a recipe writes it, `table` or `schema.table`; without a schema it is in `public`.
pub fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("public", name))
}

impl VectorIndex {
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let (_, table) = split(&self.table);
            let mut name = format!("{table}_{}_{}", self.column, self.method.name());
            // PostgreSQL cuts longer names itself, and would then not be found under the name that was asked for.
            while name.len() > 63 {
                name.pop();
            }
            name
        })
    }

    /// The operator class for the type and metric; none where pgvector has none.
    pub fn operator_class(&self) -> Option<String> {
        let metric = match (self.metric, self.method, self.ty) {
            (Metric::L1, Method::Ivfflat, _) | (_, Method::Ivfflat, VectorType::Sparsevec) => return None,
            (Metric::Cosine, ..) => "cosine",
            (Metric::L2, ..) => "l2",
            (Metric::InnerProduct, ..) => "ip",
            (Metric::L1, ..) => "l1",
        };
        Some(format!("{}_{metric}_ops", self.ty.name()))
    }
}

impl Params {
    /// Checks what the JSON Schema can't say. All faults at once.
    pub fn check(&self) -> Result<()> {
        check_memory("memory", self.memory.as_deref())?;
        let mut faults = Vec::new();
        if let Some(version) = &self.min_version
            && parse_version(version).is_none()
        {
            faults.push(format!("`min_version` is `{version}`; write it as `0.7.0`"));
        }
        for (table, dimensions) in self
            .embeddings
            .iter()
            .map(|e| (&e.table, e.dimensions))
            .chain(self.columns.iter().map(|c| (&c.table, c.dimensions)))
        {
            // The type's own limit (pgvector's README, "Vector Types").
            if dimensions == 0 || dimensions > 16_000 {
                faults.push(format!("`{table}` wants {dimensions} dimensions; pgvector stores 1 to 16000"));
            }
        }
        for index in &self.indexes {
            let name = index.name();
            if index.operator_class().is_none() {
                faults.push(format!(
                    "index `{name}`: pgvector has no {} index over {} for this metric; use `hnsw`",
                    index.method.name(),
                    index.ty.name()
                ));
            }
            let (hnsw, ivfflat) =
                (index.m.is_some() || index.ef_construction.is_some(), index.lists.is_some());
            if index.method == Method::Hnsw && ivfflat {
                faults.push(format!("index `{name}`: `lists` belongs to `ivfflat`"));
            }
            if index.method == Method::Ivfflat && hnsw {
                faults.push(format!("index `{name}`: `m` and `ef_construction` belong to `hnsw`"));
            }
            let (m, ef) = (index.m.unwrap_or(16), index.ef_construction.unwrap_or(64));
            if !(2..=100).contains(&m)
                || !(4..=1000).contains(&ef)
                || (index.method == Method::Hnsw && ef < 2 * m)
            {
                faults.push(format!(
                    "index `{name}`: `m` is {m} and `ef_construction` {ef}; m is 2 to 100, ef_construction 4 to 1000 and at \
                     least twice m"
                ));
            }
            if index.lists.is_some_and(|lists| !(1..=32_768).contains(&lists)) {
                faults.push(format!("index `{name}`: `lists` is 1 to 32768"));
            }
            let dimensions = self
                .embeddings
                .iter()
                .filter(|e| e.table == index.table && index.column == "embedding")
                .map(|e| (e.dimensions, e.ty))
                .chain(
                    self.columns
                        .iter()
                        .filter(|c| c.table == index.table && c.column == index.column)
                        .map(|c| (c.dimensions, c.ty)),
                );
            for (dimensions, ty) in dimensions {
                if ty != index.ty {
                    faults.push(format!(
                        "index `{name}` is over {}, but the column is of type {}",
                        index.ty.name(),
                        ty.name()
                    ));
                }
                if dimensions > ty.indexable() {
                    faults.push(format!(
                        "index `{name}`: an index over {} takes {} dimensions at most, the column has {dimensions}; use \
                         `halfvec`, or fewer dimensions",
                        ty.name(),
                        ty.indexable()
                    ));
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults.join("; "))) }
    }

    /// The version that everything asked for needs.
    pub fn needed_version(&self) -> (u32, u32, u32) {
        let mut needed = self.min_version.as_deref().and_then(parse_version).unwrap_or((0, 0, 0));
        if self.indexes.iter().any(|index| index.method == Method::Hnsw) {
            needed = needed.max((0, 5, 0));
        }
        let newer = |ty: VectorType| ty != VectorType::Vector;
        if self.indexes.iter().any(|index| newer(index.ty) || index.metric == Metric::L1)
            || self.embeddings.iter().any(|e| newer(e.ty))
            || self.columns.iter().any(|c| newer(c.ty))
        {
            needed = needed.max((0, 7, 0));
        }
        needed
    }
}

/// `0.8.5` as three numbers; what is missing is zero.
pub fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    let first = parts.next()??;
    let second = parts.next().unwrap_or(Some(0))?;
    let third = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then_some((first, second, third))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: godwit_sdk::serde_json::Value) -> Params {
        godwit_sdk::serde_json::from_value(json).unwrap()
    }

    #[test]
    fn versions() {
        assert_eq!(parse_version("0.8.5"), Some((0, 8, 5)));
        assert_eq!(parse_version("1"), Some((1, 0, 0)));
        assert_eq!(parse_version("0.8.5.1"), None);
        assert_eq!(parse_version("new"), None);
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let error = params(godwit_sdk::serde_json::json!({
            "columns": [{ "table": "t", "column": "c", "dimensions": 3072 }],
            "indexes": [
                { "table": "t", "column": "c" },
                { "table": "t", "column": "d", "method": "ivfflat", "metric": "l1" },
                { "table": "t", "column": "d", "m": 90 },
                { "table": "t", "column": "d", "lists": 5 }
            ]
        }))
        .check()
        .unwrap_err();
        for part in ["2000 dimensions at most", "no ivfflat index", "at least twice m", "`lists` belongs"] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn what_is_asked_for_decides_on_the_version() {
        let of = |json| params(json).needed_version();
        assert_eq!(of(godwit_sdk::serde_json::json!({})), (0, 0, 0));
        assert_eq!(of(godwit_sdk::serde_json::json!({ "indexes": [{ "table": "t" }] })), (0, 5, 0));
        assert_eq!(
            of(
                godwit_sdk::serde_json::json!({ "min_version": "0.6", "indexes": [{ "table": "t", "type": "halfvec" }] })
            ),
            (0, 7, 0)
        );
    }
}
