-- A small run of hash, GIN, GiST, SP-GiST, BRIN and generic record types, for the recorded WAL of src/redo/testdata.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
-- Bulk comes without check images (:off), to keep the file small: redo goes on, and the next image proves both.
\set on 'SET wal_consistency_checking = ''hash,gin,gist,spgist,brin,generic'''
\set off 'SET wal_consistency_checking = '''''
:off; CREATE EXTENSION bloom; CREATE EXTENSION btree_gist;

-- Hash. A table of one page gets few buckets, so that there are splits.
CREATE TABLE h (k int, v int); INSERT INTO h VALUES (0, 0); VACUUM h;
:on; CREATE INDEX h_k ON h USING hash (k) WITH (fillfactor = 10);
INSERT INTO h SELECT g, g FROM generate_series(1, 160) g;
:off; INSERT INTO h SELECT g, g FROM generate_series(161, 500) g; INSERT INTO h SELECT 3, g FROM generate_series(1, 800) g;
:on; INSERT INTO h SELECT 3, g FROM generate_series(1, 410) g;
:off; INSERT INTO h SELECT 3, g FROM generate_series(1, 800) g;
:on; DELETE FROM h WHERE k = 3 AND v % 4 <> 0; VACUUM h;
:off; INSERT INTO h SELECT 3, g FROM generate_series(1, 1600) g;
:on; DELETE FROM h WHERE ctid < '(4,0)' AND k = 3; VACUUM h;
DELETE FROM h WHERE v > 3; VACUUM h;
:off; CREATE TABLE h2 (k int); CREATE INDEX h2_k ON h2 USING hash (k);
INSERT INTO h2 SELECT 7 FROM generate_series(1, 300); INSERT INTO h2 SELECT 8 FROM generate_series(1, 100);
SET enable_seqscan = off; SET enable_bitmapscan = off;
DELETE FROM h2 WHERE k = 7; SELECT count(*) FROM h2 WHERE k = 7;
INSERT INTO h2 SELECT 7 FROM generate_series(1, 100);
:on; INSERT INTO h2 SELECT 7 FROM generate_series(1, 40);

-- GiST. Scans mark dead tuples below the root only; an insert into the full page then deletes them.
:off; CREATE TABLE gk (p point); CREATE INDEX gk_p ON gk USING gist (p);
INSERT INTO gk SELECT point(g % 300, 1) FROM generate_series(1, 300) g;
DELETE FROM gk; SELECT p FROM gk WHERE p <@ box '((0,0),(400,20))';
:on; INSERT INTO gk SELECT point(g % 300, 1) FROM generate_series(1, 130) g;
RESET enable_seqscan; RESET enable_bitmapscan;
:off; CREATE TABLE ge (id int, p point); CREATE INDEX ge_p ON ge USING gist (p);
INSERT INTO ge SELECT g, point(g * 17 % 1009, g * 31 % 997) FROM generate_series(1, 550) g;
:on; INSERT INTO ge SELECT g, point(g * 17 % 1009, g * 31 % 997) FROM generate_series(551, 700) g;
DELETE FROM ge WHERE p <@ box '((0,0),(1100,700))'; VACUUM ge; VACUUM ge;
CREATE TABLE gt (t text); CREATE INDEX gt_t ON gt USING gist (t);
INSERT INTO gt SELECT repeat(chr(97 + g % 26), 900) || g FROM generate_series(1, 60) g;
INSERT INTO gt SELECT repeat(chr(97 + g % 26), 1500) || g FROM generate_series(1, 40) g;

-- GIN.
:off; CREATE TABLE gi (id int, tags int[]); CREATE INDEX gi_tags ON gi USING gin (tags) WITH (fastupdate = off);
INSERT INTO gi SELECT g, ARRAY[1, g % 400] FROM generate_series(1, 600) g;
:on; INSERT INTO gi SELECT g, ARRAY[1, g % 400] FROM generate_series(600, 900) g WHERE g % 5 = 0;
INSERT INTO gi SELECT g, ARRAY[g] FROM generate_series(1000, 1060) g;
INSERT INTO gi SELECT g, ARRAY[2] FROM generate_series(1, 2100) g WHERE g > 2040;
:off; INSERT INTO gi SELECT g, ARRAY[2] FROM generate_series(1, 2480) g;
:on; INSERT INTO gi SELECT g, ARRAY[2] FROM generate_series(1, 160) g;
DELETE FROM gi WHERE id % 7 = 0; VACUUM gi;
:off; CREATE TABLE gi2 (tags int[]); INSERT INTO gi2 SELECT ARRAY[1] FROM generate_series(1, 25000);
CREATE INDEX gi2_tags ON gi2 USING gin (tags) WITH (fastupdate = off);
:on; INSERT INTO gi2 SELECT ARRAY[1] FROM generate_series(1, 20);
:off; INSERT INTO gi2 SELECT ARRAY[1] FROM generate_series(1, 9000);
:on; DELETE FROM gi2 WHERE ctid >= '(50,0)' AND ctid < '(130,0)'; VACUUM gi2;
CREATE TABLE gf (tags text[]); CREATE INDEX gf_tags ON gf USING gin (tags) WITH (gin_pending_list_limit = 64);
INSERT INTO gf SELECT ARRAY[repeat('t', 500) || g, 'x'] FROM generate_series(1, 60) g;
SELECT gin_clean_pending_list('gf_tags');
INSERT INTO gf SELECT ARRAY[repeat('t', 900) || g || 'a', repeat('t', 900) || g] FROM generate_series(1, 60) g;
SELECT gin_clean_pending_list('gf_tags');

-- SP-GiST.
CREATE TABLE sp (id int, p point, t text); CREATE INDEX sp_p ON sp USING spgist (p); CREATE INDEX sp_t ON sp USING spgist (t);
INSERT INTO sp SELECT g, point(g, 1), 'a' FROM generate_series(1, 6) g;
DELETE FROM sp WHERE id % 2 = 0; VACUUM sp;
:off; INSERT INTO sp SELECT g, point(g * 17 % 1009, g * 31 % 997), NULL FROM generate_series(1, 220) g;
:on; INSERT INTO sp SELECT g, point(g * 17 % 1009, g * 31 % 997), NULL FROM generate_series(221, 300) g;
DELETE FROM sp WHERE id % 3 <> 0; VACUUM sp;
CREATE TABLE sq (t text); CREATE INDEX sq_t ON sq USING spgist (t);
INSERT INTO sq SELECT 'k' || chr(1000 + g * 37 % 700) || repeat('q', g % 100 + 40) || n FROM generate_series(1, 220) g, generate_series(1, 2) n;
INSERT INTO sq VALUES ('p');
:off; INSERT INTO sq SELECT repeat('p', g % 300) || chr(33 + g % 90) || g FROM generate_series(1, 240) g;
:on; INSERT INTO sq SELECT repeat('p', g % 300) || chr(33 + g % 90) || g FROM generate_series(241, 300) g;
DELETE FROM sq WHERE length(t) > 200; VACUUM sq; VACUUM sq;
:off; CREATE TABLE sr (t text); CREATE INDEX sr_t ON sr USING spgist (t);
INSERT INTO sr SELECT chr(33 + g % 60) || chr(33 + g * 7 % 89) || repeat('q', 200) || g FROM generate_series(1, 1700) g;
:on; INSERT INTO sr SELECT chr(33 + g % 61) || chr(33 + g * 11 % 93) || repeat('q', 200) || g FROM generate_series(1, 160) g;
INSERT INTO sr SELECT repeat('q', g % 190) || 'r' || g FROM generate_series(1, 20) g;

-- BRIN: more ranges than a page of the map holds (1360).
:off; CREATE TABLE br (id int, t text) WITH (fillfactor = 10);
INSERT INTO br SELECT g, repeat('t', 300) FROM generate_series(1, 2690) g;
CREATE INDEX br_id ON br USING brin (id, t) WITH (pages_per_range = 1);
:on; INSERT INTO br SELECT g, repeat('t', 300) FROM generate_series(1, 100) g;
SELECT brin_summarize_new_values('br_id');
UPDATE br SET t = repeat('y', 900) WHERE id % 90 = 0;
SELECT brin_desummarize_range('br_id', g) FROM generate_series(0, 20, 4) g;
SELECT brin_summarize_new_values('br_id');
:off; CREATE TABLE bs AS SELECT g AS id FROM generate_series(1, 500) g;
:on; CREATE INDEX bs_id ON bs USING brin (id);

-- Generic: bloom.
:off; CREATE TABLE bl (a int, b int); CREATE INDEX bl_ab ON bl USING bloom (a, b);
INSERT INTO bl SELECT g % 13, g FROM generate_series(1, 500) g;
:on; DELETE FROM bl WHERE a < 9; VACUUM bl; INSERT INTO bl SELECT g, g FROM generate_series(1, 20) g;
