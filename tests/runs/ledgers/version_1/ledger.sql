BEGIN TRANSACTION;
CREATE TABLE attempts (
    id            INTEGER PRIMARY KEY,
    shard_id      INTEGER NOT NULL REFERENCES shards (id) ON DELETE CASCADE,
    run_id        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    no            INTEGER NOT NULL,
    tag           TEXT NOT NULL UNIQUE,
    state         TEXT NOT NULL CONSTRAINT attempt_state_is_known CHECK (state IN ('abandoned', 'cleaned', 'create_intent', 'created', 'dropped', 'ended', 'fence', 'fenced', 'fetched', 'file_intent', 'planned', 'quarantine', 'reconcile', 'refused', 'split', 'uploaded', 'verified')),
    file_id       TEXT,
    batch_id      TEXT UNIQUE,
    native_state  TEXT,
    -- When the next step may be taken.
    due_at        INTEGER NOT NULL,
    -- When the present state was entered.
    since         INTEGER NOT NULL,
    created_at    INTEGER,
    expires_at    INTEGER,
    ended_at      INTEGER,
    -- Failures in a row of the present step, and how often the provider had no room.
    tries         INTEGER NOT NULL DEFAULT 0,
    refusals      INTEGER NOT NULL DEFAULT 0,
    done_requests INTEGER NOT NULL DEFAULT 0,
    error_code    TEXT,
    error_message TEXT,
    UNIQUE (shard_id, no),
    CONSTRAINT an_uploaded_file_has_an_id CHECK
        (state IN ('planned', 'file_intent', 'dropped', 'refused', 'split') OR file_id IS NOT NULL),
    CONSTRAINT a_created_batch_has_an_id CHECK
        (state NOT IN ('created', 'ended', 'fetched', 'verified', 'cleaned') OR batch_id IS NOT NULL),
    CONSTRAINT no_batch_before_the_create CHECK
        (state NOT IN ('planned', 'file_intent', 'uploaded', 'create_intent', 'reconcile', 'fence', 'fenced')
         OR batch_id IS NULL)
) STRICT;
INSERT INTO "attempts" VALUES(1,1,'zszhzjcssp',1,'nono-zszhzjcssp-0-1-0','fetched','file-ZKD7VJQIug4lwMxA36qW81','batch_0e66486773c934d5d9eb390bdf66bd96','completed',1795399843258,1795399843258,1795399843121,1795486243000,1795399843169,0,0,1,NULL,NULL);
INSERT INTO "attempts" VALUES(2,2,'zszhzjcssp',1,'nono-zszhzjcssp-1-1-0','planned',NULL,NULL,NULL,1795399842922,1795399842922,NULL,NULL,NULL,0,0,0,NULL,NULL);
INSERT INTO "attempts" VALUES(3,3,'zszhzjcssp',1,'nono-zszhzjcssp-2-1-0','planned',NULL,NULL,NULL,1795399842922,1795399842922,NULL,NULL,NULL,0,0,0,NULL,NULL);
CREATE TABLE events (
    id            INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    run_id        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt_id    INTEGER,
    name          TEXT NOT NULL,
    detail        TEXT NOT NULL DEFAULT '{}'
) STRICT;
INSERT INTO "events" VALUES(1,1795399843054,'zszhzjcssp',NULL,'run_started','{"owner": "host:1", "epoch": 1}');
INSERT INTO "events" VALUES(2,1795399843074,'zszhzjcssp',1,'uploaded','{"file_id": "file-ZKD7VJQIug4lwMxA36qW81", "bytes": 156}');
INSERT INTO "events" VALUES(3,1795399843075,'zszhzjcssp',1,'create_sent','{"tag": "nono-zszhzjcssp-0-1-0"}');
INSERT INTO "events" VALUES(4,1795399843121,'zszhzjcssp',1,'created','{"batch_id": "batch_0e66486773c934d5d9eb390bdf66bd96"}');
INSERT INTO "events" VALUES(5,1795399843169,'zszhzjcssp',1,'ended','{"native_state": "completed"}');
INSERT INTO "events" VALUES(6,1795399843259,'zszhzjcssp',1,'fetched','{"files": 1, "bytes": 817}');
CREATE TABLE learned_limits (
    account       TEXT NOT NULL,
    model         TEXT NOT NULL,
    tokens        INTEGER NOT NULL,
    learned_at    INTEGER NOT NULL,
    PRIMARY KEY (account, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE parts (
    run_id        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    no            INTEGER NOT NULL,
    first_row     INTEGER NOT NULL,
    row_count     INTEGER NOT NULL,
    succeeded     INTEGER NOT NULL DEFAULT 0,
    errored       INTEGER NOT NULL DEFAULT 0,
    expired       INTEGER NOT NULL DEFAULT 0,
    cancelled     INTEGER NOT NULL DEFAULT 0,
    missing       INTEGER NOT NULL DEFAULT 0,
    input_tokens  INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd      REAL,
    settled       INTEGER NOT NULL DEFAULT 0 CONSTRAINT settled_is_yes_or_no CHECK (settled IN (0, 1)),
    PRIMARY KEY (run_id, no),
    CONSTRAINT every_settled_row_has_one_outcome CHECK
        (settled = 0 OR succeeded + errored + expired + cancelled + missing = row_count)
) STRICT, WITHOUT ROWID;
INSERT INTO "parts" VALUES('zszhzjcssp',0,0,1,0,0,0,0,0,0,0,NULL,0);
INSERT INTO "parts" VALUES('zszhzjcssp',1,1,1,0,0,0,0,0,0,0,NULL,0);
INSERT INTO "parts" VALUES('zszhzjcssp',2,2,1,0,0,0,0,0,0,0,NULL,0);
CREATE TABLE runs (
    id            TEXT PRIMARY KEY,
    name          TEXT,
    -- Same data, template, model and parameters: the same work.
    fingerprint   TEXT NOT NULL,
    provider      TEXT NOT NULL,
    model         TEXT NOT NULL,
    endpoint      TEXT NOT NULL,
    -- Base URL and a digest of the key: another account would not see these batches.
    account       TEXT NOT NULL,
    state         TEXT NOT NULL CONSTRAINT run_state_is_known CHECK (state IN ('cancelled', 'cancelling', 'finished', 'running', 'stopped')),
    reason        TEXT,
    -- What another process asked the owner to do.
    wish          TEXT CONSTRAINT wish_is_known CHECK (wish IN ('cancel', 'leave')),
    created_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    max_cost_usd  REAL,
    max_attempts  INTEGER NOT NULL CONSTRAINT at_least_one_attempt CHECK (max_attempts >= 1),
    owner         TEXT,
    epoch         INTEGER NOT NULL DEFAULT 0,
    lease_until   INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT a_stopped_run_says_why CHECK (state <> 'stopped' OR reason IS NOT NULL),
    CONSTRAINT ended_at_iff_over CHECK ((ended_at IS NOT NULL) = (state IN ('finished', 'cancelled')))
) STRICT;
INSERT INTO "runs" VALUES('zszhzjcssp','from version 1','8739b1316cf5d23b07220f91ab114115','openai','gpt-4o-mini','/v1/chat/completions','http://127.0.0.1:1/v1#3f843bfec6b8','running',NULL,NULL,1795399842922,NULL,1.0,3,NULL,1,0);
CREATE TABLE shard_parts (
    shard_id      INTEGER NOT NULL REFERENCES shards (id) ON DELETE CASCADE,
    part_no       INTEGER NOT NULL,
    PRIMARY KEY (shard_id, part_no)
) STRICT, WITHOUT ROWID;
INSERT INTO "shard_parts" VALUES(1,0);
INSERT INTO "shard_parts" VALUES(2,1);
INSERT INTO "shard_parts" VALUES(3,2);
CREATE TABLE shards (
    id            INTEGER PRIMARY KEY,
    run_id        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    no            INTEGER NOT NULL,
    round         INTEGER NOT NULL CONSTRAINT rounds_count_from_one CHECK (round >= 1),
    requests      INTEGER NOT NULL CONSTRAINT no_empty_shard CHECK (requests > 0),
    file_bytes    INTEGER NOT NULL,
    tokens        INTEGER NOT NULL,
    cost_usd      REAL,
    UNIQUE (run_id, no)
) STRICT;
INSERT INTO "shards" VALUES(1,'zszhzjcssp',0,1,1,156,5,0.000240525);
INSERT INTO "shards" VALUES(2,'zszhzjcssp',1,1,1,156,5,0.000240525);
INSERT INTO "shards" VALUES(3,'zszhzjcssp',2,1,1,156,5,0.000240525);
CREATE INDEX runs_by_fingerprint ON runs (fingerprint, created_at);
CREATE INDEX attempts_by_state ON attempts (run_id, state, due_at);
CREATE INDEX attempts_by_shard ON attempts (shard_id);
CREATE TRIGGER an_attempt_moves_legally BEFORE UPDATE OF state ON attempts
WHEN NOT (OLD.state = NEW.state OR OLD.state || '>' || NEW.state IN ('planned>file_intent', 'planned>split', 'planned>dropped', 'file_intent>uploaded', 'file_intent>refused', 'file_intent>dropped', 'uploaded>create_intent', 'uploaded>split', 'uploaded>dropped', 'create_intent>created', 'create_intent>uploaded', 'create_intent>abandoned', 'create_intent>refused', 'create_intent>reconcile', 'reconcile>created', 'reconcile>fence', 'reconcile>quarantine', 'fence>fenced', 'fence>created', 'fence>quarantine', 'fenced>abandoned', 'fenced>created', 'fenced>quarantine', 'quarantine>created', 'quarantine>abandoned', 'quarantine>dropped', 'created>ended', 'created>uploaded', 'created>split', 'created>refused', 'created>abandoned', 'created>quarantine', 'ended>fetched', 'fetched>verified', 'verified>cleaned'))
BEGIN SELECT RAISE(ABORT, 'an attempt does not move that way'); END;
CREATE TRIGGER a_run_moves_legally BEFORE UPDATE OF state ON runs
WHEN NOT (OLD.state = NEW.state OR OLD.state || '>' || NEW.state IN ('running>cancelling', 'running>stopped', 'running>finished', 'cancelling>stopped', 'cancelling>cancelled', 'stopped>running', 'stopped>cancelling', 'finished>running', 'cancelled>running'))
BEGIN SELECT RAISE(ABORT, 'a run does not move that way'); END;
CREATE INDEX events_by_run ON events (run_id, id);
COMMIT;
PRAGMA user_version = 1;
