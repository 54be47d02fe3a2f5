-- pgbench script: writers and vacuums on index pages that others change at the same time.
\set id random(1, 100000)
\set n random(1, 30)
INSERT INTO h SELECT g % 300, :id FROM generate_series(1, :n) g;
INSERT INTO gi SELECT :id, ARRAY[1, g % 5, :id], 'c' || :id FROM generate_series(1, :n) g;
INSERT INTO ge SELECT :id, point(:id % 997, g), int4range(g, g + :n), 'c' || :id FROM generate_series(1, :n) g;
INSERT INTO sp SELECT :id, point(:id % 997, g), 'c' || g || :id, '10.2.0.0'::inet + g FROM generate_series(1, :n) g;
DELETE FROM h WHERE v = :id - 1;
DELETE FROM ge WHERE id BETWEEN :id AND :id + 300;
DELETE FROM sp WHERE id BETWEEN :id AND :id + 300;
\if :id % 40 = 0
VACUUM (INDEX_CLEANUP ON) ge;
\elif :id % 40 = 1
VACUUM (INDEX_CLEANUP ON) gi;
\elif :id % 40 = 2
VACUUM (INDEX_CLEANUP ON) sp;
\elif :id % 40 = 3
VACUUM (INDEX_CLEANUP ON) h;
\endif
