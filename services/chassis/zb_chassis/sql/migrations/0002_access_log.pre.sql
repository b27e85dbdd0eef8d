-- Who read personal data, when and for what: a chain of records, see schema.sql.
CREATE TABLE chassis.access_log (
    number bigint PRIMARY KEY CHECK (number >= 1),
    at_ms bigint NOT NULL,
    reader text NOT NULL,
    roles text[] NOT NULL,
    purpose text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE INDEX access_log_object ON chassis.access_log (object, number);
CREATE INDEX access_log_reader ON chassis.access_log (reader, number);

CREATE TABLE chassis.access_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    pruned bigint NOT NULL DEFAULT 0,
    pruned_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    number bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
) WITH (fillfactor = 10);
INSERT INTO chassis.access_head (singleton) VALUES (true);
