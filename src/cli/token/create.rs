//! `portbook token create`.

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::grant::{self, GrantScope};
use super::view::TokenView;
use crate::cli::args::CallArgs;
use crate::cli::output::enum_names;
use crate::cli::{Error, ExitStatus, time_args};
use crate::grpc::proto;
use crate::writer::Clock;

#[derive(Args, Debug)]
pub(in crate::cli) struct CreateArgs {
    /// The name, recorded in the history as the actor and never reused. With --certificate, a name
    /// in the client certificate.
    name: String,

    /// The role: viewer (read only), registrar (register ports within its grants), or admin (all
    /// calls).
    #[arg(long, value_name = "ROLE", ignore_case = true,
          value_parser = enum_names::parser::<proto::Role>())]
    role: proto::Role,

    /// Where a registrar may register ports: a namespace (prod) or one of its pools (prod/web);
    /// several separated by commas. They need not exist yet.
    #[arg(long = "grant", value_name = "SCOPE", value_delimiter = ',')]
    grants: Vec<GrantScope>,

    /// The lifetime of the token, such as 90d [default: no expiry].
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    /// A short description.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,

    /// Authenticate by a client certificate that contains this name, instead of a secret.
    #[arg(long)]
    certificate: bool,

    /// Print only the secret, as in TOKEN=$(portbook token create ci … --quiet).
    #[arg(long, short, conflicts_with_all = ["output", "certificate"])]
    quiet: bool,

    #[command(flatten)]
    call: CallArgs,
}

impl CreateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let (call, quiet) = (self.call.clone(), self.quiet);
        let token = self.token(Clock::system().now())?;
        let grants = token.grants.clone();
        let session = call.connect().await?;
        let response = session.send(proto::CreateTokenRequest { token: Some(token) }).await?;
        let view = TokenView::written(response.token, Some(response.secret));
        let status = view.print("Created", quiet, call.output.output)?;
        // After the secret: it has to be printed even if this check fails.
        grant::warn_missing(&session, &grants).await;
        Ok(status)
    }

    fn token(self, now: Timestamp) -> Result<proto::Token, Error> {
        let Self { name, role, grants, ttl, description, certificate, .. } = self;
        check_grants(role, &grants)?;
        let credential =
            if certificate { proto::Credential::Certificate } else { proto::Credential::Secret };
        Ok(proto::Token {
            name,
            description,
            role: role.into(),
            grants: grant::grants(&grants)?,
            credential: credential.into(),
            expire_time: ttl.map(|ttl| expiry(now, ttl)).transpose()?,
            ..proto::Token::default()
        })
    }
}

/// Checks that a registrar has grants, and that other roles have none.
pub(super) fn check_grants(role: proto::Role, grants: &[GrantScope]) -> Result<(), Error> {
    let message = match (role, grants.is_empty()) {
        (proto::Role::Registrar, true) => {
            "a registrar needs at least one grant: specify --grant NAMESPACE or --grant \
             NAMESPACE/POOL"
        }
        (proto::Role::Admin, false) => {
            "an admin may register ports everywhere: omit --grant, or use --role registrar"
        }
        (proto::Role::Viewer, false) => {
            "a viewer may not register ports: omit --grant, or use --role registrar"
        }
        _ => return Ok(()),
    };
    Err(Error::Usage(message.into()))
}

/// The time at which the duration after `now` ends.
pub(super) fn expiry(
    now: Timestamp,
    ttl: prost_types::Duration,
) -> Result<prost_types::Timestamp, Error> {
    let duration = SignedDuration::new(ttl.seconds, ttl.nanos);
    let end = now.checked_add(duration);
    let end =
        end.map_err(|_| Error::Usage("--ttl is too long: it ends after the year 9999".into()))?;
    Ok(time_args::timestamp(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse_line;

    fn parse(line: &str) -> Result<proto::Token, String> {
        let args: CreateArgs = parse_line(line).map_err(|error| error.to_string())?;
        args.token(Timestamp::UNIX_EPOCH).map_err(|error| error.report())
    }

    #[test]
    fn only_a_registrar_has_grants() {
        let token = parse("ci --role Registrar --grant prod/web,staging --ttl 90d").unwrap();
        assert_eq!(grant::scopes(&token.grants), ["prod/web", "staging"]);
        assert_eq!(token.expire_time.unwrap().seconds, 90 * 24 * 60 * 60);
        assert_eq!(
            (token.role(), token.credential()),
            (proto::Role::Registrar, proto::Credential::Secret)
        );
        for (line, message) in [
            ("ci --role registrar", "--grant NAMESPACE"),
            ("ci --role admin --grant prod", "--role registrar"),
            ("ci --role viewer --grant prod", "--role registrar"),
            ("ci", "--role"),
            ("ci --role owner", "viewer, registrar, admin"),
            ("ci --role registrar --grant Prod", "is not a valid name"),
            ("ci --role viewer --ttl 4000000d", "--ttl is too long"),
            ("ci --role viewer --certificate --quiet", "cannot be used with"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
        let token = parse("ci.example.com --role viewer --certificate").unwrap();
        assert_eq!((token.credential(), token.expire_time), (proto::Credential::Certificate, None));
    }
}
