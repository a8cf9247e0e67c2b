-- name: upgrade_1
-- From version 1 to 2: which rows have answers of earlier runs was not a question then.
ALTER TABLE runs ADD COLUMN reused INTEGER NOT NULL DEFAULT 0;

-- name: upgrade_2
-- From version 2 to 3: attempts without a batch, and what they cost. A table's constraints cannot be changed, so the
-- attempts move into a new one.
ALTER TABLE parts ADD COLUMN sync_cost_usd REAL;
DROP TRIGGER an_attempt_moves_legally;
DROP INDEX attempts_by_state;
DROP INDEX attempts_by_shard;
ALTER TABLE attempts RENAME TO attempts_before;
{attempts_of_the_schema}
INSERT INTO attempts (id, shard_id, run_id, no, tag, state, file_id, batch_id, native_state, due_at, since, created_at,
    expires_at, ended_at, tries, refusals, done_requests, error_code, error_message)
SELECT id, shard_id, run_id, no, tag, state, file_id, batch_id, native_state, due_at, since, created_at,
    expires_at, ended_at, tries, refusals, done_requests, error_code, error_message FROM attempts_before;
DROP TABLE attempts_before;

-- name: insert_run
-- A planned run; its parts and shards follow in the same transaction.
INSERT INTO runs
    (id, name, fingerprint, provider, model, endpoint, account, state, created_at, max_cost_usd, max_attempts, reused)
VALUES (:id, :name, :fingerprint, :provider, :model, :endpoint, :account, 'running', :created_at, :max_cost_usd,
    :max_attempts, :reused);

-- name: run_by_id
SELECT * FROM runs WHERE id = :id;

-- name: runs_by_name
-- Newest first: a name may have been used before.
SELECT * FROM runs WHERE name = :name OR id LIKE :prefix || '%' ORDER BY created_at DESC, id;

-- name: latest_run_with_fingerprint
-- The same work, unless it was cancelled.
SELECT * FROM runs WHERE fingerprint = :fingerprint AND state <> 'cancelled' ORDER BY created_at DESC LIMIT 1;

-- name: all_runs
SELECT * FROM runs ORDER BY created_at DESC, id;

-- name: move_run
-- Expects the state that the caller saw, and its own ownership.
UPDATE runs SET state = :state, reason = :reason, ended_at = :ended_at
WHERE id = :id AND state = :expected AND epoch = :epoch;

-- name: set_wish
-- Anybody may ask; the owner reads it at its next step.
UPDATE runs SET wish = :wish WHERE id = :id;

-- name: set_run_limits
-- What may be changed when a run is resumed.
UPDATE runs SET max_cost_usd = :max_cost_usd, max_attempts = :max_attempts WHERE id = :id AND epoch = :epoch;

-- name: set_account
-- Another key of the same account.
UPDATE runs SET account = :account WHERE id = :id AND epoch = :epoch;

-- name: set_name
UPDATE runs SET name = :name WHERE id = :id;

-- name: delete_run
DELETE FROM runs WHERE id = :id;

-- name: take_run
-- A new epoch: whatever an earlier owner still tries to write is refused.
UPDATE runs SET owner = :owner, epoch = epoch + 1, lease_until = :lease_until WHERE id = :id RETURNING epoch;

-- name: renew_lease
UPDATE runs SET lease_until = :lease_until WHERE id = :id AND epoch = :epoch;

-- name: release_run
UPDATE runs SET owner = NULL, lease_until = 0 WHERE id = :id AND epoch = :epoch;

-- name: epoch_of
SELECT epoch FROM runs WHERE id = :id;

-- name: insert_part
INSERT INTO parts (run_id, no, first_row, row_count) VALUES (:run_id, :no, :first_row, :row_count);

-- name: parts_of
SELECT * FROM parts WHERE run_id = :run_id ORDER BY no;

-- name: part
SELECT * FROM parts WHERE run_id = :run_id AND no = :no;

-- name: settle_part
-- Outcomes of a part, written anew each time one of its shards is answered.
UPDATE parts SET succeeded = :succeeded, errored = :errored, expired = :expired, cancelled = :cancelled,
    missing = :missing, input_tokens = :input_tokens, output_tokens = :output_tokens, cost_usd = :cost_usd,
    sync_cost_usd = :sync_cost_usd, settled = 1
WHERE run_id = :run_id AND no = :no;

-- name: insert_shard
INSERT INTO shards (run_id, no, round, requests, file_bytes, tokens, cost_usd)
VALUES (:run_id, :no, :round, :requests, :file_bytes, :tokens, :cost_usd) RETURNING id;

-- name: insert_shard_part
INSERT INTO shard_parts (shard_id, part_no) VALUES (:shard_id, :part_no);

-- name: next_shard_no
SELECT COALESCE(MAX(no) + 1, 0) FROM shards WHERE run_id = :run_id;

-- name: shard_by_id
SELECT * FROM shards WHERE id = :id;

-- name: shards_of_run
SELECT * FROM shards WHERE run_id = :run_id ORDER BY no;

