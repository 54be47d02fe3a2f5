-- pgbench script: row locks by several transactions (multixacts), prepared transactions, subtransactions.
\set id random(1, 400)
\set other random(1, 400)
\set n random(1, 1000000000)
BEGIN;
SELECT k FROM t WHERE id = :id FOR KEY SHARE;
SAVEPOINT s;
SELECT k FROM t WHERE id = :other FOR SHARE SKIP LOCKED;
UPDATE t SET v = 'c' || :n WHERE id = (SELECT id FROM t WHERE id = :other FOR NO KEY UPDATE SKIP LOCKED);
INSERT INTO dup VALUES (:id % 10, :other % 5, 'c');
\if :n % 11 = 0
ROLLBACK TO s;
\endif
\if :n % 17 = 0
PREPARE TRANSACTION 'p:client_id';
COMMIT PREPARED 'p:client_id';
\else
COMMIT;
\endif
