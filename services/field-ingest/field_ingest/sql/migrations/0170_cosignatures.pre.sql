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
