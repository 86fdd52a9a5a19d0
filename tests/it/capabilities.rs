//! What some tests need of the system, and which tests these are. A test whose capability is missing
//! is skipped, and named on stderr.

use std::io::Write;
use std::process::Command;

use self::Capability::{MountNamespaces, ProcessMemory};

/// A capability of the system.
#[derive(Clone, Copy, Debug)]
pub enum Capability {
    /// A tmpfs in a separate mount namespace: `unshare` as root or with user namespaces.
    MountNamespaces,
    /// The memory of a process in `/proc`.
    ProcessMemory,
}

/// The tests that need a capability. Without `ProcessMemory`, a test runs without its checks of memory.
const TESTS: [(&str, Capability); 13] = [
    (
        "full_disk::a_full_disk_refuses_writes_until_space_is_free_and_loses_nothing",
        MountNamespaces,
    ),
    ("full_disk::a_killed_server_starts_on_a_full_disk", MountNamespaces),
    (
        "full_disk::a_first_start_on_a_full_disk_fails_and_succeeds_once_space_is_free",
        MountNamespaces,
    ),
    ("full_disk::a_read_only_disk_is_reported", MountNamespaces),
    ("hostile_clients::a_message_of_one_gibibyte_is_refused_before_it_is_received", ProcessMemory),
    ("hostile_clients::malformed_requests_are_all_answered", ProcessMemory),
    ("hostile_clients::a_ping_flood_delays_no_other_client", ProcessMemory),
    ("hostile_clients::rapid_reset_ends_the_connection", ProcessMemory),
    ("hostile_clients::provoked_server_resets_end_the_connection", ProcessMemory),
    ("hostile_clients::endless_headers_are_not_buffered", ProcessMemory),
    ("hostile_clients::calls_without_a_request_message_do_not_block_others", ProcessMemory),
    ("hostile_clients::partial_requests_share_a_bounded_buffer", ProcessMemory),
    ("watch::a_watcher_that_does_not_read_delays_no_other_client", ProcessMemory),
];

impl Capability {
    /// Whether the system has it.
    fn is_present(self) -> bool {
        match self {
            MountNamespaces => {
                let script = "mount -t tmpfs -o size=64k portbook-test /tmp";
                let mut command = unshare();
                let output = command.args(["sh", "-c", script]).output();
                output.is_ok_and(|output| output.status.success())
            }
            ProcessMemory => cfg!(target_os = "linux"),
        }
    }
}

/// `unshare` with a new mount namespace, and with a user namespace unless the user is root.
pub fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    let id = Command::new("id").arg("-u").output();
    if id.is_ok_and(|id| id.stdout != b"0\n") {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

/// Whether the system has what the test needs. Otherwise names the test on stderr.
pub fn is_supported(test: &str) -> bool {
    let listed = TESTS.into_iter().find(|(name, _)| *name == test);
    // With `--test-threads=1`, the thread of a test is `main`.
    let capability = listed.map_or(ProcessMemory, |(_, capability)| capability);
    let is_present = capability.is_present();
    if !is_present {
        // Not `eprintln`, whose output the test harness hides.
        let line = format!("skipped: {test}: needs {capability:?}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    is_present
}
