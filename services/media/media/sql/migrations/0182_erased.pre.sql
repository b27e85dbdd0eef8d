-- A file can be erased: its row stays and says so, so that no device sends it again and the evidence stays what it was.
ALTER TABLE media.file ADD COLUMN erased_at_ms bigint;
