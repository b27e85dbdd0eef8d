-- A read model as version 1 left it, with one document.
drop table documents;
drop table scope;

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

insert into documents (id, change, vector, content) values (
    'intervention:leaky-boiler', 7, '{"office-main":5}',
    cast('{"fields":{"instructions":{"value":""},"planned_start":{"value":"2026-11-22T09:00:00.000Z"},"title":{"value":"Leaky boiler"}},"status":"planned"}' as blob)
);
insert into scope (one, epoch, cursor, omitted, complete) values (1, 'epoch-1', 7, '["site:far-away"]', 1);

pragma user_version = 1;
