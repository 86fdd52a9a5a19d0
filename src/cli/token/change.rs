//! `portbook token update`, `rotate` and `revoke`.

use clap::Args;
use jiff::Timestamp;

use super::create::{check_grants, expiry};
use super::grant::{self, GrantScope};
use super::view::{Changed, TokenWithSecret};
use crate::cli::args::{OutputArgs, ServerArgs, enum_parser};
use crate::cli::session::Session;
use crate::cli::{Error, ExitStatus, output, time_args};
use crate::grpc::proto;
use crate::writer::Clock;

#[derive(Args, Debug)]
pub(in crate::cli) struct UpdateArgs {
    /// The name of the token.
    name: String,

    /// The new role.
    #[arg(long, value_name = "ROLE", ignore_case = true,
          value_parser = enum_parser("ROLE_", &["admin", "registrar", "viewer"], proto::Role::from_str_name))]
    role: Option<proto::Role>,

    /// The new grants of a registrar: namespaces (prod) and pools (prod/web); several separated by
    /// commas. Replaces the current grants.
    #[arg(long = "grant", value_name = "SCOPE", value_delimiter = ',')]
    grants: Vec<GrantScope>,

    /// The new lifetime from now, such as 90d.
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    /// Remove the expiry.
    #[arg(long, conflicts_with = "ttl")]
    no_end: bool,

    /// A short description.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RotateArgs {
    /// The name of the token.
    name: String,

    /// How long the old secret remains valid, such as 1h; at most 30d [default: 0s].
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    overlap: Option<prost_types::Duration>,

    /// Print only the new secret.
    #[arg(long, short, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RevokeArgs {
    /// The name of the token.
    name: String,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl UpdateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let (server, output) = (self.server.clone(), self.output.output);
        let request = self.request(Clock::system().now())?;
        let grants = request.token.as_ref().map(|token| token.grants.clone()).unwrap_or_default();
        let session = Session::connect(&server).await?;
        let response = session.call(session.admin().update_token(request)).await?;
        let token = response.token.unwrap_or_default();
        let status = output::show(output, &Changed { done: "Updated", token })?;
        grant::warn_missing(&session, &grants).await;
        Ok(status)
    }

    fn request(self, now: Timestamp) -> Result<proto::UpdateTokenRequest, Error> {
        let Self { name, role, grants, ttl, no_end, description, server: _, output: _ } = self;
        if let Some(role) = role {
            check_grants(role, &grants)?;
        }
        let paths = [
            description.is_some().then_some("description"),
            role.is_some().then_some("role"),
            (!grants.is_empty()).then_some("grants"),
            (ttl.is_some() || no_end).then_some("expire_time"),
        ];
        let paths: Vec<_> = paths.into_iter().flatten().map(String::from).collect();
        if paths.is_empty() {
            let message = "nothing to change: specify at least one of --role, --grant, --ttl, \
                           --no-end and --description";
            return Err(Error::Usage(message.into()));
        }
        let token = proto::Token {
            name,
            description: description.unwrap_or_default(),
            role: role.unwrap_or_default().into(),
            grants: grant::grants(&grants)?,
            expire_time: ttl.map(|ttl| expiry(now, ttl)).transpose()?,
            ..proto::Token::default()
        };
        let update_mask = Some(prost_types::FieldMask { paths });
        Ok(proto::UpdateTokenRequest { token: Some(token), update_mask })
    }
}

impl RotateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, overlap, quiet, server, output } = self;
        let session = Session::connect(&server).await?;
        let request = proto::RotateTokenRequest { name, overlap };
        let response = session.call(session.admin().rotate_token(request)).await?;
        let proto::RotateTokenResponse { token, secret } = response;
        let created = TokenWithSecret { done: "Rotated", token: token.unwrap_or_default(), secret };
        created.print(quiet, output.output)
    }
}

impl RevokeArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, server, output } = self;
        let session = Session::connect(&server).await?;
        let request = proto::RevokeTokenRequest { name };
        let response = session.call(session.admin().revoke_token(request)).await?;
        let token = response.token.unwrap_or_default();
        output::show(output.output, &Changed { done: "Revoked", token })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        update: UpdateArgs,
    }

    fn paths(line: &str) -> Result<Vec<String>, String> {
        let args = std::iter::once("update").chain(line.split_whitespace());
        let line = Line::try_parse_from(args).map_err(|error| error.to_string())?;
        let request = line.update.request(Timestamp::UNIX_EPOCH);
        Ok(request.map_err(|error| error.report())?.update_mask.unwrap().paths)
    }

    #[test]
    fn only_specified_fields_are_changed() {
        for (line, changed) in [
            ("ci --description=", &["description"][..]),
            ("ci --no-end", &["expire_time"]),
            ("ci --ttl 90d --role viewer", &["role", "expire_time"]),
            ("ci --grant prod", &["grants"]),
            ("ci --role registrar --grant prod/web", &["role", "grants"]),
        ] {
            assert_eq!(paths(line).unwrap(), changed, "{line}");
        }
        for (line, message) in [
            ("ci", "nothing to change"),
            ("ci --role registrar", "--grant NAMESPACE"),
            ("ci --role admin --grant prod", "--role registrar"),
            ("ci --ttl 1d --no-end", "cannot be used with"),
        ] {
            let error = paths(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
