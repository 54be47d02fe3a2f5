-- What the redo oracle replays: every native record type, with and without full-page images.
-- Runs in a fresh database; safe to run again in another one.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;

-- Plain inserts, updates with long common prefixes and suffixes, HOT chains, deletes.
CREATE TABLE t (id int PRIMARY KEY, k int, v text, w text) WITH (fillfactor = 80);
INSERT INTO t SELECT g, g % 100, repeat('x', g % 200), md5(g::text) FROM generate_series(1, 6000) g;
UPDATE t SET v = v || 'tail' WHERE id % 7 = 0;
UPDATE t SET k = k + 1 WHERE id % 11 = 0;
UPDATE t SET v = repeat('y', 1500) WHERE id % 50 = 0;
DELETE FROM t WHERE id % 13 = 0;
VACUUM t;
UPDATE t SET v = 'short' WHERE id % 3 = 0;
VACUUM (FREEZE) t;
INSERT INTO t SELECT g, 1, 'again', NULL FROM generate_series(6001, 9000) g;
DELETE FROM t WHERE id > 7000;
VACUUM t;

-- Duplicates: deduplication, posting list splits, deletes of parts of posting lists, bottom-up deletion.
CREATE TABLE dup (a int, b int, payload text);
CREATE INDEX dup_a ON dup (a);
CREATE INDEX dup_b ON dup (b) WITH (deduplicate_items = off);
INSERT INTO dup SELECT g % 10, g % 5, 'p' || g FROM generate_series(1, 12000) g;
DELETE FROM dup WHERE (a * 7 + b) % 3 = 0;
VACUUM dup;
INSERT INTO dup SELECT g % 10, g % 5, 'q' FROM generate_series(1, 4000) g;
DO $$ BEGIN FOR i IN 1..12 LOOP UPDATE dup SET b = b + 1 WHERE a = 3; END LOOP; END $$;
SELECT count(*) FROM dup WHERE a = 3;
VACUUM dup;

-- A btree of several levels: splits left and right, new roots, page deletion up to inner pages.
CREATE TABLE deep (k text PRIMARY KEY);
INSERT INTO deep SELECT lpad(g::text, 8, '0') || repeat('k', 600) FROM generate_series(1, 5000) g ON CONFLICT DO NOTHING;
INSERT INTO deep SELECT lpad(g::text, 8, '0') || repeat('j', 600) FROM generate_series(5000, 1, -3) g;
DELETE FROM deep WHERE k < '00004500';
VACUUM deep;
INSERT INTO deep SELECT lpad(g::text, 8, '0') || repeat('z', 500) FROM generate_series(1, 800) g;
DELETE FROM deep WHERE k > '00000100';
VACUUM deep;
VACUUM deep;
CREATE INDEX ON deep (k text_pattern_ops);
REINDEX INDEX deep_pkey;

-- TOAST, multi-insert, COPY with FREEZE.
CREATE TABLE toasty (id serial PRIMARY KEY, body text);
ALTER TABLE toasty ALTER body SET STORAGE EXTERNAL;
INSERT INTO toasty (body) SELECT repeat(md5(g::text), 200 + g) FROM generate_series(1, 60) g;
UPDATE toasty SET body = body || 'more' WHERE id % 2 = 0;
DELETE FROM toasty WHERE id % 5 = 0;
VACUUM toasty;
COPY (SELECT g, repeat('c', g % 300) FROM generate_series(1, 3000) g) TO '/tmp/helium_oracle_copy.txt';
BEGIN;
CREATE TABLE copied (id int, v text);
COPY copied FROM '/tmp/helium_oracle_copy.txt' WITH (FREEZE);
COMMIT;
COPY copied FROM '/tmp/helium_oracle_copy.txt';
VACUUM copied;
COPY copied FROM '/tmp/helium_oracle_copy.txt';
DELETE FROM copied WHERE id % 2 = 0;

