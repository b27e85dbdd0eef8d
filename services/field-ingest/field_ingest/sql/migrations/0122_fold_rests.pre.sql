-- Folds of long streams, put away so that they need not be made again from all their events. An economy: it may be emptied.
CREATE TABLE fold_rest (
    stream text COLLATE "C" PRIMARY KEY,
    rule_version integer NOT NULL,
    events bigint NOT NULL,
    received_ms bigint NOT NULL,
    positions bytea NOT NULL,                  -- canonical JSON, shard to next position
    data bytea NOT NULL
);
