-- From version 1 to 2: a log of several incarnations. What a store of version 1 has is the first one's.

create table incarnations (
    number integer primary key,
    author text not null unique,
    closed_ms integer not null,
    reason text not null
);

alter table head rename to head_1;
create table head (
    incarnation integer primary key,
    seq integer not null,
    prev text not null,
    at_ms integer not null,
    high_water_ms integer not null,
    ledger_mark integer not null default 0,
    stalled_since_ms integer not null default 0
);
insert into head (incarnation, seq, prev, at_ms, high_water_ms) select 1, seq, prev, at_ms, high_water_ms from head_1;
drop table head_1;

alter table log rename to log_1;
drop index log_open;
drop index log_visible;
create table log (
    incarnation integer not null,
    seq integer not null,
    id text not null unique,
    stream text,
    header_sha256 text not null,
    length_bytes integer not null,
    reader text,
    for_escrow blob,
    for_reader blob,
    state text not null check (state in ('queued', 'received', 'admitted', 'held', 'refused')),
    recorded_ms integer not null,
    clock_went_back integer not null default 0,
    settled_ms integer,
    position integer,
    code text,
    message text,
    retryable integer not null default 0,
    dealt_with integer not null default 0,
    primary key (incarnation, seq)
);
insert into log (incarnation, seq, id, header_sha256, length_bytes, reader, for_escrow, for_reader, state, recorded_ms,
    settled_ms, position, code, message, retryable, dealt_with)
select 1, seq, id, header_sha256, length_bytes, reader, for_escrow, for_reader, state, recorded_ms,
    settled_ms, position, code, message, retryable, dealt_with from log_1;
drop table log_1;
create index log_open on log (incarnation, seq) where state in ('queued', 'received');
create index log_visible on log (incarnation, seq) where state in ('held', 'refused') and dealt_with = 0;
