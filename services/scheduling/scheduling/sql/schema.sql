-- scheduling's tables. This file is the truth; migrations/ build the same, and a test proves it.

CREATE SCHEMA scheduling;

-- One row an office author: the number and hash of its last event. Locked first in every transaction that signs.
CREATE TABLE scheduling.author (
    author text PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,
    head_hash text NOT NULL
);

-- What an author's events on a stream have claimed to know: never shrinks.
CREATE TABLE scheduling.knowledge (
    author text NOT NULL,
    stream text NOT NULL,
    vector jsonb NOT NULL,
    PRIMARY KEY (author, stream)
);

CREATE TABLE scheduling.site (
    id text PRIMARY KEY,
    agency text NOT NULL,
    reference text NOT NULL,
    content jsonb NOT NULL,
    latitude_e7 integer,
    longitude_e7 integer,
    CONSTRAINT site_reference_unique UNIQUE (agency, reference)
);

CREATE TABLE scheduling.equipment (
    id text PRIMARY KEY,
    agency text NOT NULL,
    reference text NOT NULL,
    site text NOT NULL REFERENCES scheduling.site (id),
    content jsonb NOT NULL,
    CONSTRAINT equipment_reference_unique UNIQUE (agency, reference)
);

-- The newest personal values, sealed as in their event, with keyed fingerprints (to know the same value again without opening
-- it) and the name of the key in custody. They go with it.
CREATE TABLE scheduling.personal (
    subject text NOT NULL,
    field text NOT NULL,
    kid text NOT NULL,
    fingerprint text NOT NULL,
    event text,
    sealed jsonb,
    CONSTRAINT personal_sealed_whole CHECK ((event IS NULL) = (sealed IS NULL)),
    PRIMARY KEY (subject, field)
);
CREATE INDEX personal_kid ON scheduling.personal (kid);

CREATE TABLE scheduling.technician (
    agency text NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    latitude_e7 integer NOT NULL,
    longitude_e7 integer NOT NULL,
    starts text NOT NULL,
    ends text NOT NULL,
    timezone text NOT NULL,
    skills jsonb NOT NULL,
    active boolean NOT NULL,
    PRIMARY KEY (agency, id)
);

-- The office's view of each intervention, written in the transaction of its events.
CREATE TABLE scheduling.board (
    intervention uuid PRIMARY KEY,
    agency text NOT NULL,
    reference text NOT NULL,
    version bigint NOT NULL,
    status text NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    site text NOT NULL,
    equipment text,
    details jsonb NOT NULL,
    window_start_ms bigint,
    window_end_ms bigint,
    duration_min integer,
    planned_start_ms bigint,
    technician text,
    tour_position integer,
    settled jsonb NOT NULL,
    CONSTRAINT board_reference_unique UNIQUE (agency, reference)
);
CREATE INDEX board_day ON scheduling.board (agency, planned_start_ms);
CREATE INDEX board_open ON scheduling.board (agency, status);

-- What the newest announcement of each intervention says. Replaced only by a newer version.
CREATE TABLE scheduling.announced (
    intervention uuid PRIMARY KEY,
    version bigint NOT NULL,
    state_hash text NOT NULL,
    status text NOT NULL,
    vector jsonb NOT NULL,
    visits jsonb NOT NULL,
    requests jsonb NOT NULL,
    merged jsonb NOT NULL,
    conflicts jsonb NOT NULL,
    set_aside jsonb NOT NULL
);

CREATE TABLE scheduling.reference (
    kind text NOT NULL,
    id text NOT NULL,
    version integer NOT NULL,
    content jsonb NOT NULL,
    PRIMARY KEY (kind, id)
);
