-- The gap stays open until the mark has reached all that was given up: what came after the first missing event is missing too.
ALTER TABLE authors ADD COLUMN gap_to bigint;
