-- An upload in encrypted chunks has the file's key in a box that only the evidence store opens.
ALTER TABLE media.upload ADD COLUMN key_box bytea;
