-- The labelling service's database as its sixteen Alembic migrations leave it, filled by formula: the same rows
-- on every machine and every major. The formulas for ids, keys and sizes are those of sample.rs.

CREATE TYPE task_type AS ENUM ('classification', 'detection', 'segmentation', 'keypoints');
CREATE TYPE annotation_status AS ENUM ('draft', 'submitted', 'in review', 'approved', 'rejected');
CREATE TYPE project_role AS ENUM ('viewer', 'annotator', 'reviewer', 'owner');

CREATE SEQUENCE export_number_seq AS integer START WITH 100 INCREMENT BY 5 MAXVALUE 99995 CACHE 1;

CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE datasets (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(255) NOT NULL,
    description text,
    storage_prefix text NOT NULL,
    image_count integer NOT NULL DEFAULT 0,
    settings jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT uq_datasets_name UNIQUE (name),
    CONSTRAINT ck_datasets_image_count CHECK (image_count >= 0)
);

CREATE TABLE annotation_projects (
    id varchar(20) PRIMARY KEY,
    dataset_id uuid NOT NULL REFERENCES datasets (id) ON DELETE RESTRICT,
    name varchar(255) NOT NULL,
    description text DEFAULT '',
    owner_id uuid NOT NULL,
    task_types task_type[] NOT NULL DEFAULT '{classification}'::task_type[],
    class_names text[] NOT NULL DEFAULT '{}',
    label_config jsonb,
    is_active boolean NOT NULL DEFAULT true,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz,
    CONSTRAINT ck_annotation_projects_id CHECK (id ~ '^proj_[0-9a-f]{12}$'),
    CONSTRAINT ck_annotation_projects_task_types CHECK (cardinality(task_types) > 0)
);

CREATE TABLE image_metadata (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 1 INCREMENT BY 1),
    image_id uuid NOT NULL,
    dataset_id uuid NOT NULL,
    object_key text NOT NULL,
    thumbnail_key text,
    file_name varchar(255) NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    megapixels numeric(8, 3) GENERATED ALWAYS AS ((width::numeric * height::numeric) / 1000000.0) STORED,
    file_size bigint NOT NULL,
    checksum bytea,
    exif jsonb,
    tags text[],
    gps double precision[],
    captured_at timestamp,
    captured_on date,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT pk_image_metadata PRIMARY KEY (id),
    CONSTRAINT uq_image_metadata_image_id UNIQUE (image_id),
    CONSTRAINT uq_image_metadata_object_key UNIQUE (dataset_id, object_key),
    CONSTRAINT fk_image_metadata_dataset FOREIGN KEY (dataset_id) REFERENCES datasets (id) ON DELETE CASCADE,
    CONSTRAINT ck_image_metadata_size CHECK (width > 0 AND height > 0 AND file_size >= 0)
);

CREATE TABLE annotations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id varchar(20) NOT NULL REFERENCES annotation_projects (id) ON DELETE CASCADE,
    image_id uuid NOT NULL REFERENCES image_metadata (image_id) ON DELETE CASCADE,
    annotator_id uuid,
    task task_type NOT NULL,
    status annotation_status NOT NULL DEFAULT 'draft',
    data jsonb NOT NULL,
    note text,
    confidence numeric(5, 4),
    area real,
    time_spent interval,
    is_ground_truth boolean NOT NULL DEFAULT false,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz,
    CONSTRAINT uq_annotations_image_task UNIQUE (project_id, image_id, task),
    CONSTRAINT ck_annotations_confidence CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT ck_annotations_version CHECK (version > 0)
);

CREATE TABLE annotation_history (
    id bigserial PRIMARY KEY,
    annotation_id uuid NOT NULL REFERENCES annotations (id) ON DELETE CASCADE,
    version integer NOT NULL,
    action varchar(16) NOT NULL,
    changed_by uuid,
    old_data jsonb,
    new_data jsonb,
    changed_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT uq_annotation_history_version UNIQUE (annotation_id, version),
    CONSTRAINT ck_annotation_history_action CHECK (action IN ('create', 'update', 'review'))
);

CREATE TABLE image_locks (
    project_id varchar(20) NOT NULL REFERENCES annotation_projects (id) ON DELETE CASCADE,
    image_id uuid NOT NULL REFERENCES image_metadata (image_id) ON DELETE CASCADE,
    locked_by uuid NOT NULL,
    locked_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    expires_at timestamptz NOT NULL,
    client inet,
    PRIMARY KEY (project_id, image_id),
    CONSTRAINT ck_image_locks_expiry CHECK (expires_at > locked_at)
);

CREATE TABLE project_permissions (
    id serial PRIMARY KEY,
    project_id varchar(20) NOT NULL REFERENCES annotation_projects (id) ON DELETE CASCADE,
    user_id uuid NOT NULL,
    role project_role NOT NULL DEFAULT 'viewer',
    granted_by uuid,
    granted_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT uq_project_permissions_user UNIQUE (project_id, user_id)
);

