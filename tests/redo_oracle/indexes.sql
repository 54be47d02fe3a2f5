-- What the redo oracle replays for hash, GIN, GiST, SP-GiST, BRIN and generic records (bloom): every record type that
-- a small database can produce. Runs in a fresh database; autovacuum must be off for the types that VACUUM makes.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bloom;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- Hash: overflow pages, splits, squeezes over several pages, moves, deletes of what scans found dead.
CREATE TABLE h (k int, v int);
CREATE INDEX h_k ON h USING hash (k) WITH (fillfactor = 10);
INSERT INTO h SELECT g % 40, g FROM generate_series(1, 30000) g;
DELETE FROM h WHERE v % 3 <> 0;
VACUUM h;
INSERT INTO h SELECT g, g FROM generate_series(1, 20000) g;
DELETE FROM h WHERE k < 40 AND v > 9000 AND v % 4 <> 1;
VACUUM h;
DELETE FROM h WHERE k < 30;
VACUUM h;
CREATE TABLE h2 (k int);
INSERT INTO h2 SELECT 7 FROM generate_series(1, 400);
CREATE INDEX h2_k ON h2 USING hash (k);
SET enable_seqscan = off; SET enable_bitmapscan = off;
BEGIN; DELETE FROM h2; COMMIT;
SELECT count(*) FROM h2 WHERE k = 7;
INSERT INTO h2 SELECT 7 FROM generate_series(1, 600);
RESET enable_seqscan; RESET enable_bitmapscan;
DELETE FROM h2 WHERE ctid < '(1,0)'::tid;
VACUUM h2;
CREATE TABLE h3 (k int);
CREATE INDEX h3_k ON h3 USING hash (k);
INSERT INTO h3 SELECT CASE WHEN g % 2 = 0 THEN 1 ELSE g END FROM generate_series(1, 30000) g;
DELETE FROM h3 WHERE k <> 1; VACUUM h3;
INSERT INTO h3 SELECT g FROM generate_series(1, 5000) g;
DELETE FROM h3 WHERE ctid::text::point <@ circle '((300,0),250)'; VACUUM h3;

-- GIN: entry tree and posting trees of two levels, fast updates, vacuum of leaves, deleted pages.
CREATE TABLE gi (id int, tags int[], txt text);
ALTER TABLE gi SET (autovacuum_enabled = off);
CREATE INDEX gi_tags ON gi USING gin (tags) WITH (fastupdate = off);
CREATE INDEX gi_txt ON gi USING gin (txt gin_trgm_ops) WITH (fastupdate = on, gin_pending_list_limit = 64);
INSERT INTO gi SELECT g, ARRAY[1, g % 5 + 10, g + 1000], md5(g::text) FROM generate_series(1, 3000) g;
INSERT INTO gi SELECT g, ARRAY[1, 2, g % 5 + 10], md5(g::text) FROM generate_series(3001, 16000) g;
DELETE FROM gi WHERE id % 7 = 0;
VACUUM gi;
INSERT INTO gi SELECT g, ARRAY[1, 2, g % 3 + 10], 'again' || g FROM generate_series(40001, 43000) g;
DELETE FROM gi WHERE id BETWEEN 5000 AND 15000;
VACUUM gi;
VACUUM gi;
INSERT INTO gi SELECT g, ARRAY[1, 2, g % 3 + 10], 'more' || g % 10 FROM generate_series(44001, 46000) g;
SELECT gin_clean_pending_list('gi_txt');
CREATE TABLE gi2 (id int, tags int[]);
INSERT INTO gi2 SELECT g, ARRAY[1] FROM generate_series(1, 300000) g;
CREATE INDEX gi2_tags ON gi2 USING gin (tags) WITH (fastupdate = off);
INSERT INTO gi2 SELECT g, ARRAY[1, 3] FROM generate_series(1, 20000) g;
DELETE FROM gi2 WHERE id % 3 = 0;
VACUUM gi2;
INSERT INTO gi2 SELECT g, ARRAY[1, 3] FROM generate_series(1, 10000) g;
DELETE FROM gi2 WHERE ctid < '(900,0)'::tid;
VACUUM gi2;

-- GiST: splits on several levels, updates of keys in place, pages deleted, tuples that scans found dead.
CREATE TABLE ge (id int, p point, r int4range, t text);
CREATE INDEX ge_p ON ge USING gist (p);
CREATE INDEX ge_r ON ge USING gist (r, id);
CREATE INDEX ge_t ON ge USING gist (t gist_trgm_ops);
INSERT INTO ge SELECT g, point(g * 17 % 1009, g * 31 % 997), int4range(g % 100, g % 100 + g % 37), md5(g::text) FROM generate_series(1, 15000) g;
DELETE FROM ge WHERE id % 4 = 0;
VACUUM ge;
INSERT INTO ge SELECT g, point(g % 83, g % 79), int4range(g, g + 5), 'x' || g FROM generate_series(15001, 18000) g;
DELETE FROM ge WHERE p <@ box '((0,0),(1100,600))';
VACUUM ge;
VACUUM ge;
INSERT INTO ge SELECT g, point(g * 13 % 1009, g * 7 % 997), NULL, NULL FROM generate_series(20001, 26000) g;
CREATE TABLE gk (p point);
CREATE INDEX gk_p ON gk USING gist (p);
INSERT INTO gk SELECT point(g % 300, 1) FROM generate_series(1, 3000) g;
SET enable_seqscan = off; SET enable_bitmapscan = off;
DELETE FROM gk;
SELECT p FROM gk WHERE p <@ box '((0,0),(400,20))';
INSERT INTO gk SELECT point(g % 300, 1) FROM generate_series(1, 3000) g;
RESET enable_seqscan; RESET enable_bitmapscan;

