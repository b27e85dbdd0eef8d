-- field-ingest's database beside the chassis' tables: the ledger and the read side. What concerns devices is in schema_devices.sql.
-- These files are the truth; migrations/ build the same, and a test proves it.

-- The ledger: authors, shards (each a log of its own), rows, Merkle tiles, checkpoints; what admission sets aside beside
-- it (rejects). Positions are dense per shard, from 0, and come from the locked shard row, which is
-- locked last (READ COMMITTED): a reader that pages by (shard, position > last) misses none.

CREATE TABLE shards (
    shard integer PRIMARY KEY CHECK (shard >= 0),
    origin text NOT NULL UNIQUE,               -- origin line of the shard's checkpoints
    size bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    root bytea NOT NULL,                       -- Merkle root of the first `size` leaves
    frontier bytea NOT NULL                    -- what the next append needs of the tree
);

CREATE TABLE authors (
    author text PRIMARY KEY CHECK (author ~ '^[a-z0-9-]{1,64}$'),
    kind text NOT NULL CHECK (kind IN ('device', 'office', 'service')),
    agency text,
    device text CHECK (device ~ '^[a-z0-9-]{1,64}$'),
    incarnation integer,                       -- 1, 2 ... of this device
    technician text,                           -- null: a device of a pool, or no device
    event_key bytea NOT NULL UNIQUE CHECK (octet_length(event_key) = 32), -- one incarnation has it for life
    wrap_key bytea CHECK (octet_length(wrap_key) = 32),
    login_key text,                            -- public NKey (U...)
    shard integer NOT NULL REFERENCES shards,
    mark bigint NOT NULL DEFAULT 0,            -- contiguous: it passes permanent refusals, stops at retryable ones
    head_hash bytea NOT NULL,                  -- SHA-256 of the header at `mark`; 32 zero bytes before the first
    last_at_ms bigint,                         -- wall clock of the event at `mark`, to see a clock that went back
    registered_at_ms bigint NOT NULL,
    revoked_at_ms bigint,                      -- events first received after this are held
    revoked_cause text,
    stopped_seq bigint,                        -- the retryable refusal at mark + 1, if there is one
    stopped_code text,
    stopped_message text,
    stopped_at_ms bigint,
    gap_nonce text,                            -- set: the ledger asks for mark + 1 on, resent with this nonce
    gap_at_ms bigint,
    gap_to bigint,                             -- the last of what was given up; the gap stays open until the mark is there
    stray_refusals integer NOT NULL DEFAULT 0, -- refusal rows beside the chain (forks, broken links), limited
    CHECK ((kind = 'device') = (device IS NOT NULL)),
    UNIQUE (device, incarnation)
);

-- No foreign keys here: one function writes it, under the locks of author and shard, and audit verify checks every row.
CREATE TABLE ledger (
    shard integer NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    kind text NOT NULL CHECK (kind IN ('admitted', 'held', 'refusal')),
    event_id text NOT NULL,
    author text NOT NULL,
    seq bigint NOT NULL,
    stream text NOT NULL,
    type text NOT NULL,
    header bytea NOT NULL,                     -- header, body, signature: byte for byte as they came
    header_hash bytea NOT NULL,
    body bytea NOT NULL,
    signature bytea NOT NULL,
    received_at_ms bigint NOT NULL,
    facts bytea NOT NULL,                      -- verdict facts, canonical JSON
    leaf_hash bytea NOT NULL,
    code text,                                 -- of a refusal
    chained boolean NOT NULL,                  -- the author's event `seq`; false: beside the chain (fork, broken link)
    PRIMARY KEY (shard, position),
    CHECK ((kind = 'refusal') = (code IS NOT NULL)),
    CHECK (chained OR kind = 'refusal')
);

CREATE UNIQUE INDEX ledger_chain ON ledger (author, seq) WHERE chained;
CREATE UNIQUE INDEX ledger_event_id ON ledger (event_id) WHERE kind <> 'refusal';
CREATE UNIQUE INDEX ledger_stray ON ledger (author, seq, header_hash) WHERE NOT chained;
CREATE INDEX ledger_stream ON ledger (stream, shard, position);
CREATE INDEX ledger_stream_author ON ledger (stream, author, seq);

