//! `portbook register`: registers a service on ports.

use clap::Args;

use super::args::{AcknowledgeArgs, LeaseArgs, NamespaceArgs, WriteArgs};
use super::details::DetailArgs;
use super::parse::PortSpec;
use super::write::write_each;
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};

/// The arguments of `portbook register`.
#[derive(Args, Debug)]
pub(super) struct RegisterArgs {
    /// The service name: 1-15 letters, digits and hyphens.
    service: String,

    /// The ports: 7421, 7421/tcp, 7421/tcp,udp or 7000-7010/udp; tcp is the default. Each argument
    /// is a separate call; the first failed call ends the command.
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<PortSpec>,

    #[command(flatten)]
    namespace: NamespaceArgs,
    /// The pool that contains the ports, if any.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pool: String,

    #[command(flatten)]
    lease: LeaseArgs,
    #[command(flatten)]
    details: DetailArgs,
    #[command(flatten)]
    acknowledge: AcknowledgeArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl RegisterArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { service, ports, namespace, pool, lease, details, acknowledge, write } = self;
        let mut template = proto::RegisterPortRequest {
            namespace: namespace.namespace,
            service_name: service,
            acknowledge: acknowledge.codes(),
            ttl: lease.ttl,
            pool,
            ..proto::RegisterPortRequest::default()
        };
        details.apply(&mut template);
        let session = write.call.connect().await?;
        write_each(&session, &write, "Registered", &ports, |spec: &PortSpec| {
            let transports = spec.transports.iter().copied().map(Some).map(convert::transport);
            proto::RegisterPortRequest {
                ports: Some(convert::port_range(spec.ports)),
                transports: transports.map(i32::from).collect(),
                ..template.clone()
            }
        })
        .await
    }
}
