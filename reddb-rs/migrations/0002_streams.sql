-- Entry ids are 16 bytes, milliseconds then sequence, big-endian: byte order is id order over the whole u64 range.
CREATE TABLE streams (
    stream         INTEGER NOT NULL PRIMARY KEY,
    last_id        BLOB    NOT NULL,
    max_deleted_id BLOB    NOT NULL,
    entries_added  INTEGER NOT NULL
);

CREATE TABLE entries (
    stream INTEGER NOT NULL,
    id     BLOB    NOT NULL,
    fields BLOB    NOT NULL, -- a RESP array of bulk strings, ready to be sent
    PRIMARY KEY (stream, id)
) WITHOUT ROWID;

CREATE TABLE groups (
    stream         INTEGER NOT NULL,
    name           BLOB    NOT NULL,
    last_delivered BLOB    NOT NULL,
    entries_read   INTEGER,          -- NULL: unknown, as after SETID into the middle
    PRIMARY KEY (stream, name)
) WITHOUT ROWID;

CREATE TABLE consumers (
    stream  INTEGER NOT NULL,
    grp     BLOB    NOT NULL,
    name    BLOB    NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (stream, grp, name)
) WITHOUT ROWID;

CREATE TABLE pending (
    stream       INTEGER NOT NULL,
    grp          BLOB    NOT NULL,
    id           BLOB    NOT NULL,
    consumer     BLOB    NOT NULL,
    delivered_ms INTEGER NOT NULL,
    deliveries   INTEGER NOT NULL,
    PRIMARY KEY (stream, grp, id)
) WITHOUT ROWID;
