-- What came with PostgreSQL 16 to 18, in a schema of its own. Before the event triggers of the others.
CREATE SCHEMA newer;
CREATE TABLE newer.virtual (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, c int GENERATED ALWAYS AS (a + 1) STORED);
INSERT INTO newer.virtual VALUES (1), (NULL);

-- NOT NULL constraints with names, of a child's own, not validated, not inherited.
CREATE TABLE newer.parent (a int NOT NULL, b int CONSTRAINT b_is_there NOT NULL, c int, d int);
CREATE TABLE newer.child (NOT NULL a, CONSTRAINT b_is_here NOT NULL b, CONSTRAINT c_is_here NOT NULL c) INHERITS (newer.parent);
COMMENT ON CONSTRAINT c_is_here ON newer.child IS 'of its own';
ALTER TABLE newer.child ADD CONSTRAINT d_is_there NOT NULL d;
INSERT INTO newer.parent VALUES (1, 1, 1, NULL);
ALTER TABLE newer.parent ADD CONSTRAINT d_is_there NOT NULL d NOT VALID;
COMMENT ON CONSTRAINT d_is_there ON newer.parent IS 'from now on';
CREATE TABLE newer.alone (a int CONSTRAINT mine NOT NULL NO INHERIT, b int PRIMARY KEY);
CREATE TABLE newer.parted (a int CONSTRAINT a_there NOT NULL, b int NOT NULL) PARTITION BY LIST (a);
CREATE TABLE newer.parted_1 PARTITION OF newer.parted FOR VALUES IN (1);

-- Constraints that nobody holds to, and those over time.
CREATE TABLE newer.loose (a int CONSTRAINT positive CHECK (a > 0) NOT ENFORCED, b int REFERENCES newer.alone NOT ENFORCED);
INSERT INTO newer.loose VALUES (-1, 7);
CREATE TABLE newer.rooms (during tsrange, id int4range, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE newer.bookings (during tsrange, room int4range, FOREIGN KEY (room, PERIOD during) REFERENCES newer.rooms (id, PERIOD during));
INSERT INTO newer.rooms VALUES ('[2024-01-01,2025-01-01)', '[1,2)');
INSERT INTO newer.bookings VALUES ('[2024-02-01,2024-03-01)', '[1,2)');

CREATE COLLATION newer.builtin (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE newer.collated (a text COLLATE newer.builtin);
CREATE PUBLICATION newer_columns FOR TABLE newer.virtual WITH (publish_generated_columns = stored);
CREATE STATISTICS newer.on_virtual ON a, c FROM newer.virtual;
