-- device.db: the log and outbox of the device. Its key needs only the device-bound secret.
-- Event and media contents are sealed (X25519) to the escrow key and to the technician's reader key; in clear stand the
-- heads, which event is on which stream, and what sending and receipts need.

create table settings (
    name text primary key,
    value blob not null
) without rowid;

-- Closed ones; the current incarnation has the next number.
create table incarnations (
    number integer primary key,
    author text not null unique,
    closed_ms integer not null,
    reason text not null
);

create table head (
    incarnation integer primary key,
    seq integer not null,
    prev text not null,
    at_ms integer not null,
    high_water_ms integer not null,
    ledger_mark integer not null default 0,
    stalled_since_ms integer not null default 0
);

create table log (
    incarnation integer not null,
    seq integer not null,
    id text not null unique,
    stream text,
    header_sha256 text not null,
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
    dealt_with integer not null default 0,
    primary key (incarnation, seq)
);

-- A query that names the condition of an index uses it.
create index log_open on log (incarnation, seq) where state <> 'admitted';
create index log_kept on log (incarnation, seq) where state = 'admitted' and for_escrow is not null;
create index log_stream on log (stream, incarnation, seq) where for_reader is not null;

create table streams (
    stream text primary key,
    vector text not null
) without rowid;

create table visits (
    stream text not null,
    technician text not null,
    visit text not null,
    status text not null check (status in ('travelling', 'arrived', 'working', 'paused', 'closed')),
    primary key (stream, technician)
) without rowid;

create table readers (
    technician text primary key,
    public blob not null,
    salt blob not null,
    wrapped blob not null,
    tries integer not null default 0,
    wait_ms integer not null default 0,
    wait_boot text not null default '',
    wait_from_ms integer not null default 0
) without rowid;

create table media (
    sha256 text primary key,
    length_bytes integer not null,
    mime text not null,
    chunks integer not null,
    reader text,
    for_escrow blob not null,
    for_reader blob,
    state text not null check (state in ('queued', 'uploading', 'stored', 'failed')),
    upload_url text,
    tries integer not null default 0,
    code text,
    message text,
    attached_ms integer not null
) without rowid;

-- Keys of data subjects that were made here and that custody does not have yet, in boxes.
create table key_deposits (
    kid text primary key,
    purpose text not null,
    actor text not null,
    stream text not null,
    event text not null,
    fields text not null,
    at_ms integer not null,
    file text,
    recipient_kid text,
    for_custody blob,
    reader text,
    for_reader blob,
    tries integer not null default 0
) without rowid;

-- What came of a scope while nobody could read, in boxes for its technician, and where each scope stands.
create table deliveries (
    number integer primary key,
    reader text not null,
    for_reader blob not null
);

create table scope_places (
    technician text primary key,
    epoch text not null,
    cursor integer not null,
    count integer not null
) without rowid;
