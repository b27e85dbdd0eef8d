-- Keys that devices made, beside custody's own, of which alone there is one a purpose and period; pictures that go with a key.
ALTER TABLE custody.subject_key ADD COLUMN made_by text NOT NULL DEFAULT '';
ALTER TABLE custody.subject_key ADD COLUMN taken_at_ms bigint;
DROP INDEX custody.subject_key_current;
CREATE UNIQUE INDEX subject_key_current ON custody.subject_key (subject, purpose, period)
    WHERE sealed IS NOT NULL AND made_by = '';
CREATE INDEX subject_key_made ON custody.subject_key (made_by, taken_at_ms) WHERE made_by <> '';
CREATE INDEX use_stream ON custody.use (stream);
CREATE TABLE custody.picture (
    kid text NOT NULL REFERENCES custody.subject_key (kid),
    sha256 text NOT NULL,
    PRIMARY KEY (kid, sha256)
);
