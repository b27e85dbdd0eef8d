-- Keys of data subjects, as custody gives them: whose, what for, and when they are sealed under. What a store of version 2 has was
-- made here and went to nobody: it stays readable until custody is asked.

alter table subject_keys rename to subject_keys_2;
create table subject_keys (
    kid text primary key,
    key blob not null,
    subject text not null,
    purpose text not null,
    used_from_ms integer,
    used_until_ms integer
) without rowid;
insert into subject_keys (kid, key, subject, purpose) select kid, key, '', 'signer' from subject_keys_2;
drop table subject_keys_2;
