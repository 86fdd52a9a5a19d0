//! `portbook token update`, `rotate` and `revoke`.

use clap::Args;
use jiff::Timestamp;

use super::create::{check_grants, end};
use super::grant::{self, GrantScope};
use super::view::{Changed, Made};
use crate::cli::args::{OutputArgs, ServerArgs, enum_parser};
use crate::cli::session::Session;
use crate::cli::{Error, ExitStatus, output, time_args};
use crate::grpc::proto;
use crate::writer::Clock;

#[derive(Args, Debug)]
pub(in crate::cli) struct UpdateArgs {
    /// Its name.
    name: String,

    /// What its holder may do from now on.
    #[arg(long, value_name = "ROLE", ignore_case = true,
          value_parser = enum_parser("ROLE_", &["admin", "registrar", "viewer"], proto::Role::from_str_name))]
    role: Option<proto::Role>,

    /// All the places where a registrar may register from now on: namespaces (prod) and pools
    /// (prod/web); several with commas.
    #[arg(long = "grant", value_name = "PLACE", value_delimiter = ',')]
    grants: Vec<GrantScope>,

    /// How long from now until it ends, such as 90d.
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    /// It does not end by itself.
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
    /// Its name.
    name: String,

    /// How long the secret before it is still taken, such as 1h; at most 30d. Left out: not at all.
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    overlap: Option<prost_types::Duration>,

    /// Print the new secret and nothing else.
    #[arg(long, short, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RevokeArgs {
    /// Its name.
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
        let answer = session.call(session.admin().update_token(request)).await?;
        let token = answer.token.unwrap_or_default();
        let ended = output::show(output, &Changed { done: "Changed", token })?;
        grant::remark_absent(&session, &grants).await;
        Ok(ended)
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
            let message = "there is nothing to change: give at least one of --role, --grant, --ttl, \
                           --no-end and --description";
            return Err(Error::Usage(message.into()));
        }
        let token = proto::Token {
            name,
            description: description.unwrap_or_default(),
            role: role.unwrap_or_default().into(),
            grants: grant::grants(&grants)?,
            expire_time: ttl.map(|ttl| end(now, ttl)).transpose()?,
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
        let answer = session.call(session.admin().rotate_token(request)).await?;
        let proto::RotateTokenResponse { token, secret } = answer;
        let made = Made { done: "Rotated", token: token.unwrap_or_default(), secret };
        made.print(quiet, output.output)
    }
}

impl RevokeArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, server, output } = self;
        let session = Session::connect(&server).await?;
        let request = proto::RevokeTokenRequest { name };
        let answer = session.call(session.admin().revoke_token(request)).await?;
        let token = answer.token.unwrap_or_default();
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
        let words = std::iter::once("update").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|fault| fault.to_string())?;
        let request = line.update.request(Timestamp::UNIX_EPOCH);
        Ok(request.map_err(|fault| fault.report())?.update_mask.unwrap().paths)
    }

    #[test]
    fn exactly_what_is_given_is_changed() {
        for (line, changed) in [
            ("ci --description=", &["description"][..]),
            ("ci --no-end", &["expire_time"]),
            ("ci --ttl 90d --role viewer", &["role", "expire_time"]),
            ("ci --grant prod", &["grants"]),
            ("ci --role registrar --grant prod/web", &["role", "grants"]),
        ] {
            assert_eq!(paths(line).unwrap(), changed, "{line}");
        }
        for (line, said) in [
            ("ci", "nothing to change"),
            ("ci --role registrar", "--grant NAMESPACE"),
            ("ci --role admin --grant prod", "--role registrar"),
            ("ci --ttl 1d --no-end", "cannot be used with"),
        ] {
            let fault = paths(line).unwrap_err();
            assert!(fault.contains(said), "{line}: {fault}");
        }
    }
}
