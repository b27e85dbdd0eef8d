-- Sessions that the version before minted while this one started.
INSERT INTO device_people (device, technician, since_ms)
SELECT a.device, t.technician, min(t.issued_at_ms) FROM tokens t JOIN authors a USING (author)
WHERE t.technician IS NOT NULL AND a.device IS NOT NULL GROUP BY a.device, t.technician
ON CONFLICT DO NOTHING;

DROP INDEX tokens_people;
