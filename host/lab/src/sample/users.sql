-- Accounts: the database that leaves the platform's.
CREATE TYPE user_state AS ENUM ('invited', 'active', 'locked');

CREATE TABLE alembic_version (version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0007_profiles');

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email varchar(320) NOT NULL,
    password_digest text NOT NULL,
    state user_state NOT NULL DEFAULT 'invited',
    roles text[] NOT NULL DEFAULT '{user}',
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_login_at timestamptz
);
CREATE UNIQUE INDEX uq_users_email ON users (lower(email));

CREATE TABLE profiles (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    display_name varchar(120) NOT NULL,
    locale char(5) NOT NULL DEFAULT 'en_US',
    avatar bytea,
    preferences jsonb NOT NULL DEFAULT '{}'
);

INSERT INTO users
SELECT md5('labeler-user-' || g)::uuid, 'User.' || g || '@example.com', 'sha256$' || md5('digest-' || g),
       (enum_range(NULL::user_state))[1 + g % 3], CASE WHEN g = 1 THEN '{user,admin}'::text[] ELSE '{user}' END,
       timestamptz '2025-01-01 00:00:00+00' + g * interval '3 hours',
       CASE WHEN g % 4 <> 0 THEN timestamptz '2025-04-01 00:00:00+00' + g * interval '7 minutes' END
FROM generate_series(0, 119) AS g;

INSERT INTO profiles
SELECT md5('labeler-user-' || g)::uuid, 'Näme ' || g, CASE g % 3 WHEN 0 THEN 'de_DE' ELSE 'en_US' END,
       CASE WHEN g % 5 = 0 THEN decode(repeat(md5('avatar-' || g), 20), 'hex') END,
       jsonb_build_object('theme', CASE WHEN g % 2 = 0 THEN 'dark' ELSE 'light' END, 'page_size', 10 + g)
FROM generate_series(0, 119) AS g;
ANALYZE;
