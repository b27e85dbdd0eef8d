-- The evidence store's tables. This file is the truth; migrations/ build the same, and a test proves it.

CREATE SCHEMA media;

-- A row is the word that the bytes are on the disk and have this hash: written after the disk, never before. Once erased it is
-- the word that they were.
CREATE TABLE media.file (
    sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    length_bytes bigint NOT NULL CHECK (length_bytes > 0),
    mime text NOT NULL,
    device text NOT NULL,
    stored_at_ms bigint NOT NULL,
    erased_at_ms bigint
);
CREATE INDEX file_device ON media.file (device, stored_at_ms);

-- Files that were erased, known or not: bytes that come later are not taken.
CREATE TABLE media.tombstone (
    sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    erased_at_ms bigint NOT NULL
);

-- Unfinished uploads. `received_bytes` are on the disk; what the disk has beyond them was never confirmed.
CREATE TABLE media.upload (
    device text NOT NULL,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    length_bytes bigint NOT NULL CHECK (length_bytes > 0),
    mime text NOT NULL,
    received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes BETWEEN 0 AND length_bytes),
    expires_at_ms bigint NOT NULL,
    key_box bytea,                             -- of a file in encrypted chunks: its key, in a box for this store
    PRIMARY KEY (device, sha256)
);
CREATE INDEX upload_expires ON media.upload (expires_at_ms);

-- One row an intervention: which announcement of its state was read, and what was announced of its evidence.
CREATE TABLE media.evidence (
    intervention uuid PRIMARY KEY,
    agency text,
    state_version bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    complete boolean NOT NULL DEFAULT false,
    items jsonb NOT NULL DEFAULT '[]'
);

CREATE TABLE media.demand (
    intervention uuid NOT NULL REFERENCES media.evidence,
    line uuid NOT NULL,
    place integer NOT NULL,
    kind text NOT NULL,
    sha256 text NOT NULL,
    length_bytes bigint NOT NULL,
    mime text NOT NULL,
    PRIMARY KEY (intervention, line)
);
CREATE INDEX demand_sha256 ON media.demand (sha256);
