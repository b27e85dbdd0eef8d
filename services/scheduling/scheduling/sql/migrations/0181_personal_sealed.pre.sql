-- The newest sealed value beside its fingerprint, so that the office can read it where a person's duty asks for it. A value
-- from before stands in its event only.
ALTER TABLE scheduling.personal ADD COLUMN event text, ADD COLUMN sealed jsonb,
    ADD CONSTRAINT personal_sealed_whole CHECK ((event IS NULL) = (sealed IS NULL));
