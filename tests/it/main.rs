//! Stories told by real clients to a real server on a real database file, and laws that the parts
//! keep.

mod harness;

mod access;
mod annotate;
mod architecture;
mod bad_input;
mod laws;
mod listing;
mod lookups;
mod searching;
mod seed;
mod start_and_stop;
mod writes;
