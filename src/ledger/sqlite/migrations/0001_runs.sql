-- One row a run. Times are seconds since 1970; digests and images are text as the engine writes them.
CREATE TABLE runs (
    id              TEXT PRIMARY KEY,
    state           TEXT NOT NULL,
    station         TEXT NOT NULL,
    train_id        TEXT NOT NULL,
    session_id      BLOB NOT NULL,
    stop_index      INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    image           TEXT NOT NULL,
    source_image    TEXT NOT NULL,
    base_image      TEXT NOT NULL,
    opened_image    TEXT,
    closing_image   TEXT,
    sealed_image    TEXT,
    key_label       TEXT NOT NULL,
    config          BLOB NOT NULL,
    immutable_files TEXT NOT NULL DEFAULT '[]',
    pre_run         TEXT,
    post_run        TEXT,
    reason          TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

-- One run of a train's stop at a time, and none after it was completed; aborted and failed ones free the stop.
CREATE UNIQUE INDEX one_run_a_stop ON runs (station, session_id, stop_index) WHERE state NOT IN ('aborted', 'failed');
CREATE INDEX runs_by_opened_image ON runs (opened_image);
CREATE INDEX runs_by_idempotency_key ON runs (idempotency_key);
