-- A link to more information about a registration.

alter table custom_assignment add column url text not null default '';
