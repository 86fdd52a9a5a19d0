//! The command line: the list of commands; each command has its own file.
//!
//! Commands are plain clients of the API: all rules are enforced by the server.

mod annotate;
mod args;
mod check;
mod copy;
mod details;
mod ensure;
mod error;
mod health;
mod history;
mod import;
mod info;
mod list;
mod lookup;
mod namespace;
mod output;
mod pages;
mod parse;
mod pool;
mod refusal;
mod register;
mod release;
mod renew;
mod resource;
mod rpc;
mod search;
mod session;
mod time_args;
mod token;
mod update;
mod verify;
mod watch;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::ServeArgs;
use crate::iana::seed::seed_sql;
use crate::server;
pub use error::Error;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  nothing found: no such service, or no service on the port (it may be reserved or unassigned)
  2  invalid command line or input file
  3  rejected: by the server, by a check, or because --force is required
  4  no connection to the server, or the server is not serving
  5  any other error
  6  a database or a backup is damaged or is not a Portbook database";

/// Port registry of an organisation: IANA's registry, common uses and custom registrations.
#[derive(Debug, Parser)]
#[command(name = "portbook", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Look up the service on a port, the ports of a service, or the service at an endpoint.
    Lookup(lookup::LookupArgs),
    /// List the records that match a filter.
    List(list::ListArgs),
    /// Search services by name, product name, description or port.
    Search(search::SearchArgs),
    /// Check whether a service may register ports, and show all findings. Changes nothing.
    Check(check::CheckArgs),
    /// Register ports for a service.
    Register(register::RegisterArgs),
    /// Allocate the lowest free ports of a pool to a service, or show the ports that it already has.
    Ensure(ensure::EnsureArgs),
    /// Register all rows of a CSV file or Markdown table, or none of them.
    ///
    /// The headers identify the columns. Required: ports and service name. Optional: transport,
    /// owner or team, contact, description, notes, reference, url, labels, namespace, pool and ttl.
    /// All rows are checked first. If one is rejected, nothing is registered. At most 1000
    /// registrations per file.
    Import(import::ImportArgs),
    /// Change the descriptive fields of a registration.
    Update(update::UpdateArgs),
    /// Renew leases.
    Renew(renew::RenewArgs),
    /// Release ports.
    Release(release::ReleaseArgs),
    /// Show the history: who changed what, when and why.
    History(history::HistoryArgs),
    /// Print changes of registrations as they are committed, one per line, until Ctrl-C.
    Watch(watch::WatchArgs),
    /// List, show, create, update and delete pools: the ports that ensure allocates.
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// List, show, create, update and delete namespaces: the scopes in which a port is unique.
    #[command(subcommand)]
    Namespace(namespace::NamespaceCommand),
    /// List, show, create, update and revoke tokens, which authenticate callers.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Add service names to the ports in the lines of stdin.
    ///
    /// A line that consists of a port (443, 443/tcp or tcp/443) is replaced with the service name,
    /// or with - if there is none. All other lines are copied, with (NAME) inserted after each
    /// address with a port (192.0.2.1:443, [2001:db8::1]:443) and after dpt=, spt=, dport=, sport=
    /// or port= with a number.
    Annotate(annotate::AnnotateArgs),
    /// Back up the database to one file. A server may be running.
    Backup(copy::CopyArgs),
    /// Replace the database with a backup. No server may be running on the database.
    Restore(copy::RestoreArgs),
    /// Check a backup or a database for damage. Changes nothing; a server may be running.
    Verify(verify::VerifyArgs),
    /// Show the version, the revision and the number of records of the registry.
    Info(info::InfoArgs),
    /// Check whether the server is serving: exit code 0 if it is, 4 if not.
    Health(health::HealthArgs),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the SQL migration that seeds a database with IANA's registry.
    #[command(hide = true)]
    GenerateSeed {
        /// IANA's registry, service-names-port-numbers.csv.
        file: PathBuf,
    },
}

/// The status of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// The command found something, or completed.
    Success,
    /// Nothing was found.
    NotFound,
    /// A check was not accepted.
    Refused,
    /// The verified file is damaged.
    Damaged,
}

impl ExitStatus {
    const fn found(is_found: bool) -> Self {
        if is_found { Self::Success } else { Self::NotFound }
    }

    const fn accepted(is_accepted: bool) -> Self {
        if is_accepted { Self::Success } else { Self::Refused }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Success => Self::SUCCESS,
            ExitStatus::NotFound => Self::from(1),
            ExitStatus::Refused => Self::from(3),
            ExitStatus::Damaged => Self::from(6),
        }
    }
}

impl Cli {
    /// Parses the arguments of the process. Prints help and errors, and exits.
    #[must_use]
    pub fn parse_args() -> Self {
        Self::try_parse().unwrap_or_else(|_| {
            let mut command = Self::command();
            command.build();
            let matches = with_help_usage(command).get_matches();
            Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// If the command failed or the server rejected it.
    pub async fn run(self) -> Result<ExitStatus, Error> {
        match self.command.run().await {
            // The reader closed the pipe, as in `portbook list --all | head`.
            Err(error) if error.is_broken_pipe() => Ok(ExitStatus::Success),
            result => result,
        }
    }
}

/// Makes errors print the usage of the help. By default, the usage in errors lists all flags whose
/// environment variables are set, as if they were required.
fn with_help_usage(mut command: clap::Command) -> clap::Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    command.override_usage(usage).mut_subcommands(with_help_usage)
}

impl Command {
    async fn run(self) -> Result<ExitStatus, Error> {
        match self {
            Self::Serve(args) => {
                server::serve(args).await?;
                Ok(ExitStatus::Success)
            }
            Self::Lookup(args) => args.run().await,
            Self::List(args) => args.run().await,
            Self::Search(args) => args.run().await,
            Self::Check(args) => args.run().await,
            Self::Register(args) => args.run().await,
            Self::Ensure(args) => args.run().await,
            Self::Import(args) => args.run().await,
            Self::Update(args) => args.run().await,
            Self::Renew(args) => args.run().await,
            Self::Release(args) => args.run().await,
            Self::History(args) => args.run().await,
            Self::Watch(args) => args.run().await,
            Self::Pool(command) => command.run().await,
            Self::Namespace(command) => command.run().await,
            Self::Token(command) => command.run().await,
            Self::Annotate(args) => args.run().await,
            Self::Backup(args) => args.backup().await,
            Self::Restore(args) => args.restore().await,
            Self::Verify(args) => args.run().await,
            Self::Info(args) => args.run().await,
            Self::Health(args) => args.run().await,
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "portbook", &mut script);
                output::print(&String::from_utf8_lossy(&script))
            }
            Self::GenerateSeed { file } => {
                let bytes =
                    std::fs::read(&file).map_err(|source| Error::Read { path: file, source })?;
                output::print(&seed_sql(&bytes)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_definitions_are_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_in_errors_does_not_depend_on_environment_variables() {
        let mut command = Cli::command();
        command.build();
        // A flag on the command line changes clap's usage as an environment variable does.
        let error = with_help_usage(command)
            .try_get_matches_from(["portbook", "lookup", "--addr", "localhost:1"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("Usage: portbook lookup [OPTIONS] <KEY>...\n"), "{error}");
    }

    #[test]
    fn writes_and_history_reject_offline() {
        for line in [
            "register x 7421",
            "ensure web x",
            "update 7421/tcp --description x",
            "renew 7421",
            "release 7421",
            "import ports.csv",
            "history",
            "watch",
            "namespace list",
            "pool show web",
            "token list",
            "health",
        ] {
            let line = format!("portbook {line}");
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
            let line = format!("{line} --offline");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
