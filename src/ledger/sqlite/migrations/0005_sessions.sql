-- A train session as it was when it was first opened here. Format 1 signs neither `@id` nor the indices of the route, so what belongs
-- together is kept: session, train id, creator, and this station's stop. `creator` and `creator_key` (a fingerprint) are filled in by the
-- program for sessions of before.
CREATE TABLE sessions (
    station     TEXT NOT NULL,
    session_id  BLOB NOT NULL,
    train_id    TEXT NOT NULL,
    creator     TEXT,
    creator_key TEXT,
    stop_index  INTEGER NOT NULL,
    first_seen  INTEGER NOT NULL,
    PRIMARY KEY (station, session_id)
) STRICT;
INSERT INTO sessions (station, session_id, train_id, stop_index, first_seen)
    SELECT station, session_id, train_id, stop_index, created_at FROM runs AS opened
    WHERE number = (SELECT MIN(number) FROM runs WHERE station = opened.station AND session_id = opened.session_id AND pre_run IS NOT NULL);

-- Who asked for the run: an idempotency key belongs to its principal. Nobody's for runs of before.
ALTER TABLE runs ADD COLUMN principal TEXT;
DROP INDEX runs_by_idempotency_key;
CREATE INDEX runs_by_idempotency_key ON runs (idempotency_key, principal);

-- SHA-256 of the config, hex: what is left of it when the run has ended. The program fills it in for runs of before.
ALTER TABLE runs ADD COLUMN config_sha256 TEXT NOT NULL DEFAULT '';

-- What the state directory had beside the ledger: so that what goes missing is missed.
CREATE TABLE facts (
    name       TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
