-- Where the audit's logs have been: kept apart from them, so that an older log put back is noticed. `head` is the hash of the last of
-- the first `size` records.
CREATE TABLE audit_heads (
    log        TEXT PRIMARY KEY,
    size       INTEGER NOT NULL,
    head       BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