CREATE TABLE invitations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id varchar(20) NOT NULL REFERENCES annotation_projects (id) ON DELETE CASCADE,
    email varchar(320) NOT NULL,
    role project_role NOT NULL DEFAULT 'annotator',
    token_digest char(64) NOT NULL,
    valid_until timestamptz NOT NULL DEFAULT 'infinity',
    accepted_at timestamptz,
    CONSTRAINT ck_invitations_email CHECK (position('@' IN email) > 1)
);

CREATE INDEX ix_annotation_projects_dataset ON annotation_projects (dataset_id);
CREATE INDEX ix_annotation_projects_active ON annotation_projects (created_at DESC) WHERE is_active;
CREATE INDEX ix_image_metadata_dataset_created ON image_metadata (dataset_id, created_at DESC NULLS LAST);
CREATE INDEX ix_image_metadata_tags ON image_metadata USING gin (tags);
CREATE INDEX ix_image_metadata_exif ON image_metadata USING gin (exif jsonb_path_ops);
CREATE INDEX ix_annotations_image ON annotations (image_id) INCLUDE (status);
CREATE INDEX ix_annotations_status ON annotations (project_id, status);
CREATE INDEX ix_annotation_history_changed ON annotation_history USING brin (changed_at);
CREATE UNIQUE INDEX uq_invitations_open ON invitations (project_id, lower(email)) WHERE accepted_at IS NULL;

CREATE VIEW project_progress AS
    SELECT p.id,
           p.name,
           count(a.id) AS annotations,
           count(a.id) FILTER (WHERE a.status = 'approved') AS approved,
           max(a.updated_at) AS last_change
    FROM annotation_projects p
    LEFT JOIN annotations a ON a.project_id = p.id
    GROUP BY p.id, p.name;

COMMENT ON TABLE annotations IS 'One label set per image, task and project; version is for optimistic locking.';
COMMENT ON COLUMN annotations.data IS 'COCO-like; it''s validated by the API, not here.';
COMMENT ON COLUMN image_metadata.object_key IS 'Relative to the bucket: the storage may move, the key may not.';
COMMENT ON VIEW project_progress IS 'For the dashboard.';
COMMENT ON TYPE annotation_status IS 'Life of an annotation';

INSERT INTO alembic_version VALUES ('0016_image_locks');

INSERT INTO datasets (id, name, description, storage_prefix, image_count, settings, created_at, updated_at)
SELECT id::uuid, 'Street scenes', E'Two cities,\tfour seasons\nback\\slash, \\. and "quotes"', id || '/', 1725,
       '{"classes": ["car", "bicycle", "pedestrian", "straße"], "locale": null, "ratio": 0.70}',
       '2025-03-01 08:00:00+00', '2025-03-02 09:30:15.123456+00'
FROM (SELECT md5('labeler-dataset-1')::uuid::text AS id) AS d;

INSERT INTO annotation_projects
SELECT 'proj_' || left(md5('labeler-project-' || g), 12),
       md5('labeler-dataset-1')::uuid,
       (ARRAY['Cars', 'Bicycles', 'Fußgänger', '行人', 'Night 🌃', 'Archive'])[g],
       CASE g WHEN 2 THEN NULL WHEN 3 THEN '' ELSE 'Project number ' || g END,
       md5('labeler-user-' || (g % 3))::uuid,
       (ARRAY['{detection}', '{classification,detection}', '{segmentation}', '{keypoints}',
              '{classification}', '{detection,segmentation}'])[g]::task_type[],
       CASE WHEN g = 5 THEN '{}' ELSE ARRAY['car', 'with "quotes"', 'comma, and {brace}', NULL] END,
       CASE WHEN g = 6 THEN NULL
            ELSE jsonb_build_object('min_area', g * 1.5, 'colors', jsonb_build_array('#ff0000', '#00ff00'),
                                    'nested', jsonb_build_object('deep', ARRAY[1, 2, 3])) END,
       g <> 6,
       g,
       timestamptz '2025-03-01 10:00:00+00' + g * interval '1 day',
       CASE WHEN g % 2 = 0 THEN timestamptz '2025-04-01 00:00:00.5+00' END
FROM generate_series(1, 6) AS g;

INSERT INTO image_metadata
    (image_id, dataset_id, object_key, thumbnail_key, file_name, width, height, file_size, checksum, exif, tags,
     gps, captured_at, captured_on, created_at)