-- Savepoints, aborts, row locks, updates of locked rows.
BEGIN;
SAVEPOINT a; INSERT INTO t VALUES (100001, 1, 's', 's');
SAVEPOINT b; UPDATE t SET k = 0 WHERE id = 100001; ROLLBACK TO b;
SAVEPOINT c; SELECT * FROM t WHERE id = 1 FOR UPDATE; RELEASE c;
SELECT * FROM t WHERE id = 2 FOR SHARE; SELECT * FROM t WHERE id = 3 FOR KEY SHARE; SELECT * FROM t WHERE id = 4 FOR NO KEY UPDATE;
COMMIT;
BEGIN; DELETE FROM t WHERE id < 10; ROLLBACK;
DO $$ BEGIN FOR i IN 1..150 LOOP BEGIN UPDATE t SET k = i WHERE id = 20 + i; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;
BEGIN; SELECT * FROM t WHERE id = 14 FOR SHARE; SAVEPOINT s; UPDATE t SET v = 'locked and updated' WHERE id = 14; COMMIT;

-- Speculative insertion, partition moves, in-place updates.
CREATE TABLE spec (id int PRIMARY KEY, v int);
INSERT INTO spec SELECT g, g FROM generate_series(1, 500) g ON CONFLICT (id) DO UPDATE SET v = excluded.v + 1;
INSERT INTO spec SELECT g, g FROM generate_series(300, 700) g ON CONFLICT (id) DO UPDATE SET v = excluded.v + 1;
INSERT INTO spec SELECT g, g FROM generate_series(600, 900) g ON CONFLICT DO NOTHING;
CREATE TABLE part (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (100) TO (200);
INSERT INTO part SELECT g, 'p' FROM generate_series(0, 199) g;
UPDATE part SET id = 199 - id;
ANALYZE;

-- Sequences.
CREATE SEQUENCE s1; SELECT nextval('s1') FROM generate_series(1, 200);
SELECT setval('s1', 5000); ALTER SEQUENCE s1 RESTART WITH 7; CREATE UNLOGGED TABLE ul (id serial); ALTER TABLE ul SET LOGGED;

-- Truncation of files by VACUUM, TRUNCATE, dropped and new relations, aborted creation.
CREATE TABLE shrink AS SELECT g AS id, repeat('s', 100) AS v FROM generate_series(1, 20000) g;
VACUUM (FREEZE) shrink;
DELETE FROM shrink WHERE id > 3000;
VACUUM (TRUNCATE) shrink;
INSERT INTO shrink SELECT g, 'new' FROM generate_series(1, 2000) g;
VACUUM shrink;
TRUNCATE copied;
INSERT INTO copied VALUES (1, 'after truncate');
BEGIN; CREATE TABLE gone (id int); INSERT INTO gone SELECT generate_series(1, 1000); ROLLBACK;
DROP TABLE deep;

-- Other index types (more in indexes.sql).
CREATE TABLE geo (id int, p point, tags int[], txt text);
INSERT INTO geo SELECT g, point(g % 97, g % 89), ARRAY[g % 7, g % 11], md5(g::text) FROM generate_series(1, 3000) g;
CREATE INDEX geo_gist ON geo USING gist (p);
CREATE INDEX geo_spgist ON geo USING spgist (p);
CREATE INDEX geo_gin ON geo USING gin (tags);
CREATE INDEX geo_hash ON geo USING hash (id);
CREATE INDEX geo_brin ON geo USING brin (id);
INSERT INTO geo SELECT g, point(g % 97, g % 89), ARRAY[g % 7, g % 11, g % 13], md5(g::text) FROM generate_series(3001, 9000) g;
DELETE FROM geo WHERE id % 3 = 0;
VACUUM geo;
INSERT INTO geo SELECT g, point(g % 31, g % 29), ARRAY[g % 7, g % 17], md5(g::text) FROM generate_series(9001, 12000) g;

-- CLUSTER and VACUUM FULL rewrite; freeze of what is old by now.
CLUSTER t USING t_pkey;
VACUUM FULL spec;
VACUUM (FREEZE);
CHECKPOINT;
UPDATE t SET k = k + 1 WHERE id % 5 = 0;
UPDATE t SET v = NULL WHERE id % 17 = 0;
DELETE FROM dup WHERE a IN (1, 2);
VACUUM;
