-- Files that were erased, known or not: bytes that come later are not taken.
CREATE TABLE media.tombstone (
    sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    erased_at_ms bigint NOT NULL
);
INSERT INTO media.tombstone (sha256, erased_at_ms) SELECT sha256, erased_at_ms FROM media.file WHERE erased_at_ms IS NOT NULL;
