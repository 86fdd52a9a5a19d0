//! `portbook token`: manages access tokens and their roles.

mod change;
mod create;
mod grant;
mod recover;
mod view;

use clap::{Args, Subcommand};

use super::args::{OutputArgs, ServerArgs};
use super::output;
use super::pages::{Page, gather};
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::proto;
use crate::writer::Clock;
pub(super) use recover::RecoverError;
use view::{Details, Tokens};

/// The subcommands of `portbook token`.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// List the tokens, without their secrets.
    List(ListArgs),
    /// Show all fields of a token except its secret.
    Show(ShowArgs),
    /// Create a token and print its secret, which can't be shown again.
    Create(create::CreateArgs),
    /// Update the specified fields of a token, with effect from the next call.
    Update(change::UpdateArgs),
    /// Replace the secret of a token and print the new one, which can't be shown again.
    Rotate(change::RotateArgs),
    /// Revoke a token permanently, with effect from the next call.
    Revoke(change::RevokeArgs),
    /// Recover an admin token on the server's machine if no usable admin token is left.
    ///
    /// No server may be running on the database. The token gets a new secret and the role admin, is
    /// no longer revoked and has no expiry. If no token of that name exists, it is created.
    Recover(recover::RecoverArgs),
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Include revoked and expired tokens.
    #[arg(long)]
    ended: bool,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The name of the token [default: the token of the caller].
    name: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl TokenCommand {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        match self {
            Self::List(args) => args.run().await,
            Self::Show(args) => args.run().await,
            Self::Create(args) => args.run().await,
            Self::Update(args) => args.run().await,
            Self::Rotate(args) => args.run().await,
            Self::Revoke(args) => args.run().await,
            Self::Recover(args) => args.run().await,
        }
    }
}

impl ListArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { ended, server, output } = self;
        let session = Session::connect(&server).await?;
        let page = gather(u32::MAX, async |page_size, page_token| {
            let request = proto::ListTokensRequest { page_size, page_token, show_ended: ended };
            let page = session.call(session.admin().list_tokens(request)).await?;
            let proto::ListTokensResponse { tokens, next_page_token, total_size } = page;
            Ok(Page { items: tokens, next: next_page_token, total: total_size })
        });
        let tokens = Tokens { tokens: page.await?.items, now: Clock::system().now() };
        output::show(output.output, &tokens)
    }
}

impl ShowArgs {
    async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, server, output } = self;
        let session = Session::connect(&server).await?;
        let mut admin = session.admin();
        let token = match name {
            Some(name) => {
                session.call(admin.get_token(proto::GetTokenRequest { name })).await?.token
            }
            None => session.call(admin.get_caller(proto::GetCallerRequest {})).await?.token,
        };
        let token = token.unwrap_or_default();
        output::show(output.output, &Details { token, now: Clock::system().now() })
    }
}
