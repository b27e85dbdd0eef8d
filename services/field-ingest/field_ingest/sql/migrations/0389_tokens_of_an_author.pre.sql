-- How many sessions a device had today, and whether its technician has one now, without reading all tokens of the fleet.
CREATE INDEX tokens_author ON tokens (author, issued_at_ms);
