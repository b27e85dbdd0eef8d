-- The chassis' tables in a service's database. This file is the truth; migrations/ build the same, and a test proves it.

CREATE SCHEMA chassis;

-- The positions last given. Its one row is locked before a position is taken and until the transaction ends, so that
-- positions are dense and become visible in order: a reader that pages by position misses nothing.
CREATE TABLE chassis.head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    event_position bigint NOT NULL DEFAULT 0,
    outbox_position bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO chassis.head (singleton) VALUES (true);

CREATE TABLE chassis.event (
    position bigint PRIMARY KEY,
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    CONSTRAINT event_version_unique UNIQUE (originator_id, originator_version)
);

CREATE TABLE chassis.snapshot (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
);

CREATE TABLE chassis.tracking (
    application_name text PRIMARY KEY,
    notification_id bigint NOT NULL
);

CREATE TABLE chassis.outbox (
    position bigint PRIMARY KEY,
    message_id text NOT NULL CONSTRAINT outbox_message_id_unique UNIQUE,
    subject text NOT NULL,
    headers jsonb NOT NULL,
    payload bytea STORAGE EXTERNAL NOT NULL,        -- uncompressed: read once and soon pruned
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    refusals integer NOT NULL DEFAULT 0,
    parked_at timestamptz,
    parked_reason text
);
CREATE INDEX outbox_waiting ON chassis.outbox (position) WHERE sent_at IS NULL AND parked_at IS NULL;
CREATE INDEX outbox_parked ON chassis.outbox (position) WHERE parked_at IS NOT NULL;
CREATE INDEX outbox_sent ON chassis.outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE TABLE chassis.lease (
    name text PRIMARY KEY,
    holder text NOT NULL,
    fence bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE chassis.inbox (
    source text NOT NULL,
    message_id text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, message_id)
);
CREATE INDEX inbox_seen_at ON chassis.inbox (seen_at);

-- Who read personal data, when and for what. Each record's hash is over the record and the hash before it, so that a record
-- that was changed or taken out shows. Kept for as long as its own policy says; what is pruned leaves its last hash behind.
CREATE TABLE chassis.access_log (
    number bigint PRIMARY KEY CHECK (number >= 1),  -- dense
    at_ms bigint NOT NULL,
    reader text NOT NULL,                           -- the person, as the identity provider names them
    roles text[] NOT NULL,
    purpose text NOT NULL,                          -- as the reader stated it, else the reader's ordinary duty
    action text NOT NULL,
    object text NOT NULL,                           -- what was read, e.g. intervention:<id>
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE INDEX access_log_object ON chassis.access_log (object, number);
CREATE INDEX access_log_reader ON chassis.access_log (reader, number);

-- Both ends of the chain: the last record that was pruned, and the newest. Its one row is locked while a record is added.
CREATE TABLE chassis.access_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    pruned bigint NOT NULL DEFAULT 0,
    pruned_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    number bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
) WITH (fillfactor = 10);
INSERT INTO chassis.access_head (singleton) VALUES (true);

-- Which stream of the broker this database last worked with: one of the same name, made later, holds nothing of before.
CREATE TABLE chassis.known_stream (
    stream text PRIMARY KEY,
    made_at text NOT NULL                           -- as the broker says it
);