-- name: parts_of_shard
SELECT part_no FROM shard_parts WHERE shard_id = :shard_id ORDER BY part_no;

-- name: attempts_of_part
-- Every attempt of every shard that carries rows of the part, in the order of their making.
SELECT a.* FROM attempts a JOIN shard_parts p ON p.shard_id = a.shard_id JOIN shards s ON s.id = a.shard_id
WHERE s.run_id = :run_id AND p.part_no = :part_no ORDER BY a.id;

-- name: insert_attempt
INSERT INTO attempts (shard_id, run_id, no, tag, state, due_at, since)
VALUES (:shard_id, :run_id, :no, :tag, :state, :due_at, :due_at) RETURNING id;

-- name: attempt_by_id
SELECT * FROM attempts WHERE id = :id;

-- name: attempts_of_run
SELECT * FROM attempts WHERE run_id = :run_id ORDER BY id;

-- name: attempts_at_work
-- Batches that the provider works on, as far as we know.
SELECT * FROM attempts WHERE run_id = :run_id AND state = 'created' ORDER BY id;

-- name: at_work
-- How many of them, and when the youngest was made.
SELECT COUNT(*) AS batches, MAX(created_at) AS youngest_created_at FROM attempts
WHERE run_id = :run_id AND state = 'created';

-- name: due_attempts
-- What may take its next step now; the most advanced first: harvesting comes before spending. What was entered in the
-- future was entered before the clock was set back: it does not wait for that day to come again.
SELECT * FROM attempts WHERE run_id = :run_id AND (due_at <= :now OR since > :now)
    AND state IN ('file_intent', 'create_intent', 'reconcile', 'fence', 'fenced', 'ended', 'fetched', 'verified', 'asked')
ORDER BY state IN ('ended', 'fetched', 'asked') DESC, id LIMIT :limit;

-- name: due_submissions
-- What waits to be sent, in order: uploaded files before new ones, and those before what is asked directly.
SELECT * FROM attempts WHERE run_id = :run_id AND (due_at <= :now OR since > :now) AND id < :before
    AND state IN ('planned', 'uploaded', 'asking')
ORDER BY state DESC, id LIMIT :limit;

-- name: next_due_at
-- The next instant at which something of a run is due.
SELECT MIN(due_at) FROM attempts WHERE run_id = :run_id AND due_at > :now
    AND state NOT IN ('created', 'quarantine', {final_states});

-- name: attempts_in_state
SELECT * FROM attempts WHERE run_id = :run_id AND state = :state ORDER BY id;

-- name: save_attempt
-- Expects the state that the caller saw, and its own ownership.
UPDATE attempts SET state = :state, tag = :tag, file_id = :file_id, batch_id = :batch_id, native_state = :native_state,
    due_at = :due_at, since = :since, created_at = :created_at, expires_at = :expires_at, ended_at = :ended_at,
    tries = :tries, refusals = :refusals, done_requests = :done_requests, error_code = :error_code,
    error_message = :error_message
WHERE id = :id AND state = :expected AND :epoch = (SELECT epoch FROM runs WHERE runs.id = attempts.run_id);

-- name: count_attempts_by_state
-- Of the index alone: it is asked at every turn of the loop.
SELECT state, COUNT(*) AS attempts FROM attempts WHERE run_id = :run_id GROUP BY state;

-- name: totals
-- Outcomes of all settled parts.
SELECT COUNT(*) AS parts, COALESCE(SUM(row_count), 0) AS row_count, COALESCE(SUM(settled), 0) AS settled,
    COALESCE(SUM(succeeded), 0) AS succeeded, COALESCE(SUM(errored), 0) AS errored,
    COALESCE(SUM(expired), 0) AS expired, COALESCE(SUM(cancelled), 0) AS cancelled,
    COALESCE(SUM(missing), 0) AS missing, COALESCE(SUM(input_tokens), 0) AS input_tokens,
    COALESCE(SUM(output_tokens), 0) AS output_tokens, SUM(cost_usd) AS cost_usd, SUM(sync_cost_usd) AS sync_cost_usd
FROM parts WHERE run_id = :run_id;

-- name: in_flight_progress
-- What the provider reports of batches at work, and since when the oldest is.
SELECT COUNT(*) AS batches, COALESCE(SUM(a.done_requests), 0) AS done_requests,
    COALESCE(SUM(s.requests), 0) AS requests, MIN(a.created_at) AS oldest_created_at, MIN(a.expires_at) AS first_expires_at
FROM attempts a JOIN shards s ON s.id = a.shard_id WHERE a.run_id = :run_id AND a.state = 'created';

-- name: sync_requests
-- Requests that went, or will go, to the synchronous endpoint.
SELECT COALESCE(SUM(s.requests), 0) FROM attempts a JOIN shards s ON s.id = a.shard_id
WHERE a.run_id = :run_id AND a.state IN ({sync_states});

