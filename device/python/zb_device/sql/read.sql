-- read-<technician>.db: the technician's read model. Its key is wrapped by PIN and device-bound secret (vault.py).

create table documents (
    id text primary key,
    change integer not null,
    vector text not null,
    content blob not null
) without rowid;

create table scope (
    one integer primary key check (one = 1),
    epoch text not null,
    cursor integer not null,
    omitted text not null,
    complete integer not null
);

create table subject_keys (
    kid text primary key,
    key blob not null
) without rowid;
