-- What a list shows of a document, so that no document is read for it; how far a full resync is; bytes, counted.

alter table documents add column round integer not null default 0;
alter table documents add column planned_ms integer;
alter table documents add column status text;
alter table documents add column title text;

update documents set
    planned_ms = case when id like 'intervention:%' then
        cast(unixepoch(json_extract(cast(content as text), '$.fields.planned_start.value')) as integer) * 1000 end,
    status = json_extract(cast(content as text), '$.status'),
    title = json_extract(cast(content as text), case
        when id like 'intervention:%' then '$.fields.title.value'
        when id like 'site:%' then '$.fields.name.value'
        else '$.fields.label.value' end)
where id like 'intervention:%' or id like 'site:%' or id like 'equipment:%';

create index documents_listed on documents (planned_ms, id, status, title);

alter table scope add column omitted_count integer not null default 0;
alter table scope add column healing integer not null default 0;
alter table scope add column round integer not null default 0;
alter table scope add column floor integer;
alter table scope add column size integer not null default 0;

update scope set size = (select coalesce(sum(length(content)), 0) from documents);
