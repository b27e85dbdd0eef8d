-- Devices beside the ledger's authors: codes, sessions and what ends them, the fleet. After schema.sql, which this builds on.

CREATE TABLE enrolment_codes (
    code_hash bytea PRIMARY KEY,               -- the code itself is never stored
    agency text NOT NULL,
    technician text,
    device text,                               -- set: the code re-enrols this device
    issued_by text NOT NULL,
    issued_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    used_at_ms bigint,
    request_hash bytea,                        -- of the keys that used it: the same ones get the same answer again
    answer bytea,
    revoked_at_ms bigint,                      -- taken back before it was used
    revoked_by text
);
CREATE INDEX enrolment_codes_issued ON enrolment_codes (issued_at_ms);
CREATE INDEX enrolment_codes_id ON enrolment_codes (left(encode(code_hash, 'hex'), 16));

CREATE TABLE tokens (
    token_id text PRIMARY KEY,
    author text NOT NULL REFERENCES authors,
    technician text,                           -- null: a drain session
    issued_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL
);
CREATE INDEX tokens_expires ON tokens (expires_at_ms);
CREATE INDEX tokens_author ON tokens (author, issued_at_ms);

-- Who ever had a session on a device, for good: the tokens themselves are forgotten once they can be of no use.
CREATE TABLE device_people (
    device text NOT NULL,
    technician text NOT NULL,
    since_ms bigint NOT NULL,
    PRIMARY KEY (device, technician)
);

-- Sessions that end before their token does: whose, why, and who floods. Times here are real, as the broker's are.

CREATE TABLE session_cuts (
    login_key text PRIMARY KEY,                -- public NKey (U...)
    cut_at_s bigint NOT NULL                   -- tokens issued until then are void, in seconds as in a token's `iat`
);
CREATE INDEX session_cuts_at ON session_cuts (cut_at_s);
GRANT SELECT ON session_cuts TO PUBLIC;        -- a role that may enter this database at all, the warden's, reads this alone

CREATE TABLE suspensions (
    suspension bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    cause text NOT NULL CHECK (cause IN ('flood', 'administrator')),
    reason text NOT NULL,
    made_by text NOT NULL,
    from_ms bigint NOT NULL,
    until_ms bigint,                           -- null: until somebody lifts it
    lifted_at_ms bigint,
    lifted_by text
);
CREATE UNIQUE INDEX suspensions_open ON suspensions (device) WHERE lifted_at_ms IS NULL;
CREATE INDEX suspensions_device ON suspensions (device, suspension);

-- What came from each device in each hour, counted once a message, for some days.
CREATE TABLE incoming (
    device text NOT NULL,
    hour bigint NOT NULL,                      -- hours since 1970
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (device, hour)
) WITH (fillfactor = 70);
CREATE INDEX incoming_hour ON incoming (hour);

CREATE FUNCTION sessions_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sessions_cut', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER session_cuts_changed AFTER INSERT OR UPDATE ON session_cuts FOR EACH STATEMENT EXECUTE FUNCTION sessions_cut();

-- The fleet: agencies in a tree, orders to wipe, what devices tell of themselves.

CREATE TABLE agencies (
    agency text PRIMARY KEY CHECK (agency ~ '^[a-z0-9-]{1,64}$'),
    parent text REFERENCES agencies,           -- null: nothing is above it but those who act for all
    name text NOT NULL,
    closed_at_ms bigint,                       -- no code is issued for it; null: it is open
    closed_by text
);
CREATE INDEX agencies_parent ON agencies (parent);

-- These agencies and all below them, each with how deep it lies under the nearest of them, from 1.
CREATE FUNCTION agencies_below(mine text[]) RETURNS TABLE (agency text, depth integer)
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        WITH RECURSIVE below (agency, depth) AS (
            SELECT m.agency, 1 FROM unnest(mine) AS m (agency)
            UNION
            SELECT a.agency, b.depth + 1 FROM agencies a JOIN below b ON a.parent = b.agency WHERE b.depth <= 8
        )
        SELECT b.agency, min(b.depth)::integer FROM below b GROUP BY b.agency;
    END;

-- Orders to wipe hardware, known by its login key. What attests to one is in the ledger, not here.
CREATE TABLE wipes (
    order_id text PRIMARY KEY CHECK (order_id ~ '^[a-z0-9-]{1,64}$'),
    device text NOT NULL,
    login_key text NOT NULL,                   -- public NKey (U...): new hardware under the same device's name has another
    at_once boolean NOT NULL,                  -- without waiting for what the device cannot send
    reason text NOT NULL,
    ordered_by text NOT NULL,
    ordered_at_ms bigint NOT NULL,
    withdrawn_at_ms bigint,
    withdrawn_by text
);
CREATE UNIQUE INDEX wipes_open ON wipes (login_key) WHERE withdrawn_at_ms IS NULL;
CREATE INDEX wipes_device ON wipes (device);

-- The event in which hardware attests that it was wiped, by whichever of its incarnations; null: it has not.
CREATE FUNCTION attested_wipe(wiped_device text, wiped_key text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT l.event_id FROM ledger l JOIN authors b ON b.author = l.author
        WHERE l.stream = 'device:' || wiped_device AND l.type = 'device.wiped.v1' AND l.kind <> 'refusal'
            AND b.login_key = wiped_key
        ORDER BY l.received_at_ms LIMIT 1
    );

-- What a device told of itself last. Numbers count up in an incarnation: what is older never overwrites what is newer.
CREATE TABLE device_about (
    device text PRIMARY KEY,
    incarnation integer NOT NULL,
    number bigint NOT NULL,
    told_at_ms bigint NOT NULL,
    model text,
    os text,
    app text,
    battery_percent integer,
    clock_offset_ms bigint,                    -- its wall clock less ours, when it told
    waiting_events bigint NOT NULL,            -- without a receipt
    oldest_waiting_ms bigint,                  -- when the first of them was recorded, by its clock
    waiting_files bigint NOT NULL,
    head bigint                                -- its newest event then: once the ledger has that, none of them waits
);

-- The one word for how a device stands. Code computes the same (standing.py), and a test holds both equal.
CREATE FUNCTION device_standing(cause text, is_suspended boolean, wipe text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN cause IS NOT NULL AND cause NOT IN ('lost', 'stolen') THEN 'retired'
        WHEN wipe = 'attested' THEN 'wiped'
        WHEN wipe = 'ordered' THEN 'wiping'
        WHEN cause IS NOT NULL THEN 'lost'
        WHEN is_suspended THEN 'suspended'
        ELSE 'active'
    END;
