-- The keys of data subjects, in a database of their own. This file is the truth; migrations/ build the same, and a test
-- proves it. No personal value stands here: subjects, keys and cases are ids.

CREATE SCHEMA custody;

-- Whose keys they are. A row under hold gives up no key, whatever asks.
CREATE TABLE custody.subject (
    subject text PRIMARY KEY,
    agency text NOT NULL,
    hold_case text,
    held_since_ms bigint,
    CONSTRAINT subject_hold_whole CHECK ((hold_case IS NULL) = (held_since_ms IS NULL))
);

-- `sealed` is the key under the master key; its absence is the erasure. `made_by` is the device that made the key and handed it
-- in at `taken_at_ms`; custody's own have neither, and of them there is one a purpose and period.
CREATE TABLE custody.subject_key (
    kid text PRIMARY KEY,
    subject text NOT NULL REFERENCES custody.subject (subject),
    purpose text NOT NULL,
    period text NOT NULL,
    sealed jsonb,
    made_at_ms bigint NOT NULL,
    expires_at_ms bigint,
    destroyed_at_ms bigint,
    told boolean NOT NULL DEFAULT false,
    made_by text NOT NULL DEFAULT '',
    taken_at_ms bigint,
    CONSTRAINT subject_key_destroyed CHECK ((sealed IS NULL) = (destroyed_at_ms IS NOT NULL))
);
CREATE UNIQUE INDEX subject_key_current ON custody.subject_key (subject, purpose, period)
    WHERE sealed IS NOT NULL AND made_by = '';
CREATE INDEX subject_key_made ON custody.subject_key (made_by, taken_at_ms) WHERE made_by <> '';
CREATE INDEX subject_key_of ON custody.subject_key (subject, made_at_ms);
CREATE INDEX subject_key_due ON custody.subject_key (expires_at_ms) WHERE sealed IS NOT NULL;
CREATE INDEX subject_key_untold ON custody.subject_key (subject) WHERE sealed IS NULL AND NOT told;

-- Where values under a key stand, for the report.
CREATE TABLE custody.use (
    kid text NOT NULL REFERENCES custody.subject_key (kid),
    stream text NOT NULL,
    event text NOT NULL,
    field text NOT NULL,
    PRIMARY KEY (kid, event, field)
);

CREATE INDEX use_stream ON custody.use (stream);

-- Pictures that show whom a key is about: erased with it.
CREATE TABLE custody.picture (
    kid text NOT NULL REFERENCES custody.subject_key (kid),
    sha256 text NOT NULL,
    PRIMARY KEY (kid, sha256)
);

-- The deletion ledger. It only grows: also in a restored database, where it is played again from its file.
CREATE TABLE custody.deletion (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kid text NOT NULL UNIQUE,
    subject text NOT NULL,
    cause text NOT NULL,
    at_ms bigint NOT NULL
);

CREATE FUNCTION custody.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the deletion ledger only grows';
END
$$;
CREATE TRIGGER deletion_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON custody.deletion
    FOR EACH STATEMENT EXECUTE FUNCTION custody.refuse_change();
