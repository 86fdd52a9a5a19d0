//! A server on a disk that is small enough to fill: a tmpfs in a separate mount namespace, which is
//! removed when the test ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::capabilities::{is_supported, unshare};
use crate::harness::{Server, TOKEN};

/// Mounts the disk, then reads commands from stdin: `start` runs the server until it ends, any
/// other line is a remount option.
const SUPERVISOR: &str = r#"
mount -t tmpfs -o "size=$2" portbook-test "$1" || exit
folder=$1
shift 2
echo mounted
while read -r order; do
    case $order in
    start)
        "$@" &
        echo "pid $!"
        wait "$!"
        echo "ended $?"
        ;;
    *)
        mount -o "remount,$order" "$folder" || exit
        echo mounted
        ;;
    esac
done
"#;

pub struct TmpfsDisk {
    /// Owns the mount namespace; ends when its stdin is closed.
    supervisor: Child,
    commands: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    id: Option<u32>,
    log: PathBuf,
    outside: TempDir,
    /// The client side of the server.
    pub server: Server,
}

impl TmpfsDisk {
    /// A disk of that size, in KiB, without a server. `None` if the system can't run the test.
    pub fn new(test: &str, kib: u32) -> Option<Self> {
        if !is_supported(&format!("full_disk::{test}")) {
            return None;
        }
        let outside = TempDir::new().unwrap();
        let (folder, log) = (outside.path().join("disk"), outside.path().join("log"));
        std::fs::create_dir(&folder).unwrap();
        let mut command = unshare();
        command.args(["sh", "-c", SUPERVISOR, "supervisor"]).arg(&folder).arg(format!("{kib}k"));
        command.args([env!("CARGO_BIN_EXE_portbook"), "serve", "--listen", "127.0.0.1:0"]);
        command.arg("--database").arg(folder.join("portbook.db"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTBOOK_")) {
            command.env_remove(name);
        }
        command.env("PORTBOOK_BOOTSTRAP_TOKEN", TOKEN).env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut supervisor = command.spawn().unwrap();
        let (commands, output) =
            (supervisor.stdin.take(), BufReader::new(supervisor.stdout.take().unwrap()));
        let server = Server::stopped();
        let mut disk = Self { supervisor, commands, output, id: None, log, outside, server };
        disk.expect_mounted();
        Some(disk)
    }

    fn expect_mounted(&mut self) {
        let line = self.line();
        assert_eq!(line, "mounted", "{}", self.stderr());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn send_command(&mut self, command: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
    }

    /// The complete stderr.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Starts the server; if that fails, returns its exit code and its error output.
    pub fn start(&mut self) -> Result<(), (String, String)> {
        let before = self.stderr().len();
        self.send_command("start");
        loop {
            let line = self.line();
            if let Some(id) = line.strip_prefix("pid ") {
                self.id = Some(id.parse().unwrap());
            } else if let Some(code) = line.strip_prefix("ended ") {
                self.id = None;
                return Err((code.to_owned(), self.stderr()[before..].to_owned()));
            } else {
                let address = line.split("listening on ").nth(1).unwrap();
                self.server.address = address.split(": ").next().unwrap().to_owned();
                self.server.ready_line = line;
                return Ok(());
            }
        }
    }

    /// Ends the server with a signal; returns its exit code.
    pub fn end(&mut self, signal: &str) -> String {
        let id = self.id.take().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        self.line().strip_prefix("ended ").unwrap().to_owned()
    }

    /// Remounts the disk with this option, while no server runs.
    pub fn remount(&mut self, option: &str) {
        self.send_command(option);
        self.expect_mounted();
    }

    fn filler(&self) -> PathBuf {
        let folder = self.outside.path().join("disk/filler");
        let root = PathBuf::from(format!("/proc/{}/root", self.supervisor.id()));
        root.join(folder.strip_prefix("/").unwrap())
    }

    /// Fills the disk.
    pub fn fill(&self) {
        let mut filler = File::options().append(true).create(true).open(self.filler()).unwrap();
        let full = loop {
            if let Err(fault) = filler.write_all(&[0; 4096]) {
                break fault;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Frees the space.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for TmpfsDisk {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
        }
        self.commands = None;
        let _ = self.supervisor.wait();
    }
}
