//! A shell into which the commands of a page are pasted, as a reader would.
//!
//! `portbook` is the binary under test, `cargo run -- serve` starts it, and port 50051, which the
//! pages show, is a free one. A command that begins with `read ` gets the admin token of the last server as its input.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::page::root;

/// The ports that the pages show; each is replaced by a free one.
const SHOWN_PORTS: [&str; 2] = ["50051", "50443"];
/// What follows the output of each command.
const MARK: &str = "end-of-command";
/// How long a command may take, and how long one that is interrupted has for its output.
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Shell {
    child: Child,
    output: mpsc::Receiver<String>,
    folder: TempDir,
    /// Pairs of a port that the pages show and the one that is used.
    ports: Vec<(&'static str, String)>,
    jobs: usize,
    /// The admin token that the last new server has shown.
    token: String,
}

impl Shell {
    /// A shell in an empty folder, without a server.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let bin = folder.path().join("bin");
        let home = folder.path().join("home");
        fs::create_dir(&bin).unwrap();
        fs::create_dir(&home).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_portbook"), bin.join("portbook")).unwrap();
        script(
            &bin.join("cargo"),
            r#"case "$*" in "run -- serve") exec portbook serve ;; test) ;; *) exit 1 ;; esac"#,
        );
        // The ports are reserved at once, so that they differ.
        let listeners = SHOWN_PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let free = listeners.map(|listener| listener.local_addr().unwrap().port().to_string());
        let ports: Vec<_> = SHOWN_PORTS.into_iter().zip(free).collect();
        let address = format!("127.0.0.1:{}", ports[0].1);
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTBOOK_")) {
            command.env_remove(name);
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let child = command
            .args(["--noprofile", "--norc"])
            .env("PATH", path)
            .env("HOME", &home)
            .env("TZ", "UTC")
            .env("PORTBOOK_LISTEN", &address)
            .env("PORTBOOK_ADDR", &address)
            .env("PORTBOOK_LOG_FORMAT", "text")
            .current_dir(&home)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        let (lines, output) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        Self { child, output, folder, ports, jobs: 0, token: String::new() }
    }

    /// A shell with a new server, and its admin token in the environment.
    pub fn with_server() -> Self {
        let mut shell = Self::new();
        shell.serve("portbook serve");
        let token = shell.token.clone();
        shell.run(&format!("export PORTBOOK_TOKEN={token}"));
        shell
    }

    /// Makes the examples of `docs/` available, as in a clone.
    pub fn provide_docs(&self) {
        let docs = self.folder.path().join("home/docs");
        std::os::unix::fs::symlink(root().join("docs"), docs).unwrap();
    }

    /// What a command prints, by lines. `until` is what it has to print before it is interrupted, if
    /// it runs until then.
    pub fn paste(&mut self, command: &str, until: Option<&[String]>) -> Vec<String> {
        let is_server = ["portbook serve", "cargo run -- serve"].iter().any(|serve| {
            command == *serve
                || command.strip_prefix(serve).is_some_and(|rest| rest.starts_with(' '))
        });
        let command = self
            .ports
            .iter()
            .fold(command.to_owned(), |command, (shown, used)| command.replace(shown, used));
        let printed = match until {
            None if is_server => self.serve(&command),
            None => self.run(&command),
            Some(lines) => self.interrupt(&command, lines),
        };
        let printed =
            self.ports.iter().fold(printed, |printed, (shown, used)| printed.replace(used, shown));
        printed.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn run(&mut self, command: &str) -> String {
        let input = if command.starts_with("read ") {
            format!("<<< '{}'", self.token)
        } else {
            "</dev/null".to_owned()
        };
        self.send(&format!("{{ {command}\n}} {input}; printf '\\n%s\\n' {MARK}"));
        let mut printed = String::new();
        loop {
            match self.output.recv_timeout(TIMEOUT) {
                Ok(line) if line == MARK => return printed.trim_end().to_owned(),
                Ok(line) => printed = printed + &line + "\n",
                Err(error) => panic!("{command}: has not ended ({error}): {printed}"),
            }
        }
    }

    /// Starts a server, which runs until the shell ends.
    fn serve(&mut self, command: &str) -> String {
        let file = self.start(command);
        let printed = Self::wait_for(&file, |printed| {
            printed.contains("listening on ") && printed.ends_with('\n')
        });
        let shown = printed.split_once("export PORTBOOK_TOKEN=").map(|(_, rest)| rest);
        if let Some(token) = shown.and_then(|rest| rest.split_whitespace().next()) {
            token.clone_into(&mut self.token);
        }
        printed
    }

    fn interrupt(&mut self, command: &str, lines: &[String]) -> String {
        let file = self.start(command);
        let expected = lines.iter().filter(|line| !line.is_empty()).count().max(1);
        Self::wait_for(&file, |printed| printed.lines().count() >= expected);
        self.run("kill -INT $!; wait $!");
        fs::read_to_string(file).unwrap()
    }

    /// Starts a command that goes on, and returns the file of its output.
    fn start(&mut self, command: &str) -> std::path::PathBuf {
        self.jobs += 1;
        let file = self.folder.path().join(format!("job-{}", self.jobs));
        self.run(&format!("{command} >{} 2>&1 </dev/null &", file.display()));
        file
    }

    fn wait_for(file: &Path, is_complete: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let printed = fs::read_to_string(file).unwrap_or_default();
            if is_complete(&printed) || begin.elapsed() > TIMEOUT {
                return printed;
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn send(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // What is still running belongs to the shell alone.
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = writeln!(stdin, "kill $(jobs -p) 2>/dev/null; wait; exit");
        }
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begin.elapsed() > TIMEOUT {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(10));
        }
    }
}

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
