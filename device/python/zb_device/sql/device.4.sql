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
