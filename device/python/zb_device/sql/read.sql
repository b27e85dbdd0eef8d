-- read-<technician>.db: the technician's read model. Its key is wrapped by PIN and device-bound secret (vault.py).

create table documents (
    id text primary key,
    change integer not null,
    vector text not null,
    content blob not null,
    round integer not null default 0, -- the full resync that brought it
    planned_ms integer,
    status text,
    line text not null default '' -- what a list shows of it (listed.Listed, as JSON)
) without rowid;

-- Lists, and the count of documents, read this index and no document.
create index documents_listed on documents (planned_ms, id, status, line);

create table scope (
    one integer primary key check (one = 1),
    epoch text not null,
    cursor integer not null,
    omitted text not null,
    complete integer not null,
    omitted_count integer not null default 0,
    healing integer not null default 0,
    round integer not null default 0,
    floor integer,                    -- while a full resync goes on: the cursor that it has to reach
    size integer not null default 0   -- bytes of all documents
);

create table subject_keys (
    kid text primary key,
    key blob not null,
    subject text not null,
    purpose text not null,
    used_from_ms integer,
    used_until_ms integer
) without rowid;
