-- Subject keys leave for a database of their own; here stay the fingerprints, each with the key that it goes with.
CREATE TABLE scheduling.personal (
    subject text NOT NULL,
    field text NOT NULL,
    kid text NOT NULL,
    fingerprint text NOT NULL,
    PRIMARY KEY (subject, field)
);
CREATE INDEX personal_kid ON scheduling.personal (kid);

INSERT INTO scheduling.personal (subject, field, kid, fingerprint)
SELECT DISTINCT ON (key.subject, print.field) key.subject, print.field, key.kid, print.value
FROM scheduling.subject_key key, LATERAL jsonb_each_text(key.fingerprints) AS print (field, value)
ORDER BY key.subject, print.field, key.made_at_ms DESC, key.kid DESC;
