//! What is copied.

use godwit_lab::postgres::PgServer;

/// A database to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// pgbench at scale 50.
    Pgbench,
    /// 100,000 vectors of 384 dimensions with an HNSW index.
    Vectors,
    /// Wide JSONB documents with a GIN index.
    Documents,
    /// 2,000 small tables, each with a key, an index and a sequence.
    ManyTables,
    /// 500 tables with 1,500 indexes and constraints, and no rows: for a server that is far away.
    Empty,
}

impl Set {
    pub const ALL: [Self; 5] = [Self::Pgbench, Self::Vectors, Self::Documents, Self::ManyTables, Self::Empty];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pgbench => "pgbench",
            Self::Vectors => "vectors",
            Self::Documents => "documents",
            Self::ManyTables => "many_tables",
            Self::Empty => "empty",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Pgbench => "pgbench, scale 50",
            Self::Vectors => "100,000 × vector(384), HNSW",
            Self::Documents => "200,000 JSONB documents, GIN",
            Self::ManyTables => "2,000 small tables",
            Self::Empty => "500 empty tables, 1,500 indexes and constraints",
        }
    }

    /// Whether a copy through a mask is measured: where one table is all there is to move.
    pub fn is_masked(self) -> bool {
        matches!(self, Self::Pgbench)
    }

    /// Makes one in `share` of the rows.
    pub fn fill(self, server: &PgServer, database: &str, share: u32) -> Result<(), String> {
        let all = |count: u32| (count / share).max(1);
        let sql = match self {
            Self::Pgbench => {
                let (branches, accounts) = (all(50), all(5_000_000));
                format!(
                    "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));
                     CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int REFERENCES pgbench_branches, tbalance int, filler char(84));
                     CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int REFERENCES pgbench_branches, abalance int, filler char(84));
                     CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
                     INSERT INTO pgbench_branches SELECT i, 0, '' FROM generate_series(1, {branches}) i;
                     INSERT INTO pgbench_tellers SELECT i, 1 + i % {branches}, 0, '' FROM generate_series(1, {branches} * 10) i;
                     INSERT INTO pgbench_accounts SELECT i, 1 + i % {branches}, 0, '' FROM generate_series(1, {accounts}) i"
                )
            }
            Self::Vectors => format!(
                "CREATE EXTENSION vector;
                 CREATE TABLE embeddings (id bigint PRIMARY KEY, label text NOT NULL, embedding vector(384));
                 SELECT setseed(0.5);
                 INSERT INTO embeddings SELECT i, 'label ' || i,
                   (SELECT array_agg((random() + 0 * (i + d))::float4) FROM generate_series(1, 384) d)::vector
                 FROM generate_series(1, {}) i;
                 SET maintenance_work_mem = '1GB';
                 CREATE INDEX embeddings_hnsw ON embeddings USING hnsw (embedding vector_cosine_ops)",
                all(100_000)
            ),
            Self::Documents => format!(
                "CREATE TABLE documents (id bigint PRIMARY KEY, made timestamptz NOT NULL, body jsonb NOT NULL);
                 INSERT INTO documents SELECT i, timestamptz '2024-01-01' + i * interval '1 s',
                   (SELECT jsonb_object_agg('key_' || k, md5((i * k)::text)) FROM generate_series(1, 20) k)
                 FROM generate_series(1, {}) i;
                 CREATE INDEX documents_made ON documents (made);
                 CREATE INDEX documents_body ON documents USING gin (body jsonb_path_ops)",
                all(200_000)
            ),
            Self::ManyTables => format!(
                "DO $$ BEGIN FOR n IN 1..{} LOOP
                   EXECUTE format('CREATE TABLE small_%s (id serial PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now())', n);
                   EXECUTE format('INSERT INTO small_%s (name) SELECT ''name '' || i FROM generate_series(1, 100) i', n);
                   EXECUTE format('CREATE INDEX ON small_%s (name)', n);
                   IF n % 200 = 0 THEN COMMIT; END IF;
                 END LOOP; END $$",
                all(2_000)
            ),
            // Whatever the share: round trips are counted, not seconds.
            Self::Empty => "DO $$ BEGIN FOR n IN 1..500 LOOP
                   EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, name text NOT NULL UNIQUE, at timestamptz)', n);
                   IF n > 1 THEN EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (id) REFERENCES t%s', n, n / 2); END IF;
                   IF n % 100 = 0 THEN COMMIT; END IF;
                 END LOOP; END $$"
                .to_owned(),
        };
        server.psql(database, &sql).map_err(|e| e.to_string())?;
        server.psql(database, "VACUUM ANALYZE").map_err(|e| e.to_string())?;
        Ok(())
    }
}
