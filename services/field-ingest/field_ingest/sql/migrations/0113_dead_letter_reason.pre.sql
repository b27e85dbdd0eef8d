-- What was done about a dead letter, in words: a new try, or by hand.
ALTER TABLE dead_letter_retries ADD COLUMN reason text;
