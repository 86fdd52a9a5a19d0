//! Stories told by real clients to a real server on a real database file, and laws that the parts
//! keep.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]
#![expect(unreachable_pub, reason = "one binary: what a file shares, it shares with all others")]

mod harness;

mod access;
mod annotate;
mod architecture;
mod bad_input;
mod command_line;
mod deciding;
mod importing;
mod laws;
mod listing;
mod lookups;
mod remembering;
mod searching;
mod seed;
mod start_and_stop;
mod upgrading;
mod writes;
mod writing;
