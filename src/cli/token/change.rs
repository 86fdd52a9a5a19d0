//! `portbook token update`, `rotate` and `revoke`.

use clap::Args;
use jiff::Timestamp;

use super::create::{check_grants, expiry};
use super::grant::{self, GrantScope};
use super::view::TokenView;
use crate::cli::args::CallArgs;
use crate::cli::output::enum_names;
use crate::cli::write::UpdateMask;
use crate::cli::{Error, ExitStatus, time_args};
use crate::grpc::proto;
use crate::writer::Clock;

#[derive(Args, Debug)]
pub(in crate::cli) struct UpdateArgs {
    /// The name of the token.
    name: String,

    /// The new role.
    #[arg(long, value_name = "ROLE", ignore_case = true,
          value_parser = enum_names::parser::<proto::Role>())]
    role: Option<proto::Role>,

    /// The new grants of a registrar: namespaces (prod) and pools (prod/web); several separated by
    /// commas. Replaces the current grants.
    #[arg(long = "grant", value_name = "SCOPE", value_delimiter = ',')]
    grants: Vec<GrantScope>,

    /// The new lifetime from now, such as 90d.
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    /// Remove the expiry.
    #[arg(long, conflicts_with = "ttl")]
    no_end: bool,

    /// A short description.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    #[command(flatten)]
    call: CallArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RotateArgs {
    /// The name of the token.
    name: String,

    /// How long the old secret remains valid, such as 1h; at most 30d [default: 0s].
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    overlap: Option<prost_types::Duration>,

    /// Print only the new secret.
    #[arg(long, short, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    call: CallArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RevokeArgs {
    /// The name of the token.
    name: String,

    #[command(flatten)]
    call: CallArgs,
}

impl UpdateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let call = self.call.clone();
        let request = self.request(Clock::system().now())?;
        let grants = request.token.as_ref().map(|token| token.grants.clone()).unwrap_or_default();
        let session = call.connect().await?;
        let response = session.send(request).await?;
        let view = TokenView::written(response.token, None);
        let status = view.print("Updated", false, call.output.output)?;
        grant::warn_missing(&session, &grants).await;
        Ok(status)
    }

    fn request(self, now: Timestamp) -> Result<proto::UpdateTokenRequest, Error> {
        let Self { name, role, grants, ttl, no_end, description, call: _ } = self;
        if let Some(role) = role {
            check_grants(role, &grants)?;
        }
        let mut mask = UpdateMask::default();
        mask.add("grants", !grants.is_empty());
        mask.add("expire_time", ttl.is_some() || no_end);
        let token = proto::Token {
            name,
            description: mask.field("description", description),
            role: mask.field("role", role).into(),
            grants: grant::grants(&grants)?,
            expire_time: ttl.map(|ttl| expiry(now, ttl)).transpose()?,
            ..proto::Token::default()
        };
        let update_mask = mask.finish("--role, --grant, --ttl, --no-end and --description")?;
        Ok(proto::UpdateTokenRequest { token: Some(token), update_mask })
    }
}

impl RotateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, overlap, quiet, call } = self;
        let request = proto::RotateTokenRequest { name, overlap };
        let response = call.connect().await?.send(request).await?;
        let view = TokenView::written(response.token, Some(response.secret));
        view.print("Rotated", quiet, call.output.output)
    }
}

impl RevokeArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { name, call } = self;
        let response = call.connect().await?.send(proto::RevokeTokenRequest { name }).await?;
        TokenView::written(response.token, None).print("Revoked", false, call.output.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse_line;

    fn paths(line: &str) -> Result<Vec<String>, String> {
        let args: UpdateArgs = parse_line(line).map_err(|error| error.to_string())?;
        let request = args.request(Timestamp::UNIX_EPOCH);
        Ok(request.map_err(|error| error.report())?.update_mask.unwrap().paths)
    }

    #[test]
    fn only_specified_fields_are_changed() {
        for (line, changed) in [
            ("ci --description=", &["description"][..]),
            ("ci --no-end", &["expire_time"]),
            ("ci --ttl 90d --role viewer", &["expire_time", "role"]),
            ("ci --grant prod", &["grants"]),
            ("ci --role registrar --grant prod/web", &["grants", "role"]),
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
