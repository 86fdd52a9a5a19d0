//! `portbook ensure`: allocates ports of a pool to a service, or returns its existing allocation.

use clap::Args;

use super::args::{NamespaceArgs, WriteArgs};
use super::details::DetailArgs;
use super::rpc::WriteRequest;
use super::write::{WriteOutcome, heading};
use super::{Error, ExitStatus, output, time_args};
use crate::grpc::{convert, proto};
use crate::registry::port::Transport;

/// The arguments of `portbook ensure`.
#[derive(Args, Debug)]
pub(super) struct EnsureArgs {
    /// The pool.
    pool: String,

    /// The service name: 1-15 letters, digits and hyphens.
    service: String,

    /// The instance, if the service runs several, such as blue.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    instance: String,

    /// The number of consecutive ports [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,

    /// The transports; several separated by commas [default: all transports of the pool].
    #[arg(long = "transport", value_name = "TRANSPORT", value_delimiter = ',')]
    transports: Vec<Transport>,

    /// Print only the number of the first port, as in
    /// PORT=$(portbook ensure web billing --ttl 30d --quiet).
    #[arg(long, short, conflicts_with_all = ["output", "dry_run"])]
    quiet: bool,

    /// The duration of the lease, 1s-3650d, such as 12h or 30d [default: no expiry]. For an existing
    /// allocation with a lease, the lease is extended, never shortened.
    #[arg(long, value_name = "DURATION", value_parser = time_args::duration)]
    ttl: Option<prost_types::Duration>,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    details: DetailArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl EnsureArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self {
            pool,
            service,
            instance,
            count,
            transports,
            quiet,
            ttl,
            namespace,
            details,
            write,
        } = self;
        let transports = transports.into_iter().map(Some).map(convert::transport);
        let mut request = proto::EnsurePortRequest {
            namespace: namespace.namespace,
            pool,
            service_name: service,
            instance,
            count,
            transports: transports.map(i32::from).collect(),
            ttl,
            ..Default::default()
        };
        details.apply(&mut request);
        let response = write.call.connect().await?.send(request.with(&write)).await?;
        let created = response.created;
        let outcome = WriteOutcome::from(response);
        if !created && outcome.assignments.iter().any(|record| details.differ_from(record)) {
            output::notice(
                "the ports were already allocated and their descriptive fields are unchanged: use \
                 portbook update to change them",
            );
        }
        if quiet {
            let first = outcome.assignments.first().and_then(|record| record.ports?.first);
            let first = first.ok_or(Error::IncompleteResponse)?;
            return output::print(&format!("{first}\n"));
        }
        let heading = if created {
            heading("Allocated", outcome.revision, write.dry_run)
        } else {
            "Already allocated:".to_owned()
        };
        outcome.print(heading, write.call.output.output)
    }
}
