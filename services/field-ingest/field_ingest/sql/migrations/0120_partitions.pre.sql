-- The projection by partitions, its scopes by notes of what is due.

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
INSERT INTO projection_partition (projection, partition)
    SELECT DISTINCT projection, p FROM projection_mark, generate_series(0, 7) AS p;
INSERT INTO partition_mark (projection, partition, shard, position)
    SELECT projection, p, shard, position FROM projection_mark, generate_series(0, 7) AS p;
-- A program of the old schema that still runs finds its marks where no ledger reaches, and rests.
UPDATE projection_mark SET position = 4611686018427387904;

-- Who works on the projection: the partitions are shared out among those seen lately.
CREATE TABLE projection_worker (
    projection text NOT NULL,
    worker text COLLATE "C" NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (projection, worker)
);

-- An admission lets in what it names on its own stream: a wrong name, author or number keeps nobody else out.
ALTER TABLE lifted ADD COLUMN stream text NOT NULL DEFAULT '';
UPDATE lifted f SET stream = l.stream FROM ledger l WHERE l.shard = f.shard AND l.position = f.position;
ALTER TABLE lifted DROP CONSTRAINT lifted_pkey;
ALTER TABLE lifted ADD PRIMARY KEY (event_id, author, seq, stream);

-- What the budget leaves out is listed up to a limit, and counted.
ALTER TABLE scope_technician ADD COLUMN omitted_count integer NOT NULL DEFAULT 0;
UPDATE scope_technician SET omitted_count = cardinality(omitted);

-- Whose scopes a committed change may concern: a technician, or whoever has the stream. No key but the order: two writers
-- of the same name do not meet, and a note that is taken was committed with what it is about.
CREATE TABLE scope_due (
    note bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text,
    technician text,
    CHECK ((stream IS NULL) <> (technician IS NULL))
);
