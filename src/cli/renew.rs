//! `portbook renew`: renews leases.

use clap::Args;

use super::args::{NamespaceArgs, WriteArgs};
use super::parse::Target;
use super::session::Session;
use super::time_args;
use super::write::{WriteOutcome, call_each};
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};

/// The arguments of `portbook renew`.
#[derive(Args, Debug)]
pub(super) struct RenewArgs {
    /// The uid of a registration, or one of its ports: 7421 or 7421/tcp. Each argument is a separate
    /// call; the first failed call ends the command.
    #[arg(required = true)]
    what: Vec<Target>,

    /// The new duration from now, such as 12h or 30d [default: the last requested duration].
    #[arg(long, value_name = "LENGTH", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl RenewArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { what, ttl, namespace: NamespaceArgs { namespace }, write } = self;
        let template = proto::RenewLeaseRequest {
            ttl,
            validate_only: write.dry_run,
            request_id: write.request_id.clone(),
            reason: write.reason.clone(),
            ..proto::RenewLeaseRequest::default()
        };
        let session = Session::connect(&write.server).await?;
        call_each("Renewed", &write, &what, async |target: &Target| {
            let template = template.clone();
            let request = match *target {
                Target::Uid(uid) => proto::RenewLeaseRequest { uid: uid.to_string(), ..template },
                Target::Port(port, transport) => proto::RenewLeaseRequest {
                    namespace: namespace.clone(),
                    port: Some(port.number().into()),
                    transport: convert::transport(transport).into(),
                    ..template
                },
            };
            let response = session.call(session.admin().renew_lease(request)).await?;
            let proto::RenewLeaseResponse { assignments, revision } = response;
            Ok(WriteOutcome { assignments, findings: Vec::new(), revision })
        })
        .await
    }
}
