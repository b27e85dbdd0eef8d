-- From version 3 to 4: a line of a list has all that a screen shows of a document.

alter table documents add column line text not null default '';

update documents set line = case
    when id like 'intervention:%' or id like 'site:%' or id like 'equipment:%' then json_object(
        'stream', id,
        'planned_ms', planned_ms,
        'status', status,
        'title', title,
        'reference', json_extract(cast(content as text), '$.fields.reference.value'),
        'kind', json_extract(cast(content as text), '$.fields.kind.value'),
        'site', json_extract(cast(content as text), '$.fields.site.value'),
        'equipment', json_extract(cast(content as text), '$.fields.equipment.value'),
        'priority', json_extract(cast(content as text), '$.fields.priority.value'))
    else json_object('stream', id) end;

drop index documents_listed;
alter table documents drop column title;
create index documents_listed on documents (planned_ms, id, status, line);
