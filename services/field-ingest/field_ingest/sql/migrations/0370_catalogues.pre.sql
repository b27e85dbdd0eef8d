-- Shared catalogues, and which of them each member of a scope needs. Old code goes on without them.
CREATE TABLE catalogues (
    document text PRIMARY KEY,
    version bigint NOT NULL,
    reference bytea NOT NULL,
    reference_hash bytea NOT NULL,
    sha256 text NOT NULL,
    packed bytea NOT NULL
);
CREATE INDEX catalogues_sha256 ON catalogues (sha256);

ALTER TABLE scope_member ADD COLUMN catalogues text[] NOT NULL DEFAULT '{}';

UPDATE scope_member m SET catalogues = array_remove(ARRAY[
        'catalogue:checklist/' || (f.fields #>> '{checklist,value}'),
        'catalogue:parts/' || (f.fields #>> '{agency,value}'),
        'catalogue:reasons/' || (f.fields #>> '{agency,value}')
    ], NULL)
FROM (SELECT stream, convert_from(state, 'UTF8')::jsonb -> 'fields' AS fields FROM states WHERE kind = 'intervention') f
WHERE f.stream = m.intervention;
