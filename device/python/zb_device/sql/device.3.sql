-- From version 2 to 3: pauses after wrong PINs in suspend-proof time, because a wall clock can be set forward.

alter table readers drop column blocked_until_ms;
alter table readers add column wait_ms integer not null default 0;
alter table readers add column wait_boot text not null default '';
alter table readers add column wait_from_ms integer not null default 0;
