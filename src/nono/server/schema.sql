-- The server's memory. Instants are nanoseconds since 1970 (UTC); JSON columns hold what is never searched.
-- Bytes are not in here: they are plain files named by `token`.

CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    token TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    mime TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER,
    source TEXT NOT NULL,
    details TEXT NOT NULL,
    UNIQUE (protocol, id)
) STRICT;

CREATE INDEX files_that_expire ON files (expires_ns) WHERE expires_ns IS NOT NULL;

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    protocol TEXT NOT NULL,
    token TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    mime TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,
    status TEXT NOT NULL,
    file_id TEXT,
    details TEXT NOT NULL
) STRICT;

CREATE TABLE parts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    upload_id TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    token TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    token TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT,
    input_file_id TEXT,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0 CHECK (ended IN (0, 1)),
    priority INTEGER NOT NULL,
    total INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    usage TEXT NOT NULL,
    details TEXT NOT NULL,
    errors TEXT NOT NULL,
    outputs TEXT NOT NULL,
    moved_ns TEXT NOT NULL,
    updated_ns INTEGER NOT NULL,
    UNIQUE (protocol, id),
    CONSTRAINT no_more_answers_than_requests CHECK (ok + failed <= total)
) STRICT;

CREATE INDEX batches_that_go_on ON batches (ended) WHERE ended = 0;
