-- Turns a store of today back into one of version 1, as stores were before incarnations.
begin immediate;
drop table deliveries;
drop table scope_places;
drop table key_deposits;
create table head_1 (
    one integer primary key check (one = 1),
    seq integer not null,
    prev text not null,
    at_ms integer not null,
    high_water_ms integer not null
);
insert into head_1 select 1, seq, prev, at_ms, high_water_ms from head;
drop table head;
alter table head_1 rename to head;
create table log_1 (
    seq integer primary key,
    id text not null unique,
    header_sha256 text not null,
    length_bytes integer not null,
    reader text,
    for_escrow blob,
    for_reader blob,
    state text not null check (state in ('queued', 'received', 'admitted', 'held', 'refused')),
    recorded_ms integer not null,
    settled_ms integer,
    position integer,
    code text,
    message text,
    retryable integer not null default 0,
    dealt_with integer not null default 0
);
insert into log_1 (seq, id, header_sha256, length_bytes, reader, for_escrow, for_reader, state, recorded_ms,
    settled_ms, position, code, message, dealt_with)
select seq, id, header_sha256, 0, reader, for_escrow, for_reader, state, recorded_ms,
    settled_ms, position, code, message, dealt_with from log;
drop table log;
alter table log_1 rename to log;
create index log_open on log (seq) where state in ('queued', 'received');
create index log_visible on log (seq) where state in ('held', 'refused') and dealt_with = 0;
drop table incarnations;
alter table media add column stored_ms integer;
alter table readers drop column wait_ms;
alter table readers drop column wait_boot;
alter table readers drop column wait_from_ms;
alter table readers add column blocked_until_ms integer not null default 0;
pragma user_version = 1;
commit;
