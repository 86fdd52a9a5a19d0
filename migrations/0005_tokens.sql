-- Tokens with roles, an end, and a former secret. Names stay for good: they are the actors of the
-- history.

create table access_token (
  name               text not null primary key check (length(name) between 1 and 253),
  description        text not null,
  role               text not null check (role in ('VIEWER', 'REGISTRAR', 'ADMIN')),
  grants             text not null check (json_valid(grants)),  -- {"namespace": ["pool", ...], ...}
  sha256             blob unique check (length(sha256) = 32),   -- null: known by a certificate
  rotate_time        integer check ((rotate_time is null) = (sha256 is null)),
  former_sha256      blob check (length(former_sha256) = 32),
  former_expire_time integer check ((former_expire_time is null) = (former_sha256 is null)),
  expire_time        integer,
  create_time        integer not null,
  creator            text not null,
  update_time        integer not null check (update_time >= create_time),
  revoke_time        integer,
  check ((role = 'REGISTRAR') = (grants <> '{}')),
  check (former_sha256 is null or sha256 is not null)
) strict, without rowid;

-- What was a token before there were roles could do everything.
insert into access_token (name, description, role, grants, sha256, rotate_time, create_time,
  creator, update_time, revoke_time)
select name, '', 'ADMIN', '{}', sha256, create_time, create_time, 'portbook',
  max(create_time, coalesce(revoke_time, create_time)), revoke_time
from token;

drop table token;
alter table access_token rename to token;
