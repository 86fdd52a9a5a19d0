-- Namespaces with rules, pools, leases, ports that rest, and the history of all of them.

-- When this registry was made: its history begins here. Of a registry that is older than this
-- column, the first change is the first that is known.
alter table registry add column create_time integer not null default 0;

update registry set create_time = coalesce(
  (select min(time) from revision), cast(round(unixepoch('subsec') * 1000) as integer) * 1000);

alter table namespace add column accept text not null default '[]' check (json_valid(accept));
alter table namespace add column forbid text not null default '[]' check (json_valid(forbid));
alter table namespace add column cool_down integer not null default 86400000000
  check (cool_down between 0 and 31622400000000);  -- microseconds, at most 366 days
alter table namespace add column create_time integer;
alter table namespace add column update_time integer;
alter table namespace add column revision integer not null default 0;

-- Ports of a namespace that are given out by number.
create table pool (
  namespace      text not null references namespace (name),
  name           text not null check (length(name) between 1 and 63),
  description    text not null,
  ports          text not null check (json_valid(ports)),           -- [[first, last], ...]
  transports     text not null check (json_valid(transports)),      -- ["tcp", ...]
  excluded_ports text not null check (json_valid(excluded_ports)),  -- [[first, last], ...]
  cool_down      integer not null check (cool_down between 0 and 31622400000000),
  accept         text not null check (json_valid(accept)),
  create_time    integer not null,
  update_time    integer not null check (update_time >= create_time),
  revision       integer not null references revision (revision),
  primary key (namespace, name)
) strict, without rowid;

-- The ports that follow from it: its runs without the excluded ones, for each transport. Runs that
-- are neighbours are one.
create table pool_run (
  namespace  text not null,
  transport  text not null check (transport in ('tcp', 'udp', 'sctp', 'dccp')),
  first_port integer not null check (first_port between 1 and 65535),
  last_port  integer not null check (last_port between first_port and 65535),
  pool       text not null,
  primary key (namespace, transport, first_port),
  foreign key (namespace, pool) references pool (namespace, name)
) strict, without rowid;

create trigger pool_run_overlap before insert on pool_run
when new.first_port <= (
  select other.last_port from pool_run as other
  where other.namespace = new.namespace and other.transport = new.transport
    and other.first_port <= new.last_port
  order by other.first_port desc limit 1)
begin
  select raise(abort, 'the pool overlaps another pool of the namespace on that transport');
end;

-- ttl and expire_time: the lease, if there is one. instance: who has ports that a pool chose.
alter table custom_assignment add column ttl integer check (ttl between 1000000 and 315360000000000);
alter table custom_assignment add column expire_time integer
  check ((expire_time is null) = (ttl is null));
alter table custom_assignment add column pool text;
alter table custom_assignment add column instance text
  check (instance is null or pool is not null);

create trigger pool_run_over_assignment before insert on pool_run
when exists (
  select 1 from custom_assignment as held
  where held.namespace = new.namespace and held.transport = new.transport
    and held.first_port <= new.last_port and held.last_port >= new.first_port
    and held.pool is not new.pool)
begin
  select raise(abort, 'the pool overlaps an assignment that does not come from it');
end;

-- Runs of pools never overlap, so if any meets the new ports, the nearest below their end does.
create trigger custom_assignment_in_pool before insert on custom_assignment
when new.pool is not (
  select case when run.last_port >= new.first_port then run.pool end from pool_run as run
  where run.namespace = new.namespace and run.transport = new.transport
    and run.first_port <= new.last_port
  order by run.first_port desc limit 1)
begin
  select raise(abort, 'the ports are part of a pool that they do not come from, or the other way');
end;

-- History of everything that can be changed. What the columns beside before and after hold is in
-- them too; it is here to be looked for.
create table history (
  revision       integer not null references revision (revision),
  position       integer not null check (position >= 0),
  kind           text not null check (kind in (
    'REGISTERED', 'UPDATED', 'RENEWED', 'RELEASED', 'EXPIRED',
    'NAMESPACE_CREATED', 'NAMESPACE_UPDATED', 'NAMESPACE_DELETED',
    'POOL_CREATED', 'POOL_UPDATED', 'POOL_DELETED')),
  namespace      text not null,
  uid            text,
  transport      text,
  first_port     integer,
  last_port      integer,
  service        text,     -- lower-case
  former_service text,     -- lower-case, where it was another
  before         text check (before is null or json_valid(before)),
  after          text check (after is null or json_valid(after)),
  rest_until     integer,  -- where ports were given back and rest
  primary key (revision, position),
  check ((before is null) = (kind in ('REGISTERED', 'NAMESPACE_CREATED', 'POOL_CREATED'))),
  check ((after is null) = (kind in ('RELEASED', 'EXPIRED', 'NAMESPACE_DELETED', 'POOL_DELETED')))
) strict, without rowid;

insert into history (revision, position, kind, namespace, uid, transport, first_port, last_port,
  service, former_service, before, after)
select revision, position, kind, last ->> 'namespace', uid, last ->> 'transport',
  last ->> 'first_port', last ->> 'last_port', lower(last ->> 'service_name'),
  nullif(lower(before ->> 'service_name'), lower(last ->> 'service_name')), before, after
from (select *, coalesce(after, before) as last from change);

drop table change;
alter table history rename to change;

create index change_by_namespace on change (namespace);
create index change_by_uid on change (uid) where uid is not null;
create index change_by_rest on change (rest_until) where rest_until is not null;
create index change_by_creation on change (namespace) where kind = 'NAMESPACE_CREATED';
create index revision_by_time on revision (time);

create trigger change_kept before delete on change
begin
  select raise(abort, 'history is kept');
end;

create trigger change_fixed before update on change
begin
  select raise(abort, 'history never changes');
end;
