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
