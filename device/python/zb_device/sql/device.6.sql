-- From version 5 to 6: what waits, what a person has to see, and bytes that are kept, are found without reading the log; columns
-- that nobody read.

drop index log_open;
drop index log_visible;
create index log_open on log (incarnation, seq) where state <> 'admitted';
create index log_kept on log (incarnation, seq) where state = 'admitted' and for_escrow is not null;

alter table log drop column length_bytes;
alter table log drop column retryable;
alter table media drop column stored_ms;
