-- Records that clear bits of a visibility map: minor versions from 17.11 and 18.6 on name the map page (--record-fixture
-- with --maps). Before each group all pages are all-frozen.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
ALTER SYSTEM SET autovacuum = off;  -- its snapshots would keep pages from being all-visible
SELECT pg_reload_conf();
SELECT pg_sleep(2);
\set freeze 'VACUUM (FREEZE, INDEX_CLEANUP on) m; VACUUM (FREEZE, INDEX_CLEANUP on) m;'
CREATE TABLE m (id int PRIMARY KEY, v text) WITH (fillfactor = 80);
ALTER TABLE m ALTER v SET STORAGE PLAIN;
INSERT INTO m SELECT g, repeat('m', 200) FROM generate_series(1, 300) g;
:freeze
INSERT INTO m VALUES (1001, 'inserted');
:freeze
DELETE FROM m WHERE id IN (3, 150);
:freeze
SELECT id FROM m WHERE id IN (10, 200) FOR UPDATE;
:freeze
UPDATE m SET v = repeat('h', 200) WHERE id IN (20, 210);
:freeze
COPY (SELECT g, repeat('c', 40) FROM generate_series(2001, 2100) g) TO '/tmp/helium_oracle_copy.txt';
COPY m FROM '/tmp/helium_oracle_copy.txt';
:freeze
-- Off their page: to a new one, to that one again, and to one that is all-visible.
UPDATE m SET v = repeat('x', 3000) WHERE id = 50;
UPDATE m SET v = repeat('y', 3000) WHERE id = 90;
:freeze
DELETE FROM m WHERE id BETWEEN 220 AND 270;
:freeze
UPDATE m SET v = repeat('z', 2500) WHERE id IN (110, 160);
:freeze
DELETE FROM m;
VACUUM m;
