-- catalogues.db: shared catalogues, as they came. Its key needs the device-bound secret only; nothing personal is in it.

create table catalogues (
    sha256 text primary key,
    packed blob not null,
    length_bytes integer not null, -- of `packed`
    used_ms integer not null
) without rowid;