-- Held events, and what became of them: admitted_by is the id of the event.admitted.v1 that names them.
CREATE TABLE holds (
    event_id text PRIMARY KEY,
    author text NOT NULL REFERENCES authors,
    seq bigint NOT NULL,
    stream text NOT NULL,
    received_at_ms bigint NOT NULL,
    admitted_by text,
    UNIQUE (author, seq)
);

-- Only full tiles of 256 (C2SP tlog-tiles): 256 x 32 bytes, and the hash of the subtree over them.
CREATE TABLE tiles (
    shard integer NOT NULL REFERENCES shards,
    level integer NOT NULL CHECK (level >= 0),
    tile bigint NOT NULL CHECK (tile >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (shard, level, tile)
);

CREATE TABLE checkpoints (
    shard integer NOT NULL REFERENCES shards,
    size bigint NOT NULL,
    root bytea NOT NULL,
    note text NOT NULL,                        -- signed note, C2SP tlog-checkpoint
    made_at_ms bigint NOT NULL,
    PRIMARY KEY (shard, size)
);

-- Bytes that no known key signed, or that cannot be placed. Samples are limited a subject, counts never stop.
CREATE TABLE rejects (
    reject bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text NOT NULL,
    author text,                               -- as claimed
    code text NOT NULL,
    message text NOT NULL,
    data_hash bytea NOT NULL,
    data_bytes integer NOT NULL,
    data bytea NOT NULL,                       -- the message, cut at a limit
    first_at_ms bigint NOT NULL,
    last_at_ms bigint NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    UNIQUE (subject, code, data_hash)
);

CREATE TABLE reject_counts (
    subject text NOT NULL,
    code text NOT NULL,
    times bigint NOT NULL,
    samples integer NOT NULL DEFAULT 0,
    first_at_ms bigint NOT NULL,
    last_at_ms bigint NOT NULL,
    PRIMARY KEY (subject, code)
);

-- Dead letters that somebody dealt with; the letters themselves stay in their stream.
CREATE TABLE dead_letter_retries (
    number bigint PRIMARY KEY,                 -- in the stream DEADLETTER
    at_ms bigint NOT NULL,
    disposition text NOT NULL,
    reason text                                -- what was done about it, in words
);

-- The read side: rebuilt from the ledger by `audit replay` (but for sync_session), nothing here is the record.

-- Which partition a stream lies in: the first byte of its name's SHA-256, modulo. Code computes the same.
CREATE FUNCTION stream_partition(stream text, partitions integer) RETURNS integer
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN get_byte(sha256(convert_to(stream, 'UTF8')), 0) % partitions;

-- A row is the lock of its partition; how many there are is how many rows there are.
CREATE TABLE projection_partition (
    projection text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    PRIMARY KEY (projection, partition)
);

-- How far each partition has read each shard: `position` is the next one that it will take.
CREATE TABLE partition_mark (
    projection text NOT NULL,
    partition integer NOT NULL,
    shard integer NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (projection, partition, shard)
) WITH (fillfactor = 50);

-- Who works on the projection: the partitions are shared out among those seen lately.
CREATE TABLE projection_worker (
    projection text NOT NULL,
    worker text COLLATE "C" NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (projection, worker)
);

-- The merged state of each stream. `state` and `vector` are canonical JSON, `positions` maps shard to next position.
-- `document` is what scopes give out, where that is shorter than the state (history left out), else null. Both are written
-- whole with each change, and not compressed, which would cost more than the rest of writing them.
CREATE TABLE states (
    stream text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL,
    rule_version integer NOT NULL,
    state bytea STORAGE EXTERNAL NOT NULL,
    document bytea STORAGE EXTERNAL,
    state_hash bytea NOT NULL CHECK (octet_length(state_hash) = 32),
    vector bytea NOT NULL,
    positions bytea NOT NULL,
    version bigint NOT NULL CHECK (version >= 1),
    changed_ms bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX states_kind ON states (kind);
CREATE INDEX states_rule_version ON states (rule_version);

-- Streams whose newest events could not be taken into their state, with the reason. They stop nobody else.
CREATE TABLE quarantine (
    stream text COLLATE "C" PRIMARY KEY,
    reason text NOT NULL,
    tries bigint NOT NULL DEFAULT 1,
    since_ms bigint NOT NULL,
    last_ms bigint NOT NULL
);

-- Folds of long streams, put away so that they need not be made again from all their events. An economy: it may be emptied.
CREATE TABLE fold_rest (
    stream text COLLATE "C" PRIMARY KEY,
    rule_version integer NOT NULL,
    events bigint NOT NULL,
    received_ms bigint NOT NULL,
    positions bytea NOT NULL,                  -- canonical JSON, shard to next position
    data bytea NOT NULL
);

-- Events that a supervisor's `event.admitted.v1` names on its own stream: one that is held there is part of it from then
-- on. A wrong name, author or number keeps nobody else out.
CREATE TABLE lifted (
    event_id text NOT NULL,
    author text NOT NULL,
    seq bigint NOT NULL,
    shard integer NOT NULL,                    -- where the admission stands
    position bigint NOT NULL,
    stream text NOT NULL DEFAULT '',
    PRIMARY KEY (event_id, author, seq, stream)
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
    catalogues text[] NOT NULL DEFAULT '{}',   -- documents of this table's sister `catalogues`, also of those that do not exist
    PRIMARY KEY (technician, intervention)
);
CREATE INDEX scope_member_intervention ON scope_member (intervention);
CREATE INDEX scope_member_site ON scope_member (site) WHERE site IS NOT NULL;
CREATE INDEX scope_member_equipment ON scope_member (equipment) WHERE equipment IS NOT NULL;
CREATE INDEX scope_member_expires ON scope_member (expires_ms) WHERE expires_ms IS NOT NULL;

-- Shared catalogues as they were published last: the reference that scopes give out, and the bytes that it names, packed.
CREATE TABLE catalogues (
    document text PRIMARY KEY,                 -- catalogue:<kind>/<name>
    version bigint NOT NULL,                   -- the publisher's; an older one changes nothing
    reference bytea NOT NULL,
    reference_hash bytea NOT NULL,
    sha256 text NOT NULL,
    packed bytea NOT NULL
);
CREATE INDEX catalogues_sha256 ON catalogues (sha256);

-- The counter of a technician's change order; its row is locked before a change takes a number.
CREATE TABLE scope_technician (
    technician text PRIMARY KEY,
    epoch text NOT NULL,
    change bigint NOT NULL DEFAULT 0,
    documents integer NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    omitted text[] NOT NULL DEFAULT '{}',      -- the first of them by name
    omitted_count integer NOT NULL DEFAULT 0
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

-- Whose scopes a committed change may concern: a technician, or whoever has the stream. No key but the order: two writers
-- of the same name do not meet, and a note that is taken was committed with what it is about.
CREATE TABLE scope_due (
    note bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text,
    technician text,
    CHECK ((stream IS NULL) <> (technician IS NULL))
);

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

-- Witnesses' signature lines under our checkpoints (C2SP tlog-cosignature): who else saw this head of the log, and when.
CREATE TABLE cosignatures (
    shard integer NOT NULL,
    size bigint NOT NULL,
    witness text NOT NULL,                     -- verifier key of the witness
    line text NOT NULL,                        -- its signature line, as it came
    at_s bigint NOT NULL,                      -- when, as the witness's clock had it
    PRIMARY KEY (shard, size, witness),
    FOREIGN KEY (shard, size) REFERENCES checkpoints
);

-- Rows that the ledger lost for good, because its database came from a backup: what was kept, what is abandoned, the signed word.
CREATE TABLE heals (
    shard integer NOT NULL REFERENCES shards,
    number integer NOT NULL CHECK (number >= 1),
    kept bigint NOT NULL CHECK (kept >= 0),
    abandoned_note text,                       -- the published head that is abandoned; null: nobody has it any more
    document bytea NOT NULL,                   -- canonical JSON, as it was signed
    kid text NOT NULL,
    signature bytea NOT NULL,
    rewound boolean NOT NULL DEFAULT false,    -- FIELD and OFFICE are read again from their beginning
    PRIMARY KEY (shard, number)
);
