-- The shape of a Portbook database. Times are microseconds since 1970-01-01 UTC.
-- The application_id pragma, which tells such a file from others, is set by the server.

-- What this database is: one row.
create table registry (
  id          integer primary key check (id = 1),
  database_id text not null default (lower(hex(randomblob(16)))),
  iana_date   text not null check (iana_date glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'),
  iana_sha256 text not null check (length(iana_sha256) = 64)
) strict;

-- IANA's registry, record by record: its 12 columns, and what follows from them.
-- A column that IANA leaves empty is null.
create table iana_record (
  ordinal                   integer primary key,  -- the place in IANA's file, from 1
  service_name              text,
  port_number               text,                 -- as published: '80', '6000-6063', '4748-4748'
  transport                 text check (transport in ('tcp', 'udp', 'sctp', 'dccp')),
  description               text,
  assignee                  text,
  contact                   text,
  registration_date         text,
  modification_date         text,
  reference                 text,
  service_code              text,
  unauthorized_use_reported text,
  assignment_notes          text,
  first_port                integer check (first_port between 0 and 65535),
  last_port                 integer check (last_port between first_port and 65535),
  state                     text not null check (state in ('ASSIGNED', 'RESERVED', 'UNASSIGNED')),
  check ((first_port is null) = (port_number is null)),
  check ((last_port is null) = (port_number is null)),
  check (service_name is null or state = 'ASSIGNED')
) strict;

-- Everyday use that IANA does not record, or records under another name.
create table common_use (
  ordinal      integer primary key,
  service_name text not null check (length(service_name) between 1 and 15),
  first_port   integer not null check (first_port between 1 and 65535),
  last_port    integer not null check (last_port between first_port and 65535),
  transport    text not null check (transport in ('tcp', 'udp', 'sctp', 'dccp')),
  description  text not null check (length(description) between 3 and 200),
  reference    text,
  unique (service_name, first_port, transport)
) strict;

-- What a well-known service is for, in plain words.
create table guide (
  guide_id    text not null primary key check (guide_id = lower(guide_id)),
  title       text not null check (length(title) between 1 and 40),
  full_name   text not null check (length(full_name) between 1 and 120),
  summary     text not null check (length(summary) between 40 and 600),
  category    text not null check (category in (
    'ai', 'blockchain', 'cache', 'chat', 'container', 'database', 'development', 'file-sharing',
    'game', 'identity', 'industrial', 'iot', 'mail', 'media', 'monitoring', 'naming', 'network',
    'printing', 'queue', 'remote-access', 'security', 'storage', 'voip', 'vpn', 'web')),
  encryption  text not null check (encryption in ('NONE', 'STARTTLS', 'TLS', 'OWN')),
  use_instead text check (length(use_instead) between 3 and 300)
) strict, without rowid;

-- The service names, lower-case, that a guide speaks of.
create table guide_service (
  service_name text not null primary key check (service_name = lower(service_name)),
  guide_id     text not null references guide (guide_id)
) strict, without rowid;

create index guide_service_by_guide on guide_service (guide_id);

-- Other words for it: lower-case, joined by hyphens.
create table guide_alias (
  alias    text not null primary key check (alias = lower(alias) and alias not like '% %'),
  guide_id text not null references guide (guide_id)
) strict, without rowid;

create index guide_alias_by_guide on guide_alias (guide_id);

-- A space in which a port can be held once.
create table namespace (
  name        text not null primary key check (length(name) between 1 and 63),
  description text not null default ''
) strict, without rowid;

insert into namespace (name, description) values
  ('default', 'Where registrations go that name no other namespace');

-- The registrations that stand now. Ordered as they are looked up: the nearest row below a
-- port number tells who holds it.
create table custom_assignment (
  namespace        text not null references namespace (name),
  transport        text not null check (transport in ('tcp', 'udp', 'sctp', 'dccp')),
  first_port       integer not null check (first_port between 1 and 65535),
  last_port        integer not null check (last_port between first_port and 65535),
  uid              text not null unique check (length(uid) = 36),
  service_name     text not null check (length(service_name) between 1 and 15),
  description      text not null,
  assignee         text not null,
  contact          text not null,
  reference        text not null,
  assignment_notes text not null,
  labels           text not null check (json_valid(labels)),
  create_time      integer not null,
  update_time      integer not null check (update_time >= create_time),
  revision         integer not null references revision (revision),
  primary key (namespace, transport, first_port)
) strict, without rowid;

-- The last line against two holders of one port. Rows of a namespace and transport never
-- overlap, so only the nearest one below the new last port can.
create trigger custom_assignment_overlap before insert on custom_assignment
when new.first_port <= (
  select held.last_port from custom_assignment as held
  where held.namespace = new.namespace and held.transport = new.transport
    and held.first_port <= new.last_port
  order by held.first_port desc limit 1)
begin
  select raise(abort, 'the ports overlap another assignment of the namespace on that transport');
end;

create trigger custom_assignment_moved
before update of namespace, transport, first_port, last_port, uid on custom_assignment
begin
  select raise(abort, 'an assignment never moves: delete it and insert another');
end;

-- One row per accepted command; its effects are visible together or not at all.
create table revision (
  revision integer primary key check (revision > 0),
  time     integer not null,
  actor    text not null,
  reason   text not null
) strict;

-- What each command changed: the history, never changed afterwards.
create table change (
  revision integer not null references revision (revision),
  position integer not null check (position >= 0),
  kind     text not null check (kind in ('REGISTERED', 'UPDATED', 'RELEASED')),
  uid      text not null,
  before   text check (before is null or json_valid(before)),
  after    text check (after is null or json_valid(after)),
  primary key (revision, position),
  check ((before is null) = (kind = 'REGISTERED')),
  check ((after is null) = (kind = 'RELEASED'))
) strict, without rowid;

create trigger revision_kept before delete on revision
begin
  select raise(abort, 'history is kept');
end;

create trigger change_kept before delete on change
begin
  select raise(abort, 'history is kept');
end;

create trigger revision_fixed before update on revision
begin
  select raise(abort, 'history never changes');
end;

create trigger change_fixed before update on change
begin
  select raise(abort, 'history never changes');
end;

-- The request ids that have been used, and what their calls led to.
create table request (
  actor       text not null,
  request_id  text not null check (length(request_id) between 1 and 64),
  fingerprint blob not null check (length(fingerprint) = 32),
  revision    integer not null references revision (revision),
  findings    text not null check (json_valid(findings)),
  primary key (actor, request_id)
) strict, without rowid;

-- Who may write. Only hashes of tokens are stored.
create table token (
  name         text not null primary key check (length(name) between 1 and 63),
  sha256       blob not null unique check (length(sha256) = 32),
  create_time  integer not null,
  revoke_time  integer
) strict;
