-- The billing bridge's tables. This file is the truth; migrations/ build the same, and a test proves it.

CREATE SCHEMA billing;

-- What was heard of each intervention. State and evidence come in any order, so a row may know only one of them.
CREATE TABLE billing.intervention (
    intervention uuid PRIMARY KEY,
    state_version bigint NOT NULL DEFAULT 0,
    facts jsonb,
    closed boolean NOT NULL DEFAULT false,
    evidence_version bigint NOT NULL DEFAULT 0,
    stored jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX intervention_closed ON billing.intervention (intervention) WHERE closed;

CREATE TABLE billing.price_list (
    price_list text NOT NULL,
    version bigint NOT NULL,
    content jsonb NOT NULL,
    PRIMARY KEY (price_list, version)
);

CREATE TABLE billing.contracts (
    agency text PRIMARY KEY,
    version bigint NOT NULL,
    content jsonb NOT NULL
);

-- The last batch number of a profile. Locked first in every transaction that makes a batch: no number is ever missing.
CREATE TABLE billing.profile (
    profile text PRIMARY KEY,
    batch bigint NOT NULL DEFAULT 0
);

-- The number and hash of the author's last event, locked after the profile.
CREATE TABLE billing.author (
    author text PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,
    head_hash text NOT NULL
);

-- What the author's events on a stream have claimed to know: never shrinks.
CREATE TABLE billing.knowledge (
    author text NOT NULL,
    stream text NOT NULL,
    vector jsonb NOT NULL,
    PRIMARY KEY (author, stream)
);

CREATE TABLE billing.batch (
    profile text NOT NULL REFERENCES billing.profile,
    batch bigint NOT NULL CHECK (batch > 0),
    frozen_at_ms bigint NOT NULL,
    currency text NOT NULL,
    interventions integer NOT NULL,
    lines integer NOT NULL,
    net_cents bigint NOT NULL,
    vat_cents bigint NOT NULL,
    delivered_at_ms bigint,
    fault text,
    PRIMARY KEY (profile, batch)
);
CREATE INDEX batch_undelivered ON billing.batch (profile, batch) WHERE delivered_at_ms IS NULL;

CREATE TABLE billing.batch_file (
    profile text NOT NULL,
    batch bigint NOT NULL,
    name text NOT NULL,
    place integer NOT NULL,
    sha256 text NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (profile, batch, name),
    FOREIGN KEY (profile, batch) REFERENCES billing.batch
);

-- What a batch billed of an intervention: `lines` are in the files, `rated` is the whole that all exports add up to.
CREATE TABLE billing.export (
    profile text NOT NULL,
    intervention uuid NOT NULL REFERENCES billing.intervention,
    batch bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('invoice', 'adjustment')),
    event_id uuid NOT NULL UNIQUE,
    lines jsonb NOT NULL,
    rated jsonb NOT NULL,
    lines_sha256 text NOT NULL,
    terms jsonb NOT NULL,
    PRIMARY KEY (profile, intervention, batch),
    FOREIGN KEY (profile, batch) REFERENCES billing.batch
);
-- Billed once per profile, whatever the code does.
CREATE UNIQUE INDEX export_invoice_once ON billing.export (profile, intervention) WHERE kind = 'invoice';

-- Up to which version of its state an intervention needs nothing more of this profile.
CREATE TABLE billing.settled (
    profile text NOT NULL,
    intervention uuid NOT NULL REFERENCES billing.intervention,
    state_version bigint NOT NULL,
    PRIMARY KEY (profile, intervention)
);
