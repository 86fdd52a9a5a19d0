//! A disk so small that it can be filled, with a server on it: a tmpfs in a mount namespace of its
//! own, that goes when the test ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Server, TOKEN};

/// Mounts the disk, then does what it is told by line: `start` runs the server until it ends.
const KEEPER: &str = r#"
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

pub struct SmallDisk {
    /// Has the mount namespace, and ends with its orders.
    keeper: Child,
    orders: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
    id: Option<u32>,
    log: PathBuf,
    outside: TempDir,
    /// To call the server with.
    pub server: Server,
}

impl SmallDisk {
    /// A disk of that size, in KiB, without a server.
    pub fn new(kib: u32) -> Self {
        let outside = TempDir::new().unwrap();
        let (folder, log) = (outside.path().join("disk"), outside.path().join("log"));
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["sh", "-c", KEEPER, "keeper"]).arg(&folder).arg(format!("{kib}k"));
        command.args([env!("CARGO_BIN_EXE_portbook"), "serve", "--listen", "127.0.0.1:0"]);
        command.arg("--database").arg(folder.join("portbook.db"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTBOOK_")) {
            command.env_remove(name);
        }
        command.env("PORTBOOK_BOOTSTRAP_TOKEN", TOKEN).env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut keeper = command.spawn().unwrap();
        let (orders, told) = (keeper.stdin.take(), BufReader::new(keeper.stdout.take().unwrap()));
        let server = Server::stopped();
        let mut disk = Self { keeper, orders, told, id: None, log, outside, server };
        disk.expect_mounted();
        disk
    }

    fn expect_mounted(&mut self) {
        let said = self.line();
        assert_eq!(
            said,
            "mounted",
            "this test needs a tmpfs in a mount namespace: `unshare --mount` as root, else \
             `unshare --mount --user --map-root-user`, which the system has to allow. It said: {}",
            self.said()
        );
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// All that was said on stderr.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Starts the server; else its exit code, and what it said.
    pub fn start(&mut self) -> Result<(), (String, String)> {
        let before = self.said().len();
        self.order("start");
        loop {
            let line = self.line();
            if let Some(id) = line.strip_prefix("pid ") {
                self.id = Some(id.parse().unwrap());
            } else if let Some(code) = line.strip_prefix("ended ") {
                self.id = None;
                return Err((code.to_owned(), self.said()[before..].to_owned()));
            } else {
                let address = line.split("listening on ").nth(1).unwrap();
                self.server.address = address.split(": ").next().unwrap().to_owned();
                self.server.ready_line = line;
                return Ok(());
            }
        }
    }

    /// Ends the server with a signal; its exit code.
    pub fn end(&mut self, signal: &str) -> String {
        let id = self.id.take().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        self.line().strip_prefix("ended ").unwrap().to_owned()
    }

    /// Makes the disk `ro` or `rw`, without a server on it.
    pub fn remount(&mut self, option: &str) {
        self.order(option);
        self.expect_mounted();
    }

    fn filler(&self) -> PathBuf {
        let folder = self.outside.path().join("disk/filler");
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(folder.strip_prefix("/").unwrap())
    }

    /// Takes all space there is.
    pub fn fill(&self) {
        let mut filler = File::options().append(true).create(true).open(self.filler()).unwrap();
        let full = loop {
            if let Err(fault) = filler.write_all(&[0; 4096]) {
                break fault;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Gives the space back.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
        }
        self.orders = None;
        let _ = self.keeper.wait();
    }
}
