-- From version 4 to 5: the events of a stream that a technician may open are found without reading the log.
create index log_stream on log (stream, incarnation, seq) where for_reader is not null;
