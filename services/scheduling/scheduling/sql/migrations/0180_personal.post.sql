-- No program that runs writes it any more; its keys stand in the events that came with them, sealed to escrow.
DROP TABLE scheduling.subject_key;
