-- A message is written once, read once and soon pruned: compressing it cost more than its room.
ALTER TABLE chassis.outbox ALTER COLUMN payload SET STORAGE EXTERNAL;
