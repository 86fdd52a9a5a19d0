//! Arguments that several commands share.

use std::path::PathBuf;

use clap::Args;

use super::output::{self, Format, View};
use super::session::{Address, Session, TlsArgs};
use super::{Error, ExitStatus, parse, time_args};
use crate::access::PlainToken;
use crate::grpc::proto;
use crate::registry::name::NamespaceName;

/// The server's address and the TLS settings of the connection.
#[derive(Args, Clone, Debug)]
pub(super) struct ConnectionArgs {
    /// The server's address: host:port or http://host:port in plaintext, https://host:port with TLS.
    #[arg(
        long,
        env = "PORTBOOK_ADDR",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:50051"
    )]
    pub(super) addr: Address,

    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

/// The server and the token that authenticates the caller.
#[derive(Args, Clone)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,

    /// The token that authenticates the caller. Writes require one.
    #[arg(long, env = "PORTBOOK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
}

impl ServerArgs {
    /// The parsed token. Not parsed by clap, whose error messages would repeat an invalid token.
    pub(super) fn plain_token(&self) -> Result<Option<PlainToken>, Error> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        Ok(token.map(PlainToken::parse).transpose()?)
    }
}

impl std::fmt::Debug for ServerArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerArgs").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Where a read is executed.
#[derive(Args, Clone, Debug)]
pub(super) struct ReadArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,

    /// Read from the reference data in this program, without a server. It has no registrations.
    #[arg(long)]
    pub(super) offline: bool,
}

/// The database of a command that works without a server.
#[derive(Args, Clone, Debug)]
pub(super) struct DatabaseArgs {
    /// The database file.
    #[arg(long, env = "PORTBOOK_DATABASE", value_name = "FILE", default_value = "portbook.db")]
    pub(super) database: PathBuf,
}

/// The namespace to read from or write to.
#[derive(Args, Clone, Debug)]
pub(super) struct NamespaceArgs {
    /// The namespace of the registrations.
    #[arg(long, env = "PORTBOOK_NAMESPACE", value_name = "NAME", default_value = NamespaceName::DEFAULT)]
    pub(super) namespace: String,
}

/// The output format.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct OutputArgs {
    /// The output format.
    #[arg(long, short, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// The server of a call, and the format of its output.
#[derive(Args, Clone, Debug)]
pub(super) struct CallArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl CallArgs {
    /// A session with the server.
    pub(super) async fn connect(&self) -> Result<Session, Error> {
        Session::connect(&self.server).await
    }

    /// Prints a view in the output format.
    pub(super) fn show(&self, view: &impl View) -> Result<ExitStatus, Error> {
        output::show(self.output.output, view)
    }
}

/// The arguments of every write.
#[derive(Args, Clone, Debug)]
pub(super) struct WriteArgs {
    #[command(flatten)]
    pub(super) call: CallArgs,

    /// The reason for the change, stored in the history; at most 512 bytes.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,

    /// Makes the call safe to retry: a repeated call with the same id returns the first response.
    /// 1-64 visible ASCII characters, such as a random UUID.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) request_id: String,

    /// Validate the write and print its result without changing anything.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// The findings that the caller acknowledges.
#[derive(Args, Clone, Debug)]
pub(super) struct AcknowledgeArgs {
    /// A finding to acknowledge, such as IANA_ASSIGNED; several separated by commas.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = parse::finding_code)]
    pub(super) acknowledge: Vec<proto::FindingCode>,
}

impl AcknowledgeArgs {
    /// The acknowledged findings as proto enum numbers.
    pub(super) fn codes(&self) -> Vec<i32> {
        self.acknowledge.iter().copied().map(i32::from).collect()
    }
}

/// The duration of a lease.
#[derive(Args, Clone, Debug)]
pub(super) struct LeaseArgs {
    /// The duration of the lease, 1s-3650d, such as 12h or 30d [default: no expiry].
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    pub(super) ttl: Option<prost_types::Duration>,
}

/// The revision or time of a historical query.
#[derive(Args, Clone, Debug)]
pub(super) struct AsOfArgs {
    /// Read the registry as of a revision (r123), a time (2026-03-31T12:00:00Z; local time without
    /// a zone), the end of a day (2026-03-31, local time), or a duration ago (7d) [default: now].
    #[arg(long, value_name = "WHEN", value_parser = time_args::as_of)]
    pub(super) as_of: Option<proto::AsOf>,
}

/// Parses a command line, without the name of the command.
#[cfg(test)]
pub(super) fn parse_line<A: Args>(line: &str) -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("test").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
}
