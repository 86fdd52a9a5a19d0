//! `portbook token`: who may call, and what they may do.

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
use view::{Tokens, Whole};

/// What `portbook token` does.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// List the tokens, never their secrets.
    List(ListArgs),
    /// Tell everything of a token but its secret.
    Show(ShowArgs),
    /// Create a token, and show its secret this once.
    Create(create::CreateArgs),
    /// Change what is given of a token, from the next call on.
    Update(change::UpdateArgs),
    /// Give a token a new secret, and show it this once.
    Rotate(change::RotateArgs),
    /// End a token, from the next call on and for good.
    Revoke(change::RevokeArgs),
    /// Make a token good again on the server's machine, where no admin is left to do it.
    ///
    /// While no server runs on the database. The token gets a new secret and the role admin, is no
    /// longer revoked and no longer ends; if there is none of that name, it is made.
    Recover(recover::RecoverArgs),
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Also those that were revoked or have ended.
    #[arg(long)]
    ended: bool,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Its name. Left out: the one that you call with.
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
        output::show(output.output, &Whole { token, now: Clock::system().now() })
    }
}
