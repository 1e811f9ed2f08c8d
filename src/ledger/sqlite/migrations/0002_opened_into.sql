-- Where a run's opened content is: `image`, `volume` or `directory`. Runs from before were opened as images.
ALTER TABLE runs ADD COLUMN opened_into TEXT NOT NULL DEFAULT 'image';
