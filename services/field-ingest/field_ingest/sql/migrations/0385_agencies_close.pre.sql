-- Agencies close: what was theirs stays to be seen, and no code is issued for them any more.

ALTER TABLE agencies ADD COLUMN closed_at_ms bigint;
ALTER TABLE agencies ADD COLUMN closed_by text;
