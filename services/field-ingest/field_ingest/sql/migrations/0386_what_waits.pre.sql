-- The device's newest event when it told of itself: what the ledger took since then waits no more, whatever was told.

ALTER TABLE device_about ADD COLUMN head bigint;
