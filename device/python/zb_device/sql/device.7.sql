-- From version 6 to 7: what came of a scope while nobody could read, in boxes for its technician, and where each scope stands.

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
