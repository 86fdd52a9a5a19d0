//! Stories told by real clients to a real server on a real database file, and laws that the parts
//! keep.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]
#![expect(unreachable_pub, reason = "one binary: what a file shares, it shares with all others")]

mod harness;

mod access;
mod annotate;
mod architecture;
mod backing_up;
mod bad_input;
mod bad_input_past;
mod bad_input_trust;
mod check_and_register;
mod checking;
mod command_line;
mod crashing;
mod deciding;
mod encrypted_client;
mod ensuring;
mod faults;
mod full_disk;
mod fuzzing;
mod history;
mod importing;
mod laws;
mod leases;
mod limits;
mod listing;
mod lookups;
mod namespaces;
mod past;
mod policies;
mod pools;
mod raw;
mod remembering;
mod roles;
mod searching;
mod seed;
mod small_disk;
mod sockets;
mod start_and_stop;
mod stopping;
mod telemetry;
mod tokens_command_line;
mod upgrading;
mod verifying;
mod watching;
mod writes;
mod writing;
