//! `portbook token`: manages access tokens and their roles.

mod change;
mod create;
mod grant;
mod recover;
mod view;

use clap::{Args, Subcommand};

use super::args::CallArgs;
use super::resource::{self, Resource};
use super::{Error, ExitStatus};
use crate::grpc::proto;
use crate::writer::Clock;
pub(super) use recover::RecoverError;
use view::TokenView;

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
    call: CallArgs,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The name of the token [default: the token of the caller].
    name: Option<String>,

    #[command(flatten)]
    call: CallArgs,
}

impl TokenCommand {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        match self {
            Self::List(ListArgs { ended, call }) => {
                let request = proto::ListTokensRequest { show_ended: ended, ..Default::default() };
                let now = Clock::system().now();
                let view = |token| TokenView::new(token, now);
                resource::list(&call, request, TokenView::COLUMNS, view).await
            }
            Self::Show(ShowArgs { name, call }) => {
                let view = |token: Option<proto::Token>| {
                    TokenView::new(token.unwrap_or_default(), Clock::system().now())
                };
                match name {
                    Some(name) => {
                        let request = proto::GetTokenRequest { name };
                        resource::show(&call, request, |response| view(response.token)).await
                    }
                    None => {
                        let request = proto::GetCallerRequest {};
                        resource::show(&call, request, |response| view(response.token)).await
                    }
                }
            }
            Self::Create(args) => args.run().await,
            Self::Update(args) => args.run().await,
            Self::Rotate(args) => args.run().await,
            Self::Revoke(args) => args.run().await,
            Self::Recover(args) => args.run().await,
        }
    }
}
