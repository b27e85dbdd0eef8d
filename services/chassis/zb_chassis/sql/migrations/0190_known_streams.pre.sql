-- Which stream of the broker this database last worked with: one of the same name, made later, holds nothing of before.
CREATE TABLE chassis.known_stream (
    stream text PRIMARY KEY,
    made_at text NOT NULL                           -- as the broker says it
);