-- name: pace
-- How long the batches of a run took that have ended, and until when those at work may go on.
SELECT MAX(ended_at) AS last_ended_at, MIN(ended_at - created_at) AS shortest_ms, MAX(ended_at - created_at) AS longest_ms,
    MAX(created_at) FILTER (WHERE state = 'created') AS newest_created_at,
    MAX(expires_at) FILTER (WHERE state = 'created') AS last_expires_at
FROM attempts WHERE run_id = :run_id AND batch_id IS NOT NULL;

-- name: estimated_cost
-- The high guess for all of the run's first requests; NULL where one has no price. Halves stand for what was split.
SELECT CASE WHEN COUNT(*) = COUNT(s.cost_usd) THEN COALESCE(SUM(s.cost_usd), 0.0) END FROM shards s
WHERE s.run_id = :run_id AND s.round = 1
    AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.shard_id = s.id AND a.state = 'split');

-- name: error_counts
-- How often each error stands in the settled parts, and how many of these rows are sent again, by what was said when
-- each part was settled last.
SELECT error.key AS code, SUM(error.value) AS count,
    COALESCE(SUM((SELECT value FROM json_each(e.detail, '$.again') again WHERE again.key = error.key)), 0) AS again
FROM events e, json_each(e.detail, '$.errors') error
WHERE e.id IN (
    SELECT MAX(id) FROM events WHERE run_id = :run_id AND name = 'settled' GROUP BY json_extract(detail, '$.part'))
GROUP BY error.key ORDER BY count DESC, code;

-- name: committed_cost
-- Estimates of everything that may have been billed and is not yet in a settled part's actual cost: what is under way,
-- and what is answered while another half of its part is not. A part that is asked again is settled already: there, an
-- attempt of the same round that has not told all is what its costs wait for.
SELECT COALESCE(SUM(s.cost_usd), 0) FROM attempts a JOIN shards s ON s.id = a.shard_id
WHERE a.run_id = :run_id AND (a.state IN ({committed_states}) OR (a.state IN ({answered_states}) AND (
    EXISTS (
        SELECT 1 FROM shard_parts sp JOIN parts p ON p.run_id = a.run_id AND p.no = sp.part_no
        WHERE sp.shard_id = a.shard_id AND p.settled = 0)
    OR s.round > 1 AND EXISTS (
        SELECT 1 FROM shard_parts ours WHERE ours.shard_id = a.shard_id AND (s.round, ours.part_no) IN (
            SELECT other.round, theirs.part_no FROM attempts b JOIN shards other ON other.id = b.shard_id
            JOIN shard_parts theirs ON theirs.shard_id = other.id
            WHERE b.run_id = :run_id AND b.state NOT IN ({told_states}))))));

-- name: sent_again
-- Requests of later rounds that may still bring an answer. Their shards come after those that the plan made, one a part.
SELECT COALESCE(SUM(s.requests), 0) FROM shards s JOIN attempts a ON a.shard_id = s.id
WHERE s.run_id = :run_id AND s.no >= (SELECT COUNT(*) FROM parts WHERE run_id = :run_id) AND s.round > 1
    AND a.state NOT IN ({told_states});

-- name: enqueued_tokens
-- Estimated tokens of what is at work for an account and model, over all runs, and of what is already on its way there
-- in front of an attempt. Another run's batch whose time is over takes no room: nobody may have looked at it since.
SELECT COALESCE(SUM(s.tokens), 0) AS tokens, COUNT(*) AS batches FROM attempts a
JOIN shards s ON s.id = a.shard_id JOIN runs r ON r.id = a.run_id
WHERE r.account = :account AND r.model = :model AND a.id <> :ahead_of
    AND (a.run_id = :run_id OR COALESCE(a.expires_at, :now) >= :now)
    AND (a.state IN ({in_flight_states}) OR (a.run_id = :run_id AND a.id < :ahead_of AND a.state IN ('file_intent', 'uploaded')));

-- name: wake_waiting
-- Room has come: what waits for it is due.
UPDATE attempts SET due_at = :now WHERE run_id = :run_id AND state IN ('planned', 'uploaded') AND tries = 0 AND due_at > :now;

-- name: creates_since
-- Batches created for an account since an instant, over all runs.
SELECT COUNT(*) FROM attempts a JOIN runs r ON r.id = a.run_id
WHERE r.account = :account AND a.created_at >= :since;

-- name: all_tags
-- Every tag of every run with its attempt's batch, for the search for orphans.
SELECT tag, batch_id, state, run_id FROM attempts;

-- name: insert_event
INSERT INTO events (at, run_id, attempt_id, name, detail) VALUES (:at, :run_id, :attempt_id, :name, :detail);

-- name: events_after
SELECT * FROM events WHERE run_id = :run_id AND id > :after ORDER BY id LIMIT :limit;

-- name: learn_limit
INSERT INTO learned_limits (account, model, tokens, learned_at) VALUES (:account, :model, :tokens, :learned_at)
ON CONFLICT (account, model) DO UPDATE SET tokens = excluded.tokens, learned_at = excluded.learned_at;

-- name: learned_limit
SELECT tokens FROM learned_limits WHERE account = :account AND model = :model;
