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
