-- The read side: rebuilt from the ledger by `audit replay` (but for sync_session), nothing here is the record.

-- How far a projection has read: `position` is the next one that it will take from the shard.
CREATE TABLE projection_mark (
    projection text NOT NULL,
    shard integer NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (projection, shard)
);

-- The merged state of each stream. `state` and `vector` are canonical JSON, `positions` maps shard to next position.
-- `document` is what scopes give out, where that is shorter than the state (history left out), else null.
CREATE TABLE states (
    stream text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL,
    rule_version integer NOT NULL,
    state bytea NOT NULL,
    document bytea,
    state_hash bytea NOT NULL CHECK (octet_length(state_hash) = 32),
    vector bytea NOT NULL,
    positions bytea NOT NULL,
    version bigint NOT NULL CHECK (version >= 1),
    changed_ms bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX states_kind ON states (kind);

-- Streams whose newest events could not be taken into their state, with the reason. They stop nobody else.
CREATE TABLE quarantine (
    stream text COLLATE "C" PRIMARY KEY,
    reason text NOT NULL,
    tries bigint NOT NULL DEFAULT 1,
    since_ms bigint NOT NULL,
    last_ms bigint NOT NULL
);

-- Held events that a supervisor's `event.admitted.v1` names: from then on they are part of their stream.
CREATE TABLE lifted (
    event_id text PRIMARY KEY,
    author text NOT NULL,
    seq bigint NOT NULL,
    shard integer NOT NULL,
    position bigint NOT NULL
);

-- Which interventions are a technician's, and since they hang on them: which site and equipment. Streams by name.
CREATE TABLE scope_member (
    technician text NOT NULL,
    intervention text NOT NULL,
    site text,
    equipment text,
    held boolean NOT NULL,
    planned_ms bigint,
    expires_ms bigint,
    PRIMARY KEY (technician, intervention)
);
CREATE INDEX scope_member_intervention ON scope_member (intervention);
CREATE INDEX scope_member_site ON scope_member (site) WHERE site IS NOT NULL;
CREATE INDEX scope_member_equipment ON scope_member (equipment) WHERE equipment IS NOT NULL;
CREATE INDEX scope_member_expires ON scope_member (expires_ms) WHERE expires_ms IS NOT NULL;

-- The counter of a technician's change order; its row is locked before a change takes a number.
CREATE TABLE scope_technician (
    technician text PRIMARY KEY,
    epoch text NOT NULL,
    change bigint NOT NULL DEFAULT 0,
    documents integer NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    omitted text[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- The latest change of each document of a technician. Content and vector of a live one are the state's; a tombstone
-- keeps the vector that was last given out with content.
CREATE TABLE scope_document (
    technician text NOT NULL,
    document text NOT NULL,
    change bigint NOT NULL,
    state_hash bytea,
    vector bytea NOT NULL,
    PRIMARY KEY (technician, document)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX scope_document_change ON scope_document (technician, change);

-- Which technician a device last asked for: whom a hint reaches.
CREATE TABLE sync_session (
    device text PRIMARY KEY,
    technician text NOT NULL,
    asked_ms bigint NOT NULL
);
CREATE INDEX sync_session_technician ON sync_session (technician);

-- Wakes the projector when a shard grew. One notice a transaction, given at its commit.
CREATE FUNCTION ledger_grew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ledger_grew', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER shards_grew AFTER UPDATE OF size ON shards FOR EACH STATEMENT EXECUTE FUNCTION ledger_grew();
