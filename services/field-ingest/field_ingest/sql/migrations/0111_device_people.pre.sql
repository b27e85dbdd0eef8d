-- Who ever had a session on a device, for good: the tokens themselves are forgotten once they can be of no use.
CREATE TABLE device_people (
    device text NOT NULL,
    technician text NOT NULL,
    since_ms bigint NOT NULL,
    PRIMARY KEY (device, technician)
);
INSERT INTO device_people (device, technician, since_ms)
SELECT a.device, t.technician, min(t.issued_at_ms) FROM tokens t JOIN authors a USING (author)
WHERE t.technician IS NOT NULL AND a.device IS NOT NULL GROUP BY a.device, t.technician;

CREATE INDEX tokens_expires ON tokens (expires_at_ms);