-- SP-GiST: quad and k-d trees, radix trees with long common prefixes, nulls, redirects and their end.
CREATE TABLE sp (id int, p point, t text, i inet);
CREATE INDEX sp_p ON sp USING spgist (p);
CREATE INDEX sp_k ON sp USING spgist (p kd_point_ops);
CREATE INDEX sp_t ON sp USING spgist (t);
CREATE INDEX sp_i ON sp USING spgist (i);
INSERT INTO sp SELECT g, point(g % 30, g % 3), 'a', NULL FROM generate_series(1, 60) g;
DELETE FROM sp WHERE id % 2 = 0;
VACUUM sp;
INSERT INTO sp SELECT g, point(g * 17 % 1009, g * 31 % 997), repeat('common', 3) || md5(g::text), ('10.' || g % 200 || '.0.' || g % 7)::inet FROM generate_series(1, 8000) g;
INSERT INTO sp SELECT g, point(g % 9, g % 9), repeat('comm', g % 5) || chr(65 + g % 60) || g, NULL FROM generate_series(8001, 14000) g;
INSERT INTO sp SELECT g, NULL, NULL, ('2001:db8::' || to_hex(g))::inet FROM generate_series(14001, 20000) g;
DELETE FROM sp WHERE id % 3 <> 0;
VACUUM sp;
INSERT INTO sp SELECT g, point(g % 71, g % 67), md5(g::text), '10.0.0.1' FROM generate_series(20001, 24000) g;
DELETE FROM sp WHERE id < 12000;
VACUUM sp;
VACUUM sp;
CREATE TABLE sp2 (t text);
CREATE INDEX sp2_t ON sp2 USING spgist (t);
INSERT INTO sp2 SELECT repeat(chr(1 + g % 250), g % 90 + 1) || repeat('p', 300) || g FROM generate_series(200, 1, -1) g;
INSERT INTO sp2 SELECT repeat('p', g % 300) || chr(33 + g % 90) || g FROM generate_series(1, 9000) g;
CREATE TABLE sp3 (t text);
CREATE INDEX sp3_t ON sp3 USING spgist (t);
INSERT INTO sp3 SELECT chr(1000 + g) || repeat('q', 200) || n FROM generate_series(1, 700) g, generate_series(1, 3) n;
INSERT INTO sp3 SELECT 'k' || chr(1000 + g * 37 % 5000) || repeat('q', g % 100) || n FROM generate_series(1, 3000) g, generate_series(1, 2) n;

-- BRIN: summaries that grow out of their page, more ranges than a map page holds, ranges taken back.
CREATE TABLE br (id int, t text, x int) WITH (fillfactor = 10);
INSERT INTO br SELECT g, repeat('t', g % 300), g FROM generate_series(1, 4000) g;
CREATE INDEX br_id ON br USING brin (id, t) WITH (pages_per_range = 1);
CREATE INDEX br_mm ON br USING brin (x int4_minmax_multi_ops) WITH (pages_per_range = 2, autosummarize = off);
CREATE INDEX br_bl ON br USING brin (x int4_bloom_ops) WITH (pages_per_range = 16);
INSERT INTO br SELECT g, repeat('u', g % 2000), g * 7 FROM generate_series(4001, 10000) g;
SELECT brin_summarize_new_values('br_id'), brin_summarize_new_values('br_mm'), brin_summarize_new_values('br_bl');
UPDATE br SET t = repeat('z', 1500), x = x * 3 WHERE id % 5 = 0;
SELECT brin_desummarize_range('br_id', g), brin_desummarize_range('br_mm', g) FROM generate_series(0, 600, 4) g;
VACUUM br;
SELECT brin_summarize_new_values('br_id'), brin_summarize_new_values('br_mm');
UPDATE br SET t = repeat('y', 1800) WHERE id % 9 = 0;
SELECT brin_summarize_range('br_id', 4);

-- Generic records: bloom.
CREATE TABLE bl (a int, b int, c text);
CREATE INDEX bl_abc ON bl USING bloom (a, b, c);
INSERT INTO bl SELECT g % 13, g, md5(g::text) FROM generate_series(1, 8000) g;
DELETE FROM bl WHERE a IN (1, 2, 3, 4);
VACUUM bl;
INSERT INTO bl SELECT g, g, 'x' FROM generate_series(1, 3000) g;
DELETE FROM bl; VACUUM bl;

-- The same pages behind a checkpoint: full-page images, where they are on.
CHECKPOINT;
INSERT INTO h SELECT g % 900, g FROM generate_series(1, 4000) g;
INSERT INTO gi SELECT g, ARRAY[1, 2, g % 9], md5((g % 100)::text) FROM generate_series(50001, 52000) g;
INSERT INTO ge SELECT g, point(g % 211, g % 199), int4range(g % 50, g % 50 + 9), md5(g::text) FROM generate_series(30001, 34000) g;
INSERT INTO sp SELECT g, point(g % 211, g % 199), 'common' || md5(g::text), '10.1.1.1' FROM generate_series(30001, 34000) g;
INSERT INTO br SELECT g, 'a', -g FROM generate_series(1, 500) g;
INSERT INTO bl SELECT g, g, 'y' FROM generate_series(1, 500) g;
VACUUM;
