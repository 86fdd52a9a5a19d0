//! `portbook token create`.

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::grant::{self, GrantScope};
use super::view::Made;
use crate::cli::args::{OutputArgs, ServerArgs, enum_parser};
use crate::cli::session::Session;
use crate::cli::{Error, ExitStatus, time_args};
use crate::grpc::proto;
use crate::writer::Clock;

#[derive(Args, Debug)]
pub(in crate::cli) struct CreateArgs {
    /// Its name, by which the history knows what is done with it; never given to another token. With
    /// --certificate a name that is in the certificate.
    name: String,

    /// What its holder may do: a viewer reads, a registrar registers ports where it is granted, an
    /// admin does everything.
    #[arg(long, value_name = "ROLE", ignore_case = true,
          value_parser = enum_parser("ROLE_", &["admin", "registrar", "viewer"], proto::Role::from_str_name))]
    role: proto::Role,

    /// Where a registrar may register: in a namespace (prod), or through a pool of it (prod/web);
    /// several with commas. What is granted need not be there yet.
    #[arg(long = "grant", value_name = "PLACE", value_delimiter = ',')]
    grants: Vec<GrantScope>,

    /// How long until it ends, such as 90d. Left out: it does not end by itself.
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    /// A short description.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,

    /// Know its holder by a client certificate with this name, and not by a secret.
    #[arg(long)]
    certificate: bool,

    /// Print the secret and nothing else, as in TOKEN=$(portbook token create ci … --quiet).
    #[arg(long, short, conflicts_with_all = ["output", "certificate"])]
    quiet: bool,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let (server, output, quiet) = (self.server.clone(), self.output.output, self.quiet);
        let token = self.wanted(Clock::system().now())?;
        let grants = token.grants.clone();
        let session = Session::connect(&server).await?;
        let request = proto::CreateTokenRequest { token: Some(token) };
        let answer = session.call(session.admin().create_token(request)).await?;
        let proto::CreateTokenResponse { token, secret } = answer;
        let made = Made { done: "Created", token: token.unwrap_or_default(), secret };
        let ended = made.print(quiet, output)?;
        // After the secret, which is shown this once whatever else may fail.
        grant::remark_absent(&session, &grants).await;
        Ok(ended)
    }

    fn wanted(self, now: Timestamp) -> Result<proto::Token, Error> {
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
            expire_time: ttl.map(|ttl| end(now, ttl)).transpose()?,
            ..proto::Token::default()
        })
    }
}

/// That grants come with the role that has them, and the role with grants.
pub(super) fn check_grants(role: proto::Role, grants: &[GrantScope]) -> Result<(), Error> {
    let message = match (role, grants.is_empty()) {
        (proto::Role::Registrar, true) => {
            "a registrar registers where it is granted: say where with --grant NAMESPACE or --grant \
             NAMESPACE/POOL"
        }
        (proto::Role::Admin, false) => {
            "an admin may register everywhere: leave --grant out, or say --role registrar"
        }
        (proto::Role::Viewer, false) => {
            "a viewer may not register anywhere: leave --grant out, or say --role registrar"
        }
        _ => return Ok(()),
    };
    Err(Error::Usage(message.into()))
}

/// When it ends that lasts this long from now on.
pub(super) fn end(
    now: Timestamp,
    ttl: prost_types::Duration,
) -> Result<prost_types::Timestamp, Error> {
    let length = SignedDuration::new(ttl.seconds, ttl.nanos);
    let end = now.checked_add(length);
    let end = end.map_err(|_| Error::Usage("--ttl reaches beyond the calendar".into()))?;
    Ok(time_args::timestamp(end))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: CreateArgs,
    }

    fn wanted(line: &str) -> Result<proto::Token, String> {
        let words = std::iter::once("create").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|fault| fault.to_string())?;
        line.create.wanted(Timestamp::UNIX_EPOCH).map_err(|fault| fault.report())
    }

    #[test]
    fn a_registrar_has_grants_and_nobody_else() {
        let token = wanted("ci --role Registrar --grant prod/web,staging --ttl 90d").unwrap();
        assert_eq!(grant::words(&token.grants), ["prod/web", "staging"]);
        assert_eq!(token.expire_time.unwrap().seconds, 90 * 24 * 60 * 60);
        assert_eq!(
            (token.role(), token.credential()),
            (proto::Role::Registrar, proto::Credential::Secret)
        );
        for (line, said) in [
            ("ci --role registrar", "--grant NAMESPACE"),
            ("ci --role admin --grant prod", "--role registrar"),
            ("ci --role viewer --grant prod", "--role registrar"),
            ("ci", "--role"),
            ("ci --role owner", "admin, registrar, viewer"),
            ("ci --role registrar --grant Prod", "is no name"),
            ("ci --role viewer --ttl 4000000d", "beyond the calendar"),
            ("ci --role viewer --certificate --quiet", "cannot be used with"),
        ] {
            let fault = wanted(line).unwrap_err();
            assert!(fault.contains(said), "{line}: {fault}");
        }
        let token = wanted("ci.example.com --role viewer --certificate").unwrap();
        assert_eq!((token.credential(), token.expire_time), (proto::Credential::Certificate, None));
    }
}
