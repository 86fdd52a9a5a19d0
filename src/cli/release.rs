//! `portbook release`: releases ports.

use clap::Args;

use super::args::{NamespaceArgs, WriteArgs};
use super::parse::Target;
use super::session::Session;
use super::write::{WriteOutcome, call_each};
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};

/// The arguments of `portbook release`.
#[derive(Args, Debug)]
pub(super) struct ReleaseArgs {
    /// The uid of a registration, or one of its ports: 7421 or 7421/tcp. Each argument is a separate
    /// call; the first failed call ends the command.
    #[arg(required = true)]
    what: Vec<Target>,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl ReleaseArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { what, namespace: NamespaceArgs { namespace }, write } = self;
        let template = proto::ReleasePortRequest {
            validate_only: write.dry_run,
            request_id: write.request_id.clone(),
            reason: write.reason.clone(),
            ..proto::ReleasePortRequest::default()
        };
        let session = Session::connect(&write.server).await?;
        call_each("Released", &write, &what, async |target: &Target| {
            let template = template.clone();
            let request = match *target {
                Target::Uid(uid) => proto::ReleasePortRequest { uid: uid.to_string(), ..template },
                Target::Port(port, transport) => proto::ReleasePortRequest {
                    namespace: namespace.clone(),
                    port: Some(port.number().into()),
                    transport: convert::transport(transport).into(),
                    ..template
                },
            };
            let response = session.call(session.admin().release_port(request)).await?;
            let proto::ReleasePortResponse { assignments, revision } = response;
            Ok(WriteOutcome { assignments, findings: Vec::new(), revision })
        })
        .await
    }
}