SELECT md5('labeler-image-' || g)::uuid,
       d.id,
       d.id || '/images/img_' || lpad(g::text, 5, '0') || '.jpg',
       d.id || '/thumbnails/img_' || lpad(g::text, 5, '0') || '.jpg',
       'img_' || lpad(g::text, 5, '0') || '.jpg',
       640 + (g % 7) * 128,
       480 + (g % 5) * 96,
       2048 + (g * 37) % 4096,
       decode(md5('labeler-image-' || g), 'hex'),
       CASE WHEN g % 11 = 0 THEN NULL
            ELSE jsonb_build_object('camera', 'cam-' || (g % 4), 'iso', 100 * (1 + g % 8), 'exposure', '1/' || (60 + g % 200)) END,
       CASE g % 4 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE ARRAY['city-' || (g % 2), 'season ' || (g % 4)] END,
       CASE WHEN g % 3 = 0 THEN ARRAY[48.137 + g / 100000.0, 11.575 - g / 100000.0] END,
       timestamp '2025-02-01 06:00:00' + g * interval '97 seconds',
       date '2025-02-01' + g / 891,
       timestamptz '2025-03-01 08:00:00+00' + g * interval '1.7 seconds'
FROM generate_series(1, 1725) AS g, (SELECT md5('labeler-dataset-1')::uuid AS id) AS d;

INSERT INTO annotations
SELECT md5('labeler-annotation-' || g)::uuid,
       'proj_' || left(md5('labeler-project-' || (1 + g % 6)), 12),
       md5('labeler-image-' || (g * 5))::uuid,
       CASE WHEN g % 13 <> 0 THEN md5('labeler-user-' || (g % 3))::uuid END,
       (enum_range(NULL::task_type))[1 + g % 4],
       (enum_range(NULL::annotation_status))[1 + g % 5],
       jsonb_build_object('boxes', (SELECT jsonb_agg(jsonb_build_array(b * 10, b * 7 + g % 50, 32, 24))
                                    FROM generate_series(1, 1 + g % 6) AS b),
                          'label', 'car', 'text', E'line one\nline two \\ "q" é'),
       CASE g % 9 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'\\N' WHEN 3 THEN E'tab\there'
                  ELSE 'note ' || g || ' – ünïcode 標' END,
       CASE WHEN g % 4 <> 0 THEN round((g % 1000) / 1000.0, 4) END,
       g * 1.25,
       CASE WHEN g % 5 <> 0 THEN g * interval '1.5 seconds' + (g % 3) * interval '1 day' END,
       g % 10 = 0,
       1 + g % 4,
       timestamptz '2025-03-05 12:00:00+00' + g * interval '61 seconds',
       CASE WHEN g % 2 = 0 THEN timestamptz '2025-03-06 12:00:00+00' + g * interval '61.25 seconds' END
FROM generate_series(1, 327) AS g;

INSERT INTO annotation_history (annotation_id, version, action, changed_by, old_data, new_data, changed_at)
SELECT md5('labeler-annotation-' || (1 + (g - 1) % 327))::uuid,
       1 + (g - 1) / 327,
       CASE WHEN g <= 327 THEN 'create' WHEN g % 3 = 0 THEN 'review' ELSE 'update' END,
       md5('labeler-user-' || (g % 3))::uuid,
       CASE WHEN g > 327 THEN jsonb_build_object('revision', g - 327) END,
       jsonb_build_object('revision', g, 'digest', md5('history-' || g)),
       timestamptz '2025-03-05 12:00:00+00' + g * interval '73 seconds'
FROM generate_series(1, 1536) AS g;

INSERT INTO image_locks
SELECT 'proj_' || left(md5('labeler-project-1'), 12), md5('labeler-image-42')::uuid, md5('labeler-user-1')::uuid,
       '2025-04-01 09:00:00+00', '2025-04-01 09:15:00+00', '192.0.2.17';

INSERT INTO project_permissions (project_id, user_id, role, granted_by, granted_at)
SELECT 'proj_' || left(md5('labeler-project-' || (1 + g % 6)), 12),
       md5('labeler-user-' || g)::uuid,
       (enum_range(NULL::project_role))[1 + g % 4],
       CASE WHEN g <> 1 THEN md5('labeler-user-1')::uuid END,
       timestamptz '2025-03-02 00:00:00+00' + g * interval '1 hour'
FROM generate_series(1, 7) AS g;

INSERT INTO invitations
SELECT md5('labeler-invitation-' || g)::uuid,
       'proj_' || left(md5('labeler-project-' || g), 12),
       'Guest.' || g || '@example.com',
       'annotator',
       md5('token-' || g) || md5('token-again-' || g),
       CASE WHEN g = 1 THEN 'infinity' ELSE timestamptz '2025-06-01 00:00:00+00' + g * interval '1 day' END,
       CASE WHEN g = 3 THEN timestamptz '2025-05-01 10:00:00+00' END
FROM generate_series(1, 4) AS g;

-- Sequences stand past their rows, as they do after deletions and failed transactions.
SELECT setval('annotation_history_id_seq', 1601, true);
SELECT setval(pg_get_serial_sequence('image_metadata', 'id'), 1800, false);
SELECT setval('export_number_seq', 135, true);
ANALYZE;
