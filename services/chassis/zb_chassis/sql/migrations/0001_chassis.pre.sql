-- The first tables of the chassis.

CREATE SCHEMA chassis;

-- See schema.sql for what each table promises.
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
    payload bytea NOT NULL,
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
