//! The command line: what can be asked, and which file answers it.
//!
//! A client of the API like any other: it decides nothing that the server decides.

mod annotate;
mod args;
mod error;
mod info;
mod list;
mod lookup;
mod output;
mod parse;
mod register;
mod release;
mod search;
mod session;
mod update;
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
  3  refused by the server
  4  the server can't be reached
  5  any other failure";

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
    /// Register a service on ports.
    Register(register::RegisterArgs),
    /// Change what is said of a registration.
    Update(update::UpdateArgs),
    /// Give ports back.
    Release(release::ReleaseArgs),
    /// Put service names on the ports in the lines of stdin.
    ///
    /// A line that is only a key (443, 443/tcp, tcp/443) gives a line with the service name, or -.
    /// Any other line is passed through, with (name) behind each thing that is clearly a port:
    /// 192.0.2.1:443, [2001:db8::1]:443, and dpt=, spt=, dport=, sport= or port= with a number.
    Annotate(annotate::AnnotateArgs),
    /// Tell what the registry holds.
    Info(info::InfoArgs),
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
pub enum End {
    /// Something was found, or all was done.
    Done,
    /// Nothing was found.
    Nothing,
}

impl End {
    const fn found(is_found: bool) -> Self {
        if is_found { Self::Done } else { Self::Nothing }
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::SUCCESS,
            End::Nothing => Self::from(1),
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// If it failed or was refused.
    pub async fn run(self) -> Result<End, Error> {
        match self.command.run().await {
            // Who reads the output has seen enough of it, as in `portbook list --all | head`.
            Err(error) if error.is_broken_pipe() => Ok(End::Done),
            ended => ended,
        }
    }
}

impl Command {
    async fn run(self) -> Result<End, Error> {
        match self {
            Self::Serve(args) => {
                server::serve(args).await?;
                Ok(End::Done)
            }
            Self::Lookup(args) => args.run().await,
            Self::List(args) => args.run().await,
            Self::Search(args) => args.run().await,
            Self::Register(args) => args.run().await,
            Self::Update(args) => args.run().await,
            Self::Release(args) => args.run().await,
            Self::Annotate(args) => args.run().await,
            Self::Info(args) => args.run().await,
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
    fn writes_can_not_be_offline() {
        for line in ["register x 7421", "update 7421/tcp --description x", "release 7421"] {
            let words = format!("portbook {line}");
            assert!(Cli::try_parse_from(words.split(' ')).is_ok(), "{words}");
            let words = format!("{words} --offline");
            assert!(Cli::try_parse_from(words.split(' ')).is_err(), "{words}");
        }
    }
}
