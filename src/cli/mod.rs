//! The command line: what can be asked, and which file answers it.
//!
//! A client of the API like any other: it decides nothing that the server decides.

mod annotate;
mod args;
mod backup;
mod check;
mod copy_progress;
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
mod restore;
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

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::ServeArgs;
use crate::iana::seed::seed_sql;
use crate::server;
pub use error::Error;

const EXIT_CODES: &str = "\
Exit codes:
  0  found, or done
  1  nothing found: no such service, or none on the port (it may be reserved or unassigned)
  2  the command line is not understood
  3  refused by the server, not accepted as it is asked about, or not done without --force
  4  the server can't be reached, or does not serve
  5  any other failure
  6  a database or a backup is damaged, or not one that this version can use";

/// The port book of an organisation: IANA's port registry, everyday uses and your own
/// registrations.
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
    /// Tell what is on a port, where a service is, or what an endpoint is.
    Lookup(lookup::LookupArgs),
    /// List records that pass a filter.
    List(list::ListArgs),
    /// Find services by what people call them.
    Search(search::SearchArgs),
    /// Ask whether a service may have ports, and what speaks against it.
    Check(check::CheckArgs),
    /// Register a service on ports.
    Register(register::RegisterArgs),
    /// Give a service the lowest free ports of a pool, or tell the ones it has.
    Ensure(ensure::EnsureArgs),
    /// Register what stands in a file, all of it or nothing.
    ///
    /// Columns are told by their headers: ports and a service name have to be there, and a
    /// transport, an owner or a team, a contact, a description, notes, a reference and labels may
    /// be. Every row is judged first. If one is not accepted, nothing is registered.
    Import(import::ImportArgs),
    /// Change what is said of a registration.
    Update(update::UpdateArgs),
    /// Move the end of leases.
    Renew(renew::RenewArgs),
    /// Give ports back.
    Release(release::ReleaseArgs),
    /// Tell who changed what, when and why.
    History(history::HistoryArgs),
    /// Tell the changes of assignments as they come, a line each, until Ctrl-C.
    Watch(watch::WatchArgs),
    /// List, show, create, change and delete pools, from which ensure gives ports.
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// List, show, create, change and delete namespaces, in which a port can be held once.
    #[command(subcommand)]
    Namespace(namespace::NamespaceCommand),
    /// List, show, create, change and end tokens, by which callers are known.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Put service names on the ports in the lines of stdin.
    ///
    /// A line that is only a key (443, 443/tcp, tcp/443) gives a line with the service name, or -.
    /// Any other line is passed through, with (name) behind each thing that is clearly a port:
    /// 192.0.2.1:443, [2001:db8::1]:443, and dpt=, spt=, dport=, sport= or port= with a number.
    Annotate(annotate::AnnotateArgs),
    /// Back up the database into one file, while a server goes on writing.
    Backup(backup::BackupArgs),
    /// Put a backup in the place of the database, which no server may have.
    Restore(restore::RestoreArgs),
    /// Look for damage in a backup, or in a database that a server may have. Nothing is changed.
    Verify(verify::VerifyArgs),
    /// Tell what the registry holds.
    Info(info::InfoArgs),
    /// Ask the server whether it serves: exit code 0 if it does, 4 if not.
    Health(health::HealthArgs),
    /// Print what makes a shell complete the commands.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the migration that seeds a database with IANA's file.
    #[command(hide = true)]
    GenerateSeed {
        /// IANA's file, service-names-port-numbers.csv.
        file: PathBuf,
    },
}

/// How a command that did not fail has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Something was found, or all was done.
    Success,
    /// Nothing was found.
    NotFound,
    /// Something that was asked about would be refused.
    Refused,
    /// Something that was looked at is damaged.
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
    /// Runs the command.
    ///
    /// # Errors
    /// If it failed or was refused.
    pub async fn run(self) -> Result<ExitStatus, Error> {
        match self.command.run().await {
            // Who reads the output has seen enough of it, as in `portbook list --all | head`.
            Err(error) if error.is_broken_pipe() => Ok(ExitStatus::Success),
            ended => ended,
        }
    }
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
            Self::Backup(args) => args.run().await,
            Self::Restore(args) => args.run().await,
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
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn writes_and_the_history_can_not_be_offline() {
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
            let words = format!("portbook {line}");
            assert!(Cli::try_parse_from(words.split(' ')).is_ok(), "{words}");
            let words = format!("{words} --offline");
            assert!(Cli::try_parse_from(words.split(' ')).is_err(), "{words}");
        }
    }
}
