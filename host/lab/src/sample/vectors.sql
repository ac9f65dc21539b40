-- Migration E's second database: pgvector, with asset ids that could not be a foreign key across databases.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE asset_embeddings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    asset_id uuid NOT NULL,
    embedding vector(1536),
    source_text text,
    embedding_model varchar(100) DEFAULT 'text-embedding-3-small',
    metadata jsonb,
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX ix_asset_embeddings_asset ON asset_embeddings (asset_id);

INSERT INTO asset_embeddings
SELECT md5('embedding-' || g)::uuid, md5('asset-' || g)::uuid,
       (SELECT array_agg(((g * 31 + i * (17 + g % 7)) % 2003) / 2003.0 - 0.5 ORDER BY i)::real[]::vector
        FROM generate_series(1, 1536) AS i),
       'Text of asset ' || g, 'text-embedding-3-small', CASE WHEN g % 3 = 0 THEN '{"lang": "de"}'::jsonb END,
       timestamptz '2025-02-01 00:00:00+00' + g * interval '1 minute',
       timestamptz '2025-02-02 00:00:00+00' + g * interval '1 minute'
FROM generate_series(1, 300) AS g;
ANALYZE;
