-- Runs in the order in which they began. A clock that jumps back turns times round, not this. It has a column of its own because
-- SQLite may number rows anew when it makes a copy.
ALTER TABLE runs ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET number = rowid;
CREATE UNIQUE INDEX runs_in_order ON runs (number);

-- A completed run whose stop an officer has freed for one more.
ALTER TABLE runs ADD COLUMN released_at INTEGER;
ALTER TABLE runs ADD COLUMN released_by TEXT;
ALTER TABLE runs ADD COLUMN released_reason TEXT;
-- An open run that an officer has given up, and what still held plaintext when it was ended (a JSON list).
ALTER TABLE runs ADD COLUMN abandoned_by TEXT;
ALTER TABLE runs ADD COLUMN held TEXT NOT NULL DEFAULT '[]';

DROP INDEX one_run_a_stop;
CREATE UNIQUE INDEX one_run_a_stop ON runs (station, session_id, stop_index)
    WHERE state NOT IN ('aborted', 'failed') AND released_at IS NULL;
-- The service looks every other second for runs that were given up from outside.
CREATE INDEX runs_by_state ON runs (state);
