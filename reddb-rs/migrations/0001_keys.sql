-- One row per live key. A string keeps its value here; a stream keeps its header in `streams`.
CREATE TABLE keys (
    key        BLOB    NOT NULL PRIMARY KEY,
    kind       INTEGER NOT NULL CHECK (kind IN (1, 2)), -- 1 string, 2 stream
    expires_ms INTEGER NOT NULL DEFAULT 0,              -- Unix time in milliseconds; 0 never
    value      BLOB,                                    -- strings only
    stream     INTEGER                                  -- streams only: streams.stream
) WITHOUT ROWID;

-- A single row: every journal batch up to `through` has been folded into the tables.
CREATE TABLE folded (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    through INTEGER NOT NULL
);
INSERT INTO folded (one, through) VALUES (1, 0);
