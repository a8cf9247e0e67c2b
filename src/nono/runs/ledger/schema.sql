-- The ledger: what was decided and what happened, never a prompt and never an answer.
-- Names in braces are printed from states.py. Instants are milliseconds since 1970 (UTC).

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
    state         TEXT NOT NULL CONSTRAINT run_state_is_known CHECK (state IN ({run_states})),
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
    -- Rows with an answer of an earlier run: nothing is sent for them.
    reused        INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT a_stopped_run_says_why CHECK (state <> 'stopped' OR reason IS NOT NULL),
    CONSTRAINT ended_at_iff_over CHECK ((ended_at IS NOT NULL) = (state IN ('finished', 'cancelled')))
) STRICT;

CREATE INDEX runs_by_fingerprint ON runs (fingerprint, created_at);

-- A part is a stretch of the input rows; its results are one file.
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
    -- What of it went to the synchronous endpoint, at its price.
    sync_cost_usd REAL,
    settled       INTEGER NOT NULL DEFAULT 0 CONSTRAINT settled_is_yes_or_no CHECK (settled IN (0, 1)),
    PRIMARY KEY (run_id, no),
    CONSTRAINT every_settled_row_has_one_outcome CHECK
        (settled = 0 OR succeeded + errored + expired + cancelled + missing = row_count)
) STRICT, WITHOUT ROWID;

-- A shard is what goes into one batch: a whole part at first, later halves of one, or rows of several to try again.
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

CREATE TABLE shard_parts (
    shard_id      INTEGER NOT NULL REFERENCES shards (id) ON DELETE CASCADE,
    part_no       INTEGER NOT NULL,
    PRIMARY KEY (shard_id, part_no)
) STRICT, WITHOUT ROWID;

-- An attempt is one input file and at most one batch.
CREATE TABLE attempts (
    id            INTEGER PRIMARY KEY,
    shard_id      INTEGER NOT NULL REFERENCES shards (id) ON DELETE CASCADE,
    run_id        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    no            INTEGER NOT NULL,
    tag           TEXT NOT NULL UNIQUE,
    state         TEXT NOT NULL CONSTRAINT attempt_state_is_known CHECK (state IN ({attempt_states})),
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
        (state IN ('planned', 'file_intent', 'dropped', 'refused', 'split', {sync_states}) OR file_id IS NOT NULL),
    CONSTRAINT what_is_asked_directly_has_no_batch CHECK
        (state NOT IN ({sync_states}) OR (file_id IS NULL AND batch_id IS NULL)),
    CONSTRAINT a_created_batch_has_an_id CHECK
        (state NOT IN ('created', 'ended', 'fetched', 'verified', 'cleaned') OR batch_id IS NOT NULL),
    CONSTRAINT no_batch_before_the_create CHECK
        (state NOT IN ('planned', 'file_intent', 'uploaded', 'create_intent', 'reconcile', 'fence', 'fenced')
         OR batch_id IS NULL)
) STRICT;

CREATE INDEX attempts_by_state ON attempts (run_id, state, due_at);
CREATE INDEX attempts_by_shard ON attempts (shard_id);

CREATE TRIGGER an_attempt_moves_legally BEFORE UPDATE OF state ON attempts
WHEN NOT ({attempt_moves})
BEGIN SELECT RAISE(ABORT, 'an attempt does not move that way'); END;

CREATE TRIGGER a_run_moves_legally BEFORE UPDATE OF state ON runs
WHEN NOT ({run_moves})
BEGIN SELECT RAISE(ABORT, 'a run does not move that way'); END;

CREATE TABLE events (
    id            INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    run_id        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt_id    INTEGER,
    name          TEXT NOT NULL,
    detail        TEXT NOT NULL DEFAULT '{{}}'
) STRICT;

CREATE INDEX events_by_run ON events (run_id, id);

-- What an account taught us about its limits.
CREATE TABLE learned_limits (
    account       TEXT NOT NULL,
    model         TEXT NOT NULL,
    tokens        INTEGER NOT NULL,
    learned_at    INTEGER NOT NULL,
    PRIMARY KEY (account, model)
) STRICT, WITHOUT ROWID;
