-- One row per group commit: the mutations of every command that the commit acknowledged.
CREATE TABLE journal (
    seq   INTEGER NOT NULL PRIMARY KEY,
    batch BLOB    NOT NULL
);
