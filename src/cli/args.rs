//! The arguments that several commands share, and how their words are read.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::output::Format;
use super::session::{Address, TlsArgs};
use super::{parse, time_args};
use crate::access::PlainToken;
use crate::grpc::proto;
use crate::registry::name::NamespaceName;

/// Where the server is, and how it is reached.
#[derive(Args, Clone, Debug)]
pub(super) struct ConnectionArgs {
    /// The server: host:port, http://host:port or, encrypted, https://host:port.
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

/// Where the server is, and what to show it.
#[derive(Args, Clone)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,

    /// The token, which writes need.
    #[arg(long, env = "PORTBOOK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
}

impl ServerArgs {
    /// The token. Read here and not by clap, whose messages repeat what they refuse.
    pub(super) fn plain_token(&self) -> Result<Option<PlainToken>, super::Error> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        Ok(token.map(PlainToken::parse).transpose()?)
    }
}

impl std::fmt::Debug for ServerArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerArgs").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Who answers a read.
#[derive(Args, Clone, Debug)]
pub(super) struct ReadArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,

    /// Answer from the registry inside this program, without a server. It has no registrations.
    #[arg(long)]
    pub(super) offline: bool,
}

/// Which database a command works on by itself, without a server.
#[derive(Args, Clone, Debug)]
pub(super) struct DatabaseArgs {
    /// The database file.
    #[arg(long, env = "PORTBOOK_DATABASE", value_name = "FILE", default_value = "portbook.db")]
    pub(super) database: PathBuf,
}

/// From where the registry is seen, or where something is registered.
#[derive(Args, Clone, Debug)]
pub(super) struct NamespaceArgs {
    /// The namespace.
    #[arg(long, env = "PORTBOOK_NAMESPACE", value_name = "NAME", default_value = NamespaceName::DEFAULT)]
    pub(super) namespace: String,
}

/// How the answer is written.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct OutputArgs {
    /// How to write the answer.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// What comes with every write.
#[derive(Args, Clone, Debug)]
pub(super) struct WriteArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,

    /// Why, for the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,

    /// Makes the call safe to repeat: the same id gets the first answer again.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) request_id: String,

    /// Tell what would happen, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What is said of a registration.
#[derive(Args, Clone, Debug)]
pub(super) struct DetailArgs {
    /// A short description.
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,

    /// Who it is assigned to, for instance a team.
    #[arg(long, value_name = "TEXT")]
    pub(super) assignee: Option<String>,

    /// Whom to ask about it.
    #[arg(long, value_name = "TEXT")]
    pub(super) contact: Option<String>,

    /// Where it is specified.
    #[arg(long, value_name = "TEXT")]
    pub(super) reference: Option<String>,

    /// Anything more.
    #[arg(long, value_name = "TEXT")]
    pub(super) notes: Option<String>,

    /// A label; may be given several times. In an update they replace all labels there were.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub(super) labels: Vec<(String, String)>,
}

/// What is accepted of what the rules say.
#[derive(Args, Clone, Debug)]
pub(super) struct AcknowledgeArgs {
    /// A finding that you know of and accept, such as IANA_ASSIGNED; several with commas.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = parse::finding_code)]
    pub(super) acknowledge: Vec<proto::FindingCode>,
}

impl AcknowledgeArgs {
    /// The acknowledged findings, as a message carries them.
    pub(super) fn codes(&self) -> Vec<i32> {
        self.acknowledge.iter().copied().map(i32::from).collect()
    }
}

/// For how long ports are taken.
#[derive(Args, Clone, Debug)]
pub(super) struct LeaseArgs {
    /// How long to hold the ports unless the lease is renewed, such as 12h or 30d. Left out: without
    /// end.
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    pub(super) ttl: Option<prost_types::Duration>,
}

/// The moment from which the registry is seen.
#[derive(Args, Clone, Debug)]
pub(super) struct AsOfArgs {
    /// Answer as it was then: after a revision (r123), at a time (2026-03-31T12:00:00Z; without a
    /// zone it is local time), or at the end of a day (2026-03-31, local time).
    #[arg(long, value_name = "WHEN", value_parser = time_args::as_of)]
    pub(super) as_of: Option<proto::AsOf>,
}

/// Reads the words of an enum: `custom` for `SOURCE_CUSTOM`.
pub(super) fn enum_parser<E: Clone + Send + Sync + 'static>(
    prefix: &'static str,
    words: &'static [&'static str],
    named: fn(&str) -> Option<E>,
) -> impl TypedValueParser<Value = E> {
    PossibleValuesParser::new(words).try_map(move |word| {
        let name = format!("{prefix}{}", word.to_ascii_uppercase());
        named(&name).ok_or_else(|| format!("the API has no {name}"))
    })
}
