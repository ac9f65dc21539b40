-- Migration E's main database: plain PostgreSQL, without vectors.
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0012_assets');

CREATE TABLE assets (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    kind varchar(20) NOT NULL CHECK (kind IN ('image', 'video', 'document')),
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX ix_assets_kind ON assets (kind, created_at);

CREATE TABLE asset_versions (
    asset_id uuid NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    version smallint NOT NULL,
    checksum bytea NOT NULL,
    PRIMARY KEY (asset_id, version)
);

INSERT INTO assets
SELECT md5('asset-' || g)::uuid, 'Asset № ' || g, (ARRAY['image', 'video', 'document'])[1 + g % 3],
       ARRAY['t' || (g % 5)], CASE WHEN g % 6 <> 0 THEN jsonb_build_object('n', g) END,
       timestamptz '2025-01-01 00:00:00+00' + g * interval '1 hour'
FROM generate_series(1, 400) AS g;

INSERT INTO asset_versions
SELECT md5('asset-' || g)::uuid, v, decode(md5(g || '/' || v), 'hex')
FROM generate_series(1, 400) AS g, generate_series(1, 2) AS v;
ANALYZE;
